"""Read what Coqui's trainer prints, whatever else stands between its lines.

This covers trainer 0.0.36 (with TTS 0.22) and 0.4.0 (with coqui-tts 0.28): `trainer_0_log.txt` with its
colours, logs that people saved from notebooks without colours and indentation, and sessions' logs, whose
`@kgtts` events are preferred to the lines that they were made from. Warnings, progress bars, sentences in any
script and binary data may stand anywhere between the lines.

trainer 0.4.0 prints totals that are one too small (`STEP: 0/629` of 630 steps); the beginning of the next
epoch shows how long an epoch really is.
"""

import re
from collections.abc import Callable
from datetime import datetime

from kernel_template.contract import EVENT_PREFIX, EventName
from orchestrator.metrics.events import EventSink, LineSplitter, add_line
from orchestrator.metrics.join import fill_gaps
from orchestrator.metrics.table import Kind, MetricsTable, Moment
from orchestrator.metrics.value_lists import HEADER, LOSS_LIKE, ListPatterns, ValueList, read_clock

_PREFIX = EVENT_PREFIX.encode()
_MARK = b"> "  # In every line of the trainer that matters, and in few others.
_BEFORE_MARK = len(b"--")
_ESCAPE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
# In saved logs the escape character of a colour is often missing, or stands there in other characters.
_COLOUR = re.compile(rb"\[\d{1,3}(?:;\d{1,3})*m")
_MARKED_COLOUR = re.compile(
    rb"(?:\^\[|\\x1b|\\u001b|\\033|\\e|\xe2\x90\x9b|\xe2\x86\x90|\xef\xbf\xbd)?" + _COLOUR.pattern,
    re.IGNORECASE,
)
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
_OTHER = re.compile(rb"^\s*> [A-Z]")  # Any other headline of the trainer ends a list.
_GARBLED = re.compile(rb"--> TIME:|> EPOCH:|--> EVAL P|--> TRAIN P")

_Handler = Callable[[re.Match[bytes]], None]


class EpochLength:
    """Finds out how many steps an epoch has, from the counts that a trainer prints.

    trainer 0.0.36 prints the number of steps of an epoch, 0.4.0 one less, and neither prints where an epoch
    ends. Both count an epoch's steps from 0, so a step's global count less its own is where its epoch began.
    A short epoch can pass without a printed step.
    """

    def __init__(self) -> None:
        self._began: int | None = None  # The global step at which the last epoch with a printed step began.
        self._epoch: int | None = None  # That epoch.
        self._now: int | None = None  # The epoch of the newest header.
        self._printed = 0  # The epoch's number of steps, as printed.
        self._done = 0  # The highest global step that was printed.
        self._one_less = False

    @property
    def length(self) -> int:
        """The number of steps of an epoch, as far as the log shows by now."""
        return self._printed + self._one_less

    def read_epoch(self, epoch: int, epochs: int) -> None:
        """Take an epoch's header. If its number equals the total, this trainer's totals are one too low."""
        self._now = epoch
        if epoch == epochs:
            self._one_less = True

    def read_step(self, epoch: int | None, step: int, steps: int, global_step: int) -> int | None:
        """Take a step's header; if it begins an epoch, returns the step at which the previous one ended."""
        began = ended = global_step - step
        if began == self._began and epoch == self._epoch:
            self._printed, self._done = steps, global_step
            return None
        if self._began is not None:
            passed, gap = max(1, self._epochs_since()), began - self._began
            ended = max(self._done, self._began + passed * self.length)
            if gap == passed * (self._printed + 1) and epoch != self._epoch:
                self._one_less = True
            if 0 <= gap - passed * self._printed <= passed and began >= self._done:
                ended = began
        self._began, self._epoch, self._printed, self._done = began, epoch, steps, global_step
        return ended

    def may_end_at(self, step: int) -> bool:
        """Whether the current epoch can have ended at this global step."""
        if self._began is None or step < self._done:
            return False
        epochs = 1 + self._epochs_since()
        return 0 <= step - self._began - epochs * self._printed <= epochs

    def likely_end(self) -> int | None:
        """The global step at which the current epoch ends, as far as the log shows by now."""
        if self._began is None:
            return None
        return max(self._done, self._began + (1 + self._epochs_since()) * self.length)

    def restart(self) -> None:
        """Forget the current epoch: the trainer starts again, and the next epoch need not follow it."""
        self._began = self._epoch = self._now = None

    def _epochs_since(self) -> int:
        """How many epochs have begun since the last printed step."""
        if self._epoch is None or self._now is None:
            return 0
        return max(0, self._now - self._epoch)


