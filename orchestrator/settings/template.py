"""The kgtts.toml that `kgtts init` writes, short or explained, and the JSON schema: from the models."""

import json
import textwrap
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from orchestrator.settings.models import Settings
from orchestrator.settings.text import format_duration

_WIDTH = 100
_HEAD = """\
# The settings of kgtts. Lines such as `#slug = "bangla-tts"` are defaults: take the "#" away to change one.
# `kgtts config schema` prints a schema for editors; `--set training.batch_size=8` overrides this file.
"""
_SHORT_HEAD = """\
# The settings of kgtts that differ from its defaults. `kgtts config show` prints them all, and
# `kgtts init --all --dir FOLDER` writes a file that explains each.
"""


class _Schema(GenerateJsonSchema):
    """Durations as the file writes them, where pydantic would show ISO 8601's `PT6H`."""

    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def default_toml(values: Mapping[str, object] | None = None) -> str:
    """Return the file: every key with its comment, defaults commented out, and `values` set.

    Args:
        values: full names of keys to set, such as `{"kernel.owner": "someone"}`.

    Raises:
        KeyError: `values` names a key that does not exist.
    """
    chosen = dict(values or {})
    text = "\n".join([_HEAD, *(_section(name, _model(name), chosen) for name in Settings.model_fields)])
    if chosen:
        raise KeyError(f"no such keys: {', '.join(sorted(chosen))}")
    return text


def short_toml(values: Mapping[str, object]) -> str:
    """Return a file with nothing but `values`, which differ from the defaults.

    Args:
        values: full names of keys, such as `{"kernel.owner": "someone"}`.
    """
    lines, table = [_SHORT_HEAD.rstrip()], ""
    for full, value in sorted(
        values.items(), key=lambda item: list(Settings.model_fields).index(item[0].partition(".")[0])
    ):
        section, _, key = full.partition(".")
        if section != table:
            lines += ["", f"[{section}]"]
            table = section
        lines.append(f"{key} = {to_toml(value)}")
    return "\n".join(lines) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of kgtts.toml, for `kgtts config schema` and for editors."""
    schema = Settings.model_json_schema(schema_generator=_Schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def to_toml(value: object) -> str:
    """Return one value as TOML writes it.

    Raises:
        TypeError: TOML cannot hold it.
    """
    match value:
        case timedelta():
            return f'"{format_duration(value)}"'
        case str():
            # JSON's escapes are TOML's; only DEL, which JSON lets stand, TOML wants escaped.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case bool() | int() | float():
            return json.dumps(value)
        case list() | tuple():
            return f"[{', '.join(to_toml(item) for item in value)}]"
        case Mapping():
            pairs = ", ".join(f"{to_toml(str(key))} = {to_toml(item)}" for key, item in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case _:
            raise TypeError(f"TOML cannot hold {value!r}")


def _section(name: str, model: type[BaseModel], chosen: dict[str, object]) -> str:
    lines = [*_comment(model.__doc__ or ""), f"[{name}]"]
    tables: list[str] = []
    for key, field in model.model_fields.items():
        full = f"{name}.{key}"
        default = field.get_default(call_default_factory=True)
        value = chosen.pop(full, default)
        comment = _comment(field.description or "")
        if isinstance(default, Mapping):
            # Last, since TOML counts all that follows a table's head to that table.
            pairs = [f"{to_toml(str(k))} = {to_toml(v)}" for k, v in dict(value).items()]  # type: ignore[call-overload] # a mapping by its default
            tables.append("\n".join([*comment, f"[{full}]", *pairs, ""]))
        else:
            line = _assignment(key, value)
            lines += [*comment, *(line if value != default else [f"#{each}" for each in line])]
    return "\n".join([*lines, "", *tables])


def _assignment(key: str, value: object) -> list[str]:
    line = f"{key} = {to_toml(value)}"
    if len(line) <= _WIDTH or not isinstance(value, list | tuple):
        return [line]
    return [f"{key} = [", *(f"  {to_toml(item)}," for item in value), "]"]


def _comment(text: str) -> Iterable[str]:
    for paragraph in text.strip().splitlines():
        yield from (f"# {line}" for line in textwrap.wrap(paragraph.strip(), _WIDTH, break_on_hyphens=False))


def _model(name: str) -> type[BaseModel]:
    model = Settings.model_fields[name].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return model
