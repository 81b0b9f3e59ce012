"""Numbers in words, beside num2words where the two agree."""

import random

import pytest

from kernel_template.text.numbers import cardinal, day, fraction, inflected, ordinal, quantity, year

# What num2words 0.5.14 spells otherwise than the Bangla Academy, or as people in Bangladesh do.
_SPELT_OTHERWISE = {
    "পনের": "পনেরো",
    "ষোল": "ষোলো",
    "সতের": "সতেরো",
    "পঁইত্রিশ": "পঁয়ত্রিশ",
    "সাতত্রিশ": "সাঁইত্রিশ",
    "চৌচল্লিশ": "চুয়াল্লিশ",
    "বাহান্ন": "বায়ান্ন",
    "ছিষট্টি": "ছেষট্টি",
    "আটাশি": "অষ্টাশি",
}


def theirs(number: int) -> str:
    """What num2words says, in our spelling."""
    num2words = pytest.importorskip("num2words").num2words
    words = str(num2words(number, lang="bn"))
    for nukta, letter in (("ড\u09bc", "\u09dc"), ("য\u09bc", "\u09df")):
        words = words.replace(nukta, letter)
    return " ".join(_SPELT_OTHERWISE.get(word, word) for word in words.replace("শত", "শো").split())


def test_numbers_below_a_hundred() -> None:
    """All hundred have words of their own, which are num2words' but for nine spellings."""
    assert len({cardinal(number) for number in range(100)}) == 100
    assert [cardinal(number) for number in range(100)] == [theirs(number) for number in range(100)]


def test_large_numbers() -> None:
    """Hundreds, thousands, lakhs and crores are put together as num2words does."""
    draw = random.Random(5)  # noqa: S311 - not for secrets.
    numbers = [10**power for power in range(2, 12)] + [
        draw.randrange(10 ** draw.randrange(3, 12)) for _ in range(400)
    ]
    assert [(n, cardinal(n)) for n in numbers if cardinal(n) != theirs(n)] == []
    assert cardinal(10**14) == "এক কোটি কোটি"


def test_what_num2words_gets_wrong() -> None:
    """Zeros behind the point and before a number are said."""
    assert quantity("0.05") == "শূন্য দশমিক শূন্য পাঁচ"
    assert quantity("1,25,000") == "এক লাখ পঁচিশ হাজার"
    assert quantity("007") == "শূন্য শূন্য সাত"


def test_years_days_and_ordinals() -> None:
    """Each has its own way of counting."""
    assert [year(number) for number in (1099, 1100, 1905, 1999, 2000, 2024)] == [
        "এক হাজার নিরানব্বই",
        "এগারোশো",
        "উনিশশো পাঁচ",
        "উনিশশো নিরানব্বই",
        "দুই হাজার",
        "দুই হাজার চব্বিশ",
    ]
    assert [day(number) for number in (1, 2, 3, 4, 5, 18, 19, 31)] == (
        "পহেলা দোসরা তেসরা চৌঠা পাঁচই আঠারোই উনিশে একত্রিশে".split()
    )
    assert [ordinal(number) for number in (1, 10, 16, 20, 21)] == "প্রথম দশম ষোড়শ বিংশ একুশতম".split()


def test_fractions() -> None:
    """Parts of a whole have names; others are read with বাই."""
    assert [fraction(*pair) for pair in ((1, 2), (2, 3), (3, 4), (5, 12), (24, 7))] == [
        "অর্ধেক",
        "দুই তৃতীয়াংশ",
        "তিন চতুর্থাংশ",
        "বারো ভাগের পাঁচ",
        "চব্বিশ বাই সাত",
    ]


@pytest.mark.parametrize(
    ("word", "ending", "form"),
    [
        ("একাত্তর", "এর", "একাত্তরের"),
        ("আশি", "এর", "আশির"),
        ("নব্বই", "এর", "নব্বইয়ের"),
        ("এগারো", "র", "এগারোর"),
        ("একাত্তর", "এ", "একাত্তরে"),
        ("আশি", "তে", "আশিতে"),
        ("টাকা", "এ", "টাকায়"),
        ("পাঁচ", "জন", "পাঁচজন"),
    ],
)
def test_endings_join_a_word(word: str, ending: str, form: str) -> None:
    """A case ending takes the form that the word's last letter asks for."""
    assert inflected(word, ending) == form
