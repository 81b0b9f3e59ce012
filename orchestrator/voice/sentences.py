"""A long text as pieces that a voice can say in one breath: VITS was trained on single sentences."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

# As long as most of what such voices are trained on; longer pieces are spoken worse, and cost more memory.
LONGEST = 240
SENTENCE_PAUSE_S = 0.3
CUT_PAUSE_S = 0.1
# A full stop ends none: in Bangla it stands behind abbreviations (ড., মি.), and the danda ends a sentence.
_SENTENCE = re.compile(r"[^।॥?!\r\n]*(?:[।॥?!]+[”’\"')\]»]*)?")
_CLAUSE = re.compile(r"(?:[,;:.—–][”’\"')\]»]*(?=\s)|[—–])")
_JOINERS = "\u200c\u200d"
_HASANTA = "\u09cd"  # Joins the next letter to the one before it.


@dataclass(frozen=True, slots=True)
class Piece:
    """What is said at once.

    Attributes:
        text: without white space at its ends.
        pause_s: the seconds of silence after it, at ordinary speed; none after the last.
    """

    text: str
    pause_s: float


def split_text(text: str, longest: int = LONGEST) -> list[Piece]:
    """Split at । ॥ ? ! and line ends; what is then longer than `longest` characters at a comma, else a space.

    Nothing but white space is lost. A word that is longer by itself is cut between its letters.
    """
    pieces = []
    for sentence in _SENTENCE.findall(text):
        parts = list(_cut(sentence.strip(), longest))
        pieces += [Piece(part, CUT_PAUSE_S) for part in parts[:-1]]
        pieces += [Piece(part, SENTENCE_PAUSE_S) for part in parts[-1:]]
    return [*pieces[:-1], *(Piece(last.text, 0.0) for last in pieces[-1:])]


def _cut(sentence: str, longest: int) -> Iterator[str]:
    while len(sentence) > longest:
        at = _place(sentence, longest)
        yield sentence[:at].rstrip()
        sentence = sentence[at:].lstrip()
    if sentence:
        yield sentence


def _place(sentence: str, longest: int) -> int:
    """Where to cut: behind the last comma and its like in the second half, else at a space, else anywhere."""
    clauses = [found.end() for found in _CLAUSE.finditer(sentence, 0, longest + 1)]
    late = [at for at in clauses if longest // 2 < at <= longest]
    if late:
        return late[-1]
    for at in range(longest, 0, -1):
        if sentence[at].isspace():
            return at
    at = longest
    while at > 0 and _joined(sentence, at):
        at -= 1
    return at or longest


def _joined(text: str, at: int) -> bool:
    """Whether a cut at `at` would part a letter from its signs."""
    after, before = text[at], text[at - 1]
    signs = unicodedata.category(after).startswith("M") or after in _JOINERS
    return signs or before in _JOINERS or before == _HASANTA
