"""Reading a log as Kaggle stores it: a JSON array of pieces, `{"stream_name", "time", "data"}`."""

import codecs
import json
from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter

from orchestrator.metrics.log import LogReader
from orchestrator.metrics.table import MetricsTable, as_time

BEGINNING = '{"stream_name"'
_DECODER = json.JSONDecoder()
_LONGEST_PIECE = 4 * 1024 * 1024  # A piece that has no end by then is none.
_AT_ONCE = 64 * 1024
_BETWEEN = " \t\r\n,["


class StoredLogReader:
    """Reads a stored log, piece by piece; what is no piece is passed over, up to the next one.

    Args:
        session: the session whose log it is.
    """

    def __init__(self, *, session: int | None = None) -> None:
        self._log = LogReader(session=session)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._lost = 0
        self._joined: list[str] = []
        self._size = 0
        # A piece of a stream may end within a line; the other stream's do not go on with it.
        self._stream = ""
        self._rests: dict[str, str] = {}

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._text += self._decoder.decode(data)
        self._take(final=False)

    def finish(self) -> MetricsTable:
        """What was read."""
        self._text += self._decoder.decode(b"", final=True)
        self._take(final=True)
        self._say()
        for rest in self._rests.values():
            if rest:
                self._log.feed(rest.encode("utf-8", "replace") + b"\n")
        table = self._log.finish()
        table.counters.lost_lines += self._lost
        return table

    def _take(self, *, final: bool) -> None:
        text, place = self._text, self._take_whole()
        while (begin := text.find("{", place)) >= 0:
            try:
                piece, end = _DECODER.raw_decode(text, begin)
            except (ValueError, RecursionError):
                following = text.find(BEGINNING, begin + 1)
                if following < 0 and not final and len(text) - begin < _LONGEST_PIECE:
                    place = begin
                    break  # The rest of it is still to come.
                self._lost += 1
                place = len(text) if following < 0 else following
                continue
            place = end
            if isinstance(piece, Mapping):
                self._piece(piece)
        else:
            place = len(text)
        self._text = text[place:]

    def _take_whole(self) -> int:
        """Take all pieces but the last at once, which is far quicker; tells up to where that went well."""
        end = self._text.rfind(BEGINNING) if self._log.is_dated else -1
        if end <= 0:
            return 0
        try:
            pieces = json.loads(f"[{self._text[:end].strip(_BETWEEN)}]")
            streams = [piece["stream_name"] for piece in pieces]
            said = [piece["data"] for piece in pieces]
        except (ValueError, RecursionError, TypeError, KeyError):
            return 0
        if {*map(type, streams), *map(type, said)} != {str}:
            return 0
        for stream, group in groupby(zip(streams, said, strict=True), key=itemgetter(0)):
            self._say_more(stream, "".join([data for _, data in group]))
        return end

    def _piece(self, piece: Mapping[str, object]) -> None:
        data, stream = piece.get("data"), piece.get("stream_name")
        if not isinstance(data, str) or not isinstance(stream, str):
            self._lost += 1
            return
        self._say_more(stream, data, as_time(piece.get("time")))

    def _say_more(self, stream: str, data: str, time: float | None = None) -> None:
        if stream != self._stream:
            self._say()
            self._stream = stream
        self._joined.append(data)
        self._size += len(data)
        # Until a date has been met, each piece's own time counts: the dates are seen from there.
        if self._size > _AT_ONCE or not self._log.is_dated:
            self._say(time)

    def _say(self, time: float | None = None) -> None:
        """Let the log reader have what was joined of one stream, as far as its lines are whole."""
        if not self._joined:
            return
        text = self._rests.pop(self._stream, "") + "".join(self._joined)
        self._joined, self._size = [], 0
        whole, newline, rest = text.rpartition("\n")
        if rest:
            self._rests[self._stream] = rest[-_LONGEST_PIECE:]
        if newline:
            self._log.feed(whole.encode("utf-8", "replace") + b"\n", time)
