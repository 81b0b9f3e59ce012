"""Text to ids by voice.json, held against the reading that the kernel checks its descriptions with."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_template.text import voice_text
from orchestrator.errors import UsageError
from orchestrator.voice.card import TextRules
from orchestrator.voice.text import cleaned, letters_of
from tests.voice.making import CHARACTERS, rules

_CLEANERS = (
    None,
    "no_cleaners",
    "basic_cleaners",
    "basic_turkish_cleaners",
    "multilingual_cleaners",
    "multilingual_phoneme_cleaners",
)
_TEXTS = st.text() | st.text(alphabet="আমি ড়\u09bcকো।ABIİßﬁ\u0301\t\n\x1c\u00a0\u200d-;:&'<>()[]\"")


def read(described: dict[str, Any]) -> TextRules:
    """A description's rules, as they come out of JSON."""
    return TextRules.model_validate(described)


@given(
    text=_TEXTS,
    cleaner=st.sampled_from(_CLEANERS),
    language=st.sampled_from([None, "bn-Bangladesh", "en-US", "el", "ca", "fr"]),
    blank=st.booleans(),
    ends=st.booleans(),
)
def test_both_readings_are_one(
    *, text: str, cleaner: str | None, language: str | None, blank: bool, ends: bool
) -> None:
    """Kernel and laptop give the same ids and unknown characters, for any text and cleaner."""
    steps = [list(step) for step in voice_text.cleaner_steps(cleaner, language) or ()]
    more = {letter: number for number, letter in enumerate("ıডঢয\u09bc ো&sß;:", start=30)}
    described = rules(steps=steps, characters={**CHARACTERS, **more}, add_blank=blank, use_eos_bos=ends)
    letters = letters_of(text, read(described))
    assert (list(letters.ids), list(letters.unknown)) == voice_text.text_ids(text, described)


@pytest.mark.parametrize("cleaner", _CLEANERS)
def test_traps_are_read_alike(cleaner: str | None) -> None:
    """The texts that each description is checked with give the same ids on both sides."""
    steps = [list(step) for step in voice_text.cleaner_steps(cleaner, "bn-Bangladesh") or ()]
    for text in voice_text._EVERYTHING:
        assert cleaned(text, read(rules(steps=steps)).steps) == voice_text.clean(text, steps)


def test_unknown_characters_are_named_once() -> None:
    """Unknown characters are listed once, in the order of the cleaned text."""
    letters = letters_of("Zআ☺মিz☺", read(rules()))
    assert (letters.known, letters.unknown) == (3, ("z", "☺"))
    assert letters.ids == (3, 4, 3, 5, 3, 6, 3)


def test_rules_that_blow_a_text_up_are_refused() -> None:
    """Rules that make a text grow without bound are an error."""
    steps = [["replace", "a", "a" * 60]] * 60
    with pytest.raises(UsageError, match="without bound"):
        letters_of("a" * 100, read(rules(steps=steps)))
