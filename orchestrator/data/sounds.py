"""Decode recordings of any kind, resample them, and write 16-bit mono WAV."""

import hashlib
import io
import os
import shutil
import subprocess
import wave
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from orchestrator.data.recordings import FFMPEG_ENDINGS

Samples = npt.NDArray[np.float32]

LONGEST_S = 300.0  # A recording is held in memory as a whole.
_FFMPEG_S = 120.0
_UNKNOWN_SIZE = 0x7FFFFFFF  # Or more: what programs write that do not know a WAV file's size.
_MOST_CHANNELS = 32
_QUIET = 10 ** (-40 / 20)  # A channel this much below the other has only noise.
_OPPOSITE = -0.9  # Correlation of two channels of which one is upside down.
_NO_CLIPPING = frozenset({"PCM_U8", "PCM_S8", "ULAW", "ALAW"})  # So coarse that equal samples mean nothing.
_DEPTHS = {
    "PCM_U8": "8 bit",
    "PCM_S8": "8 bit",
    "PCM_16": "16 bit",
    "PCM_24": "24 bit",
    "PCM_32": "32 bit",
    "FLOAT": "32-bit float",
    "DOUBLE": "64-bit float",
    "ULAW": "µ-law",
    "ALAW": "A-law",
    "VORBIS": "Vorbis",
    "OPUS": "Opus",
    "MPEG_LAYER_III": "MP3",
}


class SoundError(Exception):
    """A recording cannot be read; the text completes "NAME …".

    Args:
        kind: which kind of finding it is: `unreadable`, `ffmpeg` or `too_long`.
    """

    def __init__(self, text: str, kind: str = "unreadable") -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Sound:
    """A decoded recording.

    Attributes:
        samples: mono, full scale is 1.
        rate: samples a second.
        channels: how many it had.
        form: how its samples were stored, in words.
        peak: the loudest sample of any channel; more than 1 is beyond full scale.
        clipped: the share of samples, from 0 to 1, that are cut off at the loudest value.
        missing_s: how much of its end is missing, by its header.
        channel: what was done about the channels if not their mean was taken; empty otherwise.
        digest: of the decoded samples: two files with equal digests are the same recording.
        source: of the file itself: it changes with the file.
    """

    samples: Samples
    rate: int
    channels: int
    form: str
    peak: float
    clipped: float
    missing_s: float
    channel: str
    digest: str
    source: str = ""

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / self.rate


def file_digest(path: Path) -> str:
    """The digest of a file, as in `Sound.source`.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, _digest).hexdigest()


def _digest() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=16)


def read_sound(path: Path) -> Sound:
    """Decode a recording.

    Raises:
        SoundError: it cannot be decoded, or is longer than `LONGEST_S`.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise SoundError("is empty (0 bytes)")
            if head.lstrip()[:1] == b"<":
                raise SoundError("is a web page, not a sound: its download failed")
            file.seek(0)
            source = hashlib.file_digest(file, _digest).hexdigest()
            file.seek(0)
            return replace(_decoded(path, file, _missing(head, size)), source=source)
    except OSError as error:
        raise SoundError(f"cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise SoundError("does not fit into memory", "too_long") from error


def _decoded(path: Path, file: BinaryIO, missing: float) -> Sound:
    try:
        return _read(file, missing)
    except soundfile.LibsndfileError as error:
        reason = str(error.error_string).rstrip(".")
    converter = shutil.which("ffmpeg")
    if converter is None:
        if path.suffix.lower() in FFMPEG_ENDINGS:
            raise SoundError("is read by ffmpeg, which is not installed", "ffmpeg")
        raise SoundError(f"is no sound that can be read ({reason})")
    try:
        return _read(io.BytesIO(_converted(converter, path)), 0.0)
    except soundfile.LibsndfileError as error:
        raise SoundError(f"is no sound that can be read ({reason}; ffmpeg cannot either)") from error


def _converted(converter: str, path: Path) -> bytes:
    """Let ffmpeg decode a recording to WAV."""
    command = [converter, "-nostdin", "-v", "error", "-i", str(path.resolve())]
    command += ["-vn", "-t", str(LONGEST_S + 1), "-f", "wav", "-c:a", "pcm_f32le", "-"]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=_FFMPEG_S).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SoundError(f"could not be decoded by ffmpeg: {type(error).__name__}") from error


