"""What can be wrong with recordings and texts, and what becomes of each row and of each recording.

Every row of a transcript and every recording ends in exactly one place: in the dataset, in quarantine, or
named in a finding (`Outcome.unaccounted` proves it).
"""

from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.data.recordings import Folder
from orchestrator.data.tables import Row
from orchestrator.data.work import Part, Worked


class Weight(StrEnum):
    """What a finding means for the dataset."""

    LEFT_OUT = "left out"
    QUARANTINE = "quarantine"
    DOUBTFUL = "kept, but listen"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding: what it is, what `prepare` does about it, and what you can do."""

    title: str
    weight: Weight
    done: str


_QUARANTINE, _CHANGED, _DOUBTFUL, _LEFT_OUT = (
    Weight.QUARANTINE,
    Weight.CHANGED,
    Weight.DOUBTFUL,
    Weight.LEFT_OUT,
)
# In the order of the table: first what costs data.
KINDS = {
    "transcript": Kind("transcript not read", _LEFT_OUT, "name it with --transcripts if it is the right one"),
    "bad_row": Kind("row cannot be read", _LEFT_OUT, "left out: correct the line"),
    "no_recording": Kind(
        "row without a recording", _LEFT_OUT, "left out: add the recording or correct its name"
    ),
    "several": Kind("name fits several recordings", _LEFT_OUT, "left out: write the name with its folder"),
    "repeated_row": Kind("row repeated", _LEFT_OUT, "left out: the first one counts"),
    "not_a_recording": Kind("file only looks like a recording", _LEFT_OUT, "left out"),
    "unreadable": Kind("recording cannot be read", _QUARANTINE, "left out: record or download it again"),
    "ffmpeg": Kind(
        "needs ffmpeg", _QUARANTINE, "left out: install ffmpeg (winget, brew or apt install ffmpeg)"
    ),
    "no_text": Kind("recording without a text", _QUARANTINE, "quarantine: add its row to the transcript"),
    "empty_text": Kind("nothing in the text can be spoken", _QUARANTINE, "quarantine: correct the text"),
    "texts_differ": Kind("several texts for one recording", _QUARANTINE, "quarantine: remove the wrong row"),
    "unsayable": Kind(
        "text has letters that cannot be said", _QUARANTINE, "quarantine: write them as spoken"
    ),
    "spelling": Kind("text is not written in Unicode", _QUARANTINE, "quarantine: convert the text"),
    "silent": Kind("nothing to hear", _QUARANTINE, "quarantine"),
    "too_short": Kind("speech is too short", _QUARANTINE, "quarantine"),
    "too_long": Kind("recording is too long", _QUARANTINE, "quarantine: cut it into sentences"),
    "cut_off": Kind("file is incomplete", _QUARANTINE, "quarantine: copy or download it again"),
    "duplicate": Kind("same recording twice", _QUARANTINE, "quarantine: the first one counts"),
    "same_sound": Kind("same recording with several texts", _QUARANTINE, "quarantine: keep the right one"),
    "text_length": Kind("text does not fit the length", _QUARANTINE, "quarantine: compare the two"),
    "noise": Kind("too much noise", _QUARANTINE, "quarantine"),
    "clipped": Kind("clipped, so distorted", _QUARANTINE, "quarantine: record it with less gain"),
    "some_noise": Kind("noisy", _DOUBTFUL, "kept: listen to it"),
    "some_clipping": Kind("a little clipped", _DOUBTFUL, "kept: listen to it"),
    "long_pause": Kind("long pause within", _DOUBTFUL, "kept: the voice may learn to pause"),
    "long": Kind("long, and cannot be split", _DOUBTFUL, "kept: such utterances need much GPU memory"),
    "low_rate": Kind("sample rate below the dataset's", _DOUBTFUL, "kept: it sounds duller than the others"),
    "accepted": Kind("accepted by you", _DOUBTFUL, "kept, since you accepted it"),
    "split": Kind("long, split at its pauses", _CHANGED, "an utterance for each sentence"),
    "name": Kind("name written otherwise than the file", _CHANGED, "the file that it means is taken"),
    "text": Kind("text not in one plain line", _CHANGED, "written as one line"),
    "form": Kind("transcript in another form", _CHANGED, "read all the same"),
    "rate": Kind("other sample rate", _CHANGED, "resampled"),
    "channels": Kind("more than one channel", _CHANGED, "mixed to mono"),
    "format": Kind("not 16-bit WAV", _CHANGED, "written as 16-bit WAV"),
    "beyond": Kind("samples beyond full scale", _CHANGED, "scaled down"),
    "silence": Kind("silence at the ends", _CHANGED, "trimmed"),
    "loudness": Kind("other loudness", _CHANGED, "evened"),
}
# What `--accept` cannot help: there is no text, or no sound.
NEVER_ACCEPTED = frozenset({"unreadable", "ffmpeg", "no_text", "empty_text", "texts_differ"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found in one place.

    Attributes:
        kind: one of `KINDS`.
        file: the transcript or recording.
        line: the line in a transcript; None for a recording.
        what: the details; may be empty.
    """

    kind: str
    file: str
    line: int | None = None
    what: str = ""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A recording, or a sentence of one, with its text.

    Attributes:
        id: its name in the dataset.
        recording: the recording's name.
        row: where its text is from; None without one.
        raw: the text; of a part, its sentence.
        spoken: the text as it is spoken.
        speaker: who speaks; empty if nobody says.
        worked: what is known about the recording.
        part: which part of the recording it is, from 0; None if it could not be read.
        findings: what is wrong with it or was changed.
        accepted: whether the user accepted it.
    """

    id: str
    recording: str
    row: Row | None
    raw: str
    spoken: str
    speaker: str
    worked: Worked
    part: int | None
    findings: tuple[Finding, ...] = ()
    accepted: bool = False

    @property
    def reasons(self) -> tuple[Finding, ...]:
        """Why it is in quarantine; none if it is in the dataset."""
        found = (item for item in self.findings if KINDS[item.kind].weight is Weight.QUARANTINE)
        return tuple(item for item in found if not self.accepted or item.kind in NEVER_ACCEPTED)

    @property
    def doubts(self) -> tuple[Finding, ...]:
        """Why one should listen to it, though it is in the dataset."""
        return tuple(item for item in self.findings if KINDS[item.kind].weight is Weight.DOUBTFUL)

    @property
    def sound(self) -> Part | None:
        """Its part of the recording."""
        return None if self.part is None else self.worked.parts[self.part]

    @property
    def seconds(self) -> float:
        """Its length in the dataset."""
        return 0.0 if self.sound is None else self.sound.seconds


@dataclass(slots=True)
class Outcome:
    """What becomes of everything.

    Attributes:
        utterances: one or more for each recording, sorted by id.
        findings: about rows and files; those about recordings are in the utterances.
        rows: all rows that were read.
    """

    utterances: list[Utterance] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def kept(self) -> list[Utterance]:
        """What is in the dataset."""
        return [item for item in self.utterances if not item.reasons]

    @property
    def quarantined(self) -> list[Utterance]:
        """What is in quarantine."""
        return [item for item in self.utterances if item.reasons]

    @property
    def all_findings(self) -> list[Finding]:
        """Every finding, in the order of `KINDS`."""
        order = {kind: place for place, kind in enumerate(KINDS)}
        found = [*self.findings, *(finding for item in self.utterances for finding in item.findings)]
        return sorted(dict.fromkeys(found), key=lambda item: (order[item.kind], item.file, item.line or 0))

    def unaccounted(self, folder: Folder) -> list[str]:
        """The rows and recordings that are neither in the dataset, nor in quarantine, nor named: none."""
        recordings = {item.recording for item in self.utterances}
        told = {(item.row.file, item.row.line) for item in self.utterances if item.row is not None}
        told |= {(item.file, item.line) for item in self.findings if item.line is not None}
        lost = [item.name for item in folder.recordings if item.name not in recordings]
        places = [(row.file, row.line) for row in self.rows]
        return lost + [f"{file}:{line}" for file, line in places if (file, line) not in told]
