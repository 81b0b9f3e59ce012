"""Tables on a console."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from orchestrator.cli.show.console import fit, signs, width_of
from orchestrator.untrusted import terminal_line

_LEAST = 12  # Columns for a text that takes what the others leave.


def print_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, int | None]) -> None:
    """Print rows as a table that fits the terminal; into a pipe every cell is whole.

    Args:
        rows: the rows; names in them come from a server.
        columns: the keys that are shown, and how many columns of a terminal each may take; None takes what
            the others leave.
    """
    lines = [{name: name.replace("_", " ") for name in columns}]
    lines += [{name: terminal_line(_cell(row[name])) for name in columns} for row in rows]
    widths = {name: max(width_of(line[name]) for line in lines) for name in columns}
    if sys.stdout.isatty():
        fixed = {name: min(widths[name], most) for name, most in columns.items() if most is not None}
        left = shutil.get_terminal_size().columns - sum(fixed.values()) - 2 * (len(columns) - 1)
        widths = {name: fixed.get(name, min(widths[name], max(_LEAST, left))) for name in columns}
    for number, line in enumerate(lines):
        cells = [fit(line[name], widths[name], signs().ellipsis) for name in columns]
        padded = (
            cell + " " * (widths[name] - width_of(cell)) for name, cell in zip(columns, cells, strict=True)
        )
        click.secho("  ".join(padded).rstrip(), bold=True if number == 0 else None)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:%b %d %H:%M}" if hasattr(value, "strftime") else str(value)
