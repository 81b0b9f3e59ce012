"""sherpa-onnx's text rules: read by the library that it reads them with, and compared with kgtts's own."""

from collections.abc import Callable
from random import Random

import pytest

from kernel_template.text.speaking import spoken
from kernel_template.text.vocabulary import Vocabulary, for_voice
from orchestrator.emulator.demo.voice import CHARACTERS
from orchestrator.voice.rule_fst import rule_fst

kaldifst = pytest.importorskip("kaldifst")
VOICE = Vocabulary(frozenset("।.?-!, " + CHARACTERS))
Normalize = Callable[[str], str]


@pytest.fixture(scope="module")
def normalize(tmp_path_factory: pytest.TempPathFactory) -> Normalize:
    """Apply the rules as sherpa-onnx does."""
    place = tmp_path_factory.mktemp("rules") / "bangla.fst"
    data = rule_fst(VOICE)
    assert data is not None
    place.write_bytes(data)
    found: Normalize = kaldifst.TextNormalizer(str(place))
    return found


def here(text: str) -> str:
    """The text as kgtts reads it for the same voice."""
    return for_voice(spoken(text), VOICE).text


def test_whole_numbers_are_those_of_kgtts(normalize: Normalize) -> None:
    """Numbers up to 2,200, and some of each length, in both scripts and with commas."""
    numbers = [
        *range(110),
        *range(111, 2200, 13),
        *(7**power for power in range(11)),
        *(10**power for power in range(2, 12)),
    ]
    for number in numbers:
        assert normalize(str(number)) == here(str(number))
    bangla = str.maketrans("0123456789", "০১২৩৪৫৬৭৮৯")
    for text in ("12,34,567", "1,000,000", "99,99,99,999", "0171234567", "3.14", "12.50%", "007", "1,205"):
        assert normalize(text) == here(text)
        assert normalize(text.translate(bangla)) == here(text)


@pytest.mark.parametrize(
    "text",
    [
        "৳৫০০",
        "৫ম",
        "২টি",
        "৫টি",
        "১৯৭১ সালে",
        "ড. মো. রহিম",
        "SMS পাঠান",
        "৫০ %",
        "ক\u200bখ",
        "ক  খ",
        "মুহাম্মদ (সা.) বলেন",
        "রহিম & করিম",
        "মেসি (আর্জেন্টিনা) গোল দিয়েছেন",
        "ঢাকা–চট্টগ্রাম",
    ],
)
def test_what_is_common_is_read_as_kgtts_reads_it(normalize: Normalize, text: str) -> None:
    """Money, ordinals, years, abbreviations, signs."""
    assert normalize(text) == here(text)


def test_a_number_is_never_read_as_two(normalize: Normalize) -> None:
    """Whatever a part of it would be by itself: a year, an ordinal, a zero."""
    for text in (
        "12টি",
        "১২টি",
        "১৯৭১১৯৭১",
        "18191819",
        "19719",
        "01819",
        "০০",
        "1700017000",
        "৳১৭১৮",
    ):
        assert normalize(text) == here(text)
    random = Random(1)  # noqa: S311 - a test's.
    for _ in range(300):
        text = "".join(random.choices("0127189", k=random.randint(2, 11)))
        assert normalize(text) == here(text)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("ক। খ", "ক।:খ"),
        ("ক।। খ॥", "ক।:খ।:"),
        ("ক | খ", "ক।:খ"),
        ("ক... খ…", "ক।:খ।:"),
        ("ক?! খ", "ক？!খ"),
        ("“ক।” খ", "ক।:খ"),
        ("‘ক।’ খ", "‘ক।’:খ"),
        ("ক\n\nখ\nগ", "ক:খ গ"),
        ("  ক", "ক"),
        ("ক. খ", "ক． খ"),
        ("ক: খ", "ক, খ"),
        ("১০:৩০", "দশ ত্রিশ"),
        ("😀", "😀"),
        ("", ""),
    ],
)
def test_sentences_end_where_kgtts_ends_them(normalize: Normalize, text: str, read: str) -> None:
    """A colon stands where sherpa-onnx must begin anew; no other sign lets it do so."""
    assert normalize(text) == read


def test_any_text_is_read(normalize: Normalize) -> None:
    """No text is lost, and a long one takes no time to speak of."""
    text = "আমার ১২৩টি বই, 4.5% ড. A—b/c… ।" * 50
    assert len(normalize(text)) > len(text)
    assert normalize("\x01\x7f") == "\x01\x7f"


def test_other_languages_get_no_rules() -> None:
    """A voice without Bangla's letters."""
    assert rule_fst(Vocabulary(frozenset("abc"))) is None
