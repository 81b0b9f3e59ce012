"""Kaggle's log formats: server-sent events while a session runs, a JSON array after it has ended.

Both carry objects `{"stream_name": "stdout", "time": 12.3, "data": "…"}`
(kaggle 2.2.4, `kernels_logs_stream`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator import untrusted
from orchestrator.models import LogEvent

END_OF_LOG = "END_OF_LOG"


class EndOfLogError(Exception):
    """The stream said that the log is complete; the end of the connection alone does not say so."""


def parse_sse(lines: Iterable[str]) -> Iterator[LogEvent]:
    """Read the events of a live stream.

    Raises:
        EndOfLogError: the server said that the log is complete. If the lines end without it, the connection
            broke.
    """
    for line in lines:
        if not line.startswith("data:"):
            continue
        payload = line.removeprefix("data:").lstrip()
        if payload == END_OF_LOG:
            raise EndOfLogError
        yield _event(payload)


def parse_stored_log(text: str) -> list[LogEvent]:
    """Read a stored log; text that is not JSON is read line by line, so that it can be read at all."""
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
    """One complete line of a session's log, without its line end."""

    stream: str
    time_s: float
    text: str


class LineAssembler:
    """Joins pieces of a log into complete lines, for each stream by itself."""

    def __init__(self) -> None:
        self._rest: dict[str, str] = {}

    def feed(self, event: LogEvent) -> Iterator[LogLine]:
        """Take one piece; yield the lines that it completes, with the time of the piece."""
        *whole, rest = (self._rest.get(event.stream, "") + event.text).split("\n")
        self._rest[event.stream] = rest
        for text in whole:
            yield LogLine(event.stream, event.time_s, text.rstrip("\r"))

    def finish(self) -> Iterator[LogLine]:
        """Yield what is left without a line end."""
        for stream, text in self._rest.items():
            if text:
                yield LogLine(stream, 0.0, text)
        self._rest.clear()


def log_lines(events: Iterable[LogEvent]) -> Iterator[LogLine]:
    """Yield all lines of a log, including an unfinished last one."""
    assembler = LineAssembler()
    for event in events:
        yield from assembler.feed(event)
    yield from assembler.finish()
