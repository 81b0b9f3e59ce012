"""Reading a file of any of the formats, in pieces, so that no size is too large."""

import io
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

from orchestrator.errors import LocalError, UsageError
from orchestrator.metrics.blocks import HEADER
from orchestrator.metrics.events import EventsReader, Reader
from orchestrator.metrics.log import LogReader
from orchestrator.metrics.stored import BEGINNING, StoredLogReader
from orchestrator.metrics.table import MetricsTable

_AT_ONCE = 256 * 1024
_ENOUGH = 64 * 1024  # How much of a file is looked at to tell its format.


class Format(StrEnum):
    """What a file is."""

    AUTO = "auto"  # Told from its beginning.
    EVENTS = "events"  # `metrics.jsonl`.
    LOG = "log"  # Lines: the trainer's log, a session's, a notebook's.
    STORED = "stored"  # Kaggle's JSON log.


def read_metrics(
    source: Path | Iterable[bytes], *, kind: Format | str = Format.AUTO, session: int | None = None
) -> MetricsTable:
    """Read all measurements of one source, in the order in which it tells them; `continuous` makes a series.

    Args:
        source: a file's path, a file that is open for bytes, or pieces of one, cut anywhere.
        kind: the format.
        session: the session that the source is of, where it does not tell.

    Raises:
        UsageError: there is no such file, or it is a folder.
        LocalError: it cannot be read.
    """
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                return read_metrics(file, kind=kind, session=session)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise UsageError(f"{source} is no file.") from error
        except OSError as error:
            raise LocalError(f"Could not read {source}: {error.strerror or error}.") from error
    pieces = _pieces(source) if isinstance(source, io.IOBase) else iter(source)
    held: list[bytes] = []
    kind = Format(kind)
    if kind is Format.AUTO:
        size = 0
        for piece in pieces:
            held.append(piece)
            size += len(piece)
            if size >= _ENOUGH:
                break
        kind = tell_format(b"".join(held)[:_ENOUGH])
    reader = make_reader(kind, session=session)
    for piece in held:
        reader.feed(piece)
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def make_reader(kind: Format, *, session: int | None = None) -> Reader:
    """A reader that is fed as bytes come; `Format.AUTO` is that of lines."""
    if kind is Format.EVENTS:
        return EventsReader(session=session)
    if kind is Format.STORED:
        return StoredLogReader(session=session)
    return LogReader(session=session)


def tell_format(beginning: bytes) -> Format:
    """The format of what begins so; the first whole line of rubbish decides nothing."""
    lines = beginning.split(b"\n")
    events = sum(line.startswith(b"{") and b'"event"' in line for line in lines)
    # Other programs write events of their own into a trainer's log; no event holds a step's header.
    headers = sum(HEADER.search(line) is not None for line in lines)
    stored = beginning.count(BEGINNING.encode())
    if stored and (stored > events or beginning.lstrip().startswith(b"[")):
        return Format.STORED
    return Format.EVENTS if events > headers else Format.LOG


def _pieces(file: io.IOBase) -> Iterator[bytes]:
    while piece := file.read(_AT_ONCE):
        yield piece
