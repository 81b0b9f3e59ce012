"""Recordings are read on a machine without FFmpeg's libraries, where torchaudio cannot."""

import types
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from kernel_template.host.tts import load_with_soundfile, reads_sound
from tests.support import NEEDS_TORCH, Later

pytestmark = NEEDS_TORCH
torch: Any = Later("torch")


def without_ffmpeg(_uri: str) -> None:
    """Fail as torchcodec does if it cannot load FFmpeg's libraries."""
    raise OSError("Could not load this library: libtorchcodec_core4.so")


def torchaudio(**names: object) -> types.ModuleType:
    """A torchaudio with these functions."""
    module = types.ModuleType("torchaudio")
    vars(module).update(names)
    return module


def test_only_a_torchaudio_that_cannot_read_is_replaced() -> None:
    """One that does not need torchcodec is left alone, and so is one whose torchcodec reads a WAV file."""
    assert not reads_sound(torchaudio(load_with_torchcodec=print, load=without_ffmpeg))
    assert reads_sound(torchaudio(load_with_torchcodec=print, load=soundfile.read))
    assert reads_sound(torchaudio(load=without_ffmpeg))
    assert reads_sound(None)


def test_soundfile_reads_what_torchaudio_would(tmp_path: Path) -> None:
    """Both channels come as floats of full scale 1, and a part of the file can be asked for."""
    place = tmp_path / "two.wav"
    samples = np.array([[0.5, -0.5], [0.25, 0.0], [-1.0, 0.125]], dtype=np.float32)
    soundfile.write(place, samples, 22_050, subtype="PCM_16")
    wave, rate = load_with_soundfile(place)
    assert rate == 22_050
    assert wave.dtype == torch.float32
    assert wave.tolist() == samples.T.tolist()
    assert load_with_soundfile(str(place), 1, 1)[0].tolist() == [[0.25], [0.0]]
