"""Validation errors as sentences: file, key, value, and what would be right."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from orchestrator.settings.models import Settings
from orchestrator.settings.nearest import closest
from orchestrator.settings.sections import SeveralKeysError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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
class Origin:
    """Where values came from: the file, and the keys that `--set` gave."""

    file: str | None
    overridden: frozenset[str]

    def of(self, key: str) -> str:
        """What to name as the source of `key`'s value."""
        if self.file is None or any(_overlap(key, each) for each in self.overridden):
            return "--set"
        return self.file


def explain(error: ValidationError, origin: Origin) -> str:
    """One line for each mistake: file, key, value, and what would be right."""
    return "\n".join(dict.fromkeys(_explain_one(each, origin) for each in error.errors(include_url=False)))


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Every key with its full name, tables included: `kernel`, `kernel.owner` and so on."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")


def nearest_key(key: str) -> str | None:
    """The known key that `key` most likely means: one of the same table, else one of any table."""
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
    """Which keys there are where `key` is not."""
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
    """The value much as TOML writes it, cut when it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # Python refuses to write thousands of digits in decimal.
        return "(a number of thousands of digits)"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
