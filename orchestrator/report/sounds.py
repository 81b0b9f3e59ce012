"""The test sentences as the run's models spoke them, and the speaker's own recordings.

Sound files come from a server, too. They are read as PCM and written anew, so that nothing but samples enters
the page: 16 bits, at most a minute of each, and not more in all than a phone's browser can take.
"""

import io
import re
import sys
import unicodedata
import wave
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import BASE_SAMPLES, SAMPLES_FILE, SAMPLES_FOLDER, STEP_SAMPLES
from orchestrator import untrusted

_STEP = re.compile(re.escape(STEP_SAMPLES) + r"(\d{1,15})")
_FILE = re.compile(r"[0-9A-Za-z_-]{1,40}\.wav")
# People name the files of a dataset in any script; none of these names leads to another folder.
_RECORDING = re.compile(r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]{0,200}\.wav")
_METADATA = ("metadata.csv", "*/metadata.csv")
_MOST_SENTENCES = 20
_MOST_UNKNOWN = 40
_MOST_ODD = 10
_MOST_RECORDINGS = 3

_LARGEST_FILE = 16 * 1024 * 1024
_LONGEST_S = 60.0
_RATES = range(4000, 192_001)
_WIDTHS = range(1, 5)  # Bytes of a sample.
_LOUDEST = 32_767
_CLIPPED_SAMPLES = 8  # At full scale; a loud vowel reaches it once or twice.
_SILENCE = 10 ** (-60 / 20)  # A peak of -60 dB; the kernel uses the same.


class UnreadableSoundError(Exception):
    """A file cannot be played; the text completes "NAME …"."""


@dataclass(frozen=True, slots=True)
class Clip:
    """The sound of a recording.

    Attributes:
        wav: a complete WAV file, 16-bit PCM.
        seconds: its length.
        sample_rate: samples per second.
        peak: the loudest sample, at most 1.
        clipped: whether several samples are at full scale.
        cut: whether the end was left out because the recording is longer than a minute.
    """

    wav: bytes
    seconds: float
    sample_rate: int
    peak: float
    clipped: bool
    cut: bool = False

    @property
    def silent(self) -> bool:
        """Whether it can hardly be heard."""
        return self.peak < _SILENCE


class SoundBudget:
    """How many bytes of sound a page may still hold: browsers on phones manage some tens of megabytes.

    Args:
        size: bytes of all recordings together.
    """

    def __init__(self, size: int = 32 * 1024 * 1024) -> None:
        self.left = size
        self.refused = 0

    def admit(self, clip: Clip) -> bool:
        """Whether there is room for a recording; if so, it is counted."""
        if len(clip.wav) > self.left:
            self.refused += 1
            return False
        self.left -= len(clip.wav)
        return True


@dataclass(frozen=True, slots=True)
class Sample:
    """A test sentence spoken by the model of one step.

    Attributes:
        step: the model's step; 0 for the base voice.
        label: which of the run's models it is, in words.
        clip: the recording; None if there is none to play.
        trouble: why there is none, as a sentence.
        unknown: characters of the sentence that the voice's vocabulary lacks.
        clipped: whether the model was louder than a file can hold.
        spoken: the sentence in the letters of the voice, if they are others than those of the text.
        odd: what the session found odd about the sound, as the ends of sentences about it.
        steady: whether that is a hum or a hiss.
    """

    step: int
    label: str
    clip: Clip | None
    trouble: str = ""
    unknown: tuple[str, ...] = ()
    clipped: bool = False
    spoken: str = ""
    odd: tuple[str, ...] = ()
    steady: bool = False

    @property
    def silent(self) -> bool:
        """Whether it can hardly be heard."""
        return self.clip is not None and self.clip.silent


