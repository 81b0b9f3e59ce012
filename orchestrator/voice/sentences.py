"""Split a text into pieces for synthesis: VITS is trained on single sentences."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

# Most training sentences are shorter; a longer piece sounds worse and needs more memory.
LONGEST = 240
SENTENCE_PAUSE_S = 0.3
CUT_PAUSE_S = 0.1
# A full stop does not end a sentence: Bangla has the danda for that, and stops in abbreviations (ড., মি.).
_SENTENCE = re.compile(r"[^।॥?!\r\n]*(?:[।॥?!]+[”’\"')\]»]*)?")
_CLAUSE = re.compile(r"(?:[,;:.—–][”’\"')\]»]*(?=\s)|[—–])")
_JOINERS = "\u200c\u200d"
_HASANTA = "\u09cd"  # Joins the next letter to the one before it.


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text that is synthesised at once.

    Attributes:
        text: the part, without white space at its ends.
        pause_s: the silence after it at normal speed, in seconds; 0 after the last one.
    """

    text: str
    pause_s: float


def split_text(text: str, longest: int = LONGEST) -> list[Piece]:
    """Split a text at । ॥ ? ! and line ends; a longer sentence at a comma, or else at a space.

    Only white space is lost. A word longer than `longest` characters is cut between letters.
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
    """Where to cut: after the last comma or dash in the second half, at a space, or between letters."""
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
    """Whether a cut at `at` would separate a letter from its vowel sign or conjunct."""
    after, before = text[at], text[at - 1]
    signs = unicodedata.category(after).startswith("M") or after in _JOINERS
    return signs or before in _JOINERS or before == _HASANTA
