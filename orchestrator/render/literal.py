"""Writes values as readable Python literals, the only way in which they enter the kernel's source."""

import ast
import math
from collections.abc import Mapping
from functools import lru_cache

from orchestrator.errors import UsageError

_WIDTH = 100
_INDENT = "    "


def python_literal(value: object) -> str:
    """Write a value as Python source, on several lines if one would be too long.

    It may contain None, booleans, whole and finite numbers, texts, lists, and mappings whose keys are texts.
    The source is read back and compared, so that what runs on Kaggle is what was set.

    Raises:
        UsageError: the value, or a part of it, has no literal.
    """
    return _text(value) if isinstance(value, str) else _checked(value)


def _checked(value: object) -> str:
    text = _write(value, "", 0)
    if ast.literal_eval(text) != _plain(value):
        raise UsageError(f"{value!r} cannot be written as a Python literal that reads back the same.")
    return text


# `watch` renders the same files again and again.
_text = lru_cache(maxsize=512)(_checked)


@lru_cache(maxsize=512)
def program_literal(text: str) -> str:
    """Write a program's text as a literal that people can read: a raw triple-quoted string.

    A text that no such string can hold, since it has both kinds of triple quotes, carriage returns or
    unprintable characters, is written as one quoted string for each line.
    """
    for quotes in ("'''", '"""'):
        literal = f"r{quotes}{text}{quotes}"
        if _fits_raw(text, quotes) and _reads_as(literal, text):
            return literal
    lines = text.splitlines(keepends=True) or [""]
    return "\n".join(["(", *(f"{_INDENT}{_quote(line)}" for line in lines), ")"])


def _fits_raw(text: str, quotes: str) -> bool:
    return quotes not in text and all(part.isprintable() for part in text.replace("\t", " ").split("\n"))


def _reads_as(literal: str, text: str) -> bool:
    try:
        return bool(ast.literal_eval(literal) == text)
    except (SyntaxError, ValueError):
        return False


def _write(value: object, indent: str, used: int) -> str:
    """The literal, given the current indentation and how much of the line is used before it."""
    if value is None or isinstance(value, bool | int):
        return repr(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, str):
        return _quote(value)
    deeper = indent + _INDENT
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        heads = [f"{_quote(key)}: " for key in value]
        items = [
            head + _write(item, deeper, len(head)) for head, item in zip(heads, value.values(), strict=True)
        ]
        return _bracket("{", items, "}", indent, used)
    if isinstance(value, list | tuple):
        return _bracket("[", [_write(item, deeper, 0) for item in value], "]", indent, used)
    raise UsageError(f"{value!r} cannot be written as a Python literal.")


def _bracket(start: str, items: list[str], end: str, indent: str, used: int) -> str:
    line = f"{start}{', '.join(items)}{end}"
    if "\n" not in line and len(indent) + used + len(line) < _WIDTH:
        return line
    return "\n".join([start, *(f"{indent}{_INDENT}{item}," for item in items), f"{indent}{end}"])


def _quote(text: str) -> str:
    """`repr`, but in double quotes whenever the text allows it."""
    literal = str.__repr__(text)  # The text of an enum's member, not its name.
    return f'"{literal[1:-1]}"' if literal[0] == "'" and '"' not in text else literal


def _plain(value: object) -> object:
    """The value as its literal reads back: tuples are lists, mappings are dicts."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
