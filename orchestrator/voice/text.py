"""Turn a text into the ids that a voice was trained on, by the rules of its voice.json.

`kernel_template/text` writes these rules.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import UsageError
from orchestrator.voice.card import Step, TextRules

# The largest growth that a real cleaner has is `&` to ` and `.
_LARGEST_GROWTH = 8


@dataclass(frozen=True, slots=True)
class Letters:
    """A text as ids.

    Attributes:
        ids: the ids that the model gets.
        known: how many characters of the text are among them.
        unknown: the characters that the vocabulary lacks, each once, in the order of the text.
    """

    ids: tuple[int, ...]
    known: int
    unknown: tuple[str, ...]


def cleaned(text: str, steps: Sequence[Step]) -> str:
    """Apply the steps of the voice's text cleaner.

    Raises:
        UsageError: the text grows without bound, so the rules are not those of a real voice.
    """
    largest = _LARGEST_GROWTH * (len(text) + 100)
    for step in steps:
        match step:
            case ("nfc",):
                text = unicodedata.normalize("NFC", text)
            case ("lower",):
                text = text.lower()
            case ("collapse",):
                # The white space of str.split and that of `\s` are the same.
                text = " ".join(text.split())
            case ("replace", old, new):
                text = text.replace(old, new)
            case ("drop", letters):
                gone = set(letters)
                text = "".join(letter for letter in text if letter not in gone)
        if len(text) > largest:
            raise UsageError(
                "The voice's text rules make a text grow without bound: its description is damaged."
            )
    return text


def letters_of(text: str, rules: TextRules) -> Letters:
    """The ids of a text, and the characters that were left out.

    Raises:
        UsageError: the rules are not those of a real voice.
    """
    table = rules.characters
    known: list[int] = []
    unknown: dict[str, None] = {}
    for letter in cleaned(text, rules.steps):
        number = table.get(letter)
        if number is None:
            unknown[letter] = None
        else:
            known.append(number)
    ids = known
    if rules.add_blank:
        ids = [rules.ids.blank]
        for number in known:
            ids += (number, rules.ids.blank)
    if rules.use_eos_bos:
        ids = [rules.ids.bos, *ids, rules.ids.eos]
    return Letters(tuple(ids), len(known), tuple(unknown))
