"""Read kgtts.toml and `--set` into validated settings; every mistake becomes a sentence."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from orchestrator.errors import SettingsError
from orchestrator.files import expanded, is_there
from orchestrator.settings.fields import SeveralKeysError, flatten
from orchestrator.settings.models import Settings
from orchestrator.settings.text import closest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

FILE_NAME = "kgtts.toml"
ENVIRONMENT_VARIABLE = "KGTTS_CONFIG"
_SHOW_KEYS = "`kgtts config schema` prints every key"
_COQUI = ["training", "coqui"]
_LONGEST_VALUE = 80
_RIGHT = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "string_type": "must be a text in quotes",
    "tuple_type": 'must be a list of texts, such as ["one", "two"]',
    "model_type": "must be a table, written as [{key}] with its keys below it",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
}


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Validated settings, and the file that they came from; None if there is no file."""

    settings: Settings
    path: Path | None


def load_settings(
    path: Path | None = None, overrides: Sequence[str] = (), *, environ: Mapping[str, str], cwd: Path
) -> LoadedSettings:
    """Read the settings: defaults, then the file, then `overrides` such as `training.batch_size=8`.

    The file is `path`, else the one that `KGTTS_CONFIG` in `environ` names, else the nearest kgtts.toml
    from `cwd` upwards, else none.

    Raises:
        SettingsError: the file cannot be read or is not TOML, or something in it or in `overrides` is wrong.
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


def with_overrides(settings: Settings, overrides: Sequence[str]) -> Settings:
    """Return the settings, changed by further `KEY=VALUE` as `--set` takes them.

    Raises:
        SettingsError: one of them is wrong.
    """
    if not overrides:
        return settings
    tables = settings.model_dump()
    origin = Origin(None, frozenset(_apply(tables, item) for item in overrides))
    try:
        return Settings.model_validate(tables)
    except ValidationError as error:
        raise SettingsError(explain(error, origin), hint=_SHOW_KEYS) from None


def override_key(override: str) -> str:
    """Return the full name of the key that a `KEY=VALUE` sets.

    Raises:
        SettingsError: it is not a `KEY=VALUE`.
    """
    return _apply({}, override)


def _locate(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    named = environ.get(ENVIRONMENT_VARIABLE, "")
    if path is not None or named:
        file = cwd / (path if path is not None else expanded(named))
        if not is_there(file) or not file.is_file():
            where = "--config" if path is not None else ENVIRONMENT_VARIABLE
            raise SettingsError(
                f"{file}: there is no such file; {where} must name a settings file.",
                hint="`kgtts init` writes one",
            )
        return file
    found = (each / FILE_NAME for each in (cwd, *cwd.parents))
    return next((file for file in found if is_there(file) and file.is_file()), None)


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
    except (
        ValueError,
        RecursionError,
    ) as error:  # A number with thousands of digits, or brackets nested as deeply.
        raise SettingsError(f"{file}: cannot be read as TOML: {error}.") from None


def _place(message: str, text: str) -> str:
    """The place and the problem: before Python 3.14 only the text of a TOMLDecodeError has the position."""
    problem, _, place = message.partition(" (at ")
    found = re.match(r"line (\d+), column (\d+)", place)
    if found is None:
        return f"line {text.count(chr(10)) + 1}: bad TOML: {problem} at the end of the file."
    return f"line {found[1]}, column {found[2]}: bad TOML: {problem}."


def _apply(tables: dict[str, Any], override: str) -> str:
    """Put one `key=value` into `tables`; return the key as errors name it."""
    name, equals, text = override.partition("=")
    keys = [part.strip().strip("\"'") for part in name.split(".")]
    if not equals or not all(keys):
        raise SettingsError(
            f"--set {override}: must be KEY=VALUE with the key's full name, such as training.batch_size=8."
        )
    if keys[0] == "notify":  # A push stamps its overrides into the kernel, and these are secrets.
        raise SettingsError(f"--set {keys[0]}: is only taken from kgtts.toml and KGTTS_NOTIFY.")
    if keys[:2] == _COQUI and len(keys) > 2:  # noqa: PLR2004 - a key below training.coqui
        keys = [*_COQUI, ".".join(keys[2:])]
        training = tables.get("training")
        if isinstance(training, dict) and isinstance(training.get("coqui"), dict):
            training["coqui"] = flatten(training["coqui"])  # So that the override meets its own key.
    table: Any = tables
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise SettingsError(f"--set {override}: {key} is not a table, so it cannot have keys.")
    table[keys[-1]] = _value(text.strip(), keys)
    return ".".join(keys)


def _value(text: str, keys: Sequence[str]) -> object:
    """The TOML value; the bare text if it is not TOML, or if the key takes only text."""
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


@dataclass(frozen=True, slots=True)
class Origin:
    """Where values came from: the file, and the keys that `--set` gave."""

    file: str | None
    overridden: frozenset[str]

    def of(self, key: str) -> str:
        """Return the name of the place that the value of `key` came from."""
        if self.file is None or any(_overlap(key, each) for each in self.overridden):
            return "--set"
        return self.file


def explain(error: ValidationError, origin: Origin) -> str:
    """Return one line for each mistake: file, key, value, and what would be right."""
    return "\n".join(dict.fromkeys(_explain_one(each, origin) for each in error.errors(include_url=False)))


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """List every key with its full name, and every table: `kernel`, `kernel.owner` and so on."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")


def nearest_key(key: str) -> str | None:
    """Return the key that `key` most likely means: one of the same table, else of any table; or None."""
    known = list(known_keys())
    table, _, word = key.rpartition(".")
    siblings = {each.rpartition(".")[2]: each for each in known if each.rpartition(".")[0] == table}
    anywhere = {each.rpartition(".")[2]: each for each in reversed(known)}
    for names in (siblings, anywhere):
        found = closest(word, names, cutoff=0.7)
        if found is not None:
            return names[found]
    return None


def _siblings(key: str) -> str:
    """Say which keys the table has in which `key` was looked for."""
    table = key.rpartition(".")[0]
    names = [each.rpartition(".")[2] for each in known_keys() if each.rpartition(".")[0] == table]
    return f"{table or 'the file'} has {', '.join(names)}"


def _overlap(key: str, other: str) -> bool:
    """Whether one is the other, or lies in it: an error's key may be the table, or an item of the list."""
    return key == other or key.startswith((f"{other}.", f"{other}[")) or other.startswith(f"{key}.")


def _explain_one(error: "ErrorDetails", origin: Origin) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, SeveralKeysError):
        return f"{origin.of(str(cause).partition(' ')[0])}: {cause}."
    key = _key(error["loc"])
    start = f"{origin.of(key)}: {key}"
    if error["type"] == "extra_forbidden":
        nearest = nearest_key(key)
        meant = f"; did you mean {nearest}?" if nearest else f"; {_siblings(key)}."
        return f"{start} = {_show(error['input'])}: there is no such key{meant}"
    if cause is not None:
        return f"{start} = {_show(error['input'])}: {cause}."
    right = _RIGHT.get(error["type"], error["msg"]).format(key=key, **context)
    return f"{start} = {_show(error['input'])}: {right}."


def _key(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(
        "."
    )


def _show(value: object) -> str:
    """The value, nearly as TOML writes it, and cut if it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # Python refuses to write thousands of digits in decimal.
        return "(a number of thousands of digits)"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
