"""Text as people write it -> text as it is read aloud, in Bangla words, with what each rule changed."""

import re
import unicodedata
from collections.abc import Callable

from kernel_template.text.grammar import BANGLA, rules
from kernel_template.text.latin import looks_like_bijoy
from kernel_template.text.pieces import Edit, Latin, Losses, Spoken, apply, as_pieces, compose, place_before
from kernel_template.text.rules import FUNCTIONS
from kernel_template.text.spelling import spelling_edits

_DIGITS = str.maketrans("০১২৩৪৫৬৭৮৯", "0123456789")
_PLAIN = re.compile(f"[{BANGLA} \\n।,?!;]*")
_SHORT = re.compile(rf"(?<![{BANGLA}])(?:নং|কোং|তাং|ইং)(?![{BANGLA}])|ঃ")
_WORD = re.compile(f"[{BANGLA}]")
_NEAR = re.compile(f"[{BANGLA}A-Za-z0-9]")
_MOST_ROUNDS = 5
_TIDY = re.compile(
    r"\A[ ,;:।.—…]+|[ ,;:—]+\Z|[ ,;:—]+(?=\n)|(?<=\n)[ ,;:।.—…]+"
    r"|(?P<weak>[,;:—])(?: ?[,;:—])+|[ ,;:—]+(?=[।?!])|(?<=[।?!])(?: ?[,;:।.])+| +(?=[ ,;:.…])"
    rf"|(?<=[{BANGLA}])(?P<list>,)(?=[{BANGLA}])"
)
_BIJOY = (
    "The text looks like Bijoy (ANSI) text, whose letters are Bangla only in a Bijoy font. "
    "Convert it to Unicode first."
)


def spoken(text: str, latin: Latin = Latin.SPELL) -> Spoken:
    """Return a text as it is read aloud: Bangla words for numbers, dates, money, signs, Latin letters.

    What it returns is its own spoken form. It is not yet fitted to a voice: see `for_voice`.

    Args:
        text: any text; its lines remain lines.
        latin: what to do with Latin letters.
    """
    first = spelling_edits(text)
    between = apply(text, first) if first else text
    if _is_plain(between):
        return Spoken(text, between, as_pieces(text, first), latin=latin)
    losses = Losses()
    edits, said = list(first), between
    for _ in range(_MOST_ROUNDS):  # Words brought together can be read anew; mostly one round is enough.
        read = _rule_edits(said, latin, losses, place_before(edits))
        edits, said = compose(edits, read, said), apply(said, read)
        for more in (_tidy_edits, spelling_edits) if read else ():
            changed = more(said)
            edits, said = compose(edits, changed, said), apply(said, changed)
        if not read or _is_plain(said):
            break
    remarks = (_BIJOY,) if looks_like_bijoy(text) else ()
    return Spoken(text, said, as_pieces(text, edits), losses.all(), remarks=remarks, latin=latin)


def _is_plain(text: str) -> bool:
    """Whether no rule can apply: only Bangla letters, the signs that stay, and no short form."""
    return _PLAIN.fullmatch(text) is not None and not _SHORT.search(text)


def _rule_edits(text: str, latin: Latin, losses: Losses, place: Callable[[int], int]) -> list[Edit]:
    edits = []
    ascii_digits = text.translate(_DIGITS)  # As long as the text, so places are the same.
    end = -1
    for found in rules().finditer(ascii_digits):
        rule = found.lastgroup or ""
        if rule == "latin" and latin is not Latin.SPELL:
            result = found[0] if latin is Latin.KEEP else ""
        else:
            result = FUNCTIONS[rule](found)
        if not result:
            _note(found[0], place(found.start()), losses)
        start = found.start()
        if result and _WORD.match(result):
            before = text[start - 1 : start] if start else ""
            if start == end or _NEAR.match(before):
                result = f" {result}"
        if (
            result
            and _WORD.match(result[-1])
            and result[-1] != "ঃ"
            and _WORD.match(text[found.end() : found.end() + 1])
        ):
            result += " "
        end = found.end()
        if result != text[start:end]:
            edits.append(Edit(start, end, rule, result))
    return edits


def _note(character: str, at: int, losses: Losses) -> None:
    harmful = unicodedata.category(character[0])[0] in "LMN"
    why = (
        "is left out, as asked"
        if len(character) > 1
        else "has no sound"
        if not harmful
        else "has no Bangla name"
    )
    losses.note(character, at, why, harmful=harmful)


def _tidy_edits(text: str) -> list[Edit]:
    """Remove the spaces and commas that are too many once a rule has put words in their places."""
    edits = []
    for found in _TIDY.finditer(text):
        result = ", " if found["list"] else found["weak"] or ""
        if result != found[0]:
            edits.append(Edit(found.start(), found.end(), "tidy", result))
    return edits
