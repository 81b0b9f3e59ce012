"""What became of a text: the spoken text, what each rule changed, and what could not be said."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple


class Latin(StrEnum):
    """What becomes of Latin and Greek letters."""

    SPELL = "spell"  # Known words and acronyms are said, all others are spelt by the names of their letters.
    OMIT = "omit"  # They are left out, and named.
    KEEP = "keep"  # They stay, for a voice that was trained on them.


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the text that a rule changed.

    Attributes:
        start: where it begins in the source, in characters.
        end: where it ends; equal to `start` if something was only put in.
        rule: the rule's name; several are separated by a plus.
        source: the part as it was written.
        result: what is spoken instead.
    """

    start: int
    end: int
    rule: str
    source: str
    result: str


@dataclass(frozen=True, slots=True)
class Loss:
    """A character that is not spoken.

    Attributes:
        character: the character; a whole word if Latin words are left out.
        start: its first place in the source.
        count: how often it was left out.
        harmful: whether a listener misses something: true for letters and numbers, false for quotes,
            pictures and other signs that have no sound.
        why: the reason, as the end of a sentence about the character.
    """

    character: str
    start: int
    count: int
    harmful: bool
    why: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text as it is spoken.

    Attributes:
        source: the text as it was written.
        text: the text to speak; lines remain lines.
        pieces: what the rules changed, in the order of the source.
        lost: what is not spoken.
        doubtful: characters that the voice has an id for, but never met in its training texts.
        remarks: what the writer should know about the whole text, as sentences.
        latin: what became of Latin letters.
    """

    source: str
    text: str
    pieces: tuple[Piece, ...] = ()
    lost: tuple[Loss, ...] = ()
    doubtful: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    latin: Latin = Latin.SPELL

    @property
    def harmful(self) -> tuple[Loss, ...]:
        """The losses that a listener would miss."""
        return tuple(loss for loss in self.lost if loss.harmful)


class Edit(NamedTuple):
    """The replacement of text[start:end] by `result`: a tuple, since millions are made."""

    start: int
    end: int
    rule: str
    result: str


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Replace parts of a text; the edits are in order and do not overlap."""
    parts: list[str] = []
    at = 0
    for start, end, _, result in edits:
        parts += (text[at:start], result)
        at = end
    parts.append(text[at:])
    return "".join(parts)


def compose(first: Sequence[Edit], second: Sequence[Edit], between: str) -> list[Edit]:
    """Join two rounds of edits into one on the text before the first.

    Args:
        first: edits of the source; they made `between`.
        second: edits of `between`.
        between: the text between the two rounds.
    """
    if not first or not second:
        return list(first or second)
    # Each edit as a stretch of `between`: start, end, is of the second round, the edit.
    stretches: list[tuple[int, int, bool, Edit]] = []
    shift = 0
    for edit in first:
        start = edit.start + shift
        stretches.append((start, start + len(edit.result), False, edit))
        shift += len(edit.result) - (edit.end - edit.start)
    stretches += [(edit.start, edit.end, True, edit) for edit in second]
    stretches.sort(key=lambda item: item[:3])
    joined: list[Edit] = []
    group: list[tuple[int, int, bool, Edit]] = []
    shift, end = 0, -1  # What to add to a place in `between` to get the one in the source.

    def close() -> None:
        nonlocal shift
        start = group[0][0]
        grown = sum((e.end - e.start) - len(e.result) for _, _, later, e in group if not later)
        changes = [Edit(a - start, b - start, e.rule, e.result) for a, b, later, e in group if later]
        result = apply(between[start:end], changes)
        rules = dict.fromkeys(e.rule for _, _, _, e in group)
        joined.append(Edit(start + shift, end + shift + grown, "+".join(rules), result))
        shift += grown

    for item in stretches:
        if group and item[0] >= end and not item[0] == item[1] == end:
            close()
            group = []
        end = max(end, item[1]) if group else item[1]
        group.append(item)
    if group:
        close()
    return joined


def as_pieces(source: str, edits: Iterable[Edit]) -> tuple[Piece, ...]:
    """Describe edits of the source; those that change nothing are left out."""
    return tuple(
        Piece(start, end, rule, written, result)
        for start, end, rule, result in edits
        if (written := source[start:end]) != result
    )


class Unspoken:
    """Collects what is not spoken, each character once."""

    def __init__(self) -> None:
        self._found: dict[str, Loss] = {}

    def note(self, character: str, at: int, why: str, *, harmful: bool) -> None:
        """Add one occurrence."""
        known = self._found.setdefault(character, Loss(character, at, 0, harmful, why))
        self._found[character] = replace(known, count=known.count + 1)

    def all(self) -> tuple[Loss, ...]:
        """Return them in the order of the source."""
        return tuple(sorted(self._found.values(), key=attrgetter("start")))


def merged(*kinds: Sequence[Loss]) -> tuple[Loss, ...]:
    """Join losses in the order of the source."""
    return tuple(sorted((loss for losses in kinds for loss in losses), key=attrgetter("start")))


def joined(parts: Sequence[Spoken]) -> Spoken:
    """Join what was read part by part. Places in it are those within each part."""
    losses: dict[str, Loss] = {}
    counts = Counter[str]()
    for part in parts:
        for loss in part.lost:
            losses.setdefault(loss.character, loss)
            counts[loss.character] += loss.count
    return Spoken(
        source=" ".join(part.source for part in parts),
        text=" ".join(part.text for part in parts),
        pieces=tuple(piece for part in parts for piece in part.pieces),
        lost=tuple(replace(loss, count=counts[character]) for character, loss in losses.items()),
        doubtful=tuple(sorted({character for part in parts for character in part.doubtful})),
        remarks=tuple(dict.fromkeys(remark for part in parts for remark in part.remarks)),
    )


def place_before(edits: Sequence[Edit]) -> Callable[[int], int]:
    """Return a function from a place after the edits to the one before them."""
    starts, ends = [], []  # Of the results, in the text after the edits.
    shift = 0
    for edit in edits:
        starts.append(edit.start + shift)
        ends.append(starts[-1] + len(edit.result))
        shift += len(edit.result) - (edit.end - edit.start)

    def place(at: int) -> int:
        last = bisect_right(starts, at) - 1
        if last < 0:
            return at
        edit = edits[last]
        return edit.start if at < ends[last] else edit.end + at - ends[last]

    return place
