"""The test sentences as the run spoke them, from its first session to its last, and recordings beside."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import SAMPLES_FILE, SAMPLES_FOLDER
from orchestrator.report.texts import as_list, one_line, read_lines, read_object
from orchestrator.report.wav import Clip, UnreadableSoundError, read_clip

SAMPLES = SAMPLES_FOLDER
_BASE = "base"  # What the voice that the run began with has spoken; it stands at step 0.
_STEP = re.compile(r"step_(\d{1,15})")
_FILE = re.compile(r"[0-9A-Za-z_-]{1,40}\.wav")
# A data set's files are called as people call them, in any script; none of these leads to another folder.
_RECORDING = re.compile(r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]{0,200}\.wav")
_MOST_SENTENCES = 20
_MOST_UNKNOWN = 40
_METADATA = ("metadata.csv", "*/metadata.csv")
_OTHERS = 3


class Room:
    """How many bytes of sound a page may still take: browsers on phones carry some tens of megabytes.

    Args:
        size: bytes of all recordings together.
    """

    def __init__(self, size: int = 32 * 1024 * 1024) -> None:
        self.left = size
        self.refused = 0

    def admits(self, clip: Clip) -> bool:
        """Take a recording in, where there is room for it."""
        if len(clip.wav) > self.left:
            self.refused += 1
            return False
        self.left -= len(clip.wav)
        return True


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence as one step's model speaks it.

    Attributes:
        step: the model's step.
        label: which of the run's steps it is: `before`, `first`, `middle`, `last`, `best model`.
        clip: the recording; None where there is none to play.
        trouble: why there is none.
        unknown: characters that the voice's vocabulary lacks.
        clipped: whether it was louder than a file can hold.
    """

    step: int
    label: str
    clip: Clip | None
    trouble: str = ""
    unknown: tuple[str, ...] = ()
    clipped: bool = False

    @property
    def silent(self) -> bool:
        """Whether it can hardly be heard."""
        return self.clip is not None and self.clip.silent


@dataclass(frozen=True, slots=True)
class Sentence:
    """A test sentence, all that was spoken of it in order of steps, and a recording where one is here."""

    text: str
    spoken: tuple[Spoken, ...]
    recording: Clip | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording of the data set and what is said in it."""

    text: str
    place: Path


def read_sentences(
    folders: Sequence[Path], best: int | None, room: Room, recordings: Sequence[Recording] = ()
) -> list[Sentence]:
    """The sentences that sessions spoke, at the first, the middle and the last step, and the best model's.

    Args:
        folders: the sessions' folders, oldest first.
        best: the best model's step.
        room: how much sound may be taken in.
        recordings: the data set's, of which those of the sentences are taken.
    """
    steps = _steps(folders)
    chosen = choose_steps(sorted(steps), best)
    told: dict[str, dict[int, tuple[Path, dict[str, Any]]]] = {}
    for step in sorted(chosen, reverse=True):  # The newest step's sentences come first, in its order.
        for record in steps[step].records:
            told.setdefault(one_line(record["text"]), {})[step] = (steps[step].folder, record)
    by_text = {_plain(item.text): item for item in recordings}
    found = []
    for text, records in list(told.items())[:_MOST_SENTENCES]:
        spoken = [_spoken(step, chosen[step], *records[step], room) for step in sorted(records)]
        found.append(Sentence(text, tuple(spoken), _clip(by_text.get(_plain(text)), room)))
    return found


@dataclass(frozen=True, slots=True)
class _Samples:
    """What was spoken at a step, by a folder's samples.json."""

    folder: Path
    records: list[dict[str, Any]]

    @property
    def files(self) -> int:
        """How many of its recordings are there."""
        names = [record.get("file") for record in self.records]
        return sum(
            isinstance(name, str) and _FILE.fullmatch(name) is not None and (self.folder / name).is_file()
            for name in names
        )


def _steps(folders: Iterable[Path]) -> dict[int, _Samples]:
    """The samples of each step that has any; of sessions' copies of it the newest whole one counts."""
    found: dict[int, _Samples] = {}
    for folder in folders:
        for step, place in _places(folder):
            samples = _Samples(place, _records(place))
            known = found.get(step)
            if samples.records and (known is None or samples.files >= known.files):
                found[step] = samples
    return found


