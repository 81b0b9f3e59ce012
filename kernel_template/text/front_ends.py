"""What other programs need to know of a voice's text: sherpa-onnx and Piper. Standard library only.

Both take a text letter by letter, without rules of Bangla, so neither cleans it as the training did. What
they do with it is measured and read in sherpa-onnx 2.0.1 (csrc/offline-tts-character-frontend.cc) and
piper-tts 1.8.0 (voice.py, phoneme_ids.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernel_template.text.spelling import SPELLINGS
from kernel_template.text.tokens import clean
from kernel_template.text.vocabulary import Vocabulary

CHARACTERS = "characters"  # The `kind` of voices that read letters, which these programs can speak with.
BREAK = ":"
"""Where sherpa-onnx begins the next sentence, besides . ? and !. It is no token, so it makes no sound."""


# Where sherpa-onnx ends a sentence, but Bangla need not, as behind ড.: such a sign has a second name in
# tokens.txt, by which our rules (orchestrator/voice/rule_fst.py) write it.
_PLAIN = {sign: chr(ord(sign) + 0xFEE0) for sign in ".:?!"}


def plain_sign(letter: str) -> str:
    """Return the name of a letter at which sherpa-onnx does not end a sentence."""
    return _PLAIN.get(letter, letter)


@dataclass(frozen=True, slots=True)
class SplitLetters:
    """Letters that other programs give apart, although the voice knows them as one.

    Attributes:
        joins: the ids of the first part, of the second, and of the letter.
        signs: an id for each second part that the voice has none for; above all others, and only in `joins`.
    """

    joins: tuple[tuple[int, int, int], ...]
    signs: Mapping[str, int]


def split_letters(rules: Mapping[str, Any]) -> SplitLetters:
    """Find the letters of a voice that Unicode takes apart in NFD, and that it was trained on as one.

    Args:
        rules: the `text` of voice.json.
    """
    table, voice = rules["characters"], Vocabulary.of(rules)
    free = 1 + max((*table.values(), *rules["ids"].values()))
    joins: list[tuple[int, int, int]] = []
    signs: dict[str, int] = {}
    for letter, apart in SPELLINGS.items():
        first, second = apart[0], apart[1]  # As NFD has them.
        if voice.choose(letter)[0] != letter or first not in table or letter not in table:
            continue
        if clean(letter, voice.steps) != letter:
            continue  # The training's cleaner took it apart itself.
        if second not in table and second not in signs:
            signs[second] = free + len(signs)
        joins.append((table[first], table.get(second, signs.get(second, 0)), table[letter]))
    return SplitLetters(tuple(joins), signs)


def sherpa_metadata(described: Mapping[str, Any]) -> dict[str, str]:
    """Make the metadata that sherpa-onnx reads from the model, from the content of voice.json."""
    rules, speakers = described["text"], described.get("speakers") or {}
    return {
        "model_type": "vits",
        "comment": "coqui",
        "language": str(described.get("language") or "Bengali"),
        "sample_rate": str(described["audio"]["sample_rate"]),
        "n_speakers": str(1 + max(speakers.values()) if speakers else 0),
        "frontend": "characters",
        "add_blank": str(int(rules["add_blank"])),
        "use_eos_bos": str(int(rules["use_eos_bos"])),
        **{f"{name}_id": str(rules["ids"][name]) for name in ("blank", "bos", "eos")},
        "pad_id": str(rules["ids"].get("pad", 0)),
    }


def sherpa_tokens(rules: Mapping[str, Any]) -> str:
    """Make tokens.txt for sherpa-onnx: a character and its id on each line.

    White space other than a space cannot stand in it, and `BREAK` would be spoken at the end of sentences.
    """
    table = rules["characters"]
    plain = {plain_sign(sign): table[sign] for sign in _PLAIN if sign in table}
    lines = [
        f"{letter} {number}\n"
        for letter, number in {**plain, **table, **split_letters(rules).signs}.items()
        if letter != BREAK and (letter == " " or not letter.isspace())
    ]
    return "".join(lines)
