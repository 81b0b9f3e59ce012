"""What the host says: lines in the log, and HOST_REPORT.json."""

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kernel_template.contract import HOST_PREFIX, OWN_PREFIX
from kernel_template.host.protocol import HostReport


def say(text: str) -> None:
    """Write a line of ours to the log; a log that cannot be written never ends a training."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(f"{HOST_PREFIX}{text}\n")
        sys.stdout.flush()


class Reporter:
    """Writes the log's lines and keeps HOST_REPORT.json up to date.

    Args:
        path: HOST_REPORT.json.
        say: writes a line to the log.
    """

    def __init__(self, path: Path, say: Callable[[str], None] = say) -> None:
        self.report = HostReport()
        self.say = say
        self._path = path

    def write(self, **changes: Any) -> None:
        """Change fields of the report and replace the file; on a full disk only the report is lost."""
        self.report = replace(self.report, **changes)
        part = self._path.with_name(f"{OWN_PREFIX}{self._path.name}.part")
        with contextlib.suppress(OSError):
            part.write_text(json.dumps(asdict(self.report), indent=1) + "\n", encoding="utf-8")
            part.replace(self._path)

    def warn(self, text: str) -> None:
        """Write a line to the log, and a warning for the session."""
        self.say(text)
        self.write(warnings=[*self.report.warnings, text])
