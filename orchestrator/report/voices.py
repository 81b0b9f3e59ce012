"""The voices of a downloaded run: what the speaker, the base voice or one of its models said, by sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

from kernel_template.contract import HELD_OUT_FOLDER, RECORDINGS, SAMPLES_FOLDER
from orchestrator import untrusted
from orchestrator.errors import UsageError
from orchestrator.metrics import read_run
from orchestrator.report.reading import best_step
from orchestrator.report.sounds import (
    Clip,
    SoundBudget,
    SpokenFolder,
    read_sample,
    read_spoken,
    spoken_folders,
)
from orchestrator.results import PulledSession

SPEAKER, BASE = "speaker", "base"


@dataclass(frozen=True, slots=True)
class SpokenVoice:
    """One voice of a run.

    Attributes:
        name: what to call it, such as `asha/bangla-voice, step 1,200`.
        clips: what it said, by the text of the sentence.
    """

    name: str
    clips: dict[str, Clip]


def read_voice(sessions: Sequence[PulledSession], which: str | None, budget: SoundBudget) -> SpokenVoice:
    """Read what one voice of a run said: held-out sentences first, then test sentences.

    Args:
        sessions: the run's downloaded sessions, oldest first.
        which: `speaker`, `base`, or a step; None is the best model, or the newest if that did not speak.
        budget: how much sound may be read.

    Raises:
        UsageError: it said nothing that was downloaded.
        LocalError: a file cannot be read.
    """
    run = untrusted.one_line(sessions[-1].run or sessions[-1].folder.resolve().parent.name, 60)
    samples = [item.folder / SAMPLES_FOLDER for item in sessions]
    held_out = [place / HELD_OUT_FOLDER for place in samples]
    if which == SPEAKER:
        places = [place / RECORDINGS for place in reversed(held_out)]
        folders = [read_spoken(place) for place in places if place.is_dir() and not place.is_symlink()]
        return _voice(f"{run}, the speaker", folders, run, budget)
    known = [spoken_folders(held_out), spoken_folders(samples)]
    steps = sorted({step for found in known for step in found if step})
    if which is None:
        state = untrusted.as_object(untrusted.read_json_object(sessions[-1].files.state))
        best = best_step(state, read_run(sessions, logs=False))
        step = best if best in steps else steps[-1] if steps else -1
    else:
        step = 0 if which == BASE else int(which)
    name = f"{run}, the base voice" if step == 0 else f"{run}, step {step:,}"
    return _voice(name, [found[step] for found in known if step in found], run, budget, steps)


def _voice(
    name: str,
    folders: Sequence[SpokenFolder],
    run: str,
    budget: SoundBudget,
    steps: Sequence[int] = (),
) -> SpokenVoice:
    clips: dict[str, Clip] = {}
    for folder in folders:
        for record in folder.records:
            text = untrusted.one_line(record["text"])
            if text not in clips:
                sample = read_sample(0, name, folder.folder, record, budget)
                if sample.clip is not None and not sample.silent:
                    clips[text] = sample.clip
    if not clips:
        known = ", ".join(f"{step}" for step in steps[-5:]) or "none"
        raise UsageError(
            f"No sound of {name} was downloaded.",
            hint=f"kgtts pull {run}; the steps that can be heard here: {known}",
        )
    return SpokenVoice(name, clips)
