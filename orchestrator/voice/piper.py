"""Describe a voice for Piper (Home Assistant, Wyoming): the JSON file beside the model.

Piper 1.8.0 takes a text letter by letter in NFD, so it takes ো and ৌ apart; the model joins them again
(`kernel_template/finish/onnx_edit.py`). It has no rules for a text, but a letter may stand for several ids:
so digits and some signs are said as words, one by one.
"""

from collections.abc import Mapping
from typing import Any

from kernel_template.text.front_ends import split_letters
from kernel_template.text.speaking import spoken
from kernel_template.text.spelling import canonical
from kernel_template.text.tokens import clean
from kernel_template.text.vocabulary import Vocabulary
from orchestrator.voice.card import VoiceCard

_BANGLA = range(0x980, 0xA00)
_DIGITS = "০১২৩৪৫৬৭৮৯0123456789"
_SIGNS = {"%": " শতাংশ", "৳": " টাকা ", "\n": " ", "\t": " ", "॥": "।", "|": "।"}


def piper_config(card: VoiceCard) -> dict[str, Any]:
    """Make the content of voice.onnx.json."""
    rules = card.text.model_dump()
    voice, table = Vocabulary.of(rules), card.text.characters
    written = {letter: letter for letter in (*table, *".,:;-?!।‘’")}
    written |= {letter.upper(): letter for letter in table if len(letter.upper()) == 1}
    if voice.is_bangla:
        written |= {chr(code): canonical(chr(code)) for code in _BANGLA}
        written |= {digit: f"{spoken(digit).text} " for digit in _DIGITS} | _SIGNS
    found = {letter: _ids(form, voice, rules) for letter, form in written.items()}
    split = split_letters(rules)
    parts = {first for first, _, _ in split.joins} | {second for _, second, _ in split.joins}
    found |= {letter: [number] for letter, number in {**table, **split.signs}.items() if number in parts}
    special = card.text.ids
    ends = ([special.bos], [special.eos]) if card.text.use_eos_bos else ([], [])
    blank = [special.blank] if card.text.add_blank else []
    return {
        "audio": {"sample_rate": card.audio.sample_rate, "quality": "medium"},
        "espeak": {"voice": "bn"},
        "language": {"code": card.language or "bn"},
        "phoneme_type": "text",
        "num_symbols": 1 + max((*table.values(), *split.signs.values(), special.blank)),
        # Piper names a speaker only if there are two.
        "num_speakers": max(
            1 + max(card.speakers.values(), default=0), 2 if "sid" in card.onnx.inputs else 1
        ),
        "speaker_id_map": card.speakers,
        "inference": {
            "noise_scale": card.scales.noise,
            "length_scale": card.scales.length,
            "noise_w": card.scales.duration_noise,
        },
        "hop_length": card.audio.hop_length,
        "phoneme_map": {},
        "phoneme_id_map": {
            **{k: ids for k, ids in found.items() if ids},
            "_": blank,
            "^": ends[0],
            "$": ends[1],
        },
    }


def _ids(written: str, voice: Vocabulary, rules: Mapping[str, Any]) -> list[int]:
    """The ids of a text as Piper writes those of one letter: with blanks between, but not around them."""
    form = "".join(voice.choose(letter)[0] or "" if letter != " " else " " for letter in written)
    ids = [
        rules["characters"][letter]
        for letter in clean(f"ক{form}ক", rules["steps"])[1:-1]
        if letter in rules["characters"]
    ]
    if not rules["add_blank"]:
        return ids
    between = [rules["ids"]["blank"]] * max(0, 2 * len(ids) - 1)
    between[::2] = ids
    return between
