"""The lists of values in a trainer's log: one line at a time, or a whole list at once where it is as usual.

    --> TIME: 2026-11-22 15:23:00 -- STEP: 24/629 -- GLOBAL_STEP: 24
     | > loss_mel: 138.51658630371094  (140.3)
     | > grad_norm_0: tensor(28.9038, device='cuda:0')  (tensor(21.8210, device='cuda:0'))

A training repeats the same names for days, so after the first list of a shape one expression reads the next
at once, header included; what it does not fit is read line by line, with the same result.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from orchestrator.metrics.table import Kind

_INTEGER = rb"([0-9]{1,15})(?![0-9])"
_COLOUR = rb"(?:\x1b\[[\d;]*m)?"
# Anywhere in a line: a progress bar may stand before it. Nothing but colours may follow what is torn off.
HEADER = re.compile(
    rb"--> TIME: ([-0-9]{10} [:0-9]{8}) -- STEP: "
    + _INTEGER
    + rb"/"
    + _INTEGER
    + rb" -- GLOBAL_STEP: "
    + _INTEGER
)
# A number, NaN or infinity; what it is worth is for float() to say. Classes such as \s within brackets would
# make this twice as slow.
_NUMBER = rb"[-+.0-9ni][^ \t\n(),]*"
_VALUE = rb"(?:tensor\()?(" + _NUMBER + rb")(?:,[^()\n]*)?\)?"
# `| > name: value  (mean)`; in an evaluation the parentheses hold the change since the last one.
LOSS = re.compile(rb"\| > ([A-Za-z0-9_./-]{1,200}): *" + _VALUE + rb"(?:\s*\(\s*" + _VALUE + rb"\s*\)|\s*$)")
# What begins like one: if it is none, it has been garbled.
LOSS_LIKE = re.compile(rb"\| > (?:avg_|loss|grad_norm|current_lr|step_time|loader_time|amp_scaler)")
_MOST_SHAPES = 32  # Each costs a millisecond to learn; a training has one or two.
_FIRST_VALUE = 4  # The header's groups come before.


@dataclass(slots=True)
class Block:
    """A list that is being read.

    Attributes:
        kind: what it measures; None for lists that are passed over, such as those within an evaluation.
        clock: the date and time in its header.
        step, steps, global_step: the counts in its header, as printed.
        paired: whether its lines hold two numbers; a line that does not is a torn one then.
    """

    kind: Kind | None
    clock: datetime | None = None
    step: int | None = None
    steps: int | None = None
    global_step: int | None = None
    names: tuple[str, ...] = ()
    values: list[float] | None = None
    paired: bool = False

    def take(self, line: bytes, *, whole: bool = True) -> bool:
        """Add the value in a line; tells whether there was one that is whole and new.

        Args:
            line: the line, without colours.
            whole: whether the line has an end; without one, what is missing may be half a number.
        """
        match = LOSS.search(line)
        if match is None:
            return False
        name, value, second = match.groups()
        if second is None and (self.paired or not whole):
            return False
        mean = second if self.kind is Kind.STEP and second is not None else value
        try:
            text, number = name.decode(), float(mean)
        except ValueError:
            return False
        if text in self.names:
            return False  # Of a list whose header was lost.
        self.names = (*self.names, text)
        self.values = [*(self.values or ()), number]
        self.paired = second is not None
        return True


@dataclass(frozen=True, slots=True)
class _Shape:
    names: tuple[str, ...]
    pattern: re.Pattern[bytes]


class Shapes:
    """The lists seen so far, as expressions that read the next one at once."""

    def __init__(self) -> None:
        self._shapes: list[_Shape] = []
        self._clock_text = b""
        self._clock: datetime | None = None

    def read(self, text: bytes, at: int) -> tuple[Block, int] | None:
        """The list whose header is at `at`, and where it ends; None where it has no known shape."""
        for shape in self._shapes:
            match = shape.pattern.match(text, at)
            if match is None:
                continue
            groups = match.groups()
            try:
                values = [*map(float, groups[_FIRST_VALUE:])]
            except ValueError:
                return None
            block = self.header(*groups[:_FIRST_VALUE])
            block.names, block.values, block.paired = shape.names, values, True
            return block, match.end()
        return None

    def header(self, clock: bytes, step: bytes, steps: bytes, global_step: bytes) -> Block:
        """A list of a training step by the parts of its header."""
        if clock != self._clock_text:
            self._clock_text, self._clock = clock, read_clock(clock)
        return Block(Kind.STEP, self._clock, int(step), int(steps), int(global_step))

    def learn(self, text: bytes, at: int) -> None:
        """Take the list whose header is at `at` as an example, as far as nothing comes between its lines."""
        match = HEADER.match(text, at)
        if match is None or len(self._shapes) == _MOST_SHAPES:
            return
        names, pattern = [], [HEADER.pattern, _COLOUR, rb"[ \t]*\n"]
        place = text.find(b"\n", match.end()) + 1
        while place and (end := text.find(b"\n", place)) >= 0:
            line = text[place:end]
            found = LOSS.search(line)
            if found is None or found.group(3) is None or line.strip() != found.group():
                break
            names.append(found.group(1).decode())
            pattern.append(_line_pattern(line, found))
            place = end + 1
        if names and len({*names}) == len(names):
            self._shapes.append(_Shape(tuple(names), re.compile(b"".join(pattern))))
            # The longest first: the beginning of a list would fit a shorter one.
            self._shapes.sort(key=lambda shape: len(shape.names), reverse=True)


def _line_pattern(line: bytes, match: re.Match[bytes]) -> bytes:
    """The line with other numbers in it: all else must be the same, to the last space."""
    (value, value_end), (mean, mean_end) = match.span(2), match.span(3)
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
    """`2026-11-22 15:23:00` as a time; None where it is none."""
    try:
        return datetime.fromisoformat(text.decode())
    except ValueError:
        return None
