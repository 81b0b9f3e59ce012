"""A voice's text rules: how a text becomes the ids that the model was trained on; the `text` of voice.json.

    cleaner      Coqui's name of the text cleaner, or null
    steps        what it does, in order: ["nfc"], ["lower"], ["collapse"] (white space becomes one space, and
                 is removed at both ends), ["replace", OLD, NEW], ["drop", CHARACTERS]
    phonemizer   what makes phonemes of the cleaned text (phonemes.py); missing for voices of letters
    characters   the id of each character, or phoneme; others are left out
    ids          the ids of pad, blank, bos and eos; as in Coqui, the first free id if the voice lacks one
    add_blank    whether the id of blank is put before, between and after all others
    use_eos_bos  whether bos and eos are put around the whole
    speakable    whether these rules give exactly the ids of Coqui's tokenizer; if not, `why`
    examples     texts with the ids that the tokenizer makes of them
    counts       how often the training texts had each character, and each letter that Unicode spells as two
                 (vocabulary.py); missing if that is not known
    spelling     how they spelt each letter that Unicode spells in two ways; missing as counts

Sessions write these rules, and the laptop reads them. Standard library only: neither needs torch or TTS. Only
eSpeak NG's phonemes need the package espeakng-loader.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from kernel_template.text.phonemes import ESPEAK, EspeakError, describe_phonemizer, phonemize

Step = tuple[str, ...]
_LARGEST_GROWTH = 8  # The most that a real cleaner does is to replace `&` by ` and `.
_NFC, _LOWER, _COLLAPSE = ("nfc",), ("lower",), ("collapse",)
_BRACKETS: Step = ("drop", '<>()[]"')
_AND = {"en": " and ", "fr": " et ", "it": " e ", "pt": " e ", "ca": " i "}
# What phonemes are compared on: each of Coqui's takes a process of eSpeak NG, so these are few.
_READ_ALOUD = (
    "আজ সকালে নদীর ধারে ঠান্ডা হাওয়া বইছে, তাই না?",
    "ডাক্তার সেন ঋতু নিয়ে বললেন: খুব ভালো! ঢাকায় উৎসব, গাঢ় অন্ধকার; দুঃখ নেই।",
    "এক। দুই. তিন - চার… পাঁচ",
)
_EVERYTHING = (
    "  Ab\tC\r\n\n d  ",
    "Q&A; x-y: 'it' “so” \"q\" (p) [r] <s>/+=%*",
    "I İ ı ß Σς Å e\u0301 ﬁ ½ \u00a0\u200b\u200c\u200d",  # Latin letters with traps in lower case and NFC.
    "ড় ড\u09bc ঢ় য় কো ক\u09c7\u09be ১২৩ 123 10:30 $5 Dr. Mr. №",
    "😀\U0001f1e7\U0001f1e9",
)


# The characters with a meaning of their own, in the order in which a vocabulary of Coqui (0.28) begins.
ROLES = ("pad", "eos", "bos", "blank")


def _symbols(language: str | None) -> tuple[Step, ...]:
    """The steps of Coqui's replace_symbols for a language."""
    steps: list[Step] = [] if language == "el" else [("replace", ";", ",")]
    steps += [("replace", "-", "" if language == "ca" else " "), ("replace", ":", ",")]
    if language in _AND:
        steps.append(("replace", "&", _AND[language]))
    return (*steps, ("replace", "'", "")) if language == "ca" else tuple(steps)


def cleaner_steps(cleaner: str | None, language: str | None) -> tuple[Step, ...] | None:
    """The steps of a cleaner of Coqui; None for one that spells out numbers or transliterates.

    Source: TTS/tts/utils/text/cleaners.py of coqui-tts 0.28. `describe` compares them with the installed
    cleaner before anything relies on them.

    Args:
        cleaner: the cleaner's name; None if there is none.
        language: the dataset's language.
    """
    symbols = (*_symbols(language.split("-")[0] if language else language), _BRACKETS, _COLLAPSE)
    plain = (_NFC, _LOWER, _COLLAPSE)
    known: dict[str | None, tuple[Step, ...]] = {
        None: (),
        "no_cleaners": (("replace", "\n", ""),),
        "basic_cleaners": plain,
        "transliteration_cleaners": plain,
        "basic_german_cleaners": plain,
        "basic_turkish_cleaners": (_NFC, ("replace", "I", "ı"), _LOWER, _COLLAPSE),
        "multilingual_cleaners": (_NFC, _LOWER, *symbols),
        "portuguese_cleaners": (_NFC, _LOWER, *symbols),
        "multilingual_phoneme_cleaners": (_NFC, *symbols),
        # English numbers and abbreviations too, which a text in words does not have.
        "phoneme_cleaners": (_NFC, *symbols),
    }
    return known.get(cleaner)


