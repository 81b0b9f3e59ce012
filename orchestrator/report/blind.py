"""A blind test: one page on which people say which of two voices sounds better, not knowing which is which.

The order of the sentences, and which voice comes first, are drawn once, from a seed that is written into the
page: everybody hears the same. Each voice comes first in half of the sentences, and of each pair the louder
is turned down to the other, since louder sounds better. The page keeps the names of the voices apart until
the end, and gives the results as text.
"""

import hashlib
import math
import random
import secrets
import sys
from array import array
from dataclasses import dataclass
from operator import mul
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.errors import UsageError
from orchestrator.files import write_atomically
from orchestrator.report.html import environment, page_sources, script_json, sound_uri
from orchestrator.report.sounds import Clip, as_wav
from orchestrator.report.voices import SpokenVoice

RESULT_KEY = "kgtts_votes"  # The first field of a result, with its version.
RESULT_VERSION = 1
QUESTION = "Which one sounds better? কোনটি শুনতে ভালো?"
MOST_SENTENCES = 30
_HEADER = 44  # Bytes before the samples of the WAV files that we write.
_ASSETS = ("style.css", "blind.css", "blind.js")


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence by both voices.

    Attributes:
        text: the sentence.
        first: the letter of the voice that is the first one on the page.
        sounds: the sound of A and of B, as loud as each other.
    """

    text: str
    first: str
    sounds: tuple[Clip, Clip]


@dataclass(frozen=True, slots=True)
class BlindTest:
    """A blind test of two voices, A and B.

    Attributes:
        id: tells it from other tests: a hash of the seed and of all that is heard.
        seed: what the order was drawn from.
        names: what A and B are.
        question: what people are asked.
        pairs: the sentences in the order of the page.
        left_out: sentences that only one of the voices spoke.
    """

    id: str
    seed: int
    names: tuple[str, str]
    question: str
    pairs: tuple[Pair, ...]
    left_out: int = 0


def make_blind_test(
    one: SpokenVoice, other: SpokenVoice, *, seed: int, most: int = MOST_SENTENCES, question: str = QUESTION
) -> BlindTest:
    """Draw the order of a blind test.

    Args:
        one: the voice that is A.
        other: the voice that is B.
        seed: the same seed and voices give the same test.
        most: how many sentences at most.
        question: what people are asked.

    Raises:
        UsageError: the voices have no sentence in common, or are the same.
    """
    shared = [text for text in one.clips if text in other.clips]
    if not shared:
        raise UsageError(
            f"{one.name} and {other.name} have no sentence in common, so they cannot be compared.",
            hint="held-out and test sentences are compared: both runs should have the same data, or the same "
            "[samples] sentences",
        )
    if all(one.clips[text].wav == other.clips[text].wav for text in shared):
        raise UsageError(
            f"{one.name} and {other.name} sound the same.", hint="name two runs, or RUN@base and RUN"
        )
    chance = random.Random(seed)  # noqa: S311  # An order that can be drawn again is wanted.
    texts = chance.sample(shared, min(most, len(shared)))
    letters = ["A", "B"] * (len(texts) // 2) + [chance.choice("AB")] * (len(texts) % 2)
    chance.shuffle(letters)
    pairs = tuple(
        Pair(text, letter, _alike(one.clips[text], other.clips[text]))
        for text, letter in zip(texts, letters, strict=True)
    )
    heard = hashlib.sha256(f"{seed} {question}".encode())
    for pair in pairs:
        for part in (pair.text.encode(), *(clip.wav for clip in pair.sounds)):
            heard.update(hashlib.sha256(part).digest())
    left_out = len(one.clips.keys() ^ other.clips.keys())
    names = (one.name, other.name)
    return BlindTest(heard.hexdigest()[:16], seed, names, question, pairs, left_out)


def write_blind_test(test: BlindTest, path: Path, *, nonce: str | None = None) -> None:
    """Write the page of a blind test: one HTML file that loads nothing.

    Raises:
        LocalError: the file cannot be written.
    """
    page = environment().get_template("blind.html.j2")
    text = page.render(
        nonce=nonce or secrets.token_urlsafe(18),
        test=test,
        data=script_json(_data(test)),
        sources=page_sources(_ASSETS),
        version=__version__,
    )
    write_atomically(path, text)


def _data(test: BlindTest) -> dict[str, Any]:
    """What the page's script knows; the sounds of each pair are in the order of the page."""
    return {
        "result": {
            RESULT_KEY: RESULT_VERSION,
            "test": test.id,
            "seed": test.seed,
            "question": test.question,
            "a": test.names[0],
            "b": test.names[1],
        },
        "pairs": [
            {"text": pair.text, "first": pair.first, "sounds": [sound_uri(clip) for clip in _in_order(pair)]}
            for pair in test.pairs
        ],
    }


def _in_order(pair: Pair) -> tuple[Clip, Clip]:
    """The sounds as the page has them."""
    one, other = pair.sounds
    return (one, other) if pair.first == "A" else (other, one)


def _alike(one: Clip, other: Clip) -> tuple[Clip, Clip]:
    """Two sounds as loud as each other: the louder is turned down."""
    levels = [_level(clip) for clip in (one, other)]
    least = min(levels)
    made = [_turned_down(clip, least / level) for clip, level in zip((one, other), levels, strict=True)]
    return made[0], made[1]


def _samples(clip: Clip) -> "array[int]":
    samples = array("h", clip.wav[_HEADER:])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _level(clip: Clip) -> float:
    """The root of the mean square of the louder tenths of a second: silence does not count."""
    samples = _samples(clip)
    width = max(1, clip.sample_rate // 10)
    blocks = sorted(
        (
            sum(map(mul, block, block)) / len(block)
            for begin in range(0, len(samples), width)
            if (block := samples[begin : begin + width])
        ),
        reverse=True,
    )
    loud = blocks[: max(1, len(blocks) // 2)]
    return max(1.0, math.sqrt(sum(loud) / len(loud)))


def _turned_down(clip: Clip, gain: float) -> Clip:
    if gain >= 1:
        return clip
    samples = array("h", [round(value * gain) for value in _samples(clip)])
    if sys.byteorder == "big":
        samples.byteswap()
    channels = int.from_bytes(clip.wav[22:24], "little")
    wav = as_wav(samples.tobytes(), clip.sample_rate, channels)
    return Clip(wav, clip.seconds, clip.sample_rate, clip.peak * gain, clip.clipped, clip.cut)
