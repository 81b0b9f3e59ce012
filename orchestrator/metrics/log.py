"""Reading what Coqui's trainer prints, with whatever else stands in such a log.

Read are the logs of trainer 0.0.36 (with TTS 0.22) and 0.4.0 (with coqui-tts 0.28): `trainer_0_log.txt` with
its colours, what people saved from notebooks without colours and indentation, and sessions' logs, whose
`@kgtts` events are preferred to the lines of which they were made. Warnings, progress bars, sentences in any
script and binary rubbish stand anywhere between the lines.

trainer 0.4.0 prints totals less one (`STEP: 0/629` of 630); where the next epoch begins tells how long one
is.
"""

import re
from collections.abc import Callable
from datetime import datetime

from kernel_template.contract import EVENT_PREFIX, EventName
from orchestrator.metrics.blocks import HEADER, LOSS_LIKE, Block, Shapes, read_clock
from orchestrator.metrics.events import EventTaker, take_line
from orchestrator.metrics.join import fill
from orchestrator.metrics.lines import LineCutter
from orchestrator.metrics.pace import Pace
from orchestrator.metrics.table import Kind, MetricsTable, Moment

_PREFIX = EVENT_PREFIX.encode()
_MARK = b"> "  # Every line of the trainer's that counts holds it, and few others do.
_BACK = len(b"--")
_ANSI = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_COUNT = rb"(\d{1,15})(?!\d)"
_EPOCH = re.compile(rb"> EPOCH: " + _COUNT + rb"/" + _COUNT)
_EPOCH_END = re.compile(
    rb"--> TRAIN PERFORMA\w*CE -- EPOCH TIME: (\d{1,9}\.?\d*) sec(?: -- GLOBAL_STEP: " + _COUNT + rb")?"
)
_TRAINING = re.compile(rb"> TRAINING \(([-\d]{10} [:\d]{8})\)")
_EVAL = re.compile(rb"--> EVAL PERFORMANCE")
_EVAL_STEP = re.compile(rb"--> STEP: \d")
_SAVED = re.compile(rb"> (CHECKPOINT|BEST MODEL) : (.{1,1000}?_(\d{1,15})\.pth)")
_START = re.compile(rb"> Training Environment")
_OTHER = re.compile(rb"^\s*> [A-Z]")  # The trainer speaks of something else.
_GARBLED = re.compile(rb"--> TIME:|> EPOCH:|--> EVAL P|--> TRAIN P")


_Hear = Callable[[re.Match[bytes]], None]