@dataclass(frozen=True, slots=True)
class Sentence:
    """A test sentence, its samples in the order of steps, and perhaps the speaker's recording of it."""

    text: str
    samples: tuple[Sample, ...]
    recording: Clip | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording of the dataset, and its transcript."""

    text: str
    place: Path


def read_sentences(
    folders: Sequence[Path], best: int | None, budget: SoundBudget, recordings: Sequence[Recording] = ()
) -> list[Sentence]:
    """The test sentences at the first, the middle and the last step, and as the best model speaks them.

    Args:
        folders: the sessions' folders, oldest first.
        best: the best model's step.
        budget: how much sound may be read.
        recordings: the dataset's; those of the test sentences are used.
    """
    steps = spoken_folders(folder / SAMPLES_FOLDER for folder in folders)
    chosen = choose_steps(sorted(steps), best)
    by_sentence: dict[str, dict[int, tuple[Path, dict[str, Any]]]] = {}
    for step in sorted(chosen, reverse=True):  # The newest step's sentences come first, in its order.
        for record in steps[step].records:
            text = untrusted.one_line(record["text"])
            by_sentence.setdefault(text, {})[step] = (steps[step].folder, record)
    by_text = {_letters(item.text): item for item in recordings}
    found = []
    for text, records in list(by_sentence.items())[:_MOST_SENTENCES]:
        samples = [read_sample(step, chosen[step], *records[step], budget) for step in sorted(records)]
        found.append(Sentence(text, tuple(samples), _clip(by_text.get(_letters(text)), budget)))
    return found


@dataclass(frozen=True, slots=True)
class SpokenFolder:
    """The folder with the samples of one step, and what its samples.json lists."""

    folder: Path
    records: list[dict[str, Any]]

    @property
    def files(self) -> list[Path]:
        """The recordings that are there."""
        names = [record.get("file") for record in self.records]
        places = [self.folder / name for name in names if isinstance(name, str) and _FILE.fullmatch(name)]
        return [place for place in places if place.is_file() and not place.is_symlink()]


def spoken_folders(folders: Iterable[Path]) -> dict[int, SpokenFolder]:
    """The samples of each step; of several copies the newest complete one counts.

    Args:
        folders: those that hold `step_N` and `base`, oldest first.
    """
    found: dict[int, SpokenFolder] = {}
    for folder in folders:
        for step, place in _step_folders(folder):
            samples = read_spoken(place)
            known = found.get(step)
            if samples.records and (known is None or len(samples.files) >= len(known.files)):
                found[step] = samples
    return found


def _step_folders(folder: Path) -> Iterator[tuple[int, Path]]:
    try:
        places = sorted(folder.iterdir())
    except OSError:
        return
    for place in places:
        match = _STEP.fullmatch(place.name)
        if (match is not None or place.name == BASE_SAMPLES) and place.is_dir() and not place.is_symlink():
            yield int(match.group(1)) if match is not None else 0, place


def read_spoken(place: Path) -> SpokenFolder:
    """What a folder's samples.json lists."""
    listed = untrusted.as_object(untrusted.read_json_object(place / SAMPLES_FILE)).get("samples")
    records = map(untrusted.as_object, untrusted.as_list(listed)[:_MOST_SENTENCES])
    return SpokenFolder(place, [record for record in records if isinstance(record.get("text"), str)])


