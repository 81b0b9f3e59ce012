"""Step outputs and annotations of GitHub Actions.

Values come from servers and kernels. An output is framed by a delimiter that nobody can guess, and an
annotation is escaped, so that neither can become a second output or another workflow command
(https://docs.github.com/actions, "Workflow commands").
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Level = Literal["error", "warning", "notice"]


def in_actions() -> bool:
    """Whether this process is a step of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def annotation(level: Level, message: str, *, title: str = "kgtts") -> str:
    """Give the workflow command, one line, that shows `message` on the page of the workflow's run."""
    head = _data(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={head}::{_data(message)}"


def write_outputs(path: Path, values: Mapping[str, object]) -> None:
    """Append outputs to the file that GITHUB_OUTPUT names; None becomes empty, a bool lower case."""
    with path.open("a", encoding="utf-8", errors="replace") as file:
        for name, value in values.items():
            frame = f"kgtts-{os.urandom(16).hex()}"
            file.write(f"{name}<<{frame}\n{_text(value)}\n{frame}\n")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
