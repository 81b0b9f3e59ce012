"""Stand-in for torchaudio, built on soundfile: the part that training and using a VITS voice calls.

PyPI does not have a CPU build of torchaudio for every torch release, and the CUDA build cannot be imported
without CUDA's libraries. Training with this module gives the same losses as with the real one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import soundfile
import torch

from . import functional, transforms

__all__ = ["AudioMetaData", "functional", "info", "load", "save", "transforms"]
__version__ = "0.0.0+standin"


@dataclass(frozen=True, slots=True)
class AudioMetaData:
    """What `info` returns about a file; `sample_rate` in Hz."""

    sample_rate: int
    num_frames: int
    num_channels: int


def load(
    uri: str | Path | BinaryIO,
    frame_offset: int = 0,
    num_frames: int = -1,
    normalize: bool = True,  # noqa: ARG001, FBT001, FBT002 - the real signature; floats are all that soundfile is asked for.
    channels_first: bool = True,  # noqa: FBT001, FBT002 - the real signature.
) -> tuple[torch.Tensor, int]:
    """Read audio as 32-bit floats in [-1, 1], shaped (channel, frame), with its rate in Hz."""
    frames, rate = soundfile.read(uri, start=frame_offset, frames=num_frames, dtype="float32", always_2d=True)
    samples = torch.from_numpy(frames)
    return (samples.T.contiguous() if channels_first else samples), rate


def save(
    uri: str | Path | BinaryIO,
    src: torch.Tensor,
    sample_rate: int,
    channels_first: bool = True,  # noqa: FBT001, FBT002 - the real signature.
    format: str | None = None,  # noqa: A002 - the real signature.
    **_options: Any,
) -> None:
    """Write samples, shaped (channel, frame) by default, in the format of the name or in `format`."""
    frames = src.detach().cpu()
    soundfile.write(uri, (frames.T if channels_first else frames).numpy(), sample_rate, format=format)


def info(uri: str | Path | BinaryIO) -> AudioMetaData:
    """Rate, frames and channels of an audio file."""
    found = soundfile.info(uri)
    return AudioMetaData(found.samplerate, found.frames, found.channels)
