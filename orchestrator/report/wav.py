"""Recordings as a page can carry them: 16-bit PCM, whole, of bounded size, with what a listener would miss.

Files come from a server. They are read as PCM and written anew, so that nothing but samples enters the page.
"""

import io
import stat
import sys
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path

LARGEST_FILE = 16 * 1024 * 1024
_LONGEST_S = 60.0
_RATES = range(4000, 192_001)
_FULL = 32_767
_CLIPPED_SAMPLES = 8  # At full scale; a loud vowel touches it once or twice.
_SILENCE = 10 ** (-60 / 20)  # A peak of -60 dB, as the kernel counts it.
_WIDTHS = range(1, 5)


class UnreadableSoundError(Exception):
    """A file is no recording that can be played; the text says why."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording.

    Attributes:
        wav: the whole file, 16-bit PCM.
        seconds: how long it is.
        sample_rate: samples a second.
        peak: the largest sample, of 1.
        clipped: whether samples stand at full scale.
        cut: whether its end was left out, for its length.
    """

    wav: bytes
    seconds: float
    sample_rate: int
    peak: float
    clipped: bool
    cut: bool = False

    @property
    def silent(self) -> bool:
        """Whether it can hardly be heard."""
        return self.peak < _SILENCE


def read_clip(place: Path) -> Clip:
    """The recording in a WAV file; at most its first minute.

    Raises:
        UnreadableSoundError: it is none, too large, or a link to somewhere else.
    """
    try:
        told = place.lstat()
        if not stat.S_ISREG(told.st_mode):
            raise UnreadableSoundError("is no file")
        if told.st_size > LARGEST_FILE:
            raise UnreadableSoundError("is too large")
        with wave.open(io.BytesIO(place.read_bytes()), "rb") as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            if rate not in _RATES or channels not in (1, 2) or width not in _WIDTHS:
                raise UnreadableSoundError("has no usual format")
            most = int(_LONGEST_S * rate)
            cut = file.getnframes() > most
            data = file.readframes(most)
    except OSError as error:
        raise UnreadableSoundError(error.strerror or "cannot be read") from error
    except (wave.Error, EOFError, ValueError, OverflowError, RuntimeError) as error:
        raise UnreadableSoundError("is no WAV file of PCM samples") from error
    data = _as_16_bit(data[: len(data) - len(data) % (width * channels)], width)
    if not data:
        raise UnreadableSoundError("holds no sound")
    return Clip(_written(data, rate, channels), len(data) / (2 * channels * rate), rate, *_level(data), cut)


def _as_16_bit(data: bytes, width: int) -> bytes:
    """Samples of 8, 24 or 32 bits by their upper 16."""
    if width == 2:  # noqa: PLR2004  # Bytes of a sample.
        return data
    result = bytearray(2 * (len(data) // width))
    if width == 1:
        result[1::2] = bytes(value ^ 0x80 for value in data)  # Eight bits are counted from 0.
    else:
        result[0::2], result[1::2] = data[width - 2 :: width], data[width - 1 :: width]
    return bytes(result)


def _level(data: bytes) -> tuple[float, bool]:
    samples = array("h", data)
    if sys.byteorder == "big":
        samples.byteswap()
    highest, lowest = max(samples), min(samples)
    peak = max(highest, -lowest) / _FULL
    full = sum(samples.count(value) for value in (_FULL, -_FULL, -_FULL - 1))
    return min(1.0, peak), full >= _CLIPPED_SAMPLES


def _written(data: bytes, rate: int, channels: int) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(data)
    return target.getvalue()
