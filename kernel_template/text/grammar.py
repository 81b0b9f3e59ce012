"""The patterns of what is not written in words, for a text whose Bangla digits are ASCII digits."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from kernel_template.text.spelling import LETTER, SIGN
from kernel_template.text.tables import (
    ABBREVIATIONS,
    BANGLA_MONTHS,
    FRACTIONS,
    MAGNITUDES,
    MONTHS,
    SIGNS,
    UNITS,
)

BANGLA = f"{LETTER}{SIGN}"  # For a character class: what Bangla words are made of.
LATIN = "A-Za-zªºÀ-ÖØ-öø-ɏ\u0370-\u03ff\u1e00-\u1eff"
KEPT = " \n।,?!;:.…—’-"  # Signs that stay in a spoken text; a voice may lack some.
END = f"(?![{BANGLA}])"
NUMBER = r"(?:\d{1,3}(?:,\d\d)*,\d{3}(?!,?\d)|\d{1,3}(?:,\d{3})+(?!,?\d)|\d+)(?:\.\d+)?"
TO = r"\s?[-–~]\s?"
_DAY, _MONTH = "(?:0?[1-9]|[12][0-9]|3[01])", "(?:0?[1-9]|1[0-2])"
_HOUR, _MINUTE = "(?:[01]?[0-9]|2[0-4])", "[0-5][0-9]"
CASE = f"(?:-?(?:এর|র|এ|তে|কে|য়|ে|ের|ই|ও){END})"
_COUNTED = f"(?:-?(?:টি|টা|টো|খানা|খানি|জন|বার|গুণ|গুলো|গুলি|ভাগ|শ)[{BANGLA}]*)"
_BEFORE = r"(?:US\$|[৳৲₹$€£¥₩₽]|(?:Tk|TK|tk|BDT|Taka|taka|USD|INR|Rs|EUR|GBP)\.?(?![A-Za-z]))"
_AFTER = r"(?:[৳৲₹$€£¥₩₽¢]|/[-=]|(?:Tk|TK|tk|BDT|Taka|taka|USD|INR|Rs|EUR|GBP)(?![A-Za-z])\.?)"
_TOP = "com|org|net|edu|gov|info|bd|in|uk|us|io|co|tv|ai|app|dev|me|news|xyz"


def choice(words: Iterable[str]) -> str:
    """Return a pattern for any of the words, the longest first."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def by_spelling(table: Mapping[str, str], *, own: bool = False) -> dict[str, str]:
    """Return the words of a table by each of their spellings; those are separated by spaces."""
    found = {short: word for word, shorts in table.items() for short in shorts.split()}
    return found | ({word: word for word in table} if own else {})


MONTH_NAMES = by_spelling(MONTHS, own=True) | {month: month for month in BANGLA_MONTHS}
UNIT_NAMES = by_spelling(UNITS)
SHORT_WORDS = {short.replace("_", " "): word for short, word in by_spelling(ABBREVIATIONS).items()}
SHORT_WORDS |= {f"{short[:-1]}:": word for short, word in SHORT_WORDS.items() if short[-1] == "ঃ"}
_MONTHS = f"(?:{choice(MONTH_NAMES)})"
_MAGNITUDE = f"(?:{choice(MAGNITUDES)})(?![{BANGLA}A-Za-z])"
_CLOSED = [short for short in UNIT_NAMES if short[-1] != "." and re.match(f"[{BANGLA}]", short[-1])]
_OPEN = [short for short in UNIT_NAMES if short not in _CLOSED]
_UNIT = f"(?:(?:{choice(_OPEN)})(?![A-Za-z0-9])|(?:{choice(_CLOSED)})(?={CASE}|{END}))"
_OWN = [short for short in SHORT_WORDS if re.match(f"[{BANGLA}]", short)]
_DOTTED = [short for short in _OWN if not re.match(f"[{LETTER}ং]", short[-1])]
_BARE = [short for short in _OWN if short not in _DOTTED]
_FOREIGN = [short for short in SHORT_WORDS if short not in _OWN and not short[-1].isalpha()]
_FOREIGN_BARE = [short for short in SHORT_WORDS if short not in _OWN and short[-1].isalpha()]
_NAMES_OF_LETTERS = "এ|বি|সি|ডি|ই|এফ|জি|এইচ|আই|জে|কে|এল|এম|এন|ও|পি|কিউ|আর|এস|টি|ইউ|ভি|ডব্লিউ|এক্স|ওয়াই|জেড"
_TIME = f"(?<![0-9:.]){_HOUR}:{_MINUTE}(?::{_MINUTE})?(?![0-9:])"
_PHONE = (
    r"(?:\+?88[ -]?)?01[3-9](?:[ -]?\d){8}(?![\d])|\+\d(?:[ -]?\d){6,13}(?!\d)|00[1-9]\d{8,13}(?!\d)"
    r"|0\d{1,4}[- ]\d{4,8}(?!\d)|0\d{8,10}(?!\d)"
)

