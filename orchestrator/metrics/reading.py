"""Read measurements from a file of any format, in pieces, so that no file is too large."""

import codecs
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path

from orchestrator import untrusted
from orchestrator.errors import LocalError, UsageError
from orchestrator.metrics.events import EventsReader, Reader
from orchestrator.metrics.saved import take_bytes, undo
from orchestrator.metrics.table import Counters, MetricsTable
from orchestrator.metrics.trainer_log import TrainerLogReader
from orchestrator.metrics.value_lists import HEADER

_PIECE_BYTES = 256 * 1024
_SAMPLE_BYTES = 64 * 1024  # Bytes at a file's beginning that show its format.
_ENTRY_START = '{"stream_name"'  # In the log that Kaggle stores.
_ENTRY = re.compile(rb'\{\s*"stream_name"')  # The same, also as an editor formats it.
_LONGEST_ENTRY = 4 * 1024 * 1024  # Characters. Longer text without an end is not an entry.
_JOINED_CHARACTERS = 64 * 1024
_SEPARATORS = " \t\r\n,["
_DECODER = json.JSONDecoder()


class Format(StrEnum):
    """The format of a file."""

    AUTO = "auto"  # Recognised by its beginning.
    EVENTS = "events"  # `metrics.jsonl`.
    LOG = "log"  # Lines: the log of the trainer, of a session or of a notebook.
    STORED = "stored"  # Kaggle's log: a JSON array of `{"stream_name", "time", "data"}`.


def read_metrics(
    source: Path | Iterable[bytes], *, kind: Format | str = Format.AUTO, session: int | None = None
) -> MetricsTable:
    """Read all measurements of one source, in its order; `continuous` makes one series of them.

    Args:
        source: the path of a file, a file opened for reading bytes, or pieces of one, which may end anywhere.
        kind: the format.
        session: the session of the source, for a source that does not name it.

    Raises:
        UsageError: the file does not exist, or is a folder.
        LocalError: the file cannot be read.
    """
    if isinstance(source, Path):
        if source.is_dir():  # Windows says only that the permission is missing.
            raise UsageError(f"{source} is a folder, not a file.")
        try:
            with source.open("rb") as file:
                return read_metrics(file, kind=kind, session=session)
        except FileNotFoundError as error:
            raise UsageError(f"{source} does not exist.") from error
        except OSError as error:
            raise LocalError(f"Could not read {source}: {error.strerror or error}.") from error
    kind = Format(kind)
    pieces: Iterator[bytes] = _pieces(source) if isinstance(source, io.IOBase) else iter(source)
    if kind is not Format.EVENTS:
        pieces = undo(pieces)
    beginning = list(take_bytes(pieces, _SAMPLE_BYTES)) if kind is Format.AUTO else []
    if kind is Format.AUTO:
        kind = recognise(b"".join(beginning)[:_SAMPLE_BYTES])
    reader = make_reader(kind, session=session)
    for piece in chain(beginning, pieces):
        reader.feed(piece)
    return reader.finish()


def make_reader(kind: Format, *, session: int | None = None) -> Reader:
    """A reader that is fed with bytes as they come; `Format.AUTO` is read as lines."""
    if kind is Format.EVENTS:
        return EventsReader(session=session)
    if kind is Format.STORED:
        return StoredLogReader(session=session)
    return TrainerLogReader(session=session)


def recognise(beginning: bytes) -> Format:
    """The format of a file by its beginning, even if some of its lines are garbled."""
    lines = beginning.split(b"\n")
    events = sum(line.startswith(b"{") and b'"event"' in line for line in lines)
    # Other programs may write events of their own into a trainer's log, but no event has a step's header.
    headers = sum(HEADER.search(line) is not None for line in lines)
    stored = len(_ENTRY.findall(beginning))
    if stored and (stored > events or beginning.lstrip().startswith(b"[")):
        return Format.STORED
    return Format.EVENTS if events > headers else Format.LOG


def _pieces(file: io.IOBase) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece


class StoredLogReader:
    """Reads a log as Kaggle stores it, piece by piece; anything between two entries is skipped.

    Args:
        session: the session whose log it is.
    """

    def __init__(self, *, session: int | None = None) -> None:
        self._log = TrainerLogReader(session=session)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._lost = Counters()
        self._joined: list[str] = []
        self._size = 0
        # An entry may end within a line, which the next entry of the same stream continues.
        self._stream = ""
        self._unfinished: dict[str, str] = {}

    def feed(self, data: bytes) -> None:
        """Read the next bytes."""
        self._text += self._decoder.decode(data)
        self._read(final=False)

    def finish(self) -> MetricsTable:
        """Return what was read."""
        self._text += self._decoder.decode(b"", final=True)
        self._read(final=True)
        self._flush()
        for line in self._unfinished.values():
            if line:
                self._log.feed(line.encode("utf-8", "replace") + b"\n")
        table = self._log.finish()
        table.counters.add(self._lost)
        return table

    def _read(self, *, final: bool) -> None:
        text, place = self._text, self._read_many()
        while (begin := text.find("{", place)) >= 0:
            try:
                entry, end = _DECODER.raw_decode(text, begin)
            except (ValueError, RecursionError):
                following = text.find(_ENTRY_START, begin + 1)
                if following < 0 and not final and len(text) - begin < _LONGEST_ENTRY:
                    place = begin
                    break  # Its end is still to come.
                self._lost.lose(text[begin : begin + 200].encode("utf-8", "replace"))
                place = len(text) if following < 0 else following
                continue
            place = end
            if isinstance(entry, Mapping):
                self._add(entry)
        else:
            place = len(text)
        self._text = text[place:]

    def _read_many(self) -> int:
        """Parse all entries but the last at once, which is far quicker; returns up to where that worked."""
        end = self._text.rfind(_ENTRY_START) if self._log.is_dated else -1
        if end <= 0:
            return 0
        try:
            entries = json.loads(f"[{self._text[:end].strip(_SEPARATORS)}]")
            streams = [entry["stream_name"] for entry in entries]
            data = [entry["data"] for entry in entries]
        except (ValueError, RecursionError, TypeError, KeyError):
            return 0
        if {*map(type, streams), *map(type, data)} != {str}:
            return 0
        for stream, group in groupby(zip(streams, data, strict=True), key=itemgetter(0)):
            self._append(stream, "".join([text for _, text in group]))
        return end

    def _add(self, entry: Mapping[str, object]) -> None:
        data, stream = entry.get("data"), entry.get("stream_name")
        if not isinstance(data, str) or not isinstance(stream, str):
            self._lost.lose(json.dumps(entry).encode())
            return
        self._append(stream, data, untrusted.seconds(entry.get("time")))

    def _append(self, stream: str, data: str, time: float | None = None) -> None:
        if stream != self._stream:
            self._flush()
            self._stream = stream
        self._joined.append(data)
        self._size += len(data)
        # Each entry's own time counts until the first date was read; dates are counted from there.
        if self._size > _JOINED_CHARACTERS or not self._log.is_dated:
            self._flush(time)

    def _flush(self, time: float | None = None) -> None:
        """Pass the complete lines in one stream's joined entries to the log reader."""
        if not self._joined:
            return
        text = self._unfinished.pop(self._stream, "") + "".join(self._joined)
        self._joined, self._size = [], 0
        complete, newline, rest = text.rpartition("\n")
        if rest:
            self._unfinished[self._stream] = rest[-_LONGEST_ENTRY:]
        if newline:
            self._log.feed(complete.encode("utf-8", "replace") + b"\n", time)
