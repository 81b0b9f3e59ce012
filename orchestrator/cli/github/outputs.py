"""Step outputs and annotations of GitHub Actions.

Values come from servers and kernels. An output is framed by a delimiter that nobody can guess, and an
annotation is escaped, so that neither can become a second output or another workflow command
(https://docs.github.com/actions, "Workflow commands").
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TextIO

from orchestrator.scrubbing import scrub
from orchestrator.untrusted import workflow_log_line

Level = Literal["error", "warning", "notice"]


def in_actions() -> bool:
    """Whether this process is a step of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def annotation(level: Level, message: str, *, title: str = "kgtts") -> str:
    """Give the workflow command, one line, that shows `message` on the page of the workflow's run."""
    head = _data(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={head}::{_data(message)}"


def print_annotation(level: Level, message: str) -> None:
    """Print a workflow command on standard error."""
    stream = sys.stderr
    line = f"{annotation(level, message)}\n"
    if isinstance(stream, _LogStream):
        stream.write_command(line)
    else:
        stream.write(line)
    stream.flush()


class _LogStream:
    """A stream into a job's log: what is written cannot be taken for a workflow command."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text in which no workflow command is left."""
        self._stream.write(workflow_log_line(text))
        return len(text)

    def write_command(self, line: str) -> None:
        """Write a workflow command of ours."""
        self._stream.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def log_streams() -> Iterator[None]:
    """In GitHub Actions, let nothing that is printed in the block be a workflow command, but annotations."""
    if not in_actions():
        yield
        return
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _LogStream(sys.stdout), _LogStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def append(path: Path, text: str) -> None:
    """Append text without secrets to a file that GitHub reads."""
    with path.open("a", encoding="utf-8", errors="replace") as file:
        file.write(scrub(text))


def write_outputs(path: Path, values: Mapping[str, object]) -> None:
    """Append outputs to the file that GITHUB_OUTPUT names; None becomes empty, a bool lower case."""
    for name, value in values.items():
        frame = f"kgtts-{os.urandom(16).hex()}"
        append(path, f"{name}<<{frame}\n{_text(value)}\n{frame}\n")


def _data(text: str) -> str:
    return scrub(text).replace("##[", "# #[").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
