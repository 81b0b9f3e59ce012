"""Looks at every sample before the training, as cheaply as can be: headers of files, and texts.

Coqui (0.28) finds most faults hours later or never: a recording that is gone or has two channels ends the
training when its batch comes; one of another sample rate is trained on at the wrong pitch; letters that the
vocabulary lacks are dropped with a line in the log; and in the place of a text that is too long VITS silently
takes another sample.

Nothing here needs torch.
"""

import contextlib
import logging
import unicodedata
import wave
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_THREADS = 16  # Kaggle's inputs are a network's: what takes time is waiting.
_FORMATS = frozenset({".wav", ".flac", ".mp3"})  # Coqui leaves others out.
_SHOWN = 8  # Unknown characters named of one text.

# What can be wrong, in the order of the table. Each ends the training, harms the voice, or makes Coqui leave
# the sample out without a word.
KINDS = {
    "missing": "the recording is not there",
    "unreadable": "the recording cannot be read",
    "sample_rate": "the recording has another sample rate",
    "channels": "the recording has more than one channel",
    "too_short": "the recording is too short",
    "too_long": "the recording is too long",
    "empty_text": "nothing of the text can be spoken",
    "long_text": "the text is longer than max_text_len",
    "unknown_letters": "the text has letters that the vocabulary lacks",
    "unknown_signs": "the text has signs that the vocabulary lacks; it is trained on without them",
}
HARMLESS = frozenset({"unknown_signs"})


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a sample."""

    kind: str
    detail: str

    @property
    def leaves_out(self) -> bool:
        """Whether the sample cannot be trained on."""
        return self.kind not in HARMLESS


@dataclass(frozen=True, slots=True)
class Expected:
    """What a sample must be like.

    Attributes:
        rate: samples a second; None where the trainer resamples or nothing is known.
        shortest_s: seconds that a recording has at least.
        longest_s: seconds that it has at most.
        longest_text: the most that Coqui takes, in characters and in the vocabulary's ids.
        mono: whether a second channel ends the training.
        tokenizer: Coqui's, of the model that is trained; None where there is none.
    """

    rate: int | None = None
    shortest_s: float = 0.0
    longest_s: float = float("inf")
    longest_text: float = float("inf")
    mono: bool = False
    tokenizer: Any = None

    @classmethod
    def of(cls, settings: Mapping[str, Any], config: Any, model: Any) -> "Expected":
        """What the settings' `data` section, the configuration and the model ask for."""
        audio = _get(config, "audio")
        rate = _number(_get(audio, "sample_rate")) or _number(_get(config, "sample_rate"))
        shortest, longest = float(settings.get("shortest_s") or 0), settings.get("longest_s")
        longest = float("inf") if longest is None else float(longest)
        if rate:
            # These count samples; what is outside of them Coqui leaves out by itself.
            shortest = max(shortest, (_number(_get(config, "min_audio_len")) or 0) / rate)
            longest = min(longest, (_number(_get(config, "max_audio_len")) or float("inf")) / rate)
        vits = str(_get(config, "model")).lower() == "vits"
        resamples = bool(_get(audio, "resample")) and not vits
        return cls(
            rate=None if resamples or not rate else int(rate),
            shortest_s=shortest,
            longest_s=longest,
            longest_text=_number(_get(config, "max_text_len")) or float("inf"),
            mono=vits,
            tokenizer=getattr(model, "tokenizer", None),
        )


def _get(owner: Any, name: str) -> Any:
    return owner.get(name) if isinstance(owner, Mapping) else getattr(owner, name, None)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def is_sample(sample: Any) -> bool:
    """Whether this is one of Coqui's samples, which name a recording and a text."""
    return isinstance(sample, Mapping) and "audio_file" in sample and "text" in sample


# ---- Recordings


@dataclass(frozen=True, slots=True)
class _Header:
    rate: int
    channels: int
    frames: int


def _read_wave(path: Path) -> _Header | None:
    """The header of a plain WAV file; None for other formats.

    Raises:
        EOFError, OSError, ValueError: the file ends too early or cannot be read.
    """
    try:
        with wave.open(str(path), "rb") as file:
            header = _Header(file.getframerate(), file.getnchannels(), file.getnframes())
            needed = header.frames * header.channels * file.getsampwidth()
    except wave.Error:
        return None
    if (size := path.stat().st_size) < needed:
        raise ValueError(f"it is cut off: {size:,} of {needed:,} bytes")
    return header


def _read_any(path: Path) -> _Header:
    """What soundfile tells of the file, which Coqui reads it with.

    Raises:
        Exception: it cannot tell.
    """
    import soundfile  # noqa: PLC0415 - Coqui brings it; plain WAV files need none.

    told = soundfile.info(str(path))
    return _Header(int(told.samplerate), int(told.channels), int(told.frames))


