"""What each rule of grammar.py says: a function for each, from what was found to Bangla words."""

import re
from collections.abc import Callable

from kernel_template.text import latin, marks, numbers
from kernel_template.text.grammar import BANGLA, MONTH_NAMES, SHORT_WORDS, TO, UNIT_NAMES
from kernel_template.text.tables import FRACTIONS, MAGNITUDES, MONEY, MONTHS

Found = re.Match[str]
_MONTH_LIST = list(MONTHS)
_CENTURY, _LONG = 100, 10  # A number of so many digits without commas is no quantity: it is an account's.
_CODE = 3  # Digits; a number behind “phone” with fewer is a count.
_YEARS, _SURE_YEARS = range(1100, 2100), range(1700, 2100)  # With সালে behind them, and alone.
_FOLLOWED = re.compile(
    r"\s?(?:-?এর? |সাল|সন|খ্রি|খৃ|বঙ্গাব্দ|হিজরি|শকাব্দ|ইং|অর্থবছর|শিক্ষাবর্ষ|সেশন|মৌসুম|বিশ্বকাপ|নির্বাচন)"
)
_COUNTED = re.compile(
    r"\s?(?:টি|টা|জন|খানা|বার|মাইল|ফুট|বছর|দিন|মাস|সপ্তাহ|ঘণ্টা|মিনিট|সেকেন্ড|লিটার|কেজি|গ্রাম|মিটার|কিলো|পৃষ্ঠা|একর|হেক্টর|বিঘা|"
    r"মেগা|শব্দ|শয্যা|আসন|রান|ভোট|টন|মণ|ডলার|রুপি|পয়সা|শিক্ষার্থী|ছাত্র|মানুষ|পরিবার|সৈন্য|সদস্য|কপি|পয়েন্ট|শতাংশ|ডিগ্রি|বর্গ|বস্তা|প্যাকেট)"
)
_ASKED = re.compile(
    r"(?:ফোন|মোবাইল|হটলাইন|হেল্পলাইন|হোয়াটসঅ্যাপ|ফ্যাক্স|বিকাশ|নগদ|রকেট|ওটিপি|OTP|পিন|PIN|কোড|পাসওয়ার্ড|হিসাব|অ্যাকাউন্ট|এনআইডি|NID)"
    r"(?: ?(?:নম্বর|নাম্বার|নং|কোড))?\s?[:ঃ-]?\s?\Z"
)
_CALLED = re.compile(r"[ -]?(?:নম্বরে|নাম্বারে|এ|তে) (?:কল|ফোন|ডায়াল|যোগাযোগ|এসএমএস|মেসেজ)")
_ENDED = re.compile(rf"\s*(?:[।,;)\n]|\Z|-?(?:এ|তে)(?![{BANGLA}]))")
_SEASON = re.compile(r"\s?(?:অর্থবছর|অর্থ বছর|শিক্ষাবর্ষ|সেশন|মৌসুম)")
_SCORE = re.compile(r"\s?(?:গোল|সেট|ব্যবধান)")


_SIZES = re.compile(rf"\d+|[{BANGLA}]+|[A-Za-z]+")
_NUMBER = tuple(
    f"number_{name}" for name in ("first", "last", "before", "after", "unit", "unitcase", "ending")
)


def _unzero(digits: str) -> int:
    return int(digits.lstrip("0") or "0")


def _split_case(text: str, before: str = "0-9") -> tuple[str, str]:
    """Return a text and the case ending behind its last digit."""
    found = re.fullmatch(rf"(.*[{before}])[- ]?([{BANGLA}]*)", text, re.DOTALL)
    return (found[1], found[2]) if found else (text, "")


def _cased(words: str, ending: str) -> str:
    return numbers.inflected(words, ending) if ending else words


def _day(written: str) -> str:
    return numbers.day(_unzero(written))


def date(found: Found) -> str:
    """26/03/1971, 2024-12-16 and the American 12/16/1971."""
    written, ending = _split_case(found[0])
    one, two, three = re.split("[-/.]", written)
    if len(one) == 4:  # The year comes first.
        one, three = three, one
    if int(two) > len(_MONTH_LIST):
        one, two = two, one
    said = numbers.year(int(three)) if len(three) > 2 else numbers.quantity(three)
    return _cased(f"{_day(one)} {_MONTH_LIST[int(two) - 1]} {said}", ending)


def day(found: Found) -> str:
    """16 December 1971, December 16, 1971 or 21শে."""
    whole = found[0]
    counts = re.findall(r"\d+", whole)
    year, ending = "", ""
    if len(counts[-1]) == 4:  # A year.
        whole, ending = _split_case(whole)
        year = f" {numbers.year(int(counts.pop()))}"
    name = re.search(
        rf"[{BANGLA}]*[A-Za-z]+|[{BANGLA}]+", re.sub(r"(?<=\d)(?:st|nd|rd|th|লা|রা|ঠা|ই|শে)", "", whole)
    )
    days = [_day(count) for count in counts]
    if len(days) > 1:
        days = [numbers.cardinal(int(counts[0])) if int(counts[0]) > 1 else days[0], days[1]]
    month = "" if name is None else f" {MONTH_NAMES.get(name[0].lower(), name[0])}"
    return _cased(f"{' থেকে '.join(days)}{month}{year}", ending)


