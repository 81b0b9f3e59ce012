"""Numbers in Bangla words, in the standard spelling of the Bangla Academy's dictionary, as in Bangladesh."""

_LOW = tuple(
    "শূন্য এক দুই তিন চার পাঁচ ছয় সাত আট নয় দশ এগারো বারো তেরো চৌদ্দ পনেরো ষোলো সতেরো আঠারো উনিশ বিশ একুশ বাইশ "
    "তেইশ চব্বিশ পঁচিশ ছাব্বিশ সাতাশ আটাশ উনত্রিশ ত্রিশ একত্রিশ বত্রিশ তেত্রিশ চৌত্রিশ পঁয়ত্রিশ ছত্রিশ সাঁইত্রিশ আটত্রিশ "
    "উনচল্লিশ চল্লিশ একচল্লিশ বিয়াল্লিশ তেতাল্লিশ চুয়াল্লিশ পঁয়তাল্লিশ ছেচল্লিশ সাতচল্লিশ আটচল্লিশ উনপঞ্চাশ পঞ্চাশ একান্ন "
    "বায়ান্ন তিপ্পান্ন চুয়ান্ন পঞ্চান্ন ছাপ্পান্ন সাতান্ন আটান্ন উনষাট ষাট একষট্টি বাষট্টি তেষট্টি চৌষট্টি পঁয়ষট্টি ছেষট্টি "
    "সাতষট্টি আটষট্টি উনসত্তর সত্তর একাত্তর বাহাত্তর তিয়াত্তর চুয়াত্তর পঁচাত্তর ছিয়াত্তর সাতাত্তর আটাত্তর উনআশি আশি "
    "একাশি বিরাশি তিরাশি চুরাশি পঁচাশি ছিয়াশি সাতাশি অষ্টাশি উননব্বই নব্বই একানব্বই বিরানব্বই তিরানব্বই চুরানব্বই "
    "পঁচানব্বই ছিয়ানব্বই সাতানব্বই আটানব্বই নিরানব্বই".split()
)
_ORDINALS = tuple(
    "প্রথম দ্বিতীয় তৃতীয় চতুর্থ পঞ্চম ষষ্ঠ সপ্তম অষ্টম নবম দশম একাদশ দ্বাদশ ত্রয়োদশ চতুর্দশ পঞ্চদশ ষোড়শ সপ্তদশ "
    "অষ্টাদশ ঊনবিংশ বিংশ".split()
)
_DAYS = ("পহেলা", "দোসরা", "তেসরা", "চৌঠা")
_PARTS = {3: "তৃতীয়াংশ", 4: "চতুর্থাংশ", 5: "পঞ্চমাংশ", 6: "ষষ্ঠাংশ", 7: "সপ্তমাংশ", 8: "অষ্টমাংশ"}
_CRORE, _LAKH, _THOUSAND, _HUNDRED = 10_000_000, 100_000, 1000, 100
_MOST_DIGITS = 21  # A longer number is read digit by digit.
_HUNDREDS = range(1100, 2000)  # The years that are read in hundreds.
_LAST_DAY_IN_I = 18
_VOWELS = "অআইঈউঊঋএঐওঔ"


def digits(number: str) -> str:
    """Read digits one by one."""
    return " ".join(_LOW[int(digit)] for digit in number)


def cardinal(number: int) -> str:
    """Read a number of 0 or more with হাজার, লাখ and কোটি."""
    if len(str(number)) > _MOST_DIGITS:
        return digits(str(number))
    parts = []
    for size, name in ((_CRORE, "কোটি"), (_LAKH, "লাখ"), (_THOUSAND, "হাজার")):
        count, number = divmod(number, size)
        if count:
            parts.append(f"{cardinal(count)} {name}")
    count, number = divmod(number, _HUNDRED)
    if count:
        parts.append(f"{_LOW[count]}শো")
    if number or not parts:
        parts.append(_LOW[number])
    return " ".join(parts)


def quantity(number: str) -> str:
    """Read a number as it is written: commas between groups, a decimal point.

    A number that begins with a zero, such as 007, is read digit by digit.
    """
    whole, point, rest = number.replace(",", "").partition(".")
    said = digits(whole) if len(whole) > 1 and whole[0] == "0" else cardinal(int(whole or "0"))
    return f"{said} দশমিক {digits(rest)}" if point else said


def year(number: int) -> str:
    """Read a year: 1971 as nineteen hundred seventy-one, 2024 as two thousand twenty-four."""
    if number not in _HUNDREDS:
        return cardinal(number)
    hundreds, rest = divmod(number, _HUNDRED)
    return f"{_LOW[hundreds]}শো {_LOW[rest]}" if rest else f"{_LOW[hundreds]}শো"


def ordinal(number: int) -> str:
    """Read a place in an order: প্রথম; beyond the twentieth একুশতম."""
    return _ORDINALS[number - 1] if 0 < number <= len(_ORDINALS) else f"{cardinal(number)}তম"


def day(number: int) -> str:
    """Read a day of a month: পহেলা, পাঁচই, একুশে."""
    if number <= len(_DAYS):
        return _DAYS[number - 1]
    return f"{_LOW[number]}{'ই' if number <= _LAST_DAY_IN_I else 'ে'}"


def fraction(part: int, whole: int) -> str:
    """Read a fraction such as 2/3; what is not a part of a whole is read with বাই."""
    if part == 1 and whole == 2:
        return "অর্ধেক"
    if 0 < part < whole and whole in _PARTS:
        return f"{cardinal(part)} {_PARTS[whole]}"
    if 0 < part < whole <= _HUNDRED:
        return f"{cardinal(whole)} ভাগের {cardinal(part)}"
    return f"{cardinal(part)} বাই {cardinal(whole)}"


def inflected(word: str, ending: str) -> str:
    """Join a case ending, which people write apart or behind a hyphen after a number, to a word.

    Args:
        word: the word as it is spoken.
        ending: এর or র, এ, তে or য়; others are joined as they are.
    """
    last = word[-1:]
    if ending in ("এর", "র", "ের"):
        if last in "ািীুূেোৌ":
            return f"{word}র"
        return f"{word}য়ের" if last in _VOWELS else f"{word}ের"
    if ending in ("এ", "তে", "য়", "ে"):
        if last == "া":
            return f"{word}য়"
        return f"{word}তে" if last in f"িীুূেোৌ{_VOWELS}" else f"{word}ে"
    return f"{word}{ending}"
