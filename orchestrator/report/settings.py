"""Read a run's settings as plain names and values, and compare those of two runs."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import CONFIG_FILE
from orchestrator import untrusted

_DEEPEST = 8
_MOST_SETTINGS = 3000
_LONGEST = 400
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A setting that differs between two runs; None if a run does not have it."""

    name: str
    before: str | None
    now: str | None


def read_settings(folder: Path, state: Mapping[str, Any]) -> dict[str, str]:
    """The configuration that a session used, and what it ran on."""
    found = dict(_flat(untrusted.as_object(untrusted.read_json_object(folder / CONFIG_FILE))))
    environment = untrusted.as_object(state.get("environment"))
    found |= {
        f"session.{key}": untrusted.one_line(environment[key], _LONGEST)
        for key in ("python", "torch", "tts")
        if isinstance(environment.get(key), str)
    }
    if "gpus" in environment:
        gpus = [untrusted.one_line(name, _LONGEST) for name in untrusted.as_list(environment["gpus"])]
        found["session.gpus"] = ", ".join(gpus) or "none"
    if (epochs := untrusted.count(state.get("epochs"))) is not None:
        found["session.target_epochs"] = str(epochs)
    learned = untrusted.as_object(state.get("learned"))
    found |= {f"session.learned.{key}": value for key, value in _flat(learned)}
    kgtts = untrusted.as_object(state.get("run")).get("kgtts")
    if isinstance(kgtts, str):
        found["session.kgtts"] = untrusted.one_line(kgtts, _LONGEST)
    return found


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[SettingChange]:
    """The settings that differ, in the order of their names."""
    names = sorted({*before, *now})
    return [
        SettingChange(name, before.get(name), now.get(name))
        for name in names
        if before.get(name) != now.get(name)
    ]


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Nested settings by dotted names; beyond eight levels as JSON."""
    todo: list[tuple[str, object, int]] = [("", values, 0)]
    given = 0
    while todo and given < _MOST_SETTINGS:
        name, value, depth = todo.pop()
        if isinstance(value, dict) and value and depth < _DEEPEST:
            below = [(f"{name}.{key}" if name else str(key), item, depth + 1) for key, item in value.items()]
            todo += reversed(below)
        elif name:
            given += 1
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield untrusted.one_line(name, _LONGEST_NAME), untrusted.one_line(text, _LONGEST)
