"""Latin and Greek letters, English words, addresses of mail and pages, in Bangla words."""

import re
import unicodedata

from kernel_template.text.numbers import digits, inflected, quantity
from kernel_template.text.tables import GREEK, LETTERS, WORDS

# Letters that do not come apart into a basic letter and an accent.
_BASIC = {
    "ß": "ss",
    "ø": "o",
    "đ": "d",
    "ð": "d",
    "þ": "th",
    "ł": "l",
    "ı": "i",
    "æ": "ae",
    "œ": "oe",
    "ŋ": "n",
}
_PARTS = re.compile(r"[0-9]+|[a-z]+|\S")
_SIGNS = {".": "ডট", "@": "অ্যাট", "/": "স্ল্যাশ", "-": "ড্যাশ", "_": "আন্ডারস্কোর", ":": "কোলন", "?": "প্রশ্নবোধক"}
_SIGNS |= {"=": "সমান", "&": "অ্যান্ড", "%": "শতাংশ", "#": "হ্যাশ", "+": "প্লাস", "~": "টিল্ড"}
_LONGEST_ACRONYM = 6
_HUNDRED = 100
_FEW_LETTERS = 8
_V, _V_AND_W = 0.08, 0.18  # Shares of letters in text typed for a Bijoy font, where v is া and w is ি.


def plain(text: str) -> str:
    """Return Latin letters without accents and in lower case; Greek letters keep theirs."""
    apart = unicodedata.normalize("NFKD", text.lower())
    kept = "".join(_BASIC.get(letter, letter) for letter in apart if not unicodedata.combining(letter))
    return kept.lower()


def letters(word: str) -> str:
    """Spell a word by the names of its letters, with spaces between them."""
    return " ".join(LETTERS.get(letter) or GREEK.get(letter, "") for letter in plain(word)).strip()


def word(written: str, ending: str = "") -> str:
    """Read a Latin word: as a word if Bangla speakers do, an acronym in one word, others letter by letter.

    Args:
        written: the word.
        ending: a Bangla ending behind it.
    """
    basic = plain(written).replace("-", "")
    if basic in WORDS:
        said = WORDS[basic]
    else:
        said = letters(basic)
        if written.isupper() and len(basic) <= _LONGEST_ACRONYM:
            said = said.replace(" ", "")
    return inflected(said, ending) if ending else said


def address(written: str) -> str:
    """Read the address of a page or mailbox: words and letters, with ডট, অ্যাট and স্ল্যাশ."""
    short = re.sub(r"^[a-z]+://", "", written, flags=re.IGNORECASE).removesuffix("/")
    said = []
    for part in _PARTS.findall(plain(short)):
        if part in _SIGNS:
            said.append(_SIGNS[part])
        elif part.isdecimal():
            said.append(quantity(part) if int(part) < _HUNDRED else digits(part))
        elif part[0] in LETTERS:
            said.append(WORDS.get(part) or letters(part))
    return " ".join(said)


def looks_like_bijoy(text: str) -> bool:
    """Whether Latin letters in a text were typed for a Bangla font of the Bijoy (ANSI) kind."""
    if not text.isascii() and not re.search("[A-Za-z]", text):
        return False
    found = re.findall("[A-Za-z]", text)
    v = sum(letter in "vV" for letter in found)
    w = sum(letter == "w" for letter in found)
    if len(found) < _FEW_LETTERS or "www." in text:
        return False
    return v > 1 and v / len(found) >= _V and (v + w) / len(found) >= _V_AND_W
