"""Phonemes as Coqui's phonemizers make them (coqui-tts 0.28), for voices that were trained on them.

    espeak         eSpeak NG, which espeakng-loader brings (espeak.py)
    bn_phonemizer  Coqui's own for Bangla. It makes no phonemes: it removes signs, spells words in one way,
                   and ends each sentence with a danda. Here it is for text that `text.spoken` has read

The export compares them with the voice's own tokenizer.
"""

import re
from collections.abc import Mapping
from functools import reduce
from typing import Any

from kernel_template.text import espeak
from kernel_template.text.espeak import EspeakError
from kernel_template.text.spelling import SPELLINGS

ESPEAK, BANGLA = "espeak", "bn_phonemizer"
PHONEMIZERS = (ESPEAK, BANGLA)
_ESPEAK_NAMES = {"en": "en-us", "zh-cn": "cmn"}  # Languages that Coqui calls otherwise than eSpeak NG.
_FLAGS = re.compile(r"\(.+?\)")  # eSpeak NG names another language's words so.

# bn_phonemizer: the signs that it removes, and what it does to a word.
_BANGLA_SIGNS = re.compile("(?:\\s*[、\\.,\\[\\]\\(\\)\\?!〽\\~『』「」【】]+\\s*)+")
_HASANTA, _ZWNJ, _ZWJ = "\u09cd", "\u200c", "\u200d"
_WORD = (
    (re.compile(r"[A-Za-z|…‘’“\u200e\u200f]"), ""),
    (re.compile("–"), "-"),
    (re.compile(f"{_HASANTA}?{_ZWNJ}|{_HASANTA}{_ZWJ}"), ""),
    (re.compile(f"(?<=[\u09dc\u09dd\u09df]){_HASANTA}"), ""),
    (re.compile(f"এ{_HASANTA}যা"), f"অ{_HASANTA}যা"),
    (re.compile(f"\\A[\u0981-\u0983\u09bc\u09be-{_HASANTA}]+|{_HASANTA}+\\Z"), ""),
)
_EXPANDED = {
    "সাঃ": "সাল্লাল্লাহু আলাইহি ও\u09dfা সাল্লাম",
    "আঃ": "আলাইহিস সালাম",
    "রাঃ": "রাদিআল্লাহু আনহু",
    "রহঃ": "রহমাতুল্লাহি আলাইহি",
    "রহিঃ": "রহিমাহুল্লাহ",
    "হাফিঃ": "হাফিযাহুল্লাহ",
    "/": "বাই",
}


def describe_phonemizer(phonemizer: Any, language: str | None) -> dict[str, Any] | None:
    """Return the `phonemizer` of voice.json for Coqui's object; None if it is one that is not known here."""
    inner = getattr(phonemizer, "lang_to_phonemizer", None)
    if isinstance(inner, Mapping):
        phonemizer = inner.get(language)
    name = phonemizer.name() if hasattr(phonemizer, "name") else None
    if name not in PHONEMIZERS:
        return None
    described = {"name": name, "language": str(phonemizer.language), "version": str(phonemizer.version())}
    if name == ESPEAK:
        punctuation = phonemizer._punctuator.puncs if phonemizer._keep_puncs else None  # noqa: SLF001 - no other way.
        described["kept"] = punctuation
    return described


def phonemize(text: str, described: Mapping[str, Any]) -> str:
    """Return the phonemes of a text, by the `phonemizer` of voice.json.

    Raises:
        EspeakError: eSpeak NG is needed and cannot be used.
        ValueError: the phonemizer is not known.
    """
    if described["name"] == ESPEAK:
        return _with_espeak(text.strip(), described["language"], described.get("kept"))
    if described["name"] == BANGLA:
        return _bangla(text)
    raise ValueError(f"The phonemizer {described['name']!r} is not known.")


def _with_espeak(text: str, language: str, kept: str | None) -> str:
    name = _ESPEAK_NAMES.get(language, language)
    if not kept:
        return _clause(text, name)
    # Coqui speaks what is between signs by itself, and puts the signs back with the spaces around them.
    parts = re.split(rf"((?:\s*[{re.escape(kept)}]+\s*)+)", text)
    return "".join(part if at % 2 or not part else _clause(part, name) for at, part in enumerate(parts))


def _clause(text: str, language: str) -> str:
    lines = espeak.phonemes(text, language)
    return "".join(_FLAGS.sub("", line).strip() for line in lines).replace("_", "")


def _bangla(text: str) -> str:
    for letter, apart in SPELLINGS.items():
        text = text.replace(apart, letter)
    said = re.sub(" +", " ", _BANGLA_SIGNS.sub(" ", text.strip())).strip()
    return "".join(f"{_bangla_words(sentence)}।" for sentence in re.split("[।!?]", said))


def _bangla_words(text: str) -> str:
    words = (
        reduce(lambda word, change: change[0].sub(change[1], word), _WORD, word) for word in text.split()
    )
    said = " ".join(word for word in words if word)
    for short, whole in _EXPANDED.items():
        said = said.replace(short, whole)
    return said


__all__ = ["BANGLA", "ESPEAK", "PHONEMIZERS", "EspeakError", "describe_phonemizer", "phonemize"]
