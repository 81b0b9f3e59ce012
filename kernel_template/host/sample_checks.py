"""Checks every sample before the training, quickly: headers and loudness of recordings, and the texts.

Coqui (0.28) finds most problems hours later or never: a recording that is missing or has two channels ends
the training when its batch comes; one of another sample rate is trained on at the wrong pitch; letters that
are not in the vocabulary are dropped with a line in the log; and instead of a text that is too long VITS
silently takes another sample.
"""

import contextlib
import logging
import math
import re
import unicodedata
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kernel_template.host.protocol import SampleRules
from kernel_template.text.speaking import spoken
from kernel_template.text.tokens import cleaner_steps
from kernel_template.text.vocabulary import count_letters

_THREADS = 16  # Kaggle's inputs are on a network, so most of the time is waiting.
_FORMATS = frozenset({".wav", ".flac", ".mp3"})  # Coqui leaves others out.
# Encodings whose samples can be beyond full scale: floating point, and what is decoded to it.
_BEYOND_FULL_SCALE = frozenset(
    {"FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"}
)
_LARGEST_DATA = 0xFFFFFFFF  # Bytes; a WAV file's size field when the size was not known.
_HEADER_BYTES = 44  # Of a plain WAV file.
_PIECE_S = 1.0  # Of a recording, read at once until enough of it is loud.
_SHOWN = 8  # Unknown characters that are named for one text.

# What can be wrong, in the order of the log. Each ends the training, harms the voice, or makes Coqui leave
# the sample out without a word.
KINDS = {
    "missing": "the recording does not exist",
    "unreadable": "the recording cannot be read",
    "sample_rate": "the recording has another sample rate",
    "channels": "the recording has more than one channel",
    "too_short": "the recording is too short",
    "too_long": "the recording is too long",
    "silent": "there is nothing to hear in the recording",
    "empty_text": "nothing of the text can be spoken",
    "long_text": "the text is longer than max_text_len",
    "unknown_letters": "the text has letters that are not in the vocabulary",
    "unknown_signs": "the text has signs that are not in the vocabulary; it is trained on without them",
    "not_in_words": "the text has numbers or signs that are read as words; a voice learns to say them only "
    "from words (`kgtts data prepare` writes them)",
    "too_loud": "the recording has samples beyond full scale; it is scaled down",
}
HARMLESS = frozenset({"unknown_signs", "not_in_words", "too_loud"})
_TO_WRITE_OUT = re.compile("[0-9০-৯৳%$€£₹]")
_NO_LETTER = "no character is in the vocabulary"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a sample: one of KINDS, and the details for people."""

    kind: str
    detail: str

    @property
    def is_letters(self) -> bool:
        """Whether the vocabulary is to blame rather than the text."""
        return self.kind == "unknown_letters" or self.detail.startswith(_NO_LETTER)

    @property
    def fatal(self) -> bool:
        """Whether the sample cannot be trained on."""
        return self.kind not in HARMLESS


@dataclass(frozen=True, slots=True)
class Expected:
    """What a sample must be like.

    Attributes:
        rate: sample rate in Hz; None if the trainer resamples or nothing is known.
        shortest_s: minimum length of a recording in seconds.
        longest_s: maximum length in seconds.
        longest_text: maximum length of a text, in characters and in token ids.
        mono: whether a second channel ends the training.
        tokenizer: Coqui's tokenizer of the model that is trained; None without one.
        lengths: gets the seconds of each recording that can be read, by its name.
    """

    rate: int | None = None
    shortest_s: float = 0.0
    longest_s: float = float("inf")
    longest_text: float = float("inf")
    mono: bool = False
    tokenizer: Any = None
    lengths: dict[str, float] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, rules: SampleRules, config: Any, model: Any) -> "Expected":
        """Take what the settings, the configuration and the model require."""
        audio = _get(config, "audio")
        rate = _number(_get(audio, "sample_rate")) or _number(_get(config, "sample_rate"))
        shortest, longest = rules.shortest_s, float("inf") if rules.longest_s is None else rules.longest_s
        if rate:
            # Coqui leaves out by itself what these exclude; their unit is one audio sample.
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
    """Whether this is one of Coqui's samples, with a recording and a text."""
    return isinstance(sample, Mapping) and "audio_file" in sample and "text" in sample


# ---- Recordings


