"""One recording: read it, measure it, and write it as the dataset needs it. Runs in a process of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.data.measures import Measures, gain_for, measure
from orchestrator.data.sounds import Samples, Sound, SoundError, read_sound, resample, wav_bytes
from orchestrator.files import rename

VERSION = 1  # Of what is done here; another number makes a dataset anew.
_SPLIT_PAUSE_S = 0.35  # Between sentences; within one, readers pause less.
_FITS = 1.7  # How much faster or slower a part may be read than the whole.


@dataclass(frozen=True, slots=True)
class AudioSettings:
    """What a recording becomes.

    Attributes:
        rate: samples a second.
        loudness: LUFS.
        peak: the loudest sample, in dB of full scale.
        margin: seconds of silence that stay before and after speech.
        longest: seconds; a longer recording is split if its text has as many sentences.
    """

    rate: int = 22050
    loudness: float = -23.0
    peak: float = -1.0
    margin: float = 0.1
    longest: float = 20.0


@dataclass(frozen=True, slots=True)
class Job:
    """A recording to work on.

    Attributes:
        name: its name in the folder.
        path: where it is.
        letters: how many letters each sentence of its text has; empty without a text.
        out: where to write to, without `.wav`: part 2 gets `-2` behind it; None writes nothing.
    """

    name: str
    path: Path
    letters: tuple[int, ...]
    out: Path | None


@dataclass(frozen=True, slots=True)
class Part:
    """A recording, or a sentence of it, as it is in the dataset.

    Attributes:
        begin, end: where it was, in seconds.
        gain: by how many dB it was made louder.
        size: bytes of its file; 0 if none was written.
        mtime_ns: when that was written.
    """

    begin: float
    end: float
    gain: float
    size: int = 0
    mtime_ns: int = 0

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Worked:
    """What is known about a recording.

    Attributes:
        name: its name in the folder.
        error: why it cannot be used, completing "NAME …"; empty if it can.
        error_kind: as in `SoundError`.
        rate, channels, form, peak, clipped, missing_s, channel, digest, source: as in `Sound`.
        measures: None with an error.
        letters: by how many letters in each sentence it was split, or not.
        parts: what it becomes; several if it was split.
    """

    name: str
    error: str = ""
    error_kind: str = ""
    rate: int = 0
    channels: int = 0
    form: str = ""
    peak: float = 0.0
    clipped: float = 0.0
    missing_s: float = 0.0
    channel: str = ""
    digest: str = ""
    source: str = ""
    measures: Measures | None = None
    letters: tuple[int, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def seconds(self) -> float:
        """The recording's own length; 0 if it could not be read."""
        return self.measures.seconds if self.measures is not None else 0.0

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Worked":
        """Read what `to_json` wrote.

        Raises:
            TypeError, KeyError, ValueError: it is something else.
        """
        measures = value["measures"]
        if measures is not None:
            pauses = tuple((float(begin), float(end)) for begin, end in measures["pauses"])
            measures = Measures(**{**measures, "pauses": pauses})
        parts = tuple(Part(**part) for part in value["parts"])
        letters = tuple(int(count) for count in value["letters"])
        return cls(**{**value, "measures": measures, "parts": parts, "letters": letters})


def work(job: Job, settings: AudioSettings) -> Worked:
    """Work on one recording; what is wrong with it is in the result."""
    try:
        sound = read_sound(job.path)
    except SoundError as error:
        return Worked(job.name, error=str(error), error_kind=error.kind, letters=job.letters)
    samples = resample(sound.samples, sound.rate, settings.rate)
    measures = measure(samples, settings.rate)
    bounds = _split(measures, job.letters, settings) or [_trimmed(measures, settings.margin)]
    parts = []
    for number, (begin, end) in enumerate(bounds):
        cut = samples[round(begin * settings.rate) : round(end * settings.rate)]
        gain = (
            0.0 if measures.is_silent else gain_for(cut, measures.loudness, settings.loudness, settings.peak)
        )
        part = Part(begin, end, gain)
        if job.out is not None:
            part = _write(part, cut, settings.rate, part_file(job.out, number))
        parts.append(part)
    return _worked(job, sound, measures, tuple(parts))


def _worked(job: Job, sound: Sound, measures: Measures, parts: tuple[Part, ...]) -> Worked:
    return Worked(
        name=job.name,
        rate=sound.rate,
        channels=sound.channels,
        form=sound.form,
        peak=sound.peak,
        clipped=sound.clipped,
        missing_s=sound.missing_s,
        channel=sound.channel,
        digest=sound.digest,
        source=sound.source,
        measures=measures,
        letters=job.letters,
        parts=parts,
    )


def part_file(out: Path, number: int) -> Path:
    """The file of a part: `OUT.wav`, then `OUT-2.wav` and so on."""
    return out.with_name(f"{out.name}-{number + 1}.wav" if number else f"{out.name}.wav")


def _trimmed(measures: Measures, margin: float) -> tuple[float, float]:
    if measures.is_silent or not measures.has_contrast:
        return 0.0, measures.seconds
    return max(0.0, measures.begin - margin), min(measures.seconds, measures.end + margin)


def _split(
    measures: Measures, letters: Sequence[int], settings: AudioSettings
) -> list[tuple[float, float]] | None:
    """Cut a long recording at its pauses if there is one pause fewer than sentences, and each part fits.

    Returns:
        Begin and end of each part in seconds; None to leave it whole.
    """
    if measures.end - measures.begin <= settings.longest or len(letters) < 2:  # noqa: PLR2004
        return None
    pauses = [pause for pause in measures.pauses if pause[1] - pause[0] >= _SPLIT_PAUSE_S]
    if len(pauses) != len(letters) - 1:
        return None
    edges = [measures.begin, *(edge for pause in pauses for edge in pause), measures.end]
    speech = list(zip(edges[::2], edges[1::2], strict=True))
    usual = sum(letters) / sum(end - begin for begin, end in speech)
    for count, (begin, end) in zip(letters, speech, strict=True):
        pace = count / (end - begin) / usual
        if not 1 / _FITS < pace < _FITS:
            return None
    # A margin on both sides of a pause, but at most half of it.
    bounds = []
    for number, (begin, end) in enumerate(speech):
        before = speech[number - 1][1] if number else -begin
        after = speech[number + 1][0] if number + 1 < len(speech) else 2 * measures.seconds - end
        bounds.append(
            (
                begin - min(settings.margin, (begin - before) / 2),
                end + min(settings.margin, (after - end) / 2),
            )
        )
    return bounds


def _write(part: Part, samples: Samples, rate: int, file: Path) -> Part:
    """Level a part and write it, complete or not at all."""
    temporary = file.with_suffix(".part")
    temporary.write_bytes(wav_bytes(samples * np.float32(10 ** (part.gain / 20)), rate))
    rename(temporary, file)
    found = file.stat()
    return replace(part, size=found.st_size, mtime_ns=found.st_mtime_ns)