def phone(found: Found) -> str:
    """Read a telephone number digit by digit; + is said."""
    said = numbers.digits(re.sub(r"\D", "", found[0]))
    return f"প্লাস {said}" if found[0].startswith("+") else said


def time(found: Found) -> str:
    """9:15, 10:30টায়, 10:30 AM and 9:00-17:00."""
    parts = re.findall(r"\d+(?:[:.]\d+)*", found[0])
    rest = found[0][found[0].rindex(parts[-1]) + len(parts[-1]) :].strip()
    said = " থেকে ".join(_clock(part, "" if part is not parts[-1] else rest) for part in parts)
    half = rest.lower().replace(".", "")
    return f"{said} {'এএম' if half == 'am' else 'পিএম'}" if half in ("am", "pm") else said


def _clock(part: str, rest: str) -> str:
    hour, minute, *second = (
        *(int(count) for count in re.split("[:.]", part)),
        *([0] if part.isdecimal() else []),
    )
    said, minutes = numbers.cardinal(hour), numbers.cardinal(minute)
    unit = "ঘটিকা" if rest.startswith("ঘটিকা") else "টা"
    joined = f"{said} {unit}" if unit == "ঘটিকা" else f"{said}{unit}"
    if second:
        return f"{joined} {minutes} মিনিট {numbers.cardinal(second[0])} সেকেন্ড"
    ending = "ে" if rest in ("টায়", "ঘটিকায়", "মিনিটে") else ""
    if not minute:
        return f"{joined}{'য়' if ending else 'র' if rest == 'টার' else ''}"
    if rest == "টার":
        return f"{joined} {minutes} মিনিটের"
    return f"{joined} {minutes} মিনিট{ending}" if rest == "মিনিট" or ending else f"{joined} {minutes}"


def version(found: Found) -> str:
    """1.2.3, or an IP address."""
    return " ডট ".join(numbers.cardinal(int(part)) for part in found[0].split("."))


def ordinal(found: Found) -> str:
    """1ম, 2য়, 21তম, 3rd, and 1ম-5ম."""
    said = []
    for part in re.split(TO, found[0]):
        count, kind, tail = re.fullmatch(r"(\d+)(তম|র্থ|ষ্ঠ|য়|ম|শ|st|nd|rd|th)-?(.*)", part).groups()  # type: ignore[union-attr]
        word = f"{numbers.cardinal(int(count))}তম" if kind == "তম" else numbers.ordinal(int(count))
        said.append(_cased(word, tail))
    return " থেকে ".join(said)


def fraction(found: Found) -> str:
    """1/2, ¾, 2½ and 3 1/4."""
    written = found[0]
    if written[-1] in FRACTIONS:
        part, whole = FRACTIONS[written[-1]]
        before = written[:-1].strip()
    else:
        before, _, small = written.rpartition(" ")
        part, whole = (int(count) for count in small.split("/"))
        if (before and part >= whole) or len(small) > 9:  # Not a fraction.
            said = f"{numbers.cardinal(part)} বাই {numbers.cardinal(whole)}"
            return f"{numbers.quantity(before)} {said}" if before else said
    said = numbers.fraction(part, whole)
    if not before:
        return said
    if (part, whole) == (1, 2):
        halves = {"1": "দেড়", "2": "আড়াই"}
        return halves.get(before, f"সাড়ে {numbers.quantity(before)}")
    return f"{numbers.quantity(before)} পূর্ণ {said}"


def ratio(found: Found) -> str:
    """3:2, as a ratio."""
    one, two = (numbers.quantity(part.strip()) for part in found[0].split(":"))
    named = found.string.startswith("অনুপাত", found.end() + 1)
    return f"{one} {two}" if named else f"{one} অনুপাত {two}"


def amount(found: Found) -> str:
    """5.50 টাকা, with its hundredths."""
    written, word = re.fullmatch(rf"([0-9,.]+)\s?([{BANGLA}]+)", found[0]).groups()  # type: ignore[union-attr]
    name = next(name for name in ("টাকা", "ডলার", "রুপি", "ইউরো") if word.startswith(name))
    said = _money(written.strip(","), name)
    ending = word.removeprefix(name)
    return f"{said}{ending}" if ending not in ("র", "য়") or said[-1] in "াি" else _cased(said, ending)


def _money(number: str, mark: str, last: str | None = None, sizes: str = "") -> str:
    name, hundredth = MONEY[mark.lower().rstrip(".")]
    whole, _, rest = number.partition(".")
    if hundredth and len(rest) == 2 and not sizes and last is None:  # Hundredths.
        parts = [f"{numbers.quantity(whole)} {name}"] if _unzero(whole.replace(",", "")) else []
        parts += [f"{numbers.cardinal(int(rest))} {hundredth}"] if int(rest) else []
        return " ".join(parts) or f"শূন্য {name}"
    to = f" থেকে {numbers.quantity(last)}" if last else ""
    return f"{numbers.quantity(number)}{to}{sizes} {name}"