class TrainerLogReader:
    """Reads a log line by line.

    Args:
        session: the session of the whole log. Without it, sessions are counted from 1; each begins where the
            trainer prints its environment.
    """

    def __init__(self, *, session: int | None = None) -> None:
        self._table = MetricsTable()
        self._events = MetricsTable()
        self._sink = EventSink(self._events, session=session)
        self._splitter = LineSplitter(self._table.counters)
        self._patterns = ListPatterns()
        self._list: ValueList | None = None
        self._ends_in_return = False
        self._session = session
        self._counts_sessions = session is None
        self._has_begun = False  # Whether this session has a measurement.
        self._epoch: int | None = None
        self._epoch_length = EpochLength()
        self._unplaced: list[tuple[Moment, ValueList]] = []
        # Session, step and epoch of the newest evaluation.
        self._evaluated: tuple[int | None, int | None, int | None] = (None, None, None)
        self._outer_time: float | None = None  # The time that the log gives to its lines.
        self._zero: datetime | None = None
        self._since_zero = 0.0
        self._time: float | None = None
        self._handlers: tuple[tuple[re.Pattern[bytes], _Handler], ...] = (
            (HEADER, self._on_header),
            (_EPOCH, self._on_epoch),
            (_EPOCH_END, self._on_epoch_end),
            (_EVAL, lambda _: self._begin(ValueList(Kind.EVAL))),
            (_EVAL_STEP, lambda _: self._begin(ValueList(None))),
            (_SAVED, self._on_saved),
            (_START, lambda _: self._begin_session()),
            (_TRAINING, self._on_training),
            (_GARBLED, self._on_garbled),
            (_OTHER, lambda _: self._close()),
        )

    @property
    def is_dated(self) -> bool:
        """Whether a date was read, so that times are taken from the trainer's own dates."""
        return self._zero is not None

    def feed(self, data: bytes, time: float | None = None) -> None:
        """Read the next bytes.

        Args:
            data: a piece of the log, which may end anywhere.
            time: when it was printed, in seconds since the session began, if that is known.
        """
        if time is not None:
            self._outer_time = time
        if self._ends_in_return or b"\r" in data:
            # A progress bar ends its lines so. At the end of a piece it may be the first half of a line end.
            data = (b"\r" if self._ends_in_return else b"") + data
            self._ends_in_return = data.endswith(b"\r")
            data = data.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._take(self._splitter.split(data))

    def finish(self) -> MetricsTable:
        """Return what was read."""
        rest = self._splitter.remainder()
        self._count_binary(rest)
        self._line(rest, complete=False)
        self._close()
        self._resolve(None, self._epoch)
        if self._events.moment_count:
            if (
                self._counts_sessions
            ):  # The events are of one session, even if the trainer started more than once.
                self._table.renumber(lambda _: None)
            counters = self._table.counters
            self._table = fill_gaps(self._events, self._table)
            self._table.counters = counters
        else:
            self._table.events += self._events.events
        return self._table

    def _take(self, text: bytes) -> None:
        self._count_binary(text)
        find, place = text.find, 0
        event = find(_PREFIX)
        while (hit := find(_MARK, place)) >= 0 or event >= 0:
            if 0 <= event < hit or hit < 0:
                hit = event
            elif text.startswith(b"--> TIME: ", max(0, hit - _BEFORE_MARK)):
                read = self._patterns.read(text, hit - _BEFORE_MARK)
                if read is None:
                    self._patterns.learn(text, hit - _BEFORE_MARK)
                    read = self._patterns.read(text, hit - _BEFORE_MARK)
                if read is not None:
                    found, place = read
                    self._begin_step(found)
                    continue
            end = find(b"\n", hit)
            self._line(text[text.rfind(b"\n", 0, hit) + 1 : end])
            place = end + 1
            if 0 <= event < place:
                event = find(_PREFIX, place)

    def _count_binary(self, text: bytes) -> None:
        """Count lines that are not text as lost; a complete measurement in one is still read."""
        try:
            text.decode()
        except UnicodeDecodeError:
            is_text = False
        else:
            is_text = b"\x00" not in text
        if not is_text:
            for line in text.split(b"\n"):
                if not _is_text(line):
                    self._table.counters.lose(line)

    def _line(self, line: bytes, *, complete: bool = True) -> None:
        if b"\x1b" in line:
            line = _ESCAPE.sub(b"", line)
        if b"[" in line and _COLOUR.search(line) is not None:
            line = _MARKED_COLOUR.sub(b"", line)
        at = line.find(_PREFIX)
        if at >= 0:
            text = line[at + len(_PREFIX) :].decode("utf-8", "replace").strip()
            if not add_line(self._sink, text):
                self._lose(line)
        elif b"| > " in line:
            self._value(line, complete=complete)
        else:
            for pattern, handle in self._handlers:
                if (match := pattern.search(line)) is not None:
                    handle(match)
                    return

    def _on_header(self, match: re.Match[bytes]) -> None:
        self._begin_step(self._patterns.header(*match.groups()))

    def _on_epoch(self, match: re.Match[bytes]) -> None:
        self._close()
        self._epoch = int(match.group(1))
        self._epoch_length.read_epoch(self._epoch, int(match.group(2)))

    def _on_epoch_end(self, match: re.Match[bytes]) -> None:
        step = None if match.group(2) is None else int(match.group(2))
        self._begin(ValueList(Kind.EPOCH, global_step=step))
        moment = Moment(Kind.SYSTEM, self._time, self._session, self._epoch, step)
        self._table.add(moment, ("epoch_seconds",), [float(match.group(1))])

    def _on_training(self, match: re.Match[bytes]) -> None:
        self._close()
        self._on_clock(read_clock(match.group(1)))

    def _on_saved(self, match: re.Match[bytes]) -> None:
        self._close()
        what, path, number = match.groups()
        step, is_best = int(number), what == b"BEST MODEL"
        if is_best and self._epoch_length.may_end_at(step):
            self._resolve(step, self._epoch)
        self._table.add_event(
            EventName.CHECKPOINT,
            Moment(Kind.SYSTEM, self._time, self._session, self._epoch, step),
            {"path": path.decode("utf-8", "replace"), "global_step": step, "best": is_best},
        )

    def _on_garbled(self, match: re.Match[bytes]) -> None:
        self._close()
        self._lose(match.string)

    def _value(self, line: bytes, *, complete: bool) -> None:
        added = self._list is not None and self._list.add_line(line, complete=complete)
        if not added and LOSS_LIKE.search(line) is not None:
            self._lose(line)

    def _lose(self, line: bytes) -> None:
        if _is_text(line):  # Other lines are counted already.
            self._table.counters.lose(line)

    def _begin(self, found: ValueList) -> None:
        self._close()
        self._list = found

    def _begin_step(self, found: ValueList) -> None:
        self._close()
        assert found.step is not None
        assert found.steps is not None
        assert found.global_step is not None
        ended = self._epoch_length.read_step(self._epoch, found.step, found.steps, found.global_step)
        if self._unplaced:
            self._resolve(ended, None if self._epoch is None else self._epoch - 1)
        self._on_clock(found.clock)
        self._list = found
        self._has_begun = True
        if self._counts_sessions and self._session is None:
            self._session = 1

    def _begin_session(self) -> None:
        """Note that the trainer starts, from a checkpoint or from the beginning."""
        self._close()
        self._resolve(None, self._epoch)
        if self._counts_sessions and self._has_begun:
            self._session = (self._session or 0) + 1
            self._zero, self._since_zero, self._time = None, 0.0, None
        self._has_begun = False
        self._epoch_length.restart()

    def _on_clock(self, clock: datetime | None) -> None:
        if clock is None:
            return
        if self._zero is None:
            self._zero, self._since_zero = clock, self._outer_time or 0.0
        self._time = max(0.0, (clock - self._zero).total_seconds() + self._since_zero)

    def _close(self) -> None:
        """End the list that is being read, and add it to the table."""
        found, self._list = self._list, None
        if found is None or found.kind is None or not found.values:
            return
        if found.kind is Kind.STEP:
            moment = Moment(Kind.STEP, self._time, self._session, self._epoch, found.global_step)
            self._table.add(moment, found.names, found.values)
        else:
            moment = Moment(found.kind, self._time, self._session, self._epoch, None)
            self._unplaced.append((moment, found))
            if found.global_step is not None:
                self._resolve(found.global_step, self._epoch)

    def _resolve(self, step: int | None, epoch: int | None) -> None:
        """Add the values of epochs' ends.

        Args:
            step: the step at which `epoch` has ended; None: where it has probably ended.
            epoch: the newest epoch that has ended.
        """
        if not self._unplaced:
            return
        step = self._epoch_length.likely_end() if step is None else step
        for moment, found in self._unplaced:
            where = step if found.global_step is None else found.global_step
            if found.global_step is None and None not in (where, epoch, moment.epoch):
                assert where is not None
                assert epoch is not None
                assert moment.epoch is not None
                where = max(0, where - max(0, epoch - moment.epoch) * self._epoch_length.length)
            if moment.kind is Kind.EVAL:
                place = (moment.session, where)
                # Two epochs cannot end at the same step: the second one's is not known.
                if place == self._evaluated[:2] and moment.epoch != self._evaluated[2]:
                    where = None
                else:
                    self._evaluated = (*place, moment.epoch)
            self._table.add(moment._replace(step=where), found.names, found.values or ())
        self._unplaced.clear()


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return b"\x00" not in line