def _missing(head: bytes, size: int) -> float:
    """The share of a WAV file that its header promises and that is not there; 0 if it is whole."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return 0.0
    promised = int.from_bytes(head[4:8], "little") + 8
    if promised >= _UNKNOWN_SIZE or promised <= size + 1:
        return 0.0
    return 1 - size / promised


def _read(file: BinaryIO, missing: float) -> Sound:
    with soundfile.SoundFile(file) as sound:
        rate, channels, subtype = sound.samplerate, sound.channels, sound.subtype
        if not 0 < channels <= _MOST_CHANNELS or not 1000 <= rate <= 1_000_000:  # noqa: PLR2004
            raise SoundError(f"has an unusual format: {channels} channels at {rate} Hz")
        if sound.frames > LONGEST_S * rate:
            raise SoundError(
                f"is longer than {LONGEST_S / 60:.0f} minutes: cut it into sentences", "too_long"
            )
        data: npt.NDArray[np.float32] = sound.read(dtype="float32", always_2d=True)
    if not len(data):
        raise SoundError("contains no sound")
    peak = float(np.abs(data).max())
    if not np.isfinite(peak):
        data = np.nan_to_num(data, copy=False, posinf=1.0, neginf=-1.0)
        peak = float(np.abs(data).max())
    channels_apart = [np.ascontiguousarray(data[:, index]) for index in range(channels)]
    clipped = 0.0 if subtype in _NO_CLIPPING else max(map(_clipped, channels_apart))
    samples, channel = _mono(channels_apart)
    digest = _digest()
    digest.update(str(rate).encode())
    digest.update(samples.data)
    promised = len(data) / (1 - missing) if missing else len(data)
    return Sound(
        samples=samples,
        rate=rate,
        channels=channels,
        form=_DEPTHS.get(subtype, subtype.replace("_", " ").lower()),
        peak=peak,
        clipped=clipped,
        missing_s=(promised - len(data)) / rate,
        channel=channel,
        digest=digest.hexdigest(),
    )


def _clipped(samples: Samples) -> float:
    """The share of samples in runs of three or more that are all at the loudest value."""
    size = np.abs(samples)
    top = float(size.max())
    if top < 0.5:  # noqa: PLR2004  # In a quiet recording, coarse steps look like it.
        return 0.0
    full = size >= top * 0.9999
    runs = full[:-2] & full[1:-1] & full[2:]
    inside = np.zeros(len(full), dtype=bool)
    for shift in range(3):
        inside[shift : len(full) - 2 + shift] |= runs
    return float(inside.mean())


def _mono(channels: list[Samples]) -> tuple[Samples, str]:
    """Mix the channels; a silent one is left out, and of two opposite ones the first is taken."""
    if len(channels) == 1:
        return channels[0], ""
    power = np.sqrt([float(np.dot(channel, channel)) / len(channel) for channel in channels])
    loud = [channel for channel, value in zip(channels, power, strict=True) if value > power.max() * _QUIET]
    if len(loud) < len(channels) and loud:
        return _mean(loud), "a silent channel is left out"
    if len(channels) == 2 and power.min() > 0:  # noqa: PLR2004
        likeness = float(np.dot(*channels)) / len(channels[0]) / float(power[0] * power[1])
        if likeness < _OPPOSITE:
            return channels[0], "its channels cancel each other, so the first is taken"
    return _mean(channels), ""


def _mean(channels: list[Samples]) -> Samples:
    """Average the channels; many times as fast as numpy's mean over so short an axis."""
    total = channels[0].copy()
    for channel in channels[1:]:
        total += channel
    return total / np.float32(len(channels))


def resample(samples: Samples, rate: int, wanted: int) -> Samples:
    """Change the sample rate with soxr's best quality for 16 bits."""
    if rate == wanted:
        return samples
    changed: Samples = soxr.resample(samples, rate, wanted, quality="HQ")
    return changed


def wav_bytes(samples: Samples, rate: int) -> bytes:
    """Give a mono WAV file of 16 bits; what is beyond full scale is cut off."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.clip(np.rint(samples * 32767), -32768, 32767).astype("<i2").tobytes())
    return target.getvalue()


def decibels(ratio: float) -> float:
    """A ratio of amplitudes in dB; -120 at the least."""
    return 20 * float(np.log10(max(ratio, 1e-6)))