def clean(text: str, steps: Sequence[Sequence[str]]) -> str:
    """Apply the steps of a cleaner.

    Raises:
        ValueError: a step is unknown, or the steps make the text grow without bound.
    """
    longest = _LARGEST_GROWTH * (len(text) + 100)
    for name, *values in steps:
        if name == "nfc":
            text = unicodedata.normalize("NFC", text)
        elif name == "lower":
            text = text.lower()
        elif name == "collapse":
            text = re.sub(r"\s+", " ", text).strip()
        elif name == "replace":
            text = text.replace(values[0], values[1])
        elif name == "drop":
            text = text.translate(dict.fromkeys(map(ord, values[0])))
        else:
            raise ValueError(f"The text step {name!r} is not known.")
        if len(text) > longest:
            raise ValueError("The text steps make a text grow without bound.")
    return text


def text_ids(text: str, described: Mapping[str, Any]) -> tuple[list[int], list[str]]:
    """Turn a text into ids. Returns them, and what the vocabulary lacks, each character once.

    Raises:
        EspeakError: the voice speaks phonemes of eSpeak NG, which cannot be used.
        ValueError: as `clean`.
    """
    table = described["characters"]
    letters = clean(text, described["steps"])
    if phonemizer := described.get("phonemizer"):
        letters = phonemize(letters, phonemizer)
    ids = [table[letter] for letter in letters if letter in table]
    unknown = list(dict.fromkeys(letter for letter in letters if letter not in table))
    special = described["ids"]
    if described["add_blank"]:
        between = [special["blank"]] * (2 * len(ids) + 1)
        between[1::2] = ids
        ids = between
    if described["use_eos_bos"]:
        ids = [special["bos"], *ids, special["eos"]]
    return ids, unknown


def character_ids(characters: Any) -> dict[str, int]:
    """Return the id of each character of Coqui's vocabulary.

    A text is read letter by letter, so longer tokens never occur in one.
    """
    tokens = (characters.id_to_char(index) for index in range(characters.num_chars))
    return {token: characters.char_to_id(token) for token in tokens if len(token) == 1}


def describe(
    tokenizer: Any, cleaner: str | None, language: str | None, texts: Sequence[str]
) -> dict[str, Any]:
    """Make the `text` of voice.json, and compare it with the tokenizer.

    It is compared on `texts`, on the whole vocabulary, and on texts with traps; phonemes on some sentences.

    Args:
        tokenizer: Coqui's tokenizer.
        cleaner: the configuration's `text_cleaner`.
        language: the dataset's language, as the training passes it to the tokenizer.
        texts: what the voice will speak, for phonemes in words.
    """
    characters = tokenizer.characters
    table = character_ids(characters)
    steps = cleaner_steps(cleaner, language)
    described: dict[str, Any] = {
        "kind": "phonemes" if tokenizer.use_phonemes else "characters",
        "cleaner": cleaner,
        "steps": [list(step) for step in steps or ()],
        "characters": table,
        "ids": {name: getattr(characters, f"{name}_id") for name in ("pad", "blank", "bos", "eos")},
        "add_blank": bool(tokenizer.add_blank),
        "use_eos_bos": bool(tokenizer.use_eos_bos),
    }
    spoken_by_us = (*texts, *_EVERYTHING, *(f"ক{letter}A" for letter in table))
    if tokenizer.use_phonemes:
        described["phonemizer"] = describe_phonemizer(tokenizer.phonemizer, language)
        spoken_by_us = (*texts[:3], *_READ_ALOUD)
    why = _why_not(tokenizer, described, language, spoken_by_us)
    examples = (*texts[:3], *(_READ_ALOUD if tokenizer.use_phonemes else _EVERYTHING))
    return {
        **described,
        "speakable": why is None,
        "why": why,
        "examples": [{"text": text, "ids": tokenizer.text_to_ids(text, language)} for text in examples],
    }


def _why_not(
    tokenizer: Any, described: Mapping[str, Any], language: str | None, texts: Sequence[str]
) -> str | None:
    """Why the rules do not give the tokenizer's ids for all `texts`; None if they do."""
    cleaner, phonemizer = described["cleaner"], described.get("phonemizer", {})
    if phonemizer is None:
        name = getattr(tokenizer.phonemizer, "name", lambda: "an unknown phonemizer")()
        return f"the voice was trained on phonemes of {name}, which only the training can make"
    if cleaner_steps(cleaner, language) is None:
        return f"the text cleaner {cleaner} does more than voice.json can describe"
    try:
        different = _difference(tokenizer, described, language, texts)
    except EspeakError as error:
        return f"the voice was trained on phonemes of {ESPEAK}, and {error}"
    if different is None:
        return None
    what = f"phonemizer {phonemizer['name']}" if phonemizer else f"text cleaner {cleaner}"
    return f"the {what} of this release does something else with {different!r}"


def _difference(
    tokenizer: Any, described: Mapping[str, Any], language: str | None, texts: Sequence[str]
) -> str | None:
    """The first of `texts` for which the tokenizer makes other ids; None if there is none."""
    for text in texts:
        if tokenizer.text_to_ids(text, language) != text_ids(text, described)[0]:
            return text
    return None
