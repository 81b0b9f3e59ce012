"""Write the table as CSV or JSON for other programs."""

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import Any

from orchestrator import untrusted
from orchestrator.metrics.findings import find_warnings
from orchestrator.metrics.table import MetricsTable, Row

_ROWS_AT_ONCE = 1000


def csv_text(table: MetricsTable) -> Iterator[str]:
    """The rows as CSV with a header, some lines at a time; unknown values are empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(Row._fields)
    for number, row in enumerate(table):
        writer.writerow(row)
        if number % _ROWS_AT_ONCE == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def json_text(table: MetricsTable, about: dict[str, Any]) -> Iterator[str]:
    """One JSON document with one row per line; what is unknown or not finite is null.

    Args:
        table: the table.
        about: further fields of the document, such as the source.
    """
    head = {
        **about,
        "lines": table.counters.lines,
        "lost_lines": table.counters.lost_lines,
        "repeated": table.counters.repeated,
        "sessions": [
            {"session": start.session, "from_step": start.step, "from_epoch": start.epoch}
            for start in table.session_starts()
        ],
        "best_steps": table.best_steps(),
        "warnings": [
            {"kind": found.kind.value, "message": found.message, "name": found.name, "step": found.step}
            for found in find_warnings(table)
        ],
        "columns": Row._fields,
    }
    text = untrusted.encodable(json.dumps(head, ensure_ascii=False, indent=2))
    yield text.removesuffix("\n}") + ',\n  "rows": ['
    for number, row in enumerate(table):
        value = row.value if math.isfinite(row.value) else None
        line = json.dumps([*row[:-1], value], allow_nan=False)
        yield f"{',' if number else ''}\n    {line}"
    yield "\n  ]\n}\n"
