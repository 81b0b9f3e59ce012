"""Phonemes as Coqui's phonemizers make them."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from kernel_template.text.espeak import EspeakError
from kernel_template.text.phonemes import describe_phonemizer, phonemize
from kernel_template.text.sentences import sentences
from kernel_template.text.speaking import spoken
from kernel_template.text.tokens import describe, text_ids
from kernel_template.text.vocabulary import Vocabulary
from tests.text.test_tokens import Characters

ESPEAK = {"name": "espeak", "language": "bn", "kept": ';:,.!?¡¿—…"«»“”'}
BANGLA = {"name": "bn_phonemizer", "language": "bn"}
with_espeak = pytest.mark.skipif(find_spec("espeakng_loader") is None, reason="needs espeakng-loader")


@with_espeak
@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("আমি ভাত খাই", "ˌami bʰˈato kʰˈai"),
        ("আমি, ভাত!", "ˌami, bʰˈato!"),
        ("  আমি  ", "ˌami"),
        ("...", "..."),
        ("", ""),
        ("আমি ভাত খাই। কেমন আছ?", "ˌami bʰˈato kʰˈaikˈemɔn ˈatʃʰ?"),  # Coqui joins clauses without a space.
    ],
)
def test_espeaks_phonemes_keep_the_signs(text: str, phonemes: str) -> None:
    """What is between signs is spoken by itself, and the signs come back."""
    assert phonemize(text, ESPEAK) == phonemes


@with_espeak
def test_threads_may_make_phonemes() -> None:
    """The library has one state; threads wait for each other."""
    texts = [f"আমি {word}" for word in ("ভাত", "মাছ", "ডাল")] * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: phonemize(text, ESPEAK), texts)) == [
            phonemize(text, ESPEAK) for text in texts
        ]


@with_espeak
def test_a_language_that_is_not_there_is_said() -> None:
    """The error names it."""
    with pytest.raises(EspeakError, match="no voice 'xx'"):
        phonemize("আমি", {**ESPEAK, "language": "xx"})


def test_without_the_package_it_is_said() -> None:
    """Without espeakng-loader the error names it; voices of letters need none."""
    code = (
        "import sys; sys.modules['espeakng_loader'] = None\n"
        "from kernel_template.text.espeak import phonemes\n"
        "try: phonemes('a', 'bn')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "EspeakError the package espeakng-loader is not installed\n"


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("আমি যাই।", "আমি যাই।।"),
        ("এক, দুই? (তিন) চার", "এক দুই তিন চার।"),
        ("উদ্\u200cযাপন কার্ | ‘ক’…", "উদযাপন কার ক।"),
        ("সম\u09af\u09bc", "সম\u09df।"),
        ("রাঃ বলেন", "রাদিআল্লাহু আনহু বলেন।"),
    ],
)
def test_the_phonemizer_for_bangla_rewrites_letters(text: str, letters: str) -> None:
    """It removes signs, spells words in one way, and ends sentences with a danda."""
    assert phonemize(text, BANGLA) == letters


@pytest.mark.skipif(find_spec("bnunicodenormalizer") is None, reason="needs coqui-tts[bn]")
def test_it_does_what_coquis_does() -> None:
    """For texts in words the result is that of Coqui's own function."""
    coqui = pytest.importorskip("TTS.tts.utils.text.phonemizers.bangla_phonemizer", exc_type=ImportError)
    coqui = coqui.BN_Phonemizer(language="bn")
    for text in ("ডা. সেন ৳২৫,০০০ দিলেন, তাই না?", "১৯৭১ সালে! উদ্\u200cযাপন।", "র\u200d্যাব এসেছিল। সময় নেই"):
        assert phonemize(spoken(text).text, BANGLA) == coqui.phonemize(spoken(text).text)


class Espeak:
    """Coqui's wrapper, as far as it is described."""

    language = "bn"
    _keep_puncs = True
    _punctuator = SimpleNamespace(puncs=ESPEAK["kept"])

    @staticmethod
    def name() -> str:
        """Its name."""
        return "espeak"

    @staticmethod
    def version() -> str:
        """Its release."""
        return "1.52"

    def phonemize(self, text: str) -> str:
        """What it makes."""
        return phonemize(text, ESPEAK)


class Tokenizer:
    """Coqui's tokenizer of a voice that speaks phonemes."""

    use_phonemes, add_blank, use_eos_bos = True, True, False

    def __init__(self, phonemizer: Any) -> None:
        self.phonemizer = phonemizer
        self.characters = Characters(["<PAD>", "<EOS>", "<BOS>", "<BLNK>", *" ,.?!ˈˌabdɔoiekmntʃʰ"])

    def text_to_ids(self, text: str, language: str | None = None) -> list[int]:
        """The ids of the phonemes."""
        made = self.phonemizer.phonemize(text)
        ids = [self.characters.char_to_id(letter) for letter in made if letter in self.characters.tokens]
        return [3, *(number for one in ids for number in (one, 3))]


@with_espeak
def test_a_voice_of_phonemes_is_described() -> None:
    """Its rules name the phonemizer and give the tokenizer's ids; any Bangla letter can be read."""
    rules = describe(Tokenizer(Espeak()), None, "bn-Bangladesh", ["আমি ভাত খাই"])
    assert (rules["speakable"], rules["kind"], rules["why"]) == (True, "phonemes", None)
    assert rules["phonemizer"] == {**ESPEAK, "version": "1.52"}
    numbers = [Tokenizer(None).characters.char_to_id(letter) for letter in "ˌami"]
    assert text_ids("আমি", rules) == ([3, *(number for one in numbers for number in (one, 3))], [])
    said = [item.text for item in sentences("৳৭\nঢ়", Vocabulary.of(rules))]
    assert said == [spoken("৳৭ ঢ়").text]


def test_another_phonemizer_is_said() -> None:
    """A phonemizer that only the training has makes the voice one that say cannot speak with."""

    class Gruut(Espeak):
        @staticmethod
        def name() -> str:
            return "gruut"

        def phonemize(self, text: str) -> str:
            return text

    rules = describe(Tokenizer(Gruut()), None, "bn", ["আমি"])
    assert (rules["speakable"], "phonemes of gruut" in rules["why"]) == (False, True)
    assert describe_phonemizer(Gruut(), "bn") is None


@with_espeak
def test_a_phonemizer_that_does_something_else_is_noticed() -> None:
    """An eSpeak of another release is compared, not trusted."""

    class Other(Espeak):
        def phonemize(self, text: str) -> str:
            return phonemize(text, ESPEAK).replace("ˈ", "")

    rules = describe(Tokenizer(Other()), None, "bn", ["আমি ভাত খাই"])
    assert rules["speakable"] is False
    assert "phonemizer espeak of this release does something else with" in rules["why"]
