"""A spoken text in the letters that a voice can say.

A voice says what its training texts held. Its vocabulary may hold more: both spellings of ড়, digits that were
always written out, signs that never came. So voice.json has the counts of the training texts' letters; voices
without them are taken at their vocabulary's word.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kernel_template.text.phonemes import ESPEAK, describe_phonemizer
from kernel_template.text.pieces import (
    Edit,
    Latin,
    Spoken,
    Unspoken,
    apply,
    as_pieces,
    compose,
    merged,
    place_before,
)
from kernel_template.text.speaking import spoken
from kernel_template.text.spelling import SPELLINGS, ZWJ, ZWNJ
from kernel_template.text.tokens import character_ids, clean, cleaner_steps

# What sounds the same or nearly so, the nearest first. A text keeps its words with any of them.
_ALIKE = {
    "ঊ": "উ", "উ": "ঊ", "ঈ": "ই", "ই": "ঈ", "ূ": "ু", "ু": "ূ", "ী": "ি", "ি": "ী",
    "ঋ": "রি", "ৃ": "্রি", "ঐ": "ওই", "ঔ": "ওউ", "ৈ": "োই", "ৌ": "োউ",
    "ঙ": "ং", "ং": "ঙ", "ঞ": "ন", "ণ": "ন", "ন": "ণ", "শ": "ষ স", "ষ": "শ স", "স": "শ ষ", "য": "জ", "জ": "য",
    "ৎ": "ত্ ত", "ড়": "র", "ঢ়": "ড় র", "য়": "এ",
    ZWJ: f"{ZWNJ} ∅", ZWNJ: f"{ZWJ} ∅", "’": "' ‘ ∅", "-": "␣", "\n": "␣",
    "।": ". ; ,", ".": "। ,", "?": "। .", "!": "। .", ";": ", ।", ":": ", ।", ",": "; ␣", "…": "। . ,",
    "—": "– - ,",
}  # fmt: skip
_UNSEEN = {"∅": "", "␣": " "}  # In _ALIKE, where a sign may go or become a space.
_SILENT = frozenset("।.?!;:,…—-’\n" + ZWJ + ZWNJ)
_CORE = frozenset("কখগঘচছজঝটঠডঢতথদধনপফবভমযরলশষসহঅআইউএওািুে্")
_SPEAKS, _LATIN_LETTERS = 0.75, 20  # A share of _CORE; so many letters of the alphabet.
_PAIRS = {written: letter for letter, written in SPELLINGS.items()}
_UNIT = re.compile("|".join(_PAIRS) + "|.", re.DOTALL)
_NOT_THERE = "is not in the voice's vocabulary"
_LINE_END = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_SPACES = re.compile(r"[\s\u200b]+")


def count_letters(texts: Iterable[str], steps: Sequence[Sequence[str]] = ()) -> dict[str, int]:
    """Count the letters of training texts, as they are after cleaning; the most frequent first.

    A letter that Unicode spells as two characters, such as ড and a nukta, is also counted as that pair.

    Raises:
        ValueError: as `clean`.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        cleaned = clean(text, steps)
        counts.update(cleaned)
        counts.update(pair for pair in _UNIT.findall(cleaned) if len(pair) > 1)
    return dict(counts.most_common())


def preferred_spelling(counts: Mapping[str, int]) -> dict[str, str]:
    """Return how training texts spelt each letter that Unicode spells in two ways, where they had it."""
    found = {
        letter: max((letter, apart), key=lambda form: counts.get(form, 0))
        for letter, apart in SPELLINGS.items()
    }
    return {letter: form for letter, form in found.items() if counts.get(form)}


