"""The held-out sentences: nothing was trained on them, so speaker, base voice and voice compare fairly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_template.contract import HELD_OUT_FOLDER, RECORDINGS, SAMPLES_FOLDER, Measure
from orchestrator import untrusted
from orchestrator.metrics import Scores
from orchestrator.metrics.scores import ScoredVoice
from orchestrator.report.sounds import (
    Sample,
    SoundBudget,
    SpokenFolder,
    read_sample,
    read_spoken,
    spoken_folders,
)

_MOST_SENTENCES = 20
# Who speaks, at which step, the sounds, and what was measured of them.
_Source = tuple[str, int | None, SpokenFolder, ScoredVoice | None]


@dataclass(frozen=True, slots=True)
class HeldOutVoice:
    """One who speaks a held-out sentence.

    Attributes:
        who: in words, such as `The speaker`.
        step: the step of the run; 0 for the base voice, None for the speaker.
        sample: the sound.
        scores: what was measured of it.
    """

    who: str
    step: int | None
    sample: Sample
    scores: Mapping[Measure, float]


@dataclass(frozen=True, slots=True)
class HeldOutSentence:
    """A held-out sentence by all who speak it (speaker, base voice, voice), and its file's name."""

    text: str
    file: str
    voices: tuple[HeldOutVoice, ...]


def read_held_out(
    folders: Sequence[Path], best: int | None, scores: Scores, budget: SoundBudget
) -> list[HeldOutSentence]:
    """The held-out sentences by the speaker, the base voice, the best and the newest model that spoke them.

    Args:
        folders: the sessions' folders, oldest first.
        best: the step of the model that is exported.
        scores: what was measured of the sentences.
        budget: how much sound may be read.
    """
    places = [folder / SAMPLES_FOLDER / HELD_OUT_FOLDER for folder in folders]
    spoken = spoken_folders(places)
    speaker = _newest(places)
    if not spoken:
        return []
    steps = [step for step in sorted(spoken) if step]
    shown = [step for step in steps if step in (best, steps[-1])]
    who = {0: "The base voice"} | {
        step: f"The voice{' (best model)' if step == best and len(shown) > 1 else ''}" for step in shown
    }
    sources: list[_Source] = [] if speaker is None else [("The speaker", None, speaker, scores.recordings)]
    sources += [
        (who[step], step, spoken[step], scores.of_step(step)) for step in [0, *shown] if step in spoken
    ]
    texts: dict[str, str] = {}
    for _, _, folder, _ in sources:
        for record in folder.records:
            name = record.get("file")
            if isinstance(name, str):
                texts.setdefault(name, untrusted.one_line(record["text"]))
    return [
        HeldOutSentence(text, name, tuple(_voices(name, sources, budget)))
        for name, text in sorted(texts.items())[:_MOST_SENTENCES]
    ]


def _newest(places: Sequence[Path]) -> SpokenFolder | None:
    """The recordings; of several copies the newest complete one."""
    found = None
    for place in places:
        folder = place / RECORDINGS
        if folder.is_dir() and not folder.is_symlink():
            samples = read_spoken(folder)
            if samples.records and (found is None or samples.files >= found.files):
                found = samples
    return found


def _voices(
    name: str,
    sources: Sequence[_Source],
    budget: SoundBudget,
) -> list[HeldOutVoice]:
    found = []
    for who, step, folder, scored in sources:
        record = next((item for item in folder.records if item.get("file") == name), None)
        measured = None if scored is None else scored.sentences.get(name)
        if record is None:
            sample = Sample(step or 0, who, None, "it was not spoken.")
        else:
            sample = read_sample(step or 0, who, folder.folder, record, budget)
        found.append(HeldOutVoice(who, step, sample, measured or {}))
    return found
