"""One spelling of the same text: Unicode forms, old encodings, doubled signs, white space, what is invisible.

Bangla has letters that Unicode spells in two ways. NFC composes ো and ৌ, but takes ড় ঢ় য় apart; people type
both forms, and a voice takes them for different letters. The form for comparing is the composed one.
"""

import re
import unicodedata
from collections.abc import Callable

from kernel_template.text.pieces import Edit, apply, compose

NUKTA, HASANTA, ZWNJ, ZWJ = "\u09bc", "\u09cd", "\u200c", "\u200d"
# The letters with two spellings; the canonical one first.
SPELLINGS = {"ড়": "ড\u09bc", "ঢ়": "ঢ\u09bc", "য়": "য\u09bc", "ো": "\u09c7\u09be", "ৌ": "\u09c7\u09d7"}
# For character classes: the letters and signs of today's Bangla, and the two joiners.
LETTER = "\u0985-\u098b\u098f\u0990\u0993-\u09a8\u09aa-\u09b0\u09b2\u09b6-\u09b9\u09ce\u09dc\u09dd\u09df"
SIGN = "\u0981-\u0983\u09bc\u09be-\u09c3\u09c7\u09c8\u09cb-\u09cd\u200c\u200d"
_VOWEL_SIGN = "\u09be-\u09cc\u09d7"
# Signs of Sanskrit and Assamese, and marks of accounts, with what a Bangla reader says.
RARE = {
    "ৰ": "র",
    "ৱ": "ওয়",
    "ঌ": "লি",
    "ৠ": "রি",
    "ৡ": "লি",
    "ৄ": "ৃ",
    "ৢ": "্লি",
    "ৣ": "্লি",
    "\u09d7": "ৌ",
    "ৼ": "ং",
    "৷": "।",  # The numerator four, which some keyboards give for the danda.
    "॥": "।",
    "৴": " এক আনা ",
    "৵": " দুই আনা ",
    "৶": " তিন আনা ",
    "৸": " বারো আনা ",
    "৹": " ষোলো আনা ",
    "৺": " ঈশ্বর ",
    "৻": " গন্ডা ",
    "\u09fd": ".",
    "ঀ": "",
    "ঽ": "",
    "\u09fe": "",
}
# Zero-width characters that do not join letters, directions, and variants of pictures.
_INVISIBLE = "\u00ad\u061c\u180e\u200e\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffc"
_CONTROL = "\u0000-\u0008\u000e-\u001b\u007f-\u0084\u0086-\u009f"
_JOINERS = f"[{ZWNJ}{ZWJ}]+"
_RULES = {
    "nukta": f"[ডঢযড়ঢ়য়]{HASANTA}?{NUKTA}+{HASANTA}?|ব{NUKTA}+",
    "vowel": "\u09c7[\u09be\u09d7]|\u09be\u09c7|অ\u09be",
    "khanda_ta": f"ত{HASANTA}{ZWJ}",
    "order": f"[\u0981-\u0983]+[{_VOWEL_SIGN}]+",
    "doubled": f"(?P<sign>[{_VOWEL_SIGN}{HASANTA}\u0981-\u0983{NUKTA}])(?P=sign)+",
    "joiner": f"র{_JOINERS}{HASANTA}য|{_JOINERS}",
    "invisible": f"[{_INVISIBLE}{_CONTROL}]+",
    "space": r"(?:[^\S ]|\u200b| (?=[\s\u200b]))[\s\u200b]*|\A +| +\Z| +(?=[।,;?!|॥৷])",
    "danda": r"।[ ।|॥৷]*[।|॥৷]|\|[ |]*\||[|॥৷]",
    "digit": r"(?![0-9০-৯])\d",
    "wide": "[\uff01-\uff5e]",
    "rare": "[" + "".join(RARE) + "]",
}
_PATTERN = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _RULES.items()))
# Most texts need no edit. These two find that out faster: the characters that need none by themselves, and
# what needs one because of its neighbour.
_CALM = re.compile(
    "[ -{}~\u0981-\u0983\u0985-\u098b\u098f\u0990\u0993-\u09a8\u09aa-\u09b0\u09b2\u09b6-\u09b9\u09be-\u09c3"
    "\u09c7\u09c8\u09cb-\u09cd\u09ce\u09dc\u09dd\u09df\u09e6-\u09ef\u0964\u2013\u2014\u2018-\u201d\u2026৳]*"
)
_CLASH = re.compile(
    f"[\u0981-\u0983{_VOWEL_SIGN}{HASANTA}][{_VOWEL_SIGN}{HASANTA}]|[\u0981-\u0983][\u0981-\u0983]|অ\u09be"
    r"| (?: |\Z|[।,;?!])|\A |। *।"
)
_LINE_END = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_BANGLA = re.compile(f"[{LETTER}]")
_NAMES = {"\u09c7\u09be": "ো", "\u09be\u09c7": "ো", "\u09c7\u09d7": "ৌ", "অ\u09be": "আ"}
_COMPOSED = {written[0]: letter for letter, written in SPELLINGS.items() if written[1] == NUKTA}


def _space(found: re.Match[str]) -> str:
    after = found.string[found.end() : found.end() + 1]
    if found.start() == 0 or not after or after in "।,;?!|॥৷":
        return ""
    lines = len(_LINE_END.findall(found[0]))
    return "\n" * min(lines, 2) or " "


def _nukta(found: re.Match[str]) -> str:
    letter = "র" if found[0][0] == "ব" else _COMPOSED.get(found[0][0], found[0][0])
    return letter + (HASANTA if HASANTA in found[0] else "")


def _joiner(found: re.Match[str]) -> str:
    if found[0][0] == "র":
        return f"র{ZWJ}{HASANTA}য"
    after_hasanta = found.string[found.start() - 1 : found.start()] == HASANTA
    return ZWNJ if after_hasanta and _BANGLA.match(found.string, found.end()) else ""


def _order(found: re.Match[str]) -> str:
    marks = found[0].rstrip("".join(map(chr, (*range(0x9BE, 0x9CD), 0x9D7))))
    return found[0][len(marks) :] + marks


_RESULTS: dict[str, Callable[[re.Match[str]], str]] = {
    "nukta": _nukta,
    "vowel": lambda found: _NAMES[found[0]],
    "khanda_ta": lambda _: "ৎ",
    "order": _order,
    "doubled": lambda found: found[0][0],
    "joiner": _joiner,
    "invisible": lambda _: "",
    "space": _space,
    "danda": lambda _: "।",
    "digit": lambda found: "০১২৩৪৫৬৭৮৯"[unicodedata.decimal(found[0])],
    "wide": lambda found: chr(ord(found[0]) - 0xFEE0),
    "rare": lambda found: RARE[found[0]],
}


def _round(text: str) -> list[Edit]:
    edits = []
    for found in _PATTERN.finditer(text):
        rule = found.lastgroup or ""
        result = _RESULTS[rule](found)
        if result != found[0]:
            edits.append(Edit(found.start(), found.end(), rule, result))
    return edits


def spelling_edits(text: str) -> list[Edit]:
    """Return the edits that make a text canonical."""
    edits: list[Edit] = []
    if _CALM.fullmatch(text) and not _CLASH.search(text):
        return edits
    while more := _round(text):  # What is mended can bring other signs together.
        edits = compose(edits, more, text)
        text = apply(text, more)
    return edits


def canonical(text: str) -> str:
    """Return the form of a text in which two spellings of it are equal. It is its own canonical form.

    Line ends are kept as newlines, and several blank lines as one.
    """
    return apply(text, spelling_edits(text))
