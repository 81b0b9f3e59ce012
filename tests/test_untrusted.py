"""Values from outside are read safely: none crashes a reader, none controls what shows it."""

import json
import math
import os
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import untrusted

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([10**400, -(10**4000)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
HUGE = 10**400
LONG = 10**5000  # Python refuses to write an integer of more than 4,300 digits.
TEXTS = st.text()  # With lone surrogates.


@given(ANYTHING)
def test_numbers_are_numbers_or_none(value: object) -> None:
    """A count is an integer from 0, a number is finite, a duration can be added to a date."""
    count, number = untrusted.count(value), untrusted.number(value)
    assert count is None or (type(count) is int and 0 <= count <= untrusted.LARGEST_COUNT)
    assert number is None or (type(number) is float and math.isfinite(number * 1e6))
    amount = untrusted.amount(value)
    assert amount is None or 0 <= amount <= untrusted.LARGEST_COUNT
    span = untrusted.seconds(value)
    if span is not None:
        assert datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=span) >= datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("value", [True, False, "1", None, [1], math.nan, math.inf, -math.inf, HUGE, -HUGE])
def test_what_is_no_number_is_none(value: object) -> None:
    """Booleans, texts, lists, infinite and too large numbers become None."""
    assert untrusted.count(value) is None
    assert untrusted.number(value) is None
    assert untrusted.amount(value) is None
    assert untrusted.seconds(value) is None


def test_numbers_within_their_bounds_are_kept() -> None:
    """Bounds are inclusive; counts have no fraction, amounts no sign."""
    assert untrusted.count(7) == 7
    assert untrusted.count(1.0) is None
    assert untrusted.count(-1) is None
    assert (untrusted.count(8, most=8), untrusted.count(9, most=8)) == (8, None)
    assert untrusted.number(-2.5) == -2.5
    assert type(untrusted.number(3)) is float
    assert untrusted.amount(-0.1) is None
    assert (untrusted.amount(5), untrusted.seconds(5, most=4)) == (5.0, None)


@given(ANYTHING | TEXTS)
def test_one_line_can_be_shown_anywhere(value: object) -> None:
    """The result is printable, one line, bounded, encodable, and unchanged by a second call."""
    line = untrusted.one_line(value, 50)
    assert len(line) <= 50
    assert all(letter.isprintable() or letter in "\u200c\u200d" for letter in line)
    assert line.encode().decode() == line
    assert untrusted.one_line(line, 50) == " ".join(line.split())


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2Jbad\r\nnews \ud800\u202eend", "bad news end"),
        ("\x1b]0;title\x07text", "text"),
        ("  many\t\tspaces ", "many spaces"),
        ("ক্\u200dষ\u202e\x1b[2J\n  খ", "ক্\u200dষ খ"),
        (None, "None"),
        (7, "7"),
    ],
)
def test_a_hostile_text_is_one_line(hostile: object, shown: str) -> None:
    """Escape sequences are removed whole, and joiners stay."""
    assert untrusted.one_line(hostile) == shown


def test_a_number_of_thousands_of_digits_is_survived() -> None:
    """Python cannot print it, so its type is named instead."""
    assert untrusted.one_line(LONG) == untrusted.file_name(LONG) == untrusted.terminal_line(LONG) == "<int>"
    assert untrusted.count(LONG) is untrusted.number(LONG) is untrusted.seconds(LONG) is None


def test_a_text_is_a_text_or_none() -> None:
    """Other types become None; half characters become question marks if asked for."""
    assert untrusted.text("a\nb") == "a b"
    assert untrusted.text("x" * 100, 10) == "x" * 10
    assert untrusted.text(7) is None
    assert untrusted.encodable("\ud800 hot") == "? hot"


@given(TEXTS)
def test_a_file_name_hides_nothing(name: str) -> None:
    """It is printable, and different names look different up to the limit."""
    shown = untrusted.file_name(name)
    assert all(letter.isprintable() or letter in "\u200c\u200d" for letter in shown)
    assert len(shown) <= 200
    if len(shown) < 200:
        assert untrusted.file_name(name + "\u202e") != shown


@given(st.characters())
def test_a_character_is_seen_or_named(letter: str) -> None:
    """A character that cannot be seen, or would join the one before it, is named instead."""
    shown = untrusted.character(letter)
    assert shown.isprintable()
    assert len(shown) > 3


def test_a_vowel_sign_is_named() -> None:
    """A letter is shown with its name; a sign, a joiner and half a character by name or number only."""
    assert untrusted.character("ক") == "ক (BENGALI LETTER KA)"
    assert untrusted.character("\u09be") == "BENGALI VOWEL SIGN AA"
    assert untrusted.character("\u200d") == "ZERO WIDTH JOINER"
    assert untrusted.character("\ud800") == "U+D800"


