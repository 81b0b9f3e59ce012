"""Long text as pieces that can be spoken at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.voice.sentences import CUT_PAUSE_S, SENTENCE_PAUSE_S, split_text


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("আমি যাই।তুমি আসো! কেন?!  তাই", ["আমি যাই।", "তুমি আসো!", "কেন?!", "তাই"]),
        ("সে বলল, “এসো।” তারপর গেল।", ["সে বলল, “এসো।”", "তারপর গেল।"]),
        ("এক\r\nদুই\n\n তিন ", ["এক", "দুই", "তিন"]),
        ("ড. ইউনূস ৩.৫ মি. যান॥", ["ড. ইউনূস ৩.৫ মি. যান॥"]),
        (" \n\t ", []),
        ("।", ["।"]),
    ],
)
def test_sentences_end_where_bangla_ends_them(text: str, pieces: list[str]) -> None:
    """A sentence ends at danda, question or exclamation mark and line end, but not at a full stop."""
    assert [piece.text for piece in split_text(text)] == pieces


def test_a_long_sentence_is_cut_at_a_comma_then_at_a_space() -> None:
    """A long sentence is cut at the last comma of its second half, or else at the last space."""
    words = "এক দুই, তিন চার পাঁচ, ছয় সাত আট নয় দশ"
    assert [piece.text for piece in split_text(words, 24)] == ["এক দুই, তিন চার পাঁচ,", "ছয় সাত আট নয় দশ"]
    assert [piece.text for piece in split_text("aaa bbb ccc ddd", 8)] == ["aaa bbb", "ccc ddd"]
    assert [piece.text for piece in split_text("1,234,567 89", 10)] == ["1,234,567", "89"]


def test_a_long_word_is_cut_between_letters() -> None:
    """Vowel signs, conjuncts and joiners stay with their letters."""
    assert [piece.text for piece in split_text("কিকিকি", 3)] == ["কি", "কি", "কি"]
    assert [piece.text for piece in split_text("কক্ষ", 3)] == ["ক", "ক্ষ"]


def test_pauses_are_longer_between_sentences() -> None:
    """Pauses are longer between sentences than within, and the last piece has none."""
    pauses = [piece.pause_s for piece in split_text("aaa bbb ccc। ddd", 8)]
    assert pauses == [CUT_PAUSE_S, SENTENCE_PAUSE_S, 0.0]


@given(text=st.text() | st.text(alphabet="কি্ষ\u200d a,—।?\n”", max_size=80), longest=st.integers(2, 30))
def test_nothing_but_white_space_is_lost(text: str, longest: int) -> None:
    """All of a text is kept, in order, in pieces that are neither empty nor too long."""
    pieces = [piece.text for piece in split_text(text, longest)]
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(piece) <= longest and piece == piece.strip() for piece in pieces)
