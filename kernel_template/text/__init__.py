"""The texts that a voice is trained on and speaks, for sessions and the laptop.

    speaking.spoken(text)                any text as it is read aloud: numbers, dates, Latin letters in words
    vocabulary.for_voice(spoken, voice)  the same in the letters that a voice can say
    sentences.sentences(text, voice)     a text as the sentences that a voice says one by one
    sentences.read(text, voice)          the same, part by part, with what was changed and lost
    spelling.canonical(text)             one spelling, to compare texts

Standard library only. Nothing is imported here: most of a session needs none of these rules.
"""
