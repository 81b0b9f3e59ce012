"""A run's settings as plain names and values, and how two runs' differ."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import CONFIG_FILE
from orchestrator.report.texts import as_list, as_object, one_line, read_object

CONFIG = CONFIG_FILE
_DEEPEST = 8
_MOST = 3000
_LONGEST = 400
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that two runs have differently; None where a run has none of that name."""

    name: str
    before: str | None
    now: str | None


def read_settings(folder: Path, state: Mapping[str, Any]) -> dict[str, str]:
    """The configuration that a session used, and the machine that it ran on."""
    found = dict(_flat(read_object(folder / CONFIG)))
    environment = as_object(state.get("environment"))
    found |= {
        f"session.{key}": one_line(environment[key], _LONGEST)
        for key in ("python", "torch", "tts")
        if isinstance(environment.get(key), str)
    }
    if "gpus" in environment:
        gpus = [one_line(name, _LONGEST) for name in as_list(environment["gpus"])]
        found["session.gpus"] = ", ".join(gpus) or "none"
    if isinstance(state.get("epochs"), int):
        found["session.target_epochs"] = str(state["epochs"])
    learned = as_object(state.get("learned"))
    found |= {f"session.learned.{key}": value for key, value in _flat(learned)}
    kgtts = as_object(state.get("run")).get("kgtts")
    if isinstance(kgtts, str):
        found["session.kgtts"] = one_line(kgtts, _LONGEST)
    return found


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[Change]:
    """The settings that differ, by name."""
    names = sorted({*before, *now})
    return [
        Change(name, before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)
    ]


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Nested settings by dotted names, the deepest as JSON."""
    todo: list[tuple[str, object, int]] = [("", values, 0)]
    given = 0
    while todo and given < _MOST:
        name, value, depth = todo.pop()
        if isinstance(value, dict) and value and depth < _DEEPEST:
            below = [(f"{name}.{key}" if name else str(key), item, depth + 1) for key, item in value.items()]
            todo += reversed(below)
        elif name:
            given += 1
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield one_line(name, _LONGEST_NAME), one_line(text, _LONGEST)
