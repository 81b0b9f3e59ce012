"""The run stamp is read from a kernel's source, and nothing else is taken for one."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.render.stamp import RunStamp, read_stamp

GOOD: dict[str, Any] = {
    "id": "3f9c",
    "session": 2,
    "parent": "someone/bangla-tts/7",
    "fingerprint": "0" * 64,
    "kernel": "someone/bangla-tts",
    "kgtts": "0.1.0",
}
WRONG: list[tuple[str, Any]] = [
    ("id", ""),
    ("id", "a b"),
    ("id", "x" * 65),
    ("id", "আ"),
    ("id", "a\n"),
    ("id", None),
    ("session", 0),
    ("session", -1),
    ("session", True),
    ("session", 1.0),
    ("session", "1"),
    ("session", 10**30),
    ("parent", ""),
    ("parent", "a\x1b[31m"),
    ("parent", 7),
    ("fingerprint", "0" * 63),
    ("fingerprint", "G" * 64),
    ("kernel", "bangla-tts"),
    ("kernel", "someone/bangla-tts/3"),
    ("kernel", "someone/Bangla"),
    ("kernel", "https://www.kaggle.com/code/someone/bangla-tts"),
    ("kernel", "../x"),
    ("kernel", 1),
    ("kgtts", "x" * 201),
    ("kgtts", None),
]


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nprint('hello')\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_stamp_comes_back(start: str, end: str) -> None:
    """A written stamp is read again, whatever follows, with either line end and a byte order mark."""
    stamp = RunStamp(**GOOD)
    assert read_stamp(f"{start}{stamp.comment}{end}") == stamp
    assert stamp.to_dict() == GOOD


def test_the_first_session_has_no_parent() -> None:
    """A run's first session has None as its parent, and that comes back too."""
    stamp = RunStamp(**{**GOOD, "parent": None})
    assert read_stamp(stamp.comment) == stamp


def test_failed_downloads_are_counted_beside_the_settings() -> None:
    """Older versions of kgtts still read the first line; nonsense counts as none."""
    stamp = RunStamp(**GOOD, failed_downloads=2)
    assert read_stamp(stamp.comment) == stamp
    first, second = stamp.comment.split("\n")
    assert read_stamp(first) == RunStamp(**GOOD)
    for nonsense in ("-1", '"2"', "1e99", "[2]", "true"):
        assert read_stamp(f"{first}\n{second.replace(': 2', f': {nonsense}')}") == RunStamp(**GOOD)


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_garbled_field_is_no_stamp(field: str, value: object) -> None:
    """One invalid field invalidates the whole stamp, and cannot be written."""
    garbled = {**GOOD, field: value}
    assert read_stamp(f"# kgtts-run: {json.dumps(garbled)}\n") is None
    with pytest.raises(UsageError, match=f"A run stamp cannot have {field}"):
        RunStamp(**garbled)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "\n",
        "print()",
        "# kgtts-run:",
        "# kgtts-run: null",
        "# kgtts-run: []",
        "# kgtts-run: {}",
        "# kgtts-run: {",
        "# kgtts-run: " + "[" * 4000,
        "# kgtts-run: " + '{"a":' * 800,
        "# kgtts-run: " + "9" * 4000,
        "# kgtts-run: \x00",
        f"# kgtts-run: {json.dumps({**GOOD, 'more': 1})}",
        f"# kgtts-run: {json.dumps({k: v for k, v in GOOD.items() if k != 'id'})}",
        f"# kgtts-run: {json.dumps(GOOD)} trailing",
        f"import os\n# kgtts-run: {json.dumps(GOOD)}",
        f"x = 1 # kgtts-run: {json.dumps(GOOD)}",
        "# kgtts-run: " + " " * 5000 + json.dumps(GOOD),
    ],
)
def test_hostile_sources_have_no_stamp(source: str) -> None:
    """Anybody can edit a kernel on Kaggle: only a complete stamp on the first line counts."""
    assert read_stamp(source) is None


@given(
    st.text(),
    st.recursive(
        st.none() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)
    ),
)
def test_nothing_makes_reading_fail(text: str, value: object) -> None:
    """Any text, and any JSON after the marker, is read without an exception."""
    assert read_stamp(text) is None
    assert read_stamp(f"# kgtts-run: {text}") is None
    assert read_stamp(f"# kgtts-run: {json.dumps(value)}") is None


def test_stamps_are_frozen() -> None:
    """A stamp does not change."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunStamp(**GOOD).session = 3  # type: ignore[misc] # what is tried here