def _places(folder: Path) -> Iterator[tuple[int, Path]]:
    try:
        places = sorted((folder / SAMPLES).iterdir())
    except OSError:
        return
    for place in places:
        match = _STEP.fullmatch(place.name)
        if (match is not None or place.name == _BASE) and place.is_dir() and not place.is_symlink():
            yield int(match.group(1)) if match is not None else 0, place


def _records(place: Path) -> list[dict[str, Any]]:
    listed = as_list(read_object(place / SAMPLES_FILE).get("samples"))[:_MOST_SENTENCES]
    return [item for item in listed if isinstance(item, dict) and isinstance(item.get("text"), str)]


def choose_steps(steps: Sequence[int], best: int | None) -> dict[int, str]:
    """Which of the steps, sorted, are heard, and how they are called; 0 is that of the base voice."""
    chosen = {0: "before, the base voice"} if 0 in steps else {}
    steps = [step for step in steps if step]
    if steps:
        chosen[steps[0]] = "first"
        if len(steps) > 2:  # noqa: PLR2004  # A middle.
            chosen[steps[len(steps) // 2]] = "middle"
        chosen[steps[-1]] = "last" if len(steps) > 1 else "only one"
    if best is not None and best in steps:
        chosen[best] = f"{chosen[best]}, best model" if best in chosen else "best model"
    return chosen


def _spoken(step: int, label: str, folder: Path, record: dict[str, Any], room: Room) -> Spoken:
    unknown = tuple(
        one_line(letter, 8) or f"U+{ord(letter[0]):04X}"
        for letter in as_list(record.get("unknown"))[:_MOST_UNKNOWN]
        if isinstance(letter, str) and letter
    )
    if record.get("error"):
        return Spoken(step, label, None, one_line(record["error"], 300), unknown)
    name = record.get("file")
    if not isinstance(name, str) or not _FILE.fullmatch(name):
        return Spoken(step, label, None, "The file's name is none of the kernel's.", unknown)
    try:
        clip = read_clip(folder / name)
    except UnreadableSoundError as error:
        return Spoken(step, label, None, f"{name} {error}.", unknown)
    peak = record.get("peak")
    loud = clip.clipped or (isinstance(peak, int | float) and peak > 1)
    if not room.admits(clip):
        return Spoken(
            step, label, None, f"{clip.seconds:.1f} s, left out: the page has no room.", unknown, loud
        )
    return Spoken(step, label, clip, "", unknown, loud)


def read_recordings(folder: Path) -> list[Recording]:
    """The recordings of a data set as LJSpeech lays it out: `metadata.csv` of `name|text`, and `wavs/`."""
    found = []
    for place in [item for pattern in _METADATA for item in sorted(folder.glob(pattern))][:1]:
        for line in read_lines(place):
            name, *texts = line.split("|")
            file = f"{name.strip().removesuffix('.wav')}.wav"
            if _RECORDING.fullmatch(file):
                wav = place.parent / "wavs" / file
                found += [Recording(one_line(text), wav) for text in dict.fromkeys(texts[:2]) if text.strip()]
    return found


def other_recordings(
    recordings: Sequence[Recording], sentences: Sequence[Sentence], room: Room
) -> list[tuple[str, Clip]]:
    """A few recordings to hear the speaker by, where the test sentences are not among them."""
    if any(sentence.recording for sentence in sentences):
        return []
    found: dict[Path, tuple[str, Clip]] = {}
    for item in recordings:
        if item.place not in found and (clip := _clip(item, room)) is not None:
            found[item.place] = (item.text, clip)
        if len(found) == _OTHERS:
            break
    return list(found.values())


def _clip(recording: Recording | None, room: Room) -> Clip | None:
    if recording is None:
        return None
    try:
        clip = read_clip(recording.place)
    except UnreadableSoundError:
        return None
    return clip if room.admits(clip) else None


def _plain(text: str) -> str:
    """A sentence without what two writings of it may differ in."""
    return "".join(letter for letter in unicodedata.normalize("NFC", text) if letter.isalnum()).casefold()
