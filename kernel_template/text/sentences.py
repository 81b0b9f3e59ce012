"""A text as the pieces that are synthesised one by one: VITS is trained on single sentences.

Sessions, `kgtts say` and the server split a text here, so the same text gives the same sound everywhere.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from kernel_template.text.pieces import Latin, Spoken
from kernel_template.text.vocabulary import Vocabulary, for_voice, words

# Most training sentences are shorter; a longer piece sounds worse and needs more memory.
LONGEST = 240
PARAGRAPH_PAUSE_S = 0.6
SENTENCE_PAUSE_S = 0.3
CUT_PAUSE_S = 0.1
# A full stop does not end a sentence: Bangla has the danda for that, and stops in abbreviations (ড., মি.).
_SENTENCE = re.compile(r"[^।॥|?!\n]*(?:[।॥|?!]+[”’\"')\]»]*)?")
_CLAUSE = re.compile(r"(?:[,;:.—–][”’\"')\]»]*(?=\s)|[—–])")
_JOINERS = "\u200c\u200d"
_HASANTA = "\u09cd"  # Joins the next letter to the one before it.
# Not between digits or Latin letters, as in an address.
_CERTAIN_END = re.compile(r"(?:[।॥]|(?<=[^0-9A-Za-z])[?!|]|[?!|](?=\s))[।॥|?!]*[”’\"')\]»]*")
_LONGEST_PART = 4000
_LINE_END = re.compile(r"\r\n|[\n\r\v\x1c-\x1e\x85\u2028]")
_PARAGRAPH_END = re.compile(r"[\f\u2029]|\n[^\S\n]*\n\s*")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A part of a text that is synthesised at once: a sentence, or a part of a long one.

    Attributes:
        text: the part, without white space at its ends.
        pause_s: the silence after it at normal speed, in seconds; 0 after the last one.
    """

    text: str
    pause_s: float


def paragraphs(text: str) -> list[str]:
    """Split a text at empty lines. Other line ends become spaces: editors and mail wrap lines.

    A form feed and Unicode's paragraph separator end a paragraph too.
    """
    parts = _PARAGRAPH_END.split(_LINE_END.sub("\n", text))
    return [" ".join(part.split()) for part in parts if part.strip()]


@dataclass(frozen=True, slots=True)
class Reading:
    """A part of a text, mostly a sentence, as a voice reads it.

    Attributes:
        said: the part in the voice's letters, with what was changed, is lost, or is doubtful.
        sentences: what is synthesised; empty if there is nothing to say.
    """

    said: Spoken
    sentences: tuple[Sentence, ...]


def read(text: str, voice: Vocabulary) -> Iterator[Reading]:
    """Read a text part by part, each only when it is asked for: a long text begins to sound at once.

    Args:
        text: any text.
        voice: what the voice can say.
    """
    for paragraph in paragraphs(text):
        parts = list(_parts(paragraph))
        for number, part in enumerate(parts, start=1):
            said = words(part, voice)
            pause = PARAGRAPH_PAUSE_S if number == len(parts) else SENTENCE_PAUSE_S
            found = [
                Sentence(fitted, sentence.pause_s or pause)
                for sentence in split_sentences(said.text)
                # Only now: in a voice without a danda another sign takes its place, which ends no sentence.
                if (fitted := for_voice(Spoken(sentence.text, sentence.text, latin=Latin.KEEP), voice).text)
            ]
            yield Reading(for_voice(said, voice), tuple(found))


def sentences(text: str, voice: Vocabulary) -> Iterator[Sentence]:
    """Yield the sentences of a text as `read` gives them; after the last one there is no pause."""
    last: Sentence | None = None
    for reading in read(text, voice):
        for sentence in reading.sentences:
            if last is not None:
                yield last
            last = sentence
    if last is not None:
        yield Sentence(last.text, 0.0)


def _parts(paragraph: str) -> Iterator[str]:
    """Cut a paragraph where a sentence ends in any case, and what is too long for that at a space."""
    at = 0
    while at < len(paragraph):
        end = _CERTAIN_END.search(paragraph, at, at + _LONGEST_PART)
        cut = end.end() if end else at + _LONGEST_PART
        if end is None and cut < len(paragraph):
            cut = (paragraph.rfind(" ", at + 1, cut) + 1) or cut
        if part := paragraph[at:cut].strip():
            yield part
        at = cut


def split_sentences(text: str, longest: int = LONGEST) -> list[Sentence]:
    """Split a paragraph at । ॥ | ? ! and line ends; a longer sentence at a comma, or else at a space.

    White space is lost, and what has no letter or digit. A word longer than `longest` characters is cut
    between letters.
    """
    found = []
    for sentence in _SENTENCE.findall(text):
        parts = [part for part in _cut(sentence.strip(), longest) if _is_speech(part)]
        found += [Sentence(part, CUT_PAUSE_S) for part in parts[:-1]]
        found += [Sentence(part, SENTENCE_PAUSE_S) for part in parts[-1:]]
    return [*found[:-1], *(Sentence(last.text, 0.0) for last in found[-1:])]


def _is_speech(text: str) -> bool:
    return any(unicodedata.category(letter)[0] in "LMN" for letter in text)


def _cut(sentence: str, longest: int) -> Iterator[str]:
    at, end = 0, len(sentence)
    while end - at > longest:
        cut = at + _place(sentence[at : at + longest + 1], longest)
        if part := sentence[at:cut].rstrip():
            yield part
        at = cut
        while at < end and sentence[at].isspace():
            at += 1
    if at < end:
        yield sentence[at:]


def _place(sentence: str, longest: int) -> int:
    """Where to cut a sentence of `longest` + 1 characters.

    That is after the last comma or dash in the second half, or at a space, or between letters.
    """
    clauses = [found.end() for found in _CLAUSE.finditer(sentence)]
    late = [at for at in clauses if longest // 2 < at <= longest]
    if late:
        return late[-1]
    for at in range(longest, 0, -1):
        if sentence[at].isspace():
            return at
    at = longest
    while at > 0 and _joined(sentence, at):
        at -= 1
    return at or longest


def _joined(text: str, at: int) -> bool:
    """Whether a cut at `at` would separate a letter from its vowel sign or conjunct."""
    after, before = text[at], text[at - 1]
    signs = unicodedata.category(after).startswith("M") or after in _JOINERS
    return signs or before in _JOINERS or before == _HASANTA