@dataclass(frozen=True)
class Vocabulary:
    """What a voice can say.

    Attributes:
        letters: the characters that have an id.
        counts: how often the training texts had each, as `count_letters`; None if that is not known.
        steps: the cleaner's steps, as in voice.json.
        phonemes_of: the language of a voice that eSpeak NG makes phonemes for: it can read any letter.
    """

    letters: frozenset[str]
    counts: Mapping[str, int] | None = None
    steps: Sequence[Sequence[str]] = ()
    phonemes_of: str | None = None

    @classmethod
    def of(cls, rules: Mapping[str, Any]) -> "Vocabulary":
        """Take it from the `text` of a voice.json."""
        phonemizer = rules.get("phonemizer")
        if phonemizer and phonemizer["name"] == ESPEAK:
            return cls(frozenset(), phonemes_of=str(phonemizer["language"]))
        return cls(frozenset(rules["characters"]), rules.get("counts") or None, rules["steps"])

    @classmethod
    def of_tokenizer(
        cls, tokenizer: Any, cleaner: str | None, language: str | None, counts: Mapping[str, int] | None
    ) -> "Vocabulary":
        """Take it from Coqui's tokenizer.

        Args:
            tokenizer: the tokenizer; it has `characters`.
            cleaner: the configuration's `text_cleaner`.
            language: the dataset's language.
            counts: as above.
        """
        if getattr(tokenizer, "use_phonemes", False):
            known = describe_phonemizer(getattr(tokenizer, "phonemizer", None), language)
            if known is None or known["name"] == ESPEAK:
                return cls(frozenset(), phonemes_of=known["language"] if known else language or "bn")
        steps = cleaner_steps(cleaner, language) or ()
        return cls(frozenset(character_ids(tokenizer.characters)), counts, steps)

    @cached_property
    def is_bangla(self) -> bool:
        """Whether it can say Bangla at all."""
        if self.phonemes_of is not None:
            return self.phonemes_of.split("-")[0] == "bn"
        return len(_CORE & self.letters) >= _SPEAKS * len(_CORE)

    @cached_property
    def says_latin(self) -> bool:
        """Whether the training texts had Latin letters."""
        return sum(letter.isascii() and letter.isalpha() for letter in self.counts or ()) >= _LATIN_LETTERS

    def has(self, text: str) -> bool:
        """Whether all of a text has ids."""
        return self.phonemes_of is not None or (
            self.letters.issuperset(clean(text, self.steps)) if self.steps else self.letters.issuperset(text)
        )

    def trained(self, text: str) -> int:
        """How often the training texts had the rarest letter of a text; 1 if nothing was counted."""
        if self.counts is None:
            return 1
        units = _UNIT.findall(clean(text, self.steps))
        return min((self.counts.get(unit, 0) for unit in units), default=1)

    @cached_property
    def _choices(self) -> dict[str, tuple[str | None, bool]]:
        return {}

    def choose(self, letter: str) -> tuple[str | None, bool]:
        """Choose how to write a letter. Returns None if it cannot be said, and whether it is doubtful.

        The spelling that the training texts had most comes first, then what sounds alike, then a letter that
        the voice has but never met.
        """
        if letter not in self._choices:
            self._choices[letter] = self._choose(letter)
        return self._choices[letter]

    def _choose(self, letter: str) -> tuple[str | None, bool]:
        spellings = [letter, SPELLINGS.get(letter, letter)]
        known = [form for form in spellings if self.has(form)]
        best = max(known, key=self.trained, default=None)
        if best is not None and self.trained(best):
            return best, False
        alike = [self._written(form) for form in _ALIKE.get(letter, "").split()]
        for form in alike:
            if self.has(form) and self.trained(form):
                return form, False
        if best is not None:
            return best, letter not in _SILENT
        doubtful = next((form for form in alike if self.has(form)), None)
        return doubtful, doubtful is not None

    def _written(self, form: str) -> str:
        """Return a form of _ALIKE with its letters in the voice's own spelling."""
        units = (max((unit, SPELLINGS.get(unit, unit)), key=self._fitness) for unit in form)
        return _UNSEEN.get(form, "".join(units))

    def _fitness(self, form: str) -> tuple[bool, int]:
        return self.has(form), self.trained(form)


def words(text: str, voice: Vocabulary) -> Spoken:
    """Return a text as it is read aloud, not yet in the letters of a voice; Latin letters that it has stay.

    A voice that does not speak Bangla reads the text as it is.
    """
    if not voice.is_bangla:
        return Spoken(text, text)
    return spoken(text, Latin.KEEP if voice.says_latin else Latin.SPELL)


def for_voice(said: Spoken, voice: Vocabulary, *, lines: bool = False) -> Spoken:
    """Return a spoken text in the letters that a voice can say; any white space becomes a space.

    A letter of which the voice has another spelling, or one that sounds alike, is replaced. What it cannot
    say at all is left out and named in `lost`. What it has an id for but never met is kept and named in
    `doubtful`. For a voice that does not speak Bangla only the white space is changed.

    Args:
        said: the spoken text.
        voice: what the voice can say.
        lines: whether line ends stay, for what splits the text there before it is synthesised.
    """
    if not voice.is_bangla:
        return _unchanged(said.source, voice, lines=lines)
    if voice.says_latin and said.latin is Latin.SPELL:
        said = spoken(said.source, Latin.KEEP)
    chosen = {letter: voice.choose(letter) for letter in set(said.text) - set("\n" if lines else "")}
    doubtful = tuple(sorted(letter for letter, (_, is_doubtful) in chosen.items() if is_doubtful))
    others = "".join(letter for letter, (form, _) in chosen.items() if form != letter)
    if not others:
        return replace(said, doubtful=doubtful)
    first = [Edit(piece.start, piece.end, piece.rule, piece.result) for piece in said.pieces]
    losses, place = Unspoken(), place_before(first)
    edits = []
    for found in re.finditer(f"[{re.escape(others)}]", said.text):
        letter, at = found[0], found.start()
        form, _ = chosen[letter]
        if form is None:
            losses.note(letter, place(at), _NOT_THERE, harmful=letter not in _SILENT)
        edits.append(Edit(at, at + 1, "voice", form or ""))
    text = apply(said.text, edits)
    spaces = _spaces(text, lines=lines)
    edits = compose(compose(first, edits, said.text), spaces, text)
    return replace(
        said,
        text=apply(text, spaces),
        pieces=as_pieces(said.source, edits),
        lost=merged(said.lost, losses.all()),
        doubtful=doubtful,
    )


def _unchanged(text: str, voice: Vocabulary, *, lines: bool) -> Spoken:
    """Return a text with its white space as single spaces; what the voice lacks stays and is named."""
    edits = _spaces(text, lines=lines)
    losses = Unspoken()
    for at, letter in enumerate(text):
        if not letter.isspace() and not voice.has(letter):
            losses.note(letter, at, _NOT_THERE, harmful=unicodedata.category(letter)[0] in "LMN")
    return Spoken(text, apply(text, edits), as_pieces(text, edits), losses.all())


def _spaces(text: str, *, lines: bool) -> list[Edit]:
    edits = []
    for found in _SPACES.finditer(text):
        within = found.start() and found.end() < len(text)
        result = "" if not within else "\n" if lines and _LINE_END.search(found[0]) else " "
        if result != found[0]:
            edits.append(Edit(found.start(), found.end(), "space", result))
    return edits