class OtherEndings:
    """Finds recordings that are missing under their names, but are there with another ending or case."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, list[str]]] = {}

    def find(self, name: str) -> str | None:
        """Return the path of the one that is meant; None if none is missing, or several could be."""
        path = Path(name)
        folder = str(path.parent)
        if folder not in self._folders:
            self._folders[folder] = self._list(path.parent)
        there = self._folders[folder].get(_stem(path.name), [])
        return str(path.parent / there[0]) if len(there) == 1 and there[0] != path.name else None

    @staticmethod
    def _list(folder: Path) -> dict[str, list[str]]:
        """The recordings in a folder, by their names without ending and case."""
        found: dict[str, list[str]] = {}
        with contextlib.suppress(OSError):
            for entry in sorted(folder.iterdir()):
                if entry.suffix.lower() in _FORMATS:
                    found.setdefault(_stem(entry.name), []).append(entry.name)
        return found


def _stem(name: str) -> str:
    return unicodedata.normalize("NFC", Path(name).stem).casefold()


@dataclass(frozen=True, slots=True)
class _Header:
    rate: int
    channels: int
    frames: int
    peak: float = 0.0  # The largest sample, if that can be beyond full scale (1.0); else 0.


def _read_wave(path: Path) -> _Header | None:
    """Return the header of a plain WAV file; None for other formats.

    Raises:
        EOFError, OSError, ValueError: the file ends too early or cannot be read.
    """
    try:
        with wave.open(str(path), "rb") as file:
            header = _Header(file.getframerate(), file.getnchannels(), file.getnframes())
            frame = max(1, header.channels * file.getsampwidth())
            needed = header.frames * frame
    except wave.Error:
        return None
    size = path.stat().st_size
    if needed > _LARGEST_DATA - frame:
        # Written into a pipe, where the size was not known: all that follows is sound.
        return replace(header, frames=max(0, size - _HEADER_BYTES) // frame)
    if size < needed:
        raise ValueError(f"it is cut off after {size:,} of {needed:,} bytes")
    return header


def _read_any(path: Path) -> _Header:
    """Read the header with soundfile, which Coqui uses too.

    Raises:
        Exception: soundfile cannot read it.
    """
    import soundfile  # noqa: PLC0415 - Coqui brings it; plain WAV files do not need it.

    found = soundfile.info(str(path))
    peak = 0.0
    if found.subtype in _BEYOND_FULL_SCALE:
        samples, _ = soundfile.read(str(path), dtype="float32")
        peak = float(abs(samples).max()) if len(samples) else 0.0
    return _Header(int(found.samplerate), int(found.channels), int(found.frames), peak)


def recording_problems(name: Any, expected: Expected) -> list[Problem]:
    """Return what is wrong with the recording `name`, by its header."""
    path = Path(str(name))
    try:
        if not path.is_file():
            return [Problem("missing", "no such file")]
        if path.suffix.lower() not in _FORMATS:
            return [Problem("unreadable", f"Coqui cannot read {path.suffix or 'nameless'} files")]
        header = (_read_wave(path) if path.suffix.lower() == ".wav" else None) or _read_any(path)
    except EOFError:
        return [Problem("unreadable", f"it is cut off after {path.stat().st_size:,} bytes")]
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes a library raise.
        return [Problem("unreadable", str(error) or type(error).__name__)]
    if header.rate > 0:
        expected.lengths[str(name)] = header.frames / header.rate
    found = _header_problems(header, expected)
    return found if any(problem.fatal for problem in found) else found + _silence(path)


def _header_problems(header: _Header, expected: Expected) -> list[Problem]:
    found = []
    if expected.rate is not None and header.rate != expected.rate:
        found.append(Problem("sample_rate", f"{header.rate} Hz instead of {expected.rate}"))
    if expected.mono and header.channels != 1:
        found.append(Problem("channels", f"{header.channels} channels"))
    if not math.isfinite(header.peak):
        found.append(Problem("unreadable", "it has samples that are not numbers"))
    elif expected.mono and header.peak > 1.0:
        found.append(Problem("too_loud", f"its loudest sample is {header.peak:.2f}"))
    seconds = header.frames / header.rate if header.rate > 0 else 0.0
    if seconds < expected.shortest_s or header.frames <= 0:
        found.append(Problem("too_short", f"{seconds:.2f} s; at least {expected.shortest_s:.2f}"))
    elif seconds > expected.longest_s:
        found.append(Problem("too_long", f"{seconds:.2f} s; at most {expected.longest_s:.2f}"))
    return found


def _silence(path: Path) -> list[Problem]:
    """Return the problem of a recording in which there is nothing to hear.

    Most recordings are known to be heard by their first piece or two, from the middle on; only of the others
    all samples are read and judged, as `kgtts data check` judges them.
    """
    import soundfile  # noqa: PLC0415 - Coqui brings it, and numpy.

    from kernel_template.levels import (  # noqa: PLC0415 - as above.
        FRAME_S,
        LOUD_PERCENT,
        SILENT_DB,
        find_activity,
        frame_levels,
        without_clicks,
    )

    try:
        with soundfile.SoundFile(str(path)) as sound:
            rate, frames = sound.samplerate, sound.frames
            piece = int(rate * _PIECE_S)

            def levels(start: int, count: int) -> Any:
                sound.seek(start)
                samples = sound.read(count, dtype="float32", always_2d=True)
                return frame_levels(samples[:, abs(samples).max(axis=0).argmax()], rate)

            loud = 0
            for start in _from_the_middle(frames, piece):
                loud += int(without_clicks(levels(start, piece) >= SILENT_DB).sum())
                if loud * FRAME_S * rate * 100 > LOUD_PERCENT * frames:
                    return []
            activity = find_activity(levels(0, frames))
    except (OSError, RuntimeError, ValueError):
        return []  # Its header could be read; the rest is Coqui's to judge.
    return [Problem("silent", f"its level is {activity.loud_db:.0f} dB")] if activity.is_silent else []


def _from_the_middle(length: int, piece: int) -> Iterator[int]:
    """Where pieces of a recording begin, the middle one first, then in turn after and before it."""
    starts = list(range(0, max(length, 1), piece))
    middle = len(starts) // 2
    yield from sorted(starts, key=lambda start: abs(start - starts[middle]))


# ---- Texts


def text_problems(sample: Mapping[str, Any], expected: Expected) -> list[Problem]:
    """Return what is wrong with the sample's text, according to the model's own tokenizer."""
    text = sample["text"]
    if not isinstance(text, str) or not text.strip():
        return [Problem("empty_text", "it is empty")]
    if len(text) > expected.longest_text:
        return [Problem("long_text", f"{len(text)} characters; at most {expected.longest_text:.0f}")]
    tokenizer = expected.tokenizer
    if tokenizer is None or getattr(tokenizer, "use_phonemes", False):
        return []  # Making phonemes of all texts would take minutes.
    before = tokenizer.not_found_characters
    tokenizer.not_found_characters = []
    try:
        # Some formatters leave the line's end in the text, which is no letter.
        ids = tokenizer.text_to_ids(text.rstrip("\r\n"), sample.get("language"))
        unknown = list(tokenizer.not_found_characters)
    except Exception as error:  # noqa: BLE001 - as the training would fail on it.
        return [Problem("empty_text", f"{type(error).__name__}: {error}")]
    finally:
        tokenizer.not_found_characters = before
    return _with_words(text, _token_problems(len(ids), unknown, expected))


def _with_words(text: str, found: list[Problem]) -> list[Problem]:
    """Add what `kgtts data prepare` would write instead of numbers and signs."""
    if not _TO_WRITE_OUT.search(text):
        return found
    words = f"in words: {spoken(text).text}"
    if any(problem.fatal for problem in found):
        return [
            replace(problem, detail=f"{problem.detail}; {words}") if problem.is_letters else problem
            for problem in found
        ]
    return [*found, Problem("not_in_words", words)]


def _token_problems(count: int, unknown: list[str], expected: Expected) -> list[Problem]:
    tokenizer = expected.tokenizer
    frame = int(bool(getattr(tokenizer, "add_blank", False))) + 2 * int(
        bool(getattr(tokenizer, "use_eos_bos", False))
    )
    if count <= frame:
        return [Problem("empty_text", f"{_NO_LETTER}: {_named(unknown)}")]
    found = []
    if count > expected.longest_text:
        found.append(Problem("long_text", f"{count} ids; at most {expected.longest_text:.0f}"))
    # Letters, marks and numbers are spoken; without a comma or a joiner the text still matches the recording.
    spoken = [character for character in unknown if unicodedata.category(character)[:1] in "LMN"]
    signs = [character for character in unknown if character not in spoken]
    if spoken:
        found.append(Problem("unknown_letters", _named(spoken)))
    if signs:
        found.append(Problem("unknown_signs", _named(signs)))
    return found


def training_letters(config: Any, samples: Iterable[Any]) -> dict[str, int]:
    """Count the letters of the training texts, as they are after cleaning; empty for phonemes."""
    if _get(config, "use_phonemes"):
        return {}
    texts = [(sample["text"], sample.get("language")) for sample in samples if is_sample(sample)]
    steps = cleaner_steps(_get(config, "text_cleaner"), texts[0][1] if texts else None) or ()
    return count_letters((text.rstrip("\r\n") for text, _ in texts if isinstance(text, str)), steps)


def _named(characters: list[str]) -> str:
    shown = ", ".join(f"U+{ord(item):04X} {unicodedata.name(item, '?')}" for item in characters[:_SHOWN])
    return shown + (", …" if len(characters) > _SHOWN else "")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the tokenizer's line for each unknown character: the log and the table have them."""
    logger = logging.getLogger("TTS.tts.utils.text.tokenizer")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


def check_samples(
    samples: list[Mapping[str, Any]],
    expected: Expected,
    read: Callable[[Any, Expected], list[Problem]] = recording_problems,
) -> list[list[Problem]]:
    """Return the problems of each sample. Each recording is opened once."""
    names = list(dict.fromkeys(str(sample["audio_file"]) for sample in samples))
    with ThreadPoolExecutor(_THREADS) as pool:
        recordings = dict(zip(names, pool.map(lambda name: read(name, expected), names), strict=True))
    with _quiet():
        return [
            [*recordings[str(sample["audio_file"])], *text_problems(sample, expected)] for sample in samples
        ]
