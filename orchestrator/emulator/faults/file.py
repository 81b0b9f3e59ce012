"""A fault plan from a file, and its mistakes as sentences."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from orchestrator.emulator.faults.plan import Fault, FaultPlan
from orchestrator.errors import UsageError
from orchestrator.settings.nearest import closest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_HINT = "the README's section on rehearsing faults lists what there is"
_KINDS: dict[str, type[BaseModel]] = {
    kind.model_fields["what"].default: kind for kind in get_args(get_args(Fault)[0])
}
_RIGHT = {
    "byte_size": 'must be a size, such as 3000000, "3MB" or "16MiB".',
    "tuple_type": "must be a list.",
    "model_attributes_type": "must be a table with `what` in it.",
    "model_type": "must be a table with [[faults]] in it.",
}
_NO_KIND = {"union_tag_invalid", "union_tag_not_found"}


def load_plan(path: Path) -> FaultPlan:
    """Read a plan from a TOML file, or from a JSON file where the name ends in `.json`.

    Raises:
        UsageError: the file cannot be read, or is no plan; every mistake in it is named.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"The fault plan {path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"The fault plan {path} is not UTF-8 text; save it as UTF-8.") from None
    try:
        found = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # Both parsers' errors are ValueErrors and say the place.
        raise UsageError(f"The fault plan {path} cannot be read: {error}.", hint=_HINT) from None
    return read_plan(found, str(path))


def read_plan(value: Any, source: str) -> FaultPlan:
    """Make a plan of parsed TOML or JSON; `source` is what messages call it.

    Raises:
        UsageError: it is no plan; every mistake in it is named.
    """
    try:
        return FaultPlan.model_validate(value)
    except ValidationError as error:
        mistakes = dict.fromkeys(_sentences(error, source))
        raise UsageError("\n".join(mistakes), hint=_HINT) from None


def _sentences(error: ValidationError, source: str) -> Iterator[str]:
    for each in error.errors(include_url=False):
        where, kind, key = _place(each["loc"])
        start = ", ".join(part for part in (source, where, key) if part)
        yield f"{start}: {_wrong(each, kind, key)}"


def _place(location: tuple[int | str, ...]) -> tuple[str, str, str]:
    """Which fault an error is in, of which kind that is, and the key; each may be empty."""
    if location[:1] != ("faults",) or location[1:] == ():
        return "", "", ".".join(map(str, location))
    number, *rest = location[1:]
    kind = str(rest[0]) if rest else ""
    where = f"fault {int(number) + 1}" + (f" ({kind})" if kind else "")
    return where, kind, ".".join(map(str, rest[1:]))


def _wrong(error: "ErrorDetails", kind: str, key: str) -> str:
    if error["type"] == "missing":
        return "is missing."
    if error["type"] in _NO_KIND:
        return f"`what` must be one of: {', '.join(_KINDS)}."
    if error["type"] == "extra_forbidden":
        known = list((_KINDS[kind] if kind else FaultPlan).model_fields)
        meant = closest(key, known)
        right = f"did you mean {meant}?" if meant else f"choose of {', '.join(known)}."
        return f"there is no such key; {right}"
    if error["type"] in _RIGHT:
        return _RIGHT[error["type"]]
    cause = error.get("ctx", {}).get("error")
    return f"{cause or error['msg'].replace('Input should be', 'must be')}."