def test_a_file_name_shows_what_could_mislead() -> None:
    """Invisible characters become escapes, and a cut name has a mark."""
    assert untrusted.file_name("a\u202egnp.exe\n\ud800") == "a\\u202egnp.exe\\n\\ud800"
    assert untrusted.file_name("আমার ক্\u200dষ.wav") == "আমার ক্\u200dষ.wav"
    assert untrusted.file_name("x" * 300, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J\x1b[Hgone", "gone"),
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
        ("আমি র\u200d্যাব র\u200c", "আমি র\u200d্যাব র\u200c"),
    ],
)
def test_a_terminal_obeys_nothing(hostile: object, shown: str) -> None:
    """Escape sequences are removed whole; other text, with Bangla, stays as it is."""
    assert untrusted.terminal_line(hostile) == shown


@given(TEXTS)
def test_no_text_steers_a_terminal(line: str) -> None:
    """Only printable characters and joiners are left, and colours if asked for."""
    assert all(letter.isprintable() or letter in "\u200c\u200d" for letter in untrusted.terminal_line(line))
    coloured = untrusted.terminal_colours(line)
    assert not any(unicodedata.category(letter) == "Cc" and letter != "\t" for letter in coloured)


def test_a_coloured_line_keeps_its_colours_alone() -> None:
    """`kgtts logs` shows the trainer's colours, which end with their line."""
    assert untrusted.terminal_colours("\x1b[1m > EPOCH\x1b[2J\x1b]0;t\x07") == "\x1b[1m > EPOCH\x1b[0m"
    assert untrusted.terminal_colours("plain") == "plain"
    assert untrusted.terminal_colours("\x1b[\x1b[1m2J") == "\x1b[1m2J\x1b[0m"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("::set-output name=a::b", ": :set-output name=a::b"),
        ("  \ufeff::error::x", "  \ufeff: :error::x"),
        (":::warning::", ": ::warning::"),
        ("fine\r::add-mask::x\n::debug::y", "fine\r: :add-mask::x\n: :debug::y"),
        ("text ##[error]no ###[group]", "text # #[error]no ## #[group]"),
        ("std::vector at 12::30", "std::vector at 12::30"),
    ],
)
def test_a_log_line_is_no_workflow_command(hostile: str, shown: str) -> None:
    """Both spellings of GitHub's runner are broken; `::` inside a sentence stays."""
    assert untrusted.workflow_log_line(hostile) == shown


@given(st.text(alphabet=" :#[]a\r\n\ufeff\u00a0"))
def test_no_line_begins_a_workflow_command(hostile: str) -> None:
    """No line is a command, whatever the runner trims and wherever it splits."""
    shown = untrusted.workflow_log_line(hostile)
    assert "##[" not in shown
    lines = shown.replace("\r", "\n").split("\n")
    assert not any(line.strip().lstrip("\ufeff").startswith("::") for line in lines)


@given(st.binary(max_size=200) | TEXTS)
def test_json_of_any_kind_is_survived(data: bytes | str) -> None:
    """Any bytes give an object or None."""
    found = untrusted.json_object(data)
    assert found is None or isinstance(found, dict)


@pytest.mark.parametrize(
    "data", [None, b"", b"[]", b"7", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_object_is_none(data: bytes | None) -> None:
    """Missing, truncated, foreign and too deep JSON, and endless numbers, become None."""
    assert untrusted.json_object(data) is None


def test_json_within_the_bound_is_read() -> None:
    """Too large JSON is an error; other kinds give empty objects and lists."""
    assert untrusted.json_object('{"a": "\\ud800"}') == {"a": "\ud800"}
    assert untrusted.json_object(b'{"a": 1}', largest=7) is None
    with pytest.raises(ValueError, match="larger than 7 bytes"):
        untrusted.parse_json(b'{"a": 1}', largest=7)
    with pytest.raises(ValueError, match="too deeply"):
        untrusted.parse_json("[" * 100_000)
    assert (untrusted.as_object([1]), untrusted.as_object({"a": 1})) == ({}, {"a": 1})
    assert (untrusted.as_list({}), untrusted.as_list([1])) == ([], [1])


def test_files_are_read_up_to_a_bound(tmp_path: Path) -> None:
    """A missing file, a folder and a too large file give None."""
    place = tmp_path / "ক খ.json"
    place.write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": [1]}).encode())
    assert untrusted.read_json_object(place) == {"a": [1]}
    assert untrusted.read_bytes(place, largest=5) is None
    assert untrusted.read_bytes(tmp_path) is None
    assert untrusted.read_json_object(tmp_path / "absent") is None
    assert untrusted.read_bytes(tmp_path / "nul\0") is None
    place.write_bytes(b"\xef\xbb\xbfone\r\ntw\xff\n")
    assert untrusted.read_lines(place) == ["one", "tw\ufffd"]
    assert untrusted.read_lines(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders.")
def test_what_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    """A link is not followed, and a pipe without a writer does not block."""
    (tmp_path / "real").write_bytes(b"{}")
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "pipe")
    assert untrusted.read_bytes(tmp_path / "link") is None
    assert untrusted.read_bytes(tmp_path / "pipe") is None
