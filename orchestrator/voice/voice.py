"""A voice that speaks, through onnxruntime."""

import hashlib
import importlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import LocalError, UsageError
from orchestrator.voice.card import VoiceCard, load_card
from orchestrator.voice.sentences import Piece, split_text
from orchestrator.voice.text import letters_of

_FULL = 32_767
_MOST_SECONDS = 600  # Of one piece: a voice that says more has gone wrong.


@dataclass(frozen=True, slots=True)
class Manner:
    """How something is said.

    Attributes:
        speed: 2.0 for twice as fast as the voice is by itself.
        noise: a factor on the voice's own liveliness; 0.0 says a sentence the same way each time.
        speaker: a speaker's name or number, for a voice that has several; None for its first.
    """

    speed: float = 1.0
    noise: float = 1.0
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """A piece of text as it was said.

    Attributes:
        text: the piece; its characters that the voice lacks are in `unknown`.
        unknown: those, each once.
        samples: mono samples from -1 to 1 as a numpy array of float32; empty where nothing could be said.
        seconds: how long they are.
        pause_s: the seconds of silence to come.
        took_s: the seconds that saying it took.
    """

    text: str
    unknown: tuple[str, ...]
    samples: Any = field(repr=False)
    seconds: float
    pause_s: float
    took_s: float


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice in memory.

    Attributes:
        card: its description.
        place: where that lies.
    """

    card: VoiceCard
    place: Path
    _session: Any = field(repr=False)
    _numpy: Any = field(repr=False)

    def say(self, text: str, manner: Manner | None = None) -> Iterator[Utterance]:
        """Say a text, piece by piece.

        Raises:
            UsageError: there is no such speaker, or the voice gives nothing that is speech.
        """
        manner = manner or Manner()
        speaker = _speaker(self.card, manner.speaker)
        for piece in split_text(text):
            yield self._say(piece, manner, speaker)

    def _say(self, piece: Piece, manner: Manner, speaker: int) -> Utterance:
        letters = letters_of(piece.text, self.card.text)
        pause = piece.pause_s / manner.speed
        if not letters.known:
            nothing = self._numpy.zeros(0, dtype=self._numpy.float32)
            return Utterance(piece.text, letters.unknown, nothing, 0.0, 0.0, 0.0)
        scales = self.card.scales
        began = time.perf_counter()
        samples = self.samples(
            letters.ids,
            [scales.noise * manner.noise, scales.length / manner.speed, scales.duration_noise * manner.noise],
            speaker,
        )
        took = time.perf_counter() - began
        seconds = len(samples) / self.card.audio.sample_rate
        return Utterance(piece.text, letters.unknown, samples, seconds, pause, took)

    def samples(self, ids: Sequence[int], scales: Sequence[float], speaker: int = 0) -> Any:
        """What the model makes of ids: a numpy array of float32.

        Args:
            ids: as the voice's vocabulary has them.
            scales: noise, length and the noise of durations.
            speaker: a speaker's id.

        Raises:
            UsageError: the model fails, or gives something that is no speech.
        """
        numpy = self._numpy
        language = self.card.languages.get(self.card.language or "", 0)
        values = {
            "input": numpy.array([ids], dtype=numpy.int64),
            "input_lengths": numpy.array([len(ids)], dtype=numpy.int64),
            "scales": numpy.array(scales, dtype=numpy.float32),
            "sid": numpy.array([speaker], dtype=numpy.int64),
            "langid": numpy.array([language], dtype=numpy.int64),
        }
        try:
            found = self._session.run(None, {name: values[name] for name in self.card.onnx.inputs})[0]
            samples = numpy.asarray(found, dtype=numpy.float32).reshape(-1)
        except Exception as error:  # onnxruntime's classes have no base of their own.
            raise _broken(self.place, f"it fails ({_first_line(error)})") from error
        if len(samples) > _MOST_SECONDS * self.card.audio.sample_rate:
            raise _broken(self.place, f"it speaks for more than {_MOST_SECONDS} s without a pause")
        if not bool(numpy.isfinite(samples).all()):
            raise _broken(self.place, "its samples are no numbers; the training has probably diverged")
        return samples


def open_voice(place: Path, *, seed: int | None = None) -> Voice:
    """Open the voice that `place`, a voice.json, describes; the ONNX file's size and hash are verified.

    Args:
        place: the description.
        seed: makes all that is random the same each time. It is onnxruntime's own, for the whole process.

    Raises:
        LocalError: onnxruntime is not installed.
        UsageError: the description or the file is damaged, or the text cannot be made into ids here.
    """
    card = load_card(place)
    if not card.text.speakable:
        raise UsageError(
            f"kgtts cannot speak with {place}: {_plain(card.text.why or 'no reason was given')}.",
            hint="the session's own samples are in validation_samples/",
        )
    data = _verified(place, card)
    try:
        numpy, runtime = importlib.import_module("numpy"), importlib.import_module("onnxruntime")
    except ImportError as error:
        raise LocalError(
            f"Speaking needs {error.name or 'onnxruntime'}, which is not installed.",
            hint="pip install 'kgtts[speak]'",
        ) from error
    if seed is not None:
        runtime.set_seed(seed)  # Before the session: its nodes take their seeds when they are made.
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # Errors come as exceptions.
    try:
        # From memory: what was hashed is what is loaded.
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # As above.
        raise _broken(place, f"onnxruntime cannot load it ({_first_line(error)})") from error
    wanted = sorted(item.name for item in session.get_inputs())
    if wanted != sorted(card.onnx.inputs):
        raise _broken(place, f"its inputs are {_plain(', '.join(wanted))}, not those described")
    return Voice(card, place, session, numpy)


def sound_of(utterance: Utterance, sample_rate: int) -> bytes:
    """16-bit little-endian samples of an utterance and of the silence after it.

    The voice's own loudness is kept, so that two voices can be compared; what is beyond it is clipped.
    """
    numpy = importlib.import_module("numpy")
    loud = (numpy.clip(utterance.samples, -1.0, 1.0) * _FULL).round().astype("<i2").tobytes()
    silence = round(utterance.pause_s * sample_rate) if math.isfinite(utterance.pause_s) else 0
    return bytes(loud) + b"\0\0" * silence


def _verified(place: Path, card: VoiceCard) -> bytes:
    file = place.parent / card.onnx.file
    try:
        if file.stat().st_size != card.onnx.size:
            raise _broken(
                place, f"{file.name} has {file.stat().st_size:,} bytes instead of {card.onnx.size:,}"
            )
        data = file.read_bytes()
    except OSError as error:
        raise _broken(place, f"{file.name} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != card.onnx.sha256:
        raise _broken(place, f"the SHA-256 of {file.name} is not the one described")
    return data


def _speaker(card: VoiceCard, wanted: str | None) -> int:
    """The id of a speaker that a person names."""
    if "sid" not in card.onnx.inputs:
        if wanted is None:
            return 0
        raise UsageError("This voice has one speaker only; leave --speaker out.")
    ids = card.speakers
    if wanted is None:
        return min(ids.values(), default=0)
    if wanted in ids:
        return ids[wanted]
    if wanted.isascii() and wanted.isdecimal() and int(wanted) in ids.values():
        return int(wanted)
    names = ", ".join(f"{number} ({_plain(name)})" for name, number in list(ids.items())[:20])
    raise UsageError(f"This voice has no speaker {wanted!r}; it has {names or 'none with a name'}.")


def _broken(place: Path, why: str) -> UsageError:
    return UsageError(f"The voice at {place} cannot be used: {why}.", hint="`kgtts pull` brings it anew")


def _first_line(error: Exception) -> str:
    return _plain(str(error).splitlines()[0] if str(error) else type(error).__name__)


def _plain(text: str) -> str:
    """Words from a server, as they may be shown."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200]
