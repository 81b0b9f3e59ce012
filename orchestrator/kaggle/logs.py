"""Kaggle's log formats: server-sent events while a session runs, a JSON array after it, lines for people.

Both carry objects `{"stream_name": "stdout", "time": 12.3, "data": "…"}`
(kaggle 2.2.4, `kernels_logs_stream`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator import untrusted
from orchestrator.models import LogEvent

END_OF_LOG = "END_OF_LOG"


class EndOfLogError(Exception):
    """The stream said that the log is complete; the end of a connection alone does not mean that."""


def parse_sse(lines: Iterable[str]) -> Iterator[LogEvent]:
    """Read the events of a live stream.

    Raises:
        EndOfLogError: the server said that nothing more will come. Running out of lines without it means
            that the connection was dropped.
    """
    for line in lines:
        if not line.startswith("data:"):
            continue
        payload = line.removeprefix("data:").lstrip()
        if payload == END_OF_LOG:
            raise EndOfLogError
        yield _event(payload)


def parse_stored_log(text: str) -> list[LogEvent]:
    """Read a stored log; text that is not JSON is taken line by line, so that something stays readable."""
    if not text.strip():
        return []
    try:
        items = untrusted.parse_json(text, len(text))
    except ValueError:
        return [LogEvent("stdout", 0.0, line + "\n") for line in text.splitlines()]
    return [_from_dict(item) for item in (items if isinstance(items, list) else [items])]


def _event(payload: str) -> LogEvent:
    try:
        return _from_dict(untrusted.parse_json(payload))
    except ValueError:
        return LogEvent("stdout", 0.0, payload + "\n")


def _from_dict(item: object) -> LogEvent:
    if not isinstance(item, dict):
        return LogEvent("stdout", 0.0, f"{item}\n")
    return LogEvent(
        str(item.get("stream_name") or "stdout"),
        untrusted.number(item.get("time")) or 0.0,
        str(item.get("data") or ""),
    )


@dataclass(frozen=True, slots=True)
class LogLine:
    """One whole line of a session's log, without its line end."""

    stream: str
    time_s: float
    text: str


class LineAssembler:
    """Joins pieces of a log into whole lines, each stream by itself."""

    def __init__(self) -> None:
        self._rest: dict[str, str] = {}

    def feed(self, event: LogEvent) -> Iterator[LogLine]:
        """Take one piece and give the lines that it completes, stamped with the piece's time."""
        *whole, rest = (self._rest.get(event.stream, "") + event.text).split("\n")
        self._rest[event.stream] = rest
        for text in whole:
            yield LogLine(event.stream, event.time_s, text.rstrip("\r"))

    def finish(self) -> Iterator[LogLine]:
        """Give what no line end completed."""
        for stream, text in self._rest.items():
            if text:
                yield LogLine(stream, 0.0, text)
        self._rest.clear()


def log_lines(events: Iterable[LogEvent]) -> Iterator[LogLine]:
    """All lines of a log, the unfinished last one included."""
    assembler = LineAssembler()
    for event in events:
        yield from assembler.feed(event)
    yield from assembler.finish()
