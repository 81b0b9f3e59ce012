"""A text as sentences that can be spoken one by one."""

import time
import unicodedata
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_template.text.sentences import (
    CUT_PAUSE_S,
    PARAGRAPH_PAUSE_S,
    SENTENCE_PAUSE_S,
    paragraphs,
    read,
    sentences,
    split_sentences,
)
from kernel_template.text.vocabulary import Vocabulary
from tests.text.test_vocabulary import RELEASED


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("আমি যাই।তুমি আসো! কেন?!  তাই", ["আমি যাই।", "তুমি আসো!", "কেন?!", "তাই"]),
        ("আমি যাই | তুমি আসো॥ ঠিক|না", ["আমি যাই |", "তুমি আসো॥", "ঠিক|", "না"]),
        ("সে বলল, “এসো।” তারপর গেল।", ["সে বলল, “এসো।”", "তারপর গেল।"]),
        ("ড. ইউনূস ৩.৫ মি. যান॥", ["ড. ইউনূস ৩.৫ মি. যান॥"]),
        (" \n\t ", []),
        ("।", []),
        ("— ☺ ?!", []),
    ],
)
def test_sentences_end_where_bangla_ends_them(text: str, pieces: list[str]) -> None:
    """A sentence ends at । | ॥ ? or !, but not at a full stop; what has no letter is none."""
    assert [piece.text for piece in split_sentences(text)] == pieces


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("আমি\nবাড়ি\r\nযাই", ["আমি বাড়ি যাই"]),
        ("এক\n\nদুই\r\n \t\r\n তিন ", ["এক", "দুই", "তিন"]),
        ("এক\u2028দুই\u2029তিন\x0cচার\x85পাঁচ", ["এক দুই", "তিন", "চার পাঁচ"]),
        ("\n\n\n", []),
    ],
)
def test_only_an_empty_line_ends_a_paragraph(text: str, parts: list[str]) -> None:
    """Lines that an editor has wrapped are joined."""
    assert paragraphs(text) == parts


def test_a_text_is_read_before_it_is_split() -> None:
    """A wrapped line is read whole; pauses are longest between paragraphs, and the last sentence has none."""
    found = list(sentences("৳২৫,০০০\nপেলাম। ভালো?\n\nহ্যাঁ", RELEASED))
    assert [item.text for item in found] == ["পঁচিশ হাজার টাকা পেলাম।", "ভালো?", "হ্যাঁ"]
    assert [item.pause_s for item in found] == [SENTENCE_PAUSE_S, PARAGRAPH_PAUSE_S, 0.0]


def test_a_voice_without_a_danda_pauses_at_sentences_too() -> None:
    """Another sign takes the danda's place only after the text is split."""
    voice = Vocabulary(RELEASED.letters - {"।"})
    assert [item.text for item in sentences("আমি যাই। তুমি এসো।", voice)] == ["আমি যাই.", "তুমি এসো."]


def test_an_address_is_not_taken_apart() -> None:
    """A question mark between Latin letters ends no part that is read by itself."""
    (reading,) = read("দেখুন www.x.com/a?b=1 এখানে", RELEASED)
    assert reading.said.source == "দেখুন www.x.com/a?b=1 এখানে"


@pytest.mark.parametrize("text", ["আমি যাই। ", "আমি ", "আ", "১২৩৪ ", "☺", '"', "—", "a", "।", "\n", "১"])
def test_the_first_sentence_of_a_megabyte_comes_at_once(text: str) -> None:
    """Only the beginning of a long text is read before its first sentence is known."""
    long = text * (1_000_000 // len(text))
    began = time.process_time()
    for reading in islice(read(long, RELEASED), 2):
        assert sum(len(item.text) for item in reading.sentences) < 100_000
    assert time.process_time() - began < 2.0


def test_a_long_sentence_is_cut_at_a_comma_then_at_a_space() -> None:
    """A long sentence is cut at the last comma of its second half, or else at the last space."""
    words = "এক দুই, তিন চার পাঁচ, ছয় সাত আট নয় দশ"
    assert [piece.text for piece in split_sentences(words, 24)] == ["এক দুই, তিন চার পাঁচ,", "ছয় সাত আট নয় দশ"]
    assert [piece.text for piece in split_sentences("aaa bbb ccc ddd", 8)] == ["aaa bbb", "ccc ddd"]
    assert [piece.text for piece in split_sentences("1,234,567 89", 10)] == ["1,234,567", "89"]


def test_a_long_word_is_cut_between_letters() -> None:
    """Vowel signs, conjuncts and joiners stay with their letters."""
    assert [piece.text for piece in split_sentences("কিকিকি", 3)] == ["কি", "কি", "কি"]
    assert [piece.text for piece in split_sentences("কক্ষ", 3)] == ["ক", "ক্ষ"]


def test_pauses_are_longer_between_sentences() -> None:
    """Pauses are longer between sentences than within, and the last piece has none."""
    pauses = [piece.pause_s for piece in split_sentences("aaa bbb ccc। ddd", 8)]
    assert pauses == [CUT_PAUSE_S, SENTENCE_PAUSE_S, 0.0]


@given(text=st.text() | st.text(alphabet="কি্ষ\u200d a,—।?|\n”", max_size=80), longest=st.integers(2, 30))
def test_no_letter_is_lost(text: str, longest: int) -> None:
    """All letters of a text are kept, in order, in pieces that are neither empty nor too long."""
    pieces = [piece.text for piece in split_sentences(text, longest)]
    assert letters("".join(pieces)) == letters(text)
    assert all(0 < len(piece) <= longest and piece == piece.strip() for piece in pieces)


def letters(text: str) -> str:
    """Leave only what can be spoken."""
    return "".join(letter for letter in text if unicodedata.category(letter)[0] in "LMN")