def choose_steps(steps: Sequence[int], best: int | None) -> dict[int, str]:
    """Which of the sorted steps are played, and how each is called; step 0 is the base voice."""
    chosen = {0: "base voice, before training"} if 0 in steps else {}
    steps = [step for step in steps if step]
    if steps:
        chosen[steps[0]] = "first"
        if len(steps) > 2:  # noqa: PLR2004  # There is one in the middle.
            chosen[steps[len(steps) // 2]] = "middle"
        chosen[steps[-1]] = "last" if len(steps) > 1 else "the only one"
    if best is not None and best in steps:
        chosen[best] = f"{chosen[best]}, best model" if best in chosen else "best model"
    return chosen


def read_sample(step: int, label: str, folder: Path, record: dict[str, Any], budget: SoundBudget) -> Sample:
    """Read one sample that a samples.json lists; if it cannot be played, it says why."""
    unknown = tuple(
        untrusted.character(letter) if len(letter) == 1 else untrusted.one_line(letter, 8)
        for letter in untrusted.as_list(record.get("unknown"))[:_MOST_UNKNOWN]
        if isinstance(letter, str) and letter
    )
    if record.get("error"):
        return Sample(step, label, None, untrusted.one_line(record["error"], 300), unknown)
    name = record.get("file")
    if not isinstance(name, str) or not _FILE.fullmatch(name):
        return Sample(
            step, label, None, "samples.json names a file that no session of kgtts writes.", unknown
        )
    try:
        clip = read_clip(folder / name)
    except UnreadableSoundError as error:
        return Sample(step, label, None, f"{name} {error}.", unknown)
    spoken = untrusted.one_line(record.get("spoken") or "")
    if unicodedata.normalize("NFC", spoken) == unicodedata.normalize(
        "NFC", untrusted.one_line(record["text"])
    ):
        spoken = ""  # The same letters, in another encoding.
    clipped = clip.clipped or (untrusted.number(record.get("peak")) or 0.0) > 1
    odd, steady = _odd(record)
    if not budget.admit(clip):
        why = f"{clip.seconds:.1f} s were left out, since the page would become too large."
        return Sample(step, label, None, why, unknown, clipped, spoken, odd, steady)
    return Sample(step, label, clip, "", unknown, clipped, spoken, odd, steady)


def _odd(record: dict[str, Any]) -> tuple[tuple[str, ...], bool]:
    """What the session found odd, but for what is seen in the recording itself; and whether it is a hum."""
    listed = map(untrusted.as_object, untrusted.as_list(record.get("odd"))[:_MOST_ODD])
    found = [item for item in listed if item.get("kind") not in ("silent", "clipped")]
    told = tuple(untrusted.one_line(item["what"], 200) for item in found if isinstance(item.get("what"), str))
    return told, any(item.get("kind") == "steady" for item in found)


def read_recordings(folder: Path) -> list[Recording]:
    """The recordings of a dataset in LJSpeech's layout: a `metadata.csv` of `name|text`, and `wavs/`."""
    found = []
    for place in [item for pattern in _METADATA for item in sorted(folder.glob(pattern))][:1]:
        for line in untrusted.read_lines(place):
            name, *texts = line.split("|")
            file = f"{name.strip().removesuffix('.wav')}.wav"
            if _RECORDING.fullmatch(file):
                wav = place.parent / "wavs" / file
                transcripts = [text for text in dict.fromkeys(texts[:2]) if text.strip()]
                found += [Recording(untrusted.one_line(text), wav) for text in transcripts]
    return found


def other_recordings(
    recordings: Sequence[Recording], sentences: Sequence[Sentence], budget: SoundBudget
) -> list[tuple[str, Clip]]:
    """A few recordings to know the speaker's voice by, if none of them is of a test sentence."""
    if any(sentence.recording for sentence in sentences):
        return []
    found: dict[Path, tuple[str, Clip]] = {}
    for item in recordings:
        if item.place not in found and (clip := _clip(item, budget)) is not None:
            found[item.place] = (item.text, clip)
        if len(found) == _MOST_RECORDINGS:
            break
    return list(found.values())


def _clip(recording: Recording | None, budget: SoundBudget) -> Clip | None:
    if recording is None:
        return None
    try:
        clip = read_clip(recording.place)
    except UnreadableSoundError:
        return None
    return clip if budget.admit(clip) else None


def _letters(text: str) -> str:
    """A sentence without spaces and punctuation, which different spellings may add."""
    return "".join(letter for letter in unicodedata.normalize("NFC", text) if letter.isalnum()).casefold()


def read_clip(place: Path) -> Clip:
    """Read the first minute of a WAV file.

    Raises:
        UnreadableSoundError: it is missing, a link, too large, or not PCM.
    """
    content = untrusted.read_bytes(place, _LARGEST_FILE)
    if content is None:
        raise UnreadableSoundError("is missing, larger than 16 MB, or not a plain file")
    try:
        with wave.open(io.BytesIO(content), "rb") as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            if rate not in _RATES or channels not in (1, 2) or width not in _WIDTHS:
                raise UnreadableSoundError("has an unusual format")
            most = int(_LONGEST_S * rate)
            cut = file.getnframes() > most
            data = file.readframes(most)
    except (wave.Error, EOFError, ValueError, OverflowError, RuntimeError) as error:
        raise UnreadableSoundError("is not a WAV file of PCM samples") from error
    data = _as_16_bit(data[: len(data) - len(data) % (width * channels)], width)
    if not data:
        raise UnreadableSoundError("contains no sound")
    return Clip(as_wav(data, rate, channels), len(data) / (2 * channels * rate), rate, *_level(data), cut)


def _as_16_bit(data: bytes, width: int) -> bytes:
    """The upper 16 bits of samples that have `width` bytes."""
    if width == 2:  # noqa: PLR2004  # They have 16 already.
        return data
    result = bytearray(2 * (len(data) // width))
    if width == 1:
        result[1::2] = bytes(value ^ 0x80 for value in data)  # 8-bit samples are unsigned.
    else:
        result[0::2], result[1::2] = data[width - 2 :: width], data[width - 1 :: width]
    return bytes(result)


def _level(data: bytes) -> tuple[float, bool]:
    """The loudest sample, at most 1, and whether the sound is clipped."""
    samples = array("h", data)
    if sys.byteorder == "big":
        samples.byteswap()
    highest, lowest = max(samples), min(samples)
    peak = max(highest, -lowest) / _LOUDEST
    full = sum(samples.count(value) for value in (_LOUDEST, -_LOUDEST, -_LOUDEST - 1))
    return min(1.0, peak), full >= _CLIPPED_SAMPLES


def as_wav(data: bytes, rate: int, channels: int) -> bytes:
    """A WAV file of 16-bit samples; its header has 44 bytes."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(data)
    return target.getvalue()
