"""Encode samples as clients ask for them, sentence by sentence where the format allows it.

WAV, MP3, Opus and PCM are streamed. FLAC names its length at its beginning, without which common readers
fail, so it comes whole. AAC cannot be written: libsndfile has no encoder for it.
"""

import io
import struct
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import soundfile
import soxr

from orchestrator.serve.request import ApiError, Format

_SAMPLE_BYTES = 2
_OPENAI_PCM_RATE = 24_000  # Clients take headerless samples to have this rate.
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_UNKNOWN = 0xFFFF_FFFF  # A WAV file's length while it is still being made; so does OpenAI.
_HEADER_BYTES = 36  # What a WAV header counts of itself.
_WORST_MP3 = 0.55  # libsndfile's scale from 0 (largest) to 1 (smallest): 72 kbit/s at 22,050 Hz.
MEDIA_TYPES: dict[Format, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": f"audio/pcm;rate={_OPENAI_PCM_RATE};channels=1",
}


class Encoder(Protocol):
    """Turns 16-bit samples into bytes of a format."""

    def add(self, pcm: bytes) -> bytes:
        """Encode more samples; returns what can be sent already."""
        ...

    def end(self) -> bytes:
        """Finish; returns the rest."""
        ...


def open_encoder(kind: Format, rate: int, *, whole: bool) -> Encoder:
    """Give the encoder of a format.

    Args:
        kind: the format.
        rate: samples per second.
        whole: whether all of it is sent at once; then headers can name the length.

    Raises:
        ApiError: 400, this machine cannot write the format.
    """
    match kind:
        case "wav":
            return _Wav(rate, whole=whole)
        case "pcm":
            return _Pcm(rate)
        case "mp3":
            return _File("MP3", "MPEG_LAYER_III", rate, streamed=not whole)
        case "opus":
            return _File("OGG", "OPUS", rate, streamed=not whole)
        case "flac":
            return _File("FLAC", "PCM_16", rate, streamed=False)
    raise ApiError(
        400,
        "aac cannot be written here (libsndfile has no encoder for it); ask for mp3, opus, flac, wav or pcm.",
        "unsupported_format",
        param="response_format",
    )


def wav_header(rate: int, length: int | None) -> bytes:
    """The header of a mono 16-bit WAV file; without a length, that of a stream."""
    size = _UNKNOWN if length is None else length
    whole = _UNKNOWN if length is None else length + _HEADER_BYTES
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", whole, b"WAVE", b"fmt ", 16, 1, 1),
        *(rate, rate * _SAMPLE_BYTES, _SAMPLE_BYTES, 8 * _SAMPLE_BYTES, b"data", size),
    )


class _Wav:
    def __init__(self, rate: int, *, whole: bool) -> None:
        self._rate = rate
        self._kept = bytearray() if whole else None
        self._begun = False

    def add(self, pcm: bytes) -> bytes:
        if self._kept is not None:
            self._kept += pcm
            return b""
        header = b"" if self._begun else wav_header(self._rate, None)
        self._begun = True
        return header + pcm

    def end(self) -> bytes:
        return b"" if self._kept is None else wav_header(self._rate, len(self._kept)) + bytes(self._kept)


class _Pcm:
    def __init__(self, rate: int) -> None:
        self._resampled = _Resampled(rate, _OPENAI_PCM_RATE)

    def add(self, pcm: bytes) -> bytes:
        return bytes(self._resampled(pcm).tobytes())

    def end(self) -> bytes:
        return bytes(self._resampled(b"", last=True).tobytes())


class _Resampled:
    """Samples at another rate; without the click that each sentence would have if it were converted alone."""

    def __init__(self, rate: int, to: int) -> None:
        self._stream = None if rate == to else soxr.ResampleStream(rate, to, 1, dtype="int16")

    def __call__(self, pcm: bytes, *, last: bool = False) -> Any:
        samples = np.frombuffer(pcm, dtype="<i2").astype(np.int16, copy=False)
        return samples if self._stream is None else self._stream.resample_chunk(samples, last=last)


class _File:
    """A format of libsndfile's."""

    def __init__(self, kind: str, subtype: str, rate: int, *, streamed: bool) -> None:
        if subtype not in soundfile.available_subtypes(kind):
            raise ApiError(
                400,
                f"The libsndfile on the server ({soundfile.__libsndfile_version__}) cannot write {kind}; "
                "ask for wav or flac.",
                "unsupported_format",
                param="response_format",
            )
        opus_rate = next((one for one in _OPUS_RATES if one >= rate), _OPUS_RATES[-1])
        to = opus_rate if subtype == "OPUS" else rate
        self._resampled = _Resampled(rate, to)
        self._pipe = _Pipe() if streamed else None
        self._whole = io.BytesIO()
        # A constant bit rate: players tell a stream's length from it, and LAME writes no (wrong) tag.
        more = {"bitrate_mode": "CONSTANT", "compression_level": _WORST_MP3} if kind == "MP3" else {}
        self._file = soundfile.SoundFile(self._pipe or self._whole, "w", to, 1, subtype, format=kind, **more)

    def add(self, pcm: bytes) -> bytes:
        self._file.write(self._resampled(pcm))
        return self._taken()

    def end(self) -> bytes:
        self._file.write(self._resampled(b"", last=True))
        self._file.close()
        return self._taken() if self._pipe is not None else self._whole.getvalue()

    def _taken(self) -> bytes:
        return b"" if self._pipe is None else self._pipe.take()


@dataclass(slots=True)
class _Pipe:
    """A file of which the beginning is gone: what is written over it later is dropped."""

    at: int = 0
    size: int = 0
    kept: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes) -> int:
        new = bytes(data)[max(0, self.size - self.at) :]
        self.kept += new
        self.at += len(data)
        self.size += len(new)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + {0: 0, 1: self.at, 2: self.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def take(self) -> bytes:
        data = bytes(self.kept)
        self.kept.clear()
        return data
