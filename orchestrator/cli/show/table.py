"""Tables on a console."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 200


def print_table(rows: Sequence[Mapping[str, Any]], *, without: Collection[str] = ()) -> None:
    """Print rows, of which there is one at least, as a table with their keys as headings.

    Args:
        rows: the rows, all with the same keys.
        without: keys that are not shown.
    """
    names = [name for name in rows[0] if name not in without]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name.replace("_", " "), no_wrap=True, overflow="ellipsis")
    for row in rows:
        # Text, not markup: names come from a server.
        table.add_row(*(Text(_cell(row[name])) for name in names))
    # Whoever reads a pipe wants whole lines.
    console = Console(highlight=False)
    console.print(table, width=None if console.is_terminal else _PIPE_WIDTH, crop=console.is_terminal)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:%b %d %H:%M}" if hasattr(value, "strftime") else str(value)