def _is_year(found: Found, written: str) -> bool:
    if len(written) != 4 or not written.isdecimal() or int(written) not in _YEARS:
        return False
    if _FOLLOWED.match(found.string, found.end()):
        return True
    return int(written) in _SURE_YEARS and not _COUNTED.match(found.string, found.end())


def _range(found: Found, first: str, last: str) -> str:
    one, two = (float(number.replace(",", "")) for number in (first, last))
    if _is_year(found, first):
        said = numbers.year(int(first))
        if len(last) == 2:  # Only the end of the year, 2023-24.
            next_year = (int(first) + 1) % _CENTURY == int(last)
            joined = " " if next_year and _SEASON.match(found.string, found.end()) else " থেকে "
            return f"{said}{joined}{numbers.cardinal(int(last))}"
        return f"{said} থেকে {numbers.year(int(last)) if len(last) == 4 else numbers.quantity(last)}"
    if re.match(r"\s*=", found.string[found.end() : found.end() + marks.NEAR]):
        return f"{numbers.quantity(first)} বিয়োগ {numbers.quantity(last)}"
    joined = " থেকে " if one < two and not _SCORE.match(found.string, found.end()) else " "
    return f"{numbers.quantity(first)}{joined}{numbers.quantity(last)}"


def number(found: Found) -> str:
    """Read any other number, with sign, range, magnitude, money, unit or ending."""
    first, last, before, after, unit, case, ending = found.group(*_NUMBER)
    first = f"0{first}" if first.startswith(".") else first
    sizes = found["number_sizes"] or ""
    if sizes:
        words = (MAGNITUDES.get(word.lower()) or numbers.quantity(word) for word in _SIZES.findall(sizes))
        sizes = "".join(f" {word}" for word in words)
    ending = (ending or "").strip(" -")
    if before or after:
        said = _money(first, (before or after).strip(), last, sizes)
    elif last is not None:
        said = _range(found, first, last) + sizes
    elif _is_code(found, first) and not (sizes or unit or _COUNTED.match(ending)):
        said = numbers.digits(first)
    elif (
        not (sizes or unit)
        and (not ending or ending in ("এ", "এর", "র", "ে", "তে"))
        and _is_year(found, first)
    ):
        said = numbers.year(int(first))
    else:
        said = numbers.quantity(first) + sizes
    if unit:
        said = _cased(f"{said} {UNIT_NAMES[unit]}", (case or "").strip("-"))
    elif ending.startswith("শ"):
        said += "শো" if ending == "শ" else ending
    elif ending == "টি" and said.endswith("দুই"):
        said = f"{said[:-3]}দুটি"
    else:
        said = _cased(said, ending)
    return f"মাইনাস {said}" if found["number_minus"] else said


def _is_code(found: Found, written: str) -> bool:
    """Whether a number is a name rather than a quantity: long, or behind a word such as “telephone”."""
    if not written.isdecimal() or len(written) < _CODE:
        return False
    before = found.string[max(0, found.start() - 30) : found.start()]
    end = found.end("number_first")
    asked = _ASKED.search(before) is not None and _ENDED.match(found.string, end) is not None
    return len(written) >= _LONG or asked or _CALLED.match(found.string, end) is not None


def _latin(found: Found) -> str:
    tail = found["latin_tail"] or ""
    return latin.word(found[0][: len(found[0]) - len(tail)], tail.removeprefix("-"))


def _abbreviation(found: Found) -> str:
    prefix = found["abbreviation_prefix"]
    return f"{prefix}ঃ" if prefix else SHORT_WORDS[found[0]]


FUNCTIONS: dict[str, Callable[[Found], str]] = {
    "address": lambda found: latin.address(found[0]),
    "network": lambda found: dict(zip("2345", ("টুজি", "থ্রিজি", "ফোরজি", "ফাইভজি"), strict=True))[found[0][0]],
    "date": date,
    "day": day,
    "phone": phone,
    "time": time,
    "version": version,
    "ordinal": ordinal,
    "fraction": fraction,
    "ratio": ratio,
    "amount": amount,
    "number": number,
    "dotted": lambda found: latin.word(found[0].replace(".", "")),
    "title": lambda found: SHORT_WORDS[found[0]],
    "times": lambda found: (
        "গুণ" if marks.between_digits(found) else latin.word(found[0]) if found[0] != "*" else ""
    ),
    "latin": _latin,
    "quote": marks.quote,
    "dash": marks.dash,
    "ellipsis": lambda _: "…",
    "slash": marks.slash,
    "colon": lambda _: ": ",
    "hashtag": lambda _: "হ্যাশট্যাগ",
    "bracket": marks.bracket,
    "sign": marks.sign,
    "other": lambda _: "",
    "abbreviation": _abbreviation,
    "initials": lambda found: found[0].replace(".", ""),
}
