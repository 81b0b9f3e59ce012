"""What a log says is shown and not obeyed, fits its place, and numbers become bars."""

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.show.live_text import ASCII, UNICODE, coloured, fit, plain, spark, width_of

BANGLA = "আমি বাংলায় গান গাই, ক্ষুদ্র বিজ্ঞান"
SAFE = st.text(alphabet=st.characters(codec="utf-8"))


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\after", "after"),
        ("\x9b31mred", "red"),
        ("\x1bc\x1b(0reset", "reset"),
        ("torn \x1b[3", "torn "),
        ("bell\x07 and \x08back", "bell and back"),
        ("\u202egnp.exe\u202c \u2066x\u2069\ufeff", "gnp.exe x"),
        ("[red]no markup[/red]", "[red]no markup[/red]"),
        (" 10%|#\r 90%|###\r\n", " 90%|###"),
        ("two\nlines", "two lines"),
        ("a\tb", "a   b"),
        (None, "None"),
    ],
)
def test_what_steers_a_terminal_goes(hostile: object, shown: str) -> None:
    """Whole sequences go, their rests too; what is no sequence stays as it was written."""
    assert plain(hostile) == shown


def test_bangla_stays_whole() -> None:
    """Joiners are a part of its spelling."""
    text = BANGLA + " র\u200d্যাব র\u200c"
    assert plain(text) == text


@given(SAFE)
def test_no_text_steers(text: str) -> None:
    """Whatever comes, only print and joiners are left; with colours, only those besides."""
    assert all(letter.isprintable() or letter in "\u200c\u200d" for letter in plain(text))
    assert not any(unicodedata.category(letter) == "Cc" and letter != "\t" for letter in coloured(text))


def test_a_coloured_line_keeps_its_colours_alone() -> None:
    """The colours of a trainer are shown by `kgtts logs`, and end with their line."""
    assert coloured("\x1b[1m > EPOCH\x1b[2J\x1b]0;t\x07") == "\x1b[1m > EPOCH\x1b[0m"
    assert coloured("plain") == "plain"
    assert coloured("\x1b[\x1b[1m2J") == "\x1b[1m2J\x1b[0m"


@given(SAFE, st.integers(min_value=0, max_value=40))
def test_a_text_fits(text: str, width: int) -> None:
    """No text takes more columns than it is given, by any terminal's reading."""
    assert width_of(fit(plain(text), width)) <= width


def test_a_cut_shows_and_parts_no_letter_from_its_signs() -> None:
    """A vowel sign does not lose its letter, and what fits is not touched."""
    assert fit("short", 5) == "short"
    assert fit("longer", 5) == "long…"
    assert fit("longer", 5, "...") == "lo..."
    assert fit("日本語", 4) == "日…"
    for width in range(2, width_of(BANGLA)):
        cut = fit(BANGLA, width).removesuffix("…")
        assert BANGLA.startswith(cut)
        assert unicodedata.category(BANGLA[len(cut)])[0] != "M"


def test_a_row_of_bars() -> None:
    """The least is the lowest bar, the greatest the highest; a long row becomes means."""
    assert spark([0, 1, 2, 3, 4, 5, 6, 7], 8) == UNICODE.bars
    assert spark([0, 7], 8, ASCII.bars) == "_#"
    assert spark([0, 0, 7, 7], 2) == "▁█"
    assert spark([3.0], 9) == spark([3.0, 3.0 + 1e-12], 1) == "▄"
    assert spark([], 9) == spark([1.0], 0) == spark([math.nan], 9) == ""
    assert spark([1, math.inf, math.nan, 2], 9) == "▁█"
    assert spark([3.0, 2.0, 1.0], 60) == "█▅▁"
    long = spark([float(number) for number in range(1000)], 60)
    assert (len(long), long[0], long[-1]) == (60, "▁", "█")


@given(st.lists(st.floats()), st.integers(min_value=-1, max_value=50))
def test_any_numbers_make_bars(values: list[float], width: int) -> None:
    """At most as many as there is room for."""
    bars = spark(values, width)
    assert len(bars) <= max(0, width)
    assert set(bars) <= set(UNICODE.bars)
