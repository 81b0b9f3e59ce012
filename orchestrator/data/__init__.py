"""Recordings and transcripts, as people have them, become a dataset that trains.

    recordings    finds the recordings, and which of them a transcript's name means
    transcripts   reads the texts
    sounds        decodes, resamples, writes 16-bit mono
    measures      loudness, clipping, silence, pauses, noise
    work          one recording, in a process of its own: read, measured, cut, levelled
    pool          all recordings, on all cores
    checks        what is wrong, and what becomes of each row and each recording
    summary       how much it is, and whether that is enough
    prepare       the folder: staged, resumable, incremental
    report        what was found and changed, as JSON and as a page

Everything here needs the extra `data`; nothing prints. Import the modules, since this package imports none.
"""
