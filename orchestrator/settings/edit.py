"""Set keys in a kgtts.toml and keep all else that is in it, comments included."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import LocalError, SettingsError
from orchestrator.files import write_atomically
from orchestrator.settings.template import to_toml

_TABLE = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?$")


def set_in_file(path: Path, values: Mapping[str, object]) -> None:
    """Set keys by their full names, such as `inputs.model`, in a settings file.

    Raises:
        SettingsError: the file holds them in a way that only a person can change.
        LocalError: it cannot be read or written.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise LocalError(f"Could not read {path}: {error}.") from error
    for full, value in values.items():
        text = _set(text, full, to_toml(value))
        section, _, key = full.partition(".")
        try:
            found = tomllib.loads(text)[section][key]
        except (tomllib.TOMLDecodeError, KeyError, TypeError):
            found = None
        if found != value:
            raise SettingsError(
                f"{full} could not be set in {path}.",
                hint=f"write it yourself: [{section}] {key} = {to_toml(value)}",
            )
    write_atomically(path, text)


def _set(text: str, full: str, value: str) -> str:
    section, _, key = full.partition(".")
    lines, table, last = text.splitlines(), "", None
    line = f"{key} = {value}"
    for number, present in enumerate(lines):
        if match := _TABLE.match(present):
            table = match[1].strip()
        if table == section:
            if re.match(rf"\s*{re.escape(key)}\s*=", present):
                lines[number] = line
                return "\n".join(lines) + "\n"
            if present.strip() and not present.lstrip().startswith("#"):
                last = number
    for number, present in enumerate(lines):  # The commented default that `kgtts init --all` writes.
        if last is not None and number > last and re.match(rf"#{re.escape(key)}\s*=", present):
            lines[number] = line
            return "\n".join(lines) + "\n"
        if last is not None and number > last and _TABLE.match(present):
            break
    if last is None:
        lines += [*([""] if lines and lines[-1].strip() else []), f"[{section}]", line]
    else:
        lines.insert(last + 1, line)
    return "\n".join(lines) + "\n"