# Name -> pattern, in the order in which they are tried at a place. A rule's function is in rules.py.
PATTERNS = {
    "address": (
        # Of letters that have a name only: others are named as left out.
        rf"(?:[A-Za-z]+://|www\.)(?:(?![,<>\"')])[!-~{LATIN}{BANGLA}])*(?![,;!?.<>\"'):])[!-~{LATIN}{BANGLA}]"
        r"|[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
        rf"|(?<![A-Za-z0-9])(?:[A-Za-z0-9-]+\.)+(?:{_TOP})(?![A-Za-z0-9])(?:/[A-Za-z0-9/_.?=&%#+~-]*[A-Za-z0-9/])?"
    ),
    "network": r"(?<![A-Za-z0-9])[2-5]G(?![A-Za-z0-9])",
    "date": (
        rf"(?<![0-9/.,-])\d{{4}}(?P<s1>[-/.]){_MONTH}(?P=s1){_DAY}(?![0-9]|[-/.][0-9]){CASE}?"
        rf"|(?<![0-9/.,-]){_DAY}(?P<s2>[-/]){_MONTH}(?P=s2)(?:\d{{4}}|\d\d)(?![0-9]|[-/.][0-9]){CASE}?"
        rf"|(?<![0-9/.,-]){_MONTH}/{_DAY}/\d{{4}}(?![0-9]|[-/.][0-9]){CASE}?"
        rf"|(?<![0-9/.,-]){_DAY}\.{_MONTH}\.\d{{4}}(?![0-9]|[-/.][0-9]){CASE}?"
    ),
    "day": (
        rf"(?<![0-9/.,:-])(?:{_DAY}{TO})?{_DAY}(?:লা|রা|ঠা|ই|শে|st|nd|rd|th)?,?\s?"
        rf"(?i:{_MONTHS})(?![{BANGLA}A-Za-z])\.?(?:,? ?\d{{4}}(?![0-9.,/-]*[0-9])(?:{CASE})?)?"
        rf"|(?i:{choice(MONTH_NAMES)})\.? {_DAY}(?:st|nd|rd|th)?, \d{{4}}(?![0-9])"
        rf"|(?<![0-9/.,:-])(?:0?1লা|0?[23]রা|0?4ঠা|(?:0?[5-9]|1[0-8])ই|(?:19|2[0-9]|3[01])শে){END}"
    ),
    "phone": (rf"(?<![0-9+])(?:{_PHONE})"),
    "time": (
        rf"{_TIME}(?:{TO}{_TIME})?(?:\s?(?:টায়|টার|টা|ঘটিকায়|ঘটিকা|মিনিটে|মিনিট){END}"
        rf"|\s?[AaPp]\.?[Mm](?![A-Za-z])\.?)?"
        rf"|(?<![0-9:.,]){_HOUR}\s?[AaPp]\.?[Mm](?![A-Za-z])\.?"
        rf"|(?<![0-9:.]){_HOUR}\.{_MINUTE}\s?(?:টায়|টার|টা|ঘটিকায়|ঘটিকা){END}"
    ),
    "version": r"(?<![0-9.,])\d+(?:\.\d+){2,}",
    "ordinal": (
        rf"(?<![0-9.,])\d+(?:(?:ম|য়|র্থ|ষ্ঠ|তম)(?:টি|টা|বার)?(?:{CASE}|{END})|(?:st|nd|rd|th)(?![A-Za-z]))"
        rf"(?:{TO}\d+(?:ম|য়|র্থ|ষ্ঠ|তম){END})?"
        rf"|(?<![0-9.,])(?:1[1-9]|20)শ(?= (?:শতক|শতাব্দী|শ্রেণি|শ্রেণী|সংশোধনী|পর্ব|অধ্যায়|খণ্ড|সংসদ|জাতীয়|আসর))"
    ),
    "fraction": (
        rf"(?:\d+ ?)?[{''.join(FRACTIONS)}]|(?<![0-9/.,])\d+ [1-9]/[2-9](?![0-9/.,]*[0-9])"
        rf"|(?<![0-9/.,])\d+/\d+(?![0-9/=]|[.,][0-9]|-(?![0-9{BANGLA}]))"
    ),
    "ratio": r"(?<![0-9:])\d+\s?:\s?\d+(?![0-9:])",
    "amount": rf"(?<![0-9.,])(?:\d+|[0-9,]+)\.\d\d\s?(?:টাকা|ডলার|রুপি|ইউরো)[{BANGLA}]*",
    "number": (
        rf"(?P<minus>(?<![{BANGLA}A-Za-z0-9)%°])[-−](?=[0-9৳$.]))?(?:(?P<before>{_BEFORE})\s?)?"
        rf"(?P<first>(?<![0-9.])\.\d+|{NUMBER})(?:{TO}[৳$]?(?P<last>{NUMBER})(?!{TO}[0-9]|[0-9/:]))?"
        rf"(?P<sizes>(?:\s?{_MAGNITUDE})+(?: \d+\s?{_MAGNITUDE})*)?"
        rf"(?:\s?(?P<after>{_AFTER})|\s?(?P<unit>{_UNIT})(?P<unitcase>{CASE})?"
        rf"|(?P<ending>{CASE}|{_COUNTED}| এর{END}))?"
    ),
    "dotted": rf"(?<![{LATIN}.])(?:[A-Z]\.){{2,}}[A-Z]?(?![A-Za-z])",
    "title": f"(?<![{LATIN}.])(?:(?:{choice(_FOREIGN)})|(?:{choice(_FOREIGN_BARE)})(?![{LATIN}]))",
    "times": r"(?<=[0-9 ])[xX*](?=\s?[0-9])",
    "latin": (
        rf"(?:[Ww][Ii]-[Ff][Ii]|[Ee]-[Mm]ail|[{LATIN}][{LATIN}\u0300-\u036f]*(?:['’][{LATIN}]+)*)"
        rf"(?P<tail>-?(?:এর|র|এ|তে|কে|য়|ে|ের|ই|ও|টি|টা|গুলো|সহ){END})?"
    ),
    "quote": "[\"“”„‟«»‹›″`´]|['‘’‚‛ʼ′]",
    "dash": "[-–—―−‐‑‒]+",
    "ellipsis": r"\.{2,}|…",
    "slash": "/+",
    "colon": r":(?=\S)",
    "hashtag": f"#(?=[{BANGLA}{LATIN}])",
    "bracket": r"[(\[{]+|[)\]}]+",
    "sign": f"[{re.escape(''.join(SIGNS))}]",
    "other": f"[^{BANGLA}{KEPT}]",
}
# Those that begin with a Bangla letter; tried where a short word with a mark behind it begins.
WORD_PATTERNS = {
    "abbreviation": (
        rf"(?<![{BANGLA}.])(?:(?:{choice(_DOTTED)})|(?:{choice(_BARE)})(?![{BANGLA}]))"
        rf"|(?<![{BANGLA}])(?P<prefix>অত|দু|নি|পুন|স্বত|অন্ত|প্রাত|ইত):(?=[{BANGLA}])"
    ),
    "initials": (
        rf"(?<![{BANGLA}.])(?:[{LETTER}][{SIGN}]*(?:[{LETTER}][{SIGN}]*){{0,2}}\.){{2,}}(?:(?:{_NAMES_OF_LETTERS}){END})?"
        rf"|(?<![{BANGLA}.])(?:{_NAMES_OF_LETTERS})\.(?=\s?[{LETTER}])"
    ),
}

