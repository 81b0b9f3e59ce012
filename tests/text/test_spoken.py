"""Texts and their spoken forms: the table of sentences, and what holds for any text."""

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_template.text.grammar import BANGLA, KEPT
from kernel_template.text.pieces import Latin, Spoken
from kernel_template.text.speaking import spoken
from kernel_template.text.spelling import _CALM, _CLASH, _round, canonical
from kernel_template.text.vocabulary import Vocabulary, for_voice
from tests.text.test_vocabulary import RELEASED

_TABLE = Path(__file__).with_name("spoken_forms.tsv").read_text(encoding="utf-8").splitlines()
_SAYABLE = re.compile(f"[{BANGLA}{KEPT}]*")
_BLOCK = [chr(number) for number in range(0x980, 0xA00)]
_WORDS = "আমি তুমি সে গাছ নদী ভালো মানুষ ছিল এবং বড় ঘর সময় কোথায় দুঃখ চাঁদ ঋষি".split()
_MARKS = (
    "১২ 3.5 ৳ % "
    "ডা. মো. লি. km BBC ১৯৭১ ২১শে ১ম / - : ১০:৩০ ( ) , । ? … ' \" ’ 😀 — – + = | ৷ "
    "01712345678 a@b.com www.x.com ½ "
    "১/২ এর -এর টি মার্চ °C $ # * ~ _ \\ 中 ह é ß ² AM এ. নং Tk. @ & .. ০০৭ ১,২৫,০০০ x লাখ তম"
).split()


def _rows() -> list[tuple[str, str]]:
    rows = []
    for line in _TABLE:
        if not line.startswith("#"):
            text, form = line.split("\t")
            text = re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)
            rows.append((text.replace("\\t", "\t"), form))
    return rows


def rebuilt(said: Spoken) -> str:
    """Put the results of the pieces in the place of what they replace."""
    at, parts = 0, []
    for piece in said.pieces:
        assert said.source[piece.start : piece.end] == piece.source
        assert piece.start >= at
        parts += [said.source[at : piece.start], piece.result]
        at = piece.end
    return "".join([*parts, said.source[at:]])


def test_the_table_is_large() -> None:
    """The table has at least 300 different texts, and is written in canonical spelling."""
    assert len({text for text, _ in _rows()}) >= 300
    assert [form for _, form in _rows() if form != canonical(form)] == []


def test_texts_are_read_as_people_do() -> None:
    """Each sentence of the table is spoken as it says; that is its own spoken form; the pieces make it."""
    wrong = [(text, form, spoken(text).text) for text, form in _rows() if spoken(text).text != form]
    assert wrong == []
    assert [form for _, form in _rows() if spoken(form).text != form] == []
    assert [text for text, form in _rows() if rebuilt(spoken(text)) != form] == []


def test_the_released_voice_says_the_whole_table() -> None:
    """A voice of the released kind says every sentence of the table, and loses nothing that is heard."""
    for text, _ in _rows():
        said = for_voice(spoken(text), RELEASED)
        assert set(said.text) <= RELEASED.letters
        assert said.harmful == ()
        assert rebuilt(said) == said.text


def test_pieces_name_the_rule_and_the_place() -> None:
    """A piece has the rule that was applied, and its place in the source."""
    found = spoken("১৯৭৯ সালে ৳২৫,০০০")
    assert [(piece.start, piece.end, piece.rule, piece.source) for piece in found.pieces] == [
        (0, 4, "number", "১৯৭৯"),
        (10, 17, "number", "৳২৫,০০০"),
    ]


@pytest.mark.parametrize("letter", _BLOCK, ids=lambda letter: f"U+{ord(letter):04X}")
def test_every_character_of_the_bangla_block(letter: str) -> None:
    """Each is kept, changed by a named rule, or named as lost; what comes out can be said and is stable."""
    said = spoken(f"ক{letter} {letter}খ")
    assert _SAYABLE.fullmatch(said.text)
    assert spoken(said.text).text == said.text
    named = {loss.character for loss in said.lost}.union(*(piece.source for piece in said.pieces))
    assert letter in said.text or letter in named
    assert not (unicodedata.category(letter) == "Lo" and any(loss.harmful for loss in said.lost))


