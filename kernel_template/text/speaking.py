"""Text as people write it -> text as it is read aloud, in Bangla words, with what each rule changed."""

import re
import string
import unicodedata

from kernel_template.text.encodings import is_mangled
from kernel_template.text.grammar import BANGLA, find_rules
from kernel_template.text.latin import looks_like_bijoy
from kernel_template.text.pieces import Edit, Latin, Spoken, Unspoken, apply, as_pieces, compose, place_before
from kernel_template.text.rules import FUNCTIONS
from kernel_template.text.spelling import spelling_edits

_DIGITS = tuple(zip("০১২৩৪৫৬৭৮৯", "0123456789", strict=True))
_PLAIN = re.compile(f"[{BANGLA} \\n।,?!;]*")
_SHORT = re.compile(  # ঃ, and নং, কোং, তাং, ইং as whole words.
    rf"[ঃং](?:(?<=ঃ)|(?![{BANGLA}])(?:(?<=[নই]ং)(?<![{BANGLA}][নই]ং)|(?<=কোং)(?<![{BANGLA}]কোং)"
    rf"|(?<=তাং)(?<![{BANGLA}]তাং)))"
)
# Sets are asked in a third of the time that a pattern takes.
_WORD = frozenset(letter for letter in map(chr, range(0x980, 0x2010)) if re.match(f"[{BANGLA}]", letter))
_NEAR = _WORD | set(string.ascii_letters + string.digits)
_ENDS = _WORD - {"ঃ"}
_MOST_ROUNDS = 5
_TIDY = re.compile(
    r"\A[ ,;:।.—…]+|[ ,;:—]+\Z|[ ,;:—]+(?=\n)|(?<=\n)[ ,;:।.—…]+"
    r"|(?P<weak>[,;:—])(?: ?[,;:—])+|[ ,;:—]+(?=[।?!])|(?<=[।?!])(?: ?[,;:।.])+| +(?=[ ,;:.…])"
    rf"|(?<=[{BANGLA}])(?P<list>,)(?=[{BANGLA}])"
)
# What _TIDY finds has one of these; most texts have none. It begins with a class, by which `re` goes faster.
_UNTIDY = re.compile(
    r"[ ,;:—।?!\n](?:(?<=[ ,;:—])(?:[।?!\n]| ?[,;:—]|\Z)|(?<= )[ .…]|(?<=[।?!]) ?[,;:।.]|(?<=\n)[ ,;:।.—…]"
    rf"|(?<=[{BANGLA}],)(?=[{BANGLA}]))"
)
_BIJOY = (
    "The text looks like Bijoy (ANSI) text, whose letters are Bangla only in a Bijoy font. "
    "Convert it to Unicode first."
)
_MANGLED = (
    "The text's letters are mangled: a program took its UTF-8 for another encoding, and some bytes are lost. "
    "Save it again from where it is still right."
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
    losses = Unspoken()
    edits, said = list(first), between
    for _ in range(_MOST_ROUNDS):  # Words brought together can be read anew; mostly one round is enough.
        read = _rule_edits(said, latin, losses, edits)
        if not read:
            break
        edits, said = compose(edits, read, said), apply(said, read)
        for more in (_tidy_edits, spelling_edits):
            if changed := more(said):
                edits, said = compose(edits, changed, said), apply(said, changed)
        if _is_plain(said):
            break
    remarks = (_MANGLED,) if is_mangled(text) else (_BIJOY,) if looks_like_bijoy(text) else ()
    return Spoken(text, said, as_pieces(text, edits), losses.all(), remarks=remarks, latin=latin)


def _is_plain(text: str) -> bool:
    """Whether no rule can apply: only Bangla letters, the signs that stay, and no short form."""
    return _PLAIN.fullmatch(text) is not None and not _SHORT.search(text)


def _rule_edits(text: str, latin: Latin, losses: Unspoken, before: list[Edit]) -> list[Edit]:
    edits: list[Edit] = []
    ascii_digits = text  # As long as the text, so places are the same.
    for digit, plain in _DIGITS:
        ascii_digits = ascii_digits.replace(digit, plain)
    end = -1
    for found in find_rules(ascii_digits):
        rule = found.lastgroup or ""
        if rule == "latin" and latin is not Latin.SPELL:
            result = found[0] if latin is Latin.KEEP else ""
        else:
            result = FUNCTIONS[rule](found)
        start, last = found.span()
        if not result:
            _note(found[0], place_before(before)(start), losses)
        else:
            if result[0] in _WORD and (start == end or (start and text[start - 1] in _NEAR)):
                result = f" {result}"
            if last < len(text) and result[-1] in _ENDS and text[last] in _WORD:
                result += " "
        end = last
        if result != text[start:end]:
            edits.append(Edit(start, end, rule, result))
    return edits


def _note(character: str, at: int, losses: Unspoken) -> None:
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
    edits: list[Edit] = []
    if text[:1] not in " ,;:।.—…" and not _UNTIDY.search(text):
        return edits
    for found in _TIDY.finditer(text):
        result = ", " if found["list"] else found["weak"] or ""
        if result != found[0]:
            edits.append(Edit(found.start(), found.end(), "tidy", result))
    return edits
