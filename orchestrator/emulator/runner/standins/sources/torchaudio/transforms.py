"""Stand-in for `torchaudio.transforms`: only `Resample`; anything else raises and says why."""

import torch

from . import functional


class Resample(torch.nn.Module):
    """Resample the last axis from `orig_freq` to `new_freq`, both in Hz."""

    def __init__(self, orig_freq: int = 16_000, new_freq: int = 16_000) -> None:
        super().__init__()
        self.orig_freq = orig_freq
        self.new_freq = new_freq

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Resample one batch."""
        return functional.resample(waveform, self.orig_freq, self.new_freq)


def __getattr__(name: str) -> object:
    raise AttributeError(f"the stand-in for torchaudio has no transforms.{name}: install the real torchaudio")