def recording_faults(name: Any, expected: Expected) -> list[Fault]:
    """What is wrong with the file `name`, by its header."""
    path = Path(str(name))
    try:
        if not path.is_file():
            return [Fault("missing", "there is no such file")]
        if path.suffix.lower() not in _FORMATS:
            return [Fault("unreadable", f"Coqui takes no {path.suffix or 'nameless'} files")]
        header = (_read_wave(path) if path.suffix.lower() == ".wav" else None) or _read_any(path)
    except EOFError:
        return [Fault("unreadable", f"it ends too early: {path.stat().st_size:,} bytes")]
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes a library raise.
        return [Fault("unreadable", str(error) or type(error).__name__)]
    return _header_faults(header, expected)


def _header_faults(header: _Header, expected: Expected) -> list[Fault]:
    found = []
    if expected.rate is not None and header.rate != expected.rate:
        found.append(Fault("sample_rate", f"{header.rate} Hz instead of {expected.rate}"))
    if expected.mono and header.channels != 1:
        found.append(Fault("channels", f"{header.channels} channels"))
    seconds = header.frames / header.rate if header.rate > 0 else 0.0
    if seconds < expected.shortest_s or header.frames <= 0:
        found.append(Fault("too_short", f"{seconds:.2f} s; at least {expected.shortest_s:.2f}"))
    elif seconds > expected.longest_s:
        found.append(Fault("too_long", f"{seconds:.2f} s; at most {expected.longest_s:.2f}"))
    return found


# ---- Texts


def text_faults(sample: Mapping[str, Any], expected: Expected) -> list[Fault]:
    """What is wrong with the sample's text, by what the model's own tokenizer makes of it."""
    text = sample["text"]
    if not isinstance(text, str) or not text.strip():
        return [Fault("empty_text", "it is empty")]
    if len(text) > expected.longest_text:
        return [Fault("long_text", f"{len(text)} characters; at most {expected.longest_text:.0f}")]
    tokenizer = expected.tokenizer
    if tokenizer is None or getattr(tokenizer, "use_phonemes", False):
        return []  # Phonemes of all texts would take minutes.
    before = tokenizer.not_found_characters
    tokenizer.not_found_characters = []
    try:
        ids = tokenizer.text_to_ids(text, sample.get("language"))
        unknown = list(tokenizer.not_found_characters)
    except Exception as error:  # noqa: BLE001 - as the training would fail on it.
        return [Fault("empty_text", f"{type(error).__name__}: {error}")]
    finally:
        tokenizer.not_found_characters = before
    return _token_faults(len(ids), unknown, expected)


def _token_faults(count: int, unknown: list[str], expected: Expected) -> list[Fault]:
    tokenizer = expected.tokenizer
    frame = int(bool(getattr(tokenizer, "add_blank", False))) + 2 * int(
        bool(getattr(tokenizer, "use_eos_bos", False))
    )
    if count <= frame:
        return [Fault("empty_text", f"no character is in the vocabulary: {_named(unknown)}")]
    found = []
    if count > expected.longest_text:
        found.append(Fault("long_text", f"{count} ids; at most {expected.longest_text:.0f}"))
    # What is spoken is a letter, a mark or a number; without a comma or a joiner the text still fits.
    spoken = [character for character in unknown if unicodedata.category(character)[:1] in "LMN"]
    signs = [character for character in unknown if character not in spoken]
    if spoken:
        found.append(Fault("unknown_letters", _named(spoken)))
    if signs:
        found.append(Fault("unknown_signs", _named(signs)))
    return found


def _named(characters: list[str]) -> str:
    shown = ", ".join(f"U+{ord(item):04X} {unicodedata.name(item, '?')}" for item in characters[:_SHOWN])
    return shown + (", …" if len(characters) > _SHOWN else "")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The tokenizer says each character that it does not know; the table says it once."""
    logger = logging.getLogger("TTS.tts.utils.text.tokenizer")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


def look_at(
    samples: list[Mapping[str, Any]],
    expected: Expected,
    read: Callable[[Any, Expected], list[Fault]] = recording_faults,
) -> list[list[Fault]]:
    """The faults of each sample, in their order. Each recording is opened once."""
    names = list(dict.fromkeys(str(sample["audio_file"]) for sample in samples))
    with ThreadPoolExecutor(_THREADS) as pool:
        recordings = dict(zip(names, pool.map(lambda name: read(name, expected), names), strict=True))
    with _quiet():
        return [
            [*recordings[str(sample["audio_file"])], *text_faults(sample, expected)] for sample in samples
        ]