@given(
    parts=st.lists(st.sampled_from([*_MARKS, *_WORDS, *_BLOCK, " ", "\n"]), max_size=12), glue=st.booleans()
)
@settings(deadline=None)
def test_what_comes_out_can_be_said_and_is_stable(*, parts: list[str], glue: bool) -> None:
    """Only what can be said comes out; a second pass changes nothing; the pieces make the text."""
    said = spoken(("" if glue else " ").join(parts))
    assert _SAYABLE.fullmatch(said.text)
    assert spoken(said.text).text == said.text
    assert rebuilt(said) == said.text
    fitted = for_voice(said, RELEASED)
    assert set(fitted.text) <= RELEASED.letters
    assert rebuilt(fitted) == fitted.text


@given(text=st.text(max_size=40))
@settings(deadline=None)
def test_any_text_can_be_spoken(text: str) -> None:
    """Whatever Unicode has, the result can be said and is stable; letters of other scripts are named."""
    said = spoken(text)
    assert _SAYABLE.fullmatch(said.text)
    assert spoken(said.text).text == said.text


@given(parts=st.lists(st.sampled_from([*_MARKS, *_WORDS]), min_size=1, max_size=12))
@settings(deadline=None)
def test_no_word_is_lost(parts: list[str]) -> None:
    """Every Bangla word of a text is in what is spoken, in its order."""
    spelt = iter(re.findall(f"[{BANGLA}]+", spoken(" ".join(parts)).text))
    words = [part for part in parts if part in _WORDS]
    assert all(word in spelt for word in words), words


@given(text=st.text(alphabet=[*_BLOCK, " ", "a", "1", "|", "\u200c", "\u200d"], max_size=20))
@settings(deadline=None)
def test_the_quick_look_at_the_spelling_misses_nothing(text: str) -> None:
    """A text that the quick look takes for canonical needs no edit."""
    if _CALM.fullmatch(text) and not _CLASH.search(text):
        assert _round(text) == []
    assert canonical(canonical(text)) == canonical(text)


def test_latin_words_may_be_left_out_or_kept() -> None:
    """Left out, they are named as words; kept, they stay as they are."""
    omitted = spoken("hello সবাই BBC", Latin.OMIT)
    assert omitted.text == "সবাই"
    assert [(loss.character, loss.start, loss.harmful) for loss in omitted.lost] == [
        ("hello", 0, True),
        ("BBC", 11, True),
    ]
    assert spoken("hello সবাই ৫ km", Latin.KEEP).text == "hello সবাই পাঁচ কিলোমিটার"


def test_bijoy_text_is_noticed() -> None:
    """Text for a Bijoy font is called so; English is not."""
    assert "Bijoy" in spoken("Avwg evsjvq Mvb MvB").remarks[0]
    english = "I have never visited a very lively village, www.example.com says."
    assert spoken(english).remarks == ()


def test_lines_stay_lines() -> None:
    """Line ends of any kind stay, and several blank lines are one."""
    assert spoken("৫\r\n৬\n\n\n\n৭ \u2028 ৮").text == "পাঁচ\nছয়\n\nসাত\nআট"


def test_places_of_losses_are_those_of_the_source() -> None:
    """What is lost is named once, with its first place and how often it occurs."""
    (loss,) = spoken("১৯৭১ সালে ☺ ও ☺").lost
    assert (loss.character, loss.start, loss.count, loss.harmful) == ("☺", 10, 2, False)


def test_a_voice_that_was_not_counted_still_speaks() -> None:
    """A voice.json of an earlier session has no counts: its vocabulary is believed."""
    rules = {"characters": dict.fromkeys(RELEASED.letters, 1), "steps": []}
    assert for_voice(spoken("৭৯"), Vocabulary.of(rules)).text == "উনআশি"