# Where a rule of PATTERNS can begin, and where one of WORD_PATTERNS can.
_MARK = f"[^{BANGLA} \n।,?!;]"
_SHORT = f"(?<![{BANGLA}])(?=[{BANGLA}]{{1,7}}[.:]|[{BANGLA}]{{0,6}}ঃ|নং|কোং|তাং|ইং)"


def _either(patterns: Mapping[str, str]) -> str:
    """Join patterns; the names of their own groups get the rule's name in front."""
    parts = []
    for name, pattern in patterns.items():
        own = re.sub(r"[(][?]P([<=])", rf"(?P\1{name}_", pattern)
        parts.append(f"(?P<{name}>{own})")
    return "|".join(parts)


_MARKS = re.compile(_MARK)
# Without these no rule of WORD_PATTERNS can begin. A pattern that begins with a class is searched for faster.
_MAYBE_SHORT = re.compile("[.:ঃং](?:(?<!ং)|(?<=[নই]ং)|(?<=কোং)|(?<=তাং))")


@cache
def _all_rules() -> re.Pattern[str]:
    return re.compile(f"(?={_MARK})(?:{_either(PATTERNS)})|{_SHORT}(?:{_either(WORD_PATTERNS)})")


@cache
def _mark_rules() -> re.Pattern[str]:
    return re.compile(_either(PATTERNS))


def find_rules(text: str) -> Iterator[re.Match[str]]:
    """Find what the rules are about; the name of a rule is its match's `lastgroup`.

    Compiling the patterns takes some 30 ms, so it waits until they are needed. Searching for a character by
    which a rule can begin, and trying the rules only there, is faster than one pattern that is tried at every
    character.
    """
    if _MAYBE_SHORT.search(text):
        yield from _all_rules().finditer(text)
        return
    try_at, next_mark = _mark_rules().match, _MARKS.search
    at = 0
    while mark := next_mark(text, at):
        at = mark.start()
        if found := try_at(text, at):
            yield found
            at = found.end()
        else:
            at += 1
