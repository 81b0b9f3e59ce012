"""A spoken text in the letters that a voice can say."""

import pytest

from kernel_template.text.speaking import spoken
from kernel_template.text.vocabulary import Vocabulary, count_letters, for_voice

# The released Bangla voice: 82 characters, no cleaner, both spellings of ড় ঢ় য়, neither ৭ nor ৯.
RELEASED = Vocabulary(
    frozenset(
        "ইগং\u09dc’ুঃন১ঝূও‘ঊ\u09cbছপফৈ৮ষযৎঢঈকঠিজ০৬ীটডএঅঋধচে২৩ণউ\u09dfঢ\u09bcখলভ\u09d7সহ্\u09ddদথবঔাঞশর\u09ccম—ঐআৃঘঙ\u200cঁ৪৫ত"
        ".?-!|, ।"
    )
)
WORDS = "খাল গাছ ঘর চাঁদ ছবি জল ঝড় টাকা ঠান্ডা ডাল ঢাকা তুমি থাকে দিন ধান নদী পথ ফল বই ভাত মা যাই রোদ লাল শীত ষাঁড় সময় হাত অআইউএও।"


def decomposed(text: str) -> str:
    """Write ড়, ঢ় and য় as a letter and a nukta."""
    for letter, base in (("\u09dc", "ড"), ("\u09dd", "ঢ"), ("\u09df", "য")):
        text = text.replace(letter, f"{base}\u09bc")
    return text


def trained(*texts: str, steps: tuple[tuple[str, ...], ...] = ()) -> Vocabulary:
    """Return the released voice's vocabulary, trained on texts."""
    return Vocabulary(RELEASED.letters, count_letters(texts, steps), steps)


def test_the_released_voice_says_a_year_and_an_amount() -> None:
    """A voice without the digits ৭ and ৯ and without ৳ says them all."""
    assert len(RELEASED.letters - {"।"}) == 82  # The danda is its end of a text.
    said = for_voice(spoken("১৯৭৯ সালে ৳২৫,০০০"), RELEASED)
    assert said.text == "উনিশশো উনআশি সালে পঁচিশ হাজার টাকা"
    assert set(said.text) <= RELEASED.letters
    assert (said.lost, said.doubtful) == ((), ())


@pytest.mark.parametrize("text", ["বড় আষাঢ় সময়", decomposed("বড় আষাঢ় সময়"), "বড় সময়" + decomposed(" আষাঢ়")])
def test_the_spelling_of_the_training_is_used(text: str) -> None:
    """Whichever spelling a text has, the voice gets the one that its training texts had."""
    composed, apart = trained(WORDS, "আষাঢ়"), trained(decomposed(WORDS), decomposed("আষাঢ়"))
    assert for_voice(spoken(text), composed).text == spoken(text).text
    assert for_voice(spoken(text), apart).text == decomposed(spoken(text).text)


def test_a_letter_that_was_never_met_is_replaced_or_named() -> None:
    """A letter of the vocabulary that the training never met is replaced by its like, or else named."""
    voice = trained(WORDS)
    said = for_voice(spoken("ঊষা, ঐক্য খৈ ঘ"), voice)
    assert said.text.startswith("উষা")
    assert for_voice(spoken("দুঃখ"), voice).doubtful == ("ঃ",)
    assert for_voice(spoken("দুঃখ"), voice).text == "দুঃখ"


def test_losses_tell_what_a_listener_misses() -> None:
    """Pictures and quotes are harmless; foreign letters and those that the voice lacks are not."""
    said = for_voice(spoken("“ঠিক” 😀 中 ঁ"), Vocabulary(RELEASED.letters - {"ঁ"}))
    assert [(loss.character, loss.harmful) for loss in said.lost] == [
        ("“", False),
        ("”", False),
        ("😀", False),
        ("中", True),
        ("ঁ", True),
    ]
    assert [loss.character for loss in said.harmful] == ["中", "ঁ"]
    assert said.lost[3].start == 8


def test_white_space_of_any_kind_separates_words() -> None:
    """Tabs, no-break spaces and line ends become the one space that the voice has."""
    assert for_voice(spoken("আমি\tতুমি\u00a0সে\u200bতারা\nওরা"), RELEASED).text == "আমি তুমি সে তারা ওরা"


def test_signs_become_what_the_voice_has() -> None:
    """A colon and a semicolon become commas; র‍্য is spelt with the joiner that the voice has."""
    said = for_voice(spoken("যেমন: র‍্যাব; শেষ…"), RELEASED)
    assert said.text == "যেমন, র‌্যাব, শেষ।"
    assert not said.lost


def test_a_voice_that_knows_latin_letters_gets_them() -> None:
    """If the training texts had Latin letters, they are not spelt out."""
    voice = Vocabulary(
        RELEASED.letters | set("abcdefghijklmnopqrstuvwxyz"),
        count_letters([WORDS, "the quick brown fox jumps over the lazy dog"]),
    )
    assert for_voice(spoken("hello সবাই ৫"), voice).text == "hello সবাই পাঁচ"
    assert for_voice(spoken("hello সবাই ৫"), RELEASED).text == "হ্যালো সবাই পাঁচ"


def test_a_voice_of_another_script_is_left_alone() -> None:
    """A voice that cannot say Bangla gets its text with single spaces; what it lacks is named."""
    voice = Vocabulary(frozenset("abcdefgh 5"))
    said = for_voice(spoken("abc  5\nক"), voice)
    assert said.text == "abc 5 ক"
    assert [loss.character for loss in said.lost] == ["ক"]


def test_counts_hold_pairs() -> None:
    """A letter that is written as two characters is counted as a pair, after cleaning."""
    counts = count_letters(["বড\u09bc বড\u09bc"])
    assert (counts["ড\u09bc"], counts["ড"], counts["\u09bc"]) == (2, 2, 2)
    assert count_letters(["ব\u09dc"], [["nfc"]])["ড\u09bc"] == 1