class LogReader:
    """Reads a log of lines.

    Args:
        session: the session that all of it is of. Without one, sessions are counted from 1, each beginning
            where the trainer says its environment.
    """

    def __init__(self, *, session: int | None = None) -> None:
        self._table = MetricsTable()
        self._events = MetricsTable()
        self._taker = EventTaker(self._events, session=session)
        self._cutter = LineCutter(self._table.counters)
        self._shapes = Shapes()
        self._block: Block | None = None
        self._lost_header = False
        self._return = False
        self._session = session
        self._counts = session is None
        self._has_begun = False  # Whether this session has measured anything.
        self._epoch: int | None = None
        self._pace = Pace()
        self._waiting: list[tuple[Moment, Block]] = []
        self._heard: float | None = None  # What the log itself says that the time is.
        self._zero: datetime | None = None
        self._since_zero = 0.0
        self._time: float | None = None
        self._heard_lines: tuple[tuple[re.Pattern[bytes], _Hear], ...] = (
            (HEADER, self._hear_header),
            (_EPOCH, self._hear_epoch),
            (_EPOCH_END, self._hear_epoch_end),
            (_EVAL, lambda _: self._begin(Block(Kind.EVAL))),
            (_EVAL_STEP, lambda _: self._begin(Block(None))),
            (_SAVED, self._hear_saved),
            (_START, lambda _: self._begin_session()),
            (_TRAINING, self._hear_training),
            (_GARBLED, self._hear_garbled),
            (_OTHER, lambda _: self._close()),
        )

    @property
    def is_dated(self) -> bool:
        """Whether a date was met, so that times follow from the trainer's own."""
        return self._zero is not None

    def feed(self, data: bytes, time: float | None = None) -> None:
        """Take the next bytes, cut anywhere.

        Args:
            data: a piece of the log.
            time: when it was said, in seconds since the session began, where that is known.
        """
        if time is not None:
            self._heard = time
        if self._return or b"\r" in data:
            # A progress bar's lines end so; a last one may be half of a line end.
            data = (b"\r" if self._return else b"") + data
            self._return = data.endswith(b"\r")
            data = data.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._take(self._cutter.cut(data))

    def finish(self) -> MetricsTable:
        """What was read."""
        rest = self._cutter.rest()
        self._count_rubbish(rest)
        self._line(rest, whole=False)
        self._close()
        self._resolve(None)
        if self._events.moments:
            if self._counts:  # Events are of one session, whatever began anew in it.
                self._table.renumber(lambda _: None)
            counters = self._table.counters
            self._table = fill(self._events, self._table)
            self._table.counters = counters
        else:
            self._table.events += self._events.events
        return self._table

    def _take(self, text: bytes) -> None:
        self._count_rubbish(text)
        find, place = text.find, 0
        event = find(_PREFIX)
        while (hit := find(_MARK, place)) >= 0 or event >= 0:
            if 0 <= event < hit or hit < 0:
                hit = event
            elif text.startswith(b"--> TIME: ", max(0, hit - _BACK)):
                read = self._shapes.read(text, hit - _BACK)
                if read is None:
                    self._shapes.learn(text, hit - _BACK)
                    read = self._shapes.read(text, hit - _BACK)
                if read is not None:
                    block, place = read
                    self._begin_step(block)
                    continue
            end = find(b"\n", hit)
            self._line(text[text.rfind(b"\n", 0, hit) + 1 : end])
            place = end + 1
            if 0 <= event < place:
                event = find(_PREFIX, place)

    def _count_rubbish(self, text: bytes) -> None:
        """Count lines that are no text; a whole measurement in one is still read."""
        try:
            text.decode()
        except UnicodeDecodeError:
            whole = False
        else:
            whole = b"\x00" not in text
        if not whole:
            self._table.counters.lost_lines += sum(not _is_text(line) for line in text.split(b"\n"))

    def _line(self, line: bytes, *, whole: bool = True) -> None:
        if b"\x1b" in line:
            line = _ANSI.sub(b"", line)
        at = line.find(_PREFIX)
        if at >= 0:
            text = line[at + len(_PREFIX) :].decode("utf-8", "replace").strip()
            if not take_line(self._taker, text):
                self._lose(line)
        elif b"| > " in line:
            self._value(line, whole=whole)
        else:
            for pattern, hear in self._heard_lines:
                if (match := pattern.search(line)) is not None:
                    hear(match)
                    return

    def _hear_header(self, match: re.Match[bytes]) -> None:
        self._begin_step(self._shapes.header(*match.groups()))

    def _hear_epoch(self, match: re.Match[bytes]) -> None:
        self._close()
        self._epoch = int(match.group(1))
        self._pace.announced(self._epoch, int(match.group(2)))

    def _hear_epoch_end(self, match: re.Match[bytes]) -> None:
        step = None if match.group(2) is None else int(match.group(2))
        self._begin(Block(Kind.EPOCH, global_step=step))
        moment = Moment(Kind.SYSTEM, self._time, self._session, self._epoch, step)
        self._table.add(moment, ("epoch_seconds",), [float(match.group(1))])

    def _hear_training(self, match: re.Match[bytes]) -> None:
        self._close()
        self._hear_clock(read_clock(match.group(1)))

    def _hear_saved(self, match: re.Match[bytes]) -> None:
        self._close()
        what, path, number = match.groups()
        step, is_best = int(number), what == b"BEST MODEL"
        if is_best and self._pace.may_end_at(step):
            self._resolve(step)
        self._table.happened(
            EventName.CHECKPOINT,
            Moment(Kind.SYSTEM, self._time, self._session, self._epoch, step),
            {"path": path.decode("utf-8", "replace"), "global_step": step, "best": is_best},
        )

    def _hear_garbled(self, match: re.Match[bytes]) -> None:
        self._close()
        self._lost_header = True
        self._lose(match.string)

    def _value(self, line: bytes, *, whole: bool) -> None:
        taken = self._block is not None and self._block.take(line, whole=whole)
        expected = self._block is not None or self._lost_header
        if not taken and expected and LOSS_LIKE.search(line) is not None:
            self._lose(line)

    def _lose(self, line: bytes) -> None:
        if _is_text(line):  # Else it has been counted as rubbish.
            self._table.counters.lost_lines += 1

    def _begin(self, block: Block) -> None:
        self._close()
        self._block = block

    def _begin_step(self, block: Block) -> None:
        self._close()
        assert block.step is not None
        assert block.steps is not None
        assert block.global_step is not None
        began = self._pace.stepped(self._epoch, block.step, block.steps, block.global_step)
        self._resolve(began)
        self._hear_clock(block.clock)
        self._block = block
        self._has_begun = True
        if self._counts and self._session is None:
            self._session = 1

    def _begin_session(self) -> None:
        """The trainer starts: anew, or going on from a checkpoint."""
        self._close()
        self._resolve(None)
        if self._counts and self._has_begun:
            self._session = (self._session or 0) + 1
            self._zero, self._since_zero, self._time = None, 0.0, None
        self._has_begun = False
        self._pace.forget_place()

    def _hear_clock(self, clock: datetime | None) -> None:
        if clock is None:
            return
        if self._zero is None:
            self._zero, self._since_zero = clock, self._heard or 0.0
        self._time = max(0.0, (clock - self._zero).total_seconds() + self._since_zero)

    def _close(self) -> None:
        """The list that is being read has ended."""
        block, self._block = self._block, None
        self._lost_header = False
        if block is None or block.kind is None or not block.values:
            return
        if block.kind is Kind.STEP:
            moment = Moment(Kind.STEP, self._time, self._session, self._epoch, block.global_step)
            self._table.add(moment, block.names, block.values)
        else:
            moment = Moment(block.kind, self._time, self._session, self._epoch, None)
            self._waiting.append((moment, block))
            if block.global_step is not None:
                self._resolve(block.global_step)

    def _resolve(self, step: int | None) -> None:
        """Add what ends an epoch, at `step` or else where the epoch is likely to have ended."""
        if not self._waiting:
            return
        step = self._pace.likely_end() if step is None else step
        for moment, block in self._waiting:
            where = step if block.global_step is None else block.global_step
            self._table.add(moment._replace(step=where), block.names, block.values or ())
        self._waiting.clear()


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return b"\x00" not in line
