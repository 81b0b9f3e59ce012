"""The lists of values in a trainer's log, read line by line or, if they look as usual, a whole list at once.

    --> TIME: 2026-11-22 15:23:00 -- STEP: 24/629 -- GLOBAL_STEP: 24
     | > loss_mel: 138.51658630371094  (140.3)
     | > grad_norm_0: tensor(28.9038, device='cuda:0')  (tensor(21.8210, device='cuda:0'))

A training prints the same names for days. So the first list of its kind becomes a regular expression that
matches the next ones as a whole, header included. A list that it does not match is read line by line, with
the same result.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from orchestrator.metrics.table import Kind

_INTEGER = rb"([0-9]{1,15})(?![0-9])"
# Anywhere in a line, since a progress bar may come first. The trainers of 2021 printed no time.
_CLOCK = rb"TIME: ([-0-9]{10} [:0-9]{8}) -- "
_STEPS = rb"STEP: " + _INTEGER + rb"/" + _INTEGER + rb" -- GLOBAL_STEP: " + _INTEGER
HEADER = re.compile(rb"--> (?:" + _CLOCK + rb")?" + _STEPS)
_DATED_HEADER = re.compile(rb"--> " + _CLOCK + _STEPS)
# A number, NaN or infinity; float() decides. A class such as \s within the brackets would halve the speed.
_NUMBER = rb"[-+.0-9ni][^ \t\n(),]*"
_VALUE = rb"(?:tensor\()?(" + _NUMBER + rb")(?:,[^()\n]*)?\)?"
# `| > name: value  (mean)`; in an evaluation the parentheses hold the change since the previous one.
LOSS = re.compile(rb"\| > ([A-Za-z0-9_./-]{1,200}): *" + _VALUE + rb"(?:\s*\(\s*" + _VALUE + rb"\s*\)|\s*$)")
# The beginning of such a line; if the rest does not match, the line is garbled.
LOSS_LIKE = re.compile(rb"\| > (?:avg_|loss|grad_norm|current_lr|step_time|loader_time|amp_scaler)")
# trainer 0.0.36 takes no means of the learning rates, and prints one number for each.
_ONE_NUMBER = b"current_lr"
_MOST_PATTERNS = 32  # Each takes a millisecond to compile; a training has one or two.
_FIRST_VALUE = 4  # The groups before it are the header's.


@dataclass(slots=True)
class ValueList:
    """A list that is being read.

    Attributes:
        kind: what it measures; None for lists that are skipped, such as those within an evaluation.
        clock: the date and time in its header.
        step, steps, global_step: the counts in its header, as printed.
        paired: whether its lines have two numbers; then a line with one is torn, unless it has a learning
            rate.
    """

    kind: Kind | None
    clock: datetime | None = None
    step: int | None = None
    steps: int | None = None
    global_step: int | None = None
    names: tuple[str, ...] = ()
    values: list[float] | None = None
    paired: bool = False

    def add_line(self, line: bytes, *, complete: bool = True) -> bool:
        """Add the value in a line.

        Args:
            line: the line, without colours.
            complete: whether the line has its line end; without it, half a number may be missing.

        Returns:
            Whether the line had a new, complete value.
        """
        match = LOSS.search(line)
        if match is None:
            return False
        name, value, second = match.groups()
        if second is None and not complete:
            return False
        if second is None and self.paired and not name.startswith(_ONE_NUMBER):
            return False
        mean = second if self.kind is Kind.STEP and second is not None else value
        try:
            text, number = name.decode(), float(mean)
        except ValueError:
            return False
        if text in self.names:
            return False  # It belongs to a list whose header was lost.
        self.names = (*self.names, text)
        self.values = [*(self.values or ()), number]
        self.paired = self.paired or second is not None
        return True


@dataclass(frozen=True, slots=True)
class _ListPattern:
    names: tuple[str, ...]
    pattern: re.Pattern[bytes]


class ListPatterns:
    """Regular expressions for the lists seen so far, which read the next list as a whole."""

    def __init__(self) -> None:
        self._patterns: list[_ListPattern] = []
        self._clock_text = b""
        self._clock: datetime | None = None

    def read(self, text: bytes, at: int) -> tuple[ValueList, int] | None:
        """The list whose header is at `at`, and where it ends; None if it matches no known pattern."""
        for known in self._patterns:
            match = known.pattern.match(text, at)
            if match is None:
                continue
            groups = match.groups()
            try:
                values = [*map(float, groups[_FIRST_VALUE:])]
            except ValueError:
                return None
            found = self.header(*groups[:_FIRST_VALUE])
            found.names, found.values, found.paired = known.names, values, True
            return found, match.end()
        return None

    def header(self, clock: bytes | None, step: bytes, steps: bytes, global_step: bytes) -> ValueList:
        """An empty list of a training step, from the parts of its header."""
        if clock is None:
            return ValueList(Kind.STEP, None, int(step), int(steps), int(global_step))
        if clock != self._clock_text:
            self._clock_text, self._clock = clock, read_clock(clock)
        return ValueList(Kind.STEP, self._clock, int(step), int(steps), int(global_step))

    def learn(self, text: bytes, at: int) -> None:
        """Make a pattern of the list whose header is at `at`, up to the first line that is not a value."""
        match = _DATED_HEADER.match(text, at)
        if match is None or len(self._patterns) == _MOST_PATTERNS:
            return
        place = text.find(b"\n", match.end()) + 1
        names, pattern = [], [_DATED_HEADER.pattern, re.escape(text[match.end() : place])]
        while place and (end := text.find(b"\n", place)) >= 0:
            line = text[place:end]
            found = LOSS.search(line)
            if found is None or line.strip() != found.group().strip():
                break
            if found.group(3) is None and not found.group(1).startswith(_ONE_NUMBER):
                break
            names.append(found.group(1).decode())
            pattern.append(_line_pattern(line, found))
            place = end + 1
        if names and len({*names}) == len(names):
            self._patterns.append(_ListPattern(tuple(names), re.compile(b"".join(pattern))))
            # The longest first: a shorter pattern would match the beginning of a longer list.
            self._patterns.sort(key=lambda known: len(known.names), reverse=True)


def _line_pattern(line: bytes, match: re.Match[bytes]) -> bytes:
    """A pattern for this line with other numbers; all else must be equal, to the last space."""
    (value, value_end), (mean, mean_end) = match.span(2), match.span(3)
    if match.group(3) is None:
        return re.escape(line[:value]) + b"(" + _NUMBER + b")" + re.escape(line[value_end:]) + b"\n"
    return b"".join(
        (
            re.escape(line[:value]),
            _NUMBER,
            re.escape(line[value_end:mean]),
            b"(" + _NUMBER + b")",
            re.escape(line[mean_end:]),
            b"\n",
        )
    )


def read_clock(text: bytes) -> datetime | None:
    """Parse `2026-11-22 15:23:00`; None if it is not a time."""
    try:
        return datetime.fromisoformat(text.decode())
    except ValueError:
        return None
