"""Text fits into its place on a terminal."""

import io
import logging
import os
import shlex
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.main import Waiting
from orchestrator.cli.show.console import fit, folded, quoted, width_of
from orchestrator.untrusted import terminal_line

BANGLA = "আমি বাংলায় গান গাই, ক্ষুদ্র বিজ্ঞান"
SAFE = st.text(alphabet=st.characters(codec="utf-8"))


@given(SAFE, st.integers(min_value=0, max_value=40))
def test_a_text_fits(text: str, width: int) -> None:
    """No text takes more columns than it is given, however a terminal counts."""
    assert width_of(fit(terminal_line(text), width)) <= width


def test_a_cut_shows_and_parts_no_letter_from_its_signs() -> None:
    """A vowel sign keeps its letter, and text that fits is unchanged."""
    assert fit("short", 5) == "short"
    assert fit("longer", 5) == "long…"
    assert fit("longer", 5, "...") == "lo..."
    assert fit("日本語", 4) == "日…"
    for width in range(2, width_of(BANGLA)):
        cut = fit(BANGLA, width).removesuffix("…")
        assert BANGLA.startswith(cut)
        assert unicodedata.category(BANGLA[len(cut)])[0] != "M"


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def test_long_waits_for_kaggle_are_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal, after some seconds; a pipe gets nothing."""
    for stream, times in ((Terminal(), 1), (io.StringIO(), 0)):
        monkeypatch.setattr("sys.stderr", stream)
        waiting = Waiting()
        counts = []
        for waited in (0.0, 1.0, 4.0, 9.0):
            record = logging.makeLogRecord({"stamina.waited_so_far": waited, "stamina.wait_for": 1.0})
            waiting.handle(record)
            counts.append(stream.getvalue().count("trying again"))
        assert counts == [0, 0, times, times]


@given(SAFE, st.integers(min_value=0, max_value=30), st.integers(min_value=0, max_value=10))
def test_a_folded_text_keeps_its_words(text: str, start: int, indent: int) -> None:
    """Lines are broken between words alone, and none that could be broken is too long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "40")
        made = folded(text, Terminal(), start=start, indent=indent)
    assert made.split() == text.split()
    for number, line in enumerate(made.split("\n")):
        taken = width_of(line) + (0 if number else start)
        assert taken <= 40 or len(line.split()) == 1 or "`" in line


def test_a_command_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be copied from the terminal; what goes to a pipe or fits stays as it is."""
    monkeypatch.setenv("COLUMNS", "30")
    text = "It is not there: `kgtts data prepare X --to data` makes it."
    made = "It is not there:\n  `kgtts data prepare X --to data`\n  makes it."
    assert folded(text, Terminal(), indent=2) == made
    assert folded(text, io.StringIO()) == text
    assert folded("  a  b", Terminal()) == "  a  b"


@pytest.mark.parametrize(
    ("word", "posix"),
    [
        ("data", "data"),
        ("My recordings", '"My recordings"'),
        ("রেকর্ড ১", '"রেকর্ড ১"'),
        ("রেকর্ড", "রেকর্ড"),
        ("", '""'),
        ("a'b", '"a\'b"'),
        ("pay $5", "'pay $5'"),
        ("-x;rm", '"-x;rm"'),
        ("line\nbreak", '"line\nbreak"'),
    ],
)
def test_words_are_quoted_as_every_shell_reads_them(word: str, posix: str) -> None:
    """Double quotes, since Windows takes single ones for letters; a POSIX shell gives the word back."""
    if os.name != "nt":
        assert quoted(word) == posix
        assert shlex.split(quoted(word)) == [word]
