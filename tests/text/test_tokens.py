"""A tokenizer as plain data: made-up tokenizers here, Coqui's in test_export_small_voice.py."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_template.text.tokens import clean, cleaner_steps, describe, text_ids

_TOKENS = ("<PAD>", "<EOS>", "<BOS>", "<BLNK>", "আ", "ম", "ি", "a", "b", " ", "।", "a")


@dataclass
class Characters:
    """Coqui's vocabulary; if a token occurs twice, the last one counts."""

    tokens: Sequence[str] = _TOKENS
    pad_id: int = 0
    eos_id: int = 1
    bos_id: int = 2
    blank_id: int = 3

    @property
    def num_chars(self) -> int:
        """Return the number of tokens."""
        return len(self.tokens)

    def id_to_char(self, number: int) -> str:
        """Return a token."""
        return self.tokens[number]

    def char_to_id(self, token: str) -> int:
        """Return a token's id."""
        return {name: number for number, name in enumerate(self.tokens)}[token]


@dataclass
class Tokenizer:
    """Coqui's tokenizer, with a cleaner made of steps."""

    steps: Sequence[Sequence[str]] = (("nfc",), ("lower",), ("collapse",))
    add_blank: bool = True
    use_eos_bos: bool = False
    use_phonemes: bool = False
    phonemizer: Any = None
    characters: Characters = field(default_factory=Characters)

    def text_to_ids(self, text: str, language: str | None = None) -> list[int]:
        """Return the ids; unknown letters are left out."""
        known = [letter for letter in clean(text, self.steps) if letter in self.characters.tokens]
        ids = [self.characters.char_to_id(letter) for letter in known]
        if self.add_blank:
            ids = [3, *(number for one in ids for number in (one, 3))]
        return [2, *ids, 1] if self.use_eos_bos else ids


def described(tokenizer: Tokenizer, cleaner: str | None = "basic_cleaners") -> dict[str, Any]:
    """Return the tokenizer as data."""
    return describe(tokenizer, cleaner, "bn-Bangladesh", ["আমি"])


@given(text=st.text() | st.text(alphabet="আমিab ।<PAD>\n"), blank=st.booleans(), ends=st.booleans())
def test_the_data_give_the_tokenizers_ids(*, text: str, blank: bool, ends: bool) -> None:
    """The ids are equal with and without blanks and ends, for any text."""
    tokenizer = Tokenizer(add_blank=blank, use_eos_bos=ends)
    data = described(tokenizer)
    assert data["speakable"]
    ids, unknown = text_ids(text, data)
    assert ids == tokenizer.text_to_ids(text)
    assert not set(unknown) & set(data["characters"])


def test_characters_outside_the_vocabulary_are_named() -> None:
    """Each is named once, in the order of the text, as it is after cleaning."""
    assert text_ids("Xa☺x☺", described(Tokenizer(add_blank=False))) == ([11], ["x", "☺"])


def test_the_last_of_two_equal_characters_counts() -> None:
    """The last of two equal characters counts, as in Coqui's table."""
    assert described(Tokenizer())["characters"]["a"] == 11


def test_a_cleaner_that_does_something_else_is_noticed() -> None:
    """A cleaner of the same name that does something else is not written down."""
    data = described(Tokenizer(steps=(("nfc",), ("collapse",))))
    assert data["speakable"] is False
    assert "basic_cleaners of this release" in data["why"]


@pytest.mark.parametrize(
    ("tokenizer", "cleaner", "why"),
    [
        (Tokenizer(use_phonemes=True), "basic_cleaners", "phonemes of an unknown phonemizer"),
        (Tokenizer(), "english_cleaners", "english_cleaners does more"),
        (Tokenizer(), "my_own", "my_own does more"),
    ],
)
def test_what_cannot_be_written_down_is_said(tokenizer: Tokenizer, cleaner: str, why: str) -> None:
    """The voice is exported all the same, and says that its text rules are unknown."""
    data = described(tokenizer, cleaner)
    assert data["speakable"] is False
    assert why in data["why"]


def test_languages_have_their_own_symbols() -> None:
    """A language's region is ignored."""

    def cleaned(language: str | None) -> str:
        steps = cleaner_steps("multilingual_cleaners", language)
        assert steps is not None
        return clean("A-B; c: d & 'E'", steps)

    assert cleaned("bn-Bangladesh") == cleaned(None) == "a b, c, d & 'e'"
    assert cleaned("en-US") == "a b, c, d and 'e'"
    assert cleaned("el") == "a b; c, d & 'e'"
    assert cleaned("ca") == "ab, c, d i e"


def test_steps_that_blow_a_text_up_are_refused() -> None:
    """Steps that make a text grow without bound are an error."""
    with pytest.raises(ValueError, match="without bound"):
        clean("a" * 100, [["replace", "a", "a" * 60]] * 60)


def test_a_step_of_a_later_kgtts_is_refused() -> None:
    """An unknown step is an error, since leaving it out would give other ids."""
    with pytest.raises(ValueError, match="'spell' is not known"):
        clean("a", [["spell", "en"]])
