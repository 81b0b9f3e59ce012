"""What is carried from session to session beside the checkpoints."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kernel_template.start.history import History, kept_lines, spread
from kernel_template.tools.files import write_atomic
from tests.kernel.kit import Log, paths_in, put, reporter


def go_on(root: Path, log: Log, step: int = 1000) -> set[str]:
    """Copy from the mount; returns the names of all samples."""
    paths = paths_in(root)
    paths.working.mkdir(parents=True, exist_ok=True)
    History(root / "mount", step, paths, reporter(log), write_atomic).copy()
    return {path.relative_to(paths.samples).as_posix() for path in paths.samples.rglob("*") if path.is_file()}


def test_a_voice_is_heard_growing(root: Path, log: Log) -> None:
    """The base voice, the first step, the last and some between are kept; later steps are dropped."""
    for place in ("base", *(f"step_{step}" for step in range(100, 1300, 100))):
        put(root / "mount" / "validation_samples" / place / "samples.json", "{}")
    heard = {name.removesuffix("/samples.json") for name in go_on(root, log)}
    assert heard == {"base", *(f"step_{step}" for step in (100, 300, 500, 600, 800, 1000))}


def test_only_sound_and_its_records_are_taken(root: Path, log: Log) -> None:
    """Links, subfolders and other files are not copied; without samples nothing is created."""
    assert go_on(root, log) == set()
    spoken = root / "mount" / "validation_samples"
    for name in ("step_5/01.wav", "step_5/samples.json", "step_5/x.pth", "step_5/y/02.wav", "step_x/01.wav"):
        put(spoken / name)
    (spoken / "step_5" / "03.wav").symlink_to(put(root / "secret"))
    (spoken / "step_6").symlink_to(spoken / "step_5")
    put(spoken / "step_7", "a file")
    assert go_on(root, log) == {"step_5/01.wav", "step_5/samples.json"}
    assert not log.events("warning")


def test_what_cannot_be_kept_is_a_warning(root: Path, log: Log) -> None:
    """Old samples that cannot be copied do not fail the session."""
    put(root / "mount" / "validation_samples" / "step_5" / "01.wav")
    put(paths_in(root).samples, "a file in the folder's place")
    assert go_on(root, log) == set()
    assert "earlier sessions spoke" in log.events("warning")[0]["message"]


@given(st.lists(st.integers(0, 10**6), unique=True).map(sorted), st.integers(2, 9))
def test_a_few_steps_stand_for_all(steps: list[int], most: int) -> None:
    """The first and last are chosen, never more than asked for, and all if there are few."""
    chosen = spread(steps, most)
    assert chosen == sorted(set(chosen) & set(steps))
    assert len(chosen) <= most
    assert steps[:1] == chosen[:1]
    assert steps[-1:] == chosen[-1:]
    if len(steps) <= most:
        assert chosen == steps


def test_epochs_past_the_checkpoint_go_too() -> None:
    """An epoch event without a step is dropped if it follows a line past the checkpoint."""
    events: list[dict[str, Any]] = [
        {"event": "epoch", "epoch": 0},
        {"event": "progress", "global_step": 5},
        {"event": "epoch", "epoch": 1},
        {"event": "warning", "message": "x"},
        {"event": "end", "global_step": 4},
    ]
    lines = [*(json.dumps(event) for event in events), "[]", "{"]
    assert kept_lines(lines, 4) == [lines[0], lines[3], lines[4]]
