"""From kgtts.toml and `--set` to validated settings; every mistake becomes a SettingsError."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import SettingsError
from orchestrator.settings.fields import flatten
from orchestrator.settings.models import Settings
from orchestrator.settings.sentences import Origin, explain

FILE_NAME = "kgtts.toml"
ENVIRONMENT_VARIABLE = "KGTTS_CONFIG"
_SHOW_KEYS = "`kgtts config schema` prints every key"
_COQUI = ["training", "coqui"]


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Validated settings and the file that they came from; no file means defaults (and `--set`)."""

    settings: Settings
    path: Path | None


def load_settings(
    path: Path | None = None, overrides: Sequence[str] = (), *, environ: Mapping[str, str], cwd: Path
) -> LoadedSettings:
    """Read the settings: defaults, then the file, then `overrides` such as `training.batch_size=8`.

    The file is `path`, else the one that `KGTTS_CONFIG` in `environ` names, else the nearest kgtts.toml
    from `cwd` upwards, else none.

    Raises:
        SettingsError: the file cannot be read, is no TOML, or anything in it or in `overrides` is wrong.
    """
    file = _locate(path, environ, cwd)
    tables = {} if file is None else _read(file)
    origin = Origin(
        None if file is None else str(file), frozenset(_apply(tables, item) for item in overrides)
    )
    try:
        return LoadedSettings(Settings.model_validate(tables), file)
    except ValidationError as error:
        raise SettingsError(explain(error, origin), hint=_SHOW_KEYS) from None


def _locate(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    named = environ.get(ENVIRONMENT_VARIABLE, "")
    if path is not None or named:
        file = cwd / (path if path is not None else Path(named).expanduser())
        if not file.is_file():
            where = "--config" if path is not None else ENVIRONMENT_VARIABLE
            raise SettingsError(
                f"{file}: there is no such file; {where} must name a settings file.",
                hint="`kgtts init` writes one",
            )
        return file
    return next((found for each in (cwd, *cwd.parents) if (found := each / FILE_NAME).is_file()), None)


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_bytes().decode("utf-8-sig")  # Some editors put a byte order mark first.
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SettingsError(f"{file}, line {line}: is not UTF-8 text; save it as UTF-8.") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"{file}, {_place(str(error), text)}",
            hint='values are written as in key = "text", key = 12, key = true',
        ) from None
    except (ValueError, RecursionError) as error:  # A number of thousands of digits; brackets as deep.
        raise SettingsError(f"{file}: cannot be read as TOML: {error}.") from None


def _place(message: str, text: str) -> str:
    """TOMLDecodeError has its position as attributes only from Python 3.14 on; its text always has it."""
    problem, _, place = message.partition(" (at ")
    found = re.match(r"line (\d+), column (\d+)", place)
    if found is None:
        return f"line {text.count(chr(10)) + 1}: bad TOML: {problem} at the end of the file."
    return f"line {found[1]}, column {found[2]}: bad TOML: {problem}."


def _apply(tables: dict[str, Any], override: str) -> str:
    """Put one `key=value` into `tables`; give back the key as errors name it."""
    name, equals, text = override.partition("=")
    keys = [part.strip().strip("\"'") for part in name.split(".")]
    if not equals or not all(keys):
        raise SettingsError(
            f"--set {override}: must be KEY=VALUE with the key's full name, such as training.batch_size=8."
        )
    if keys[:2] == _COQUI and len(keys) > 2:  # noqa: PLR2004 - a key below training.coqui
        keys = [*_COQUI, ".".join(keys[2:])]
        training = tables.get("training")
        if isinstance(training, dict) and isinstance(training.get("coqui"), dict):
            training["coqui"] = flatten(training["coqui"])  # So that the override meets its own key.
    table: Any = tables
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise SettingsError(f"--set {override}: {key} is not a table, so it has no keys in it.")
    table[keys[-1]] = _value(text.strip(), keys)
    return ".".join(keys)


def _value(text: str, keys: Sequence[str]) -> object:
    """The TOML value, or the bare text where it is none or where the key takes nothing but text."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # TOMLDecodeError is a ValueError.
        return text
    value = parsed["value"] if parsed.keys() == {"value"} else text  # A line break can smuggle in more keys.
    return value if isinstance(value, str) or not _is_text(keys) else text


def _is_text(keys: Sequence[str]) -> bool:
    section = Settings.model_fields.get(keys[0])
    model = None if section is None else section.annotation
    fields = getattr(model, "model_fields", {})
    return len(keys) == 2 and keys[1] in fields and fields[keys[1]].annotation is str  # noqa: PLR2004
