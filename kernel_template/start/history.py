"""What a session takes on from the one before beside its checkpoints: log, measurements and spoken sentences.

So the newest session's outputs tell of the whole run, although only they may have been pulled.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_template.start.environment import Paths
from kernel_template.tools.files import WriteFile
from kernel_template.tools.report import Reporter

# Of earlier steps: enough to hear the voice grow, and some tens of MB at the most.
_MOST_HEARD = 6
_HEARD = re.compile(r"step_(\d{1,15})")


@dataclass(frozen=True, slots=True)
class History:
    """The history of a run as the session before left it.

    Args:
        mount: that session's output; a dataset, which is flat, has no spoken sentences.
        step: the step that this session goes on from; what lies past it is no part of the run.
        paths: this session's folders.
        report: where things are said.
        write: how files are written.
    """

    mount: Path
    step: int
    paths: Paths
    report: Reporter
    write: WriteFile

    def go_on(self) -> None:
        """Take all of it on.

        Raises:
            OSError: the log or the measurements could not be written.
        """
        before = self.mount / self.paths.log.name
        if before.is_file():
            shutil.copyfile(before, self.paths.log)
        self._measurements()
        try:
            self._spoken()
        except OSError as error:  # They are not worth the session.
            self.report.warn(f"Not all sentences that earlier sessions spoke could be kept: {error}.")

    def _measurements(self) -> None:
        """The events so far, less those past the checkpoint: the step never goes back in one file."""
        before = self.mount / self.paths.metrics.name
        if not before.is_file():
            return
        kept = kept_lines(before.read_text(encoding="utf-8", errors="replace").splitlines(), self.step)
        own = self.paths.metrics.read_bytes() if self.paths.metrics.is_file() else b""
        text = "".join(f"{line}\n" for line in kept)
        self.report.reopen_metrics(lambda: self.write(self.paths.metrics, text.encode() + own))

    def _spoken(self) -> None:
        """What the base voice said, and what the run's voice said at some of its steps."""
        before = self.mount / self.paths.samples.name
        steps = {}
        with contextlib.suppress(OSError):
            for place in before.iterdir():
                match = _HEARD.fullmatch(place.name)
                if match is not None and int(match.group(1)) <= self.step:
                    steps[int(match.group(1))] = place
        chosen = [steps[step] for step in spread(sorted(steps), _MOST_HEARD)]
        for place in (before / self.paths.base_samples.name, *chosen):
            if not place.is_dir() or place.is_symlink():
                continue
            target = self.paths.samples / place.name
            target.mkdir(parents=True, exist_ok=True)
            for file in sorted(place.iterdir()):
                if file.suffix in {".wav", ".json"} and file.is_file() and not file.is_symlink():
                    shutil.copyfile(file, target / file.name)


def spread(steps: Sequence[int], most: int) -> list[int]:
    """At most `most` of the sorted `steps`: the first, the last, and others as evenly apart as they come."""
    if len(steps) <= most:
        return list(steps)
    first, last = steps[0], steps[-1]
    wanted = [first + (last - first) * index / (most - 1) for index in range(most)]
    return sorted({min(steps, key=lambda step: abs(step - goal)) for goal in wanted})


def kept_lines(lines: list[str], step: int) -> list[str]:
    """Those of metrics.jsonl's lines that are not past `step`; half lines go too."""
    kept, past = [], False
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if not isinstance(event, dict):
            continue
        reached = event.get("global_step")
        if isinstance(reached, int) and reached > step:
            past = True
        elif not (past and event.get("event") == "epoch"):  # An epoch's end tells no step.
            kept.append(line)
    return kept
