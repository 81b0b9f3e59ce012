"""Stand-in for `torchaudio.functional`: resampling, through SciPy."""

from math import gcd
from typing import Any

import torch
from scipy.signal import resample_poly  # type: ignore[import-untyped,unused-ignore] # SciPy has no types.


def resample(waveform: torch.Tensor, orig_freq: int, new_freq: int, **_options: Any) -> torch.Tensor:
    """Resample the last axis from one rate to another, both in Hz."""
    if orig_freq == new_freq:
        return waveform
    shared = gcd(int(orig_freq), int(new_freq))
    frames = resample_poly(
        waveform.detach().cpu().numpy(), int(new_freq) // shared, int(orig_freq) // shared, axis=-1
    )
    return torch.from_numpy(frames).to(waveform)
