"""Copies the run's log, events and spoken sentences from the session before.

So the newest session's outputs show the whole run, even if nothing else was downloaded.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_template.contract import BASE_SAMPLES, HELD_OUT_FOLDER, RECORDINGS, STEP_SAMPLES, EventName
from kernel_template.tools.files import WriteFile
from kernel_template.tools.paths import Paths
from kernel_template.tools.report import Reporter

# How many earlier steps keep their sentences: enough to hear the voice improve, in some tens of MB.
_MOST_STEPS = 6
_STEP_FOLDER = re.compile(rf"{STEP_SAMPLES}(\d{{1,15}})")


@dataclass(frozen=True, slots=True)
class History:
    """The run's history in the output of the session before.

    Args:
        mount: that output; a dataset, which has no folders, has no spoken sentences.
        step: the step that this session continues from. What was recorded after it does not count.
        paths: this session's folders.
        report: prints messages.
        write: writes files.
    """

    mount: Path
    step: int
    paths: Paths
    report: Reporter
    write: WriteFile

    def copy(self) -> None:
        """Copy all of it.

        Raises:
            OSError: the log or the events could not be written.
        """
        before = self.mount / self.paths.log.name
        if before.is_file():
            shutil.copyfile(before, self.paths.log)
        self._copy_events()
        try:
            self._copy_samples()
        except OSError as error:  # Not worth a session.
            self.report.warn(f"Not all sentences that earlier sessions spoke could be copied: {error}.")

    def _copy_events(self) -> None:
        """Copy the events up to the checkpoint, so that steps never go back within the file."""
        before = self.mount / self.paths.metrics.name
        if not before.is_file():
            return
        kept = kept_lines(before.read_text(encoding="utf-8", errors="replace").splitlines(), self.step)
        own = self.paths.metrics.read_bytes() if self.paths.metrics.is_file() else b""
        text = "".join(f"{line}\n" for line in kept)
        self.report.reopen_metrics(lambda: self.write(self.paths.metrics, text.encode() + own))

    def _copy_samples(self) -> None:
        """Copy what the base voice spoke, and what the run's voice spoke at some of its steps.

        The same of the held-out sentences, with their recordings.
        """
        before = self.mount / self.paths.samples.name
        self._copy_folders(before, self.paths.samples)
        self._copy_folders(before / HELD_OUT_FOLDER, self.paths.scored)

    def _copy_folders(self, before: Path, after: Path) -> None:
        steps = {}
        with contextlib.suppress(OSError):
            for place in before.iterdir():
                match = _STEP_FOLDER.fullmatch(place.name)
                if match is not None and int(match.group(1)) <= self.step:
                    steps[int(match.group(1))] = place
        chosen = [steps[step] for step in spread(sorted(steps), _MOST_STEPS)]
        for place in (before / BASE_SAMPLES, before / RECORDINGS, *chosen):
            if not place.is_dir() or place.is_symlink():
                continue
            target = after / place.name
            target.mkdir(parents=True, exist_ok=True)
            for file in sorted(place.iterdir()):
                if file.suffix in {".wav", ".json"} and file.is_file() and not file.is_symlink():
                    shutil.copyfile(file, target / file.name)


def spread(steps: Sequence[int], most: int) -> list[int]:
    """Choose at most `most` of the sorted `steps`: the first, the last, and others evenly between."""
    if len(steps) <= most:
        return list(steps)
    first, last = steps[0], steps[-1]
    wanted = [first + (last - first) * index / (most - 1) for index in range(most)]
    return sorted({min(steps, key=lambda step: abs(step - goal)) for goal in wanted})


def kept_lines(lines: list[str], step: int) -> list[str]:
    """The lines of metrics.jsonl up to `step`, without damaged ones."""
    kept, past = [], False
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(event, dict):
            continue
        reached = event.get("global_step")
        if isinstance(reached, int) and reached > step:
            past = True
        elif not (past and event.get("event") == EventName.EPOCH):  # The event has no step.
            kept.append(line)
    return kept
