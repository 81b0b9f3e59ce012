"""What can be measured of a sound without a model: spectrum, pitch, rate, loudness and silence.

All sounds are floats in -1…1, one channel, at RATE. Frames are HOP samples apart. It needs numpy and
scipy, which Coqui brings.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kernel_template.contract import Measure
from kernel_template.levels import FRAME_S, find_activity, frame_levels
from kernel_template.sound_check import count_spoken, measure

RATE = 16_000  # Hz: what the models of models.py take.
HOP = round(RATE * FRAME_S)
_WINDOW = 640  # 40 ms: more than two periods of the lowest pitch.
_FFT = 1024
_BANDS = 80
_CEPSTRA = 24  # Without the first, which is loudness.
_LOWEST_F0, _HIGHEST_F0 = 60.0, 500.0  # Hz
_VOICED = 0.45  # The least autocorrelation of a voiced frame, of 1.
_LEAST_VOICED = 10  # Frames that pitch is compared on.

Samples = npt.NDArray[np.float32]
Frames = npt.NDArray[np.float64]


def load(path: Path, rate: int = RATE) -> Samples:
    """Read a sound file as mono floats at `rate`.

    Raises:
        OSError, RuntimeError: it cannot be read.
        ValueError: it has no samples.
    """
    import soundfile  # noqa: PLC0415 - the laptop's side may not have it.

    values, own = soundfile.read(str(path), dtype="float32", always_2d=True)
    if not len(values):
        raise ValueError(f"{path.name} has no samples")
    return resampled(values.mean(axis=1), int(own), rate)


def resampled(samples: Any, rate: int, to: int = RATE) -> Samples:
    """Return mono samples at another rate."""
    from scipy.signal import resample_poly  # noqa: PLC0415 - as above.

    values = np.nan_to_num(np.asarray(samples, dtype=np.float32).reshape(-1))
    if rate == to:
        return values
    common = math.gcd(rate, to)
    return np.asarray(resample_poly(values, to // common, rate // common), dtype=np.float32)


@dataclass(frozen=True)
class Sound:
    """A spoken sentence; what is derived from its samples is computed once."""

    samples: Samples

    @cached_property
    def _active(self) -> npt.NDArray[np.bool_]:
        """Which frames are not silent."""
        if len(self.samples) < HOP:
            return np.zeros(0, dtype=bool)
        found = find_activity(frame_levels(self.samples.astype(float), RATE)).active
        return np.asarray(found)[: len(self.samples) // HOP]

    @cached_property
    def speech(self) -> Samples:
        """The samples without silence at both ends; empty if all is silent."""
        active = np.flatnonzero(self._active)
        return self.samples[active[0] * HOP : (active[-1] + 1) * HOP] if len(active) else self.samples[:0]

    @cached_property
    def voice(self) -> Samples:
        """The samples without any silent frame."""
        frames = self.samples[: len(self._active) * HOP].reshape(-1, HOP)
        return frames[self._active].reshape(-1)

    @cached_property
    def cepstra(self) -> Frames:
        """The mel cepstrum of each frame of `speech`, in nepers."""
        from scipy.fft import dct  # noqa: PLC0415 - the laptop's side may not have it.

        mel = mel_spectrogram(self.speech, _FFT, _WINDOW, _BANDS)
        # Levels 80 dB below the loudest are noise of rounding.
        logs = 0.5 * np.log(np.maximum(mel, mel.max(initial=0.0) * 1e-8 + 1e-12))
        return np.asarray(dct(logs, axis=0)[1 : _CEPSTRA + 1].T / (2 * _BANDS))

    @cached_property
    def pitch(self) -> Frames:
        """The fundamental frequency of each frame of `speech` in Hz; NaN where it is not voiced."""
        return _pitch(self.speech)

    def plain_measures(self, text: str) -> dict[str, float]:
        """Rate, loudness and silence; of a silent sound only the last."""
        found = measure(self.samples, RATE)
        silent = found.seconds - found.speech_s * (1.0 - found.silent_share)
        measures = {str(Measure.SILENCE): silent / max(found.seconds, 1e-9)}
        if len(self.speech):
            measures[Measure.RATE] = count_spoken(text) / found.speech_s
            measures[Measure.LOUDNESS] = found.loudness_db
        return measures


def compare(spoken: Sound, recorded: Sound) -> dict[str, float]:
    """Mel-cepstral distance in dB, and the error of pitch in semitones, along the best alignment in time."""
    if not len(spoken.speech) or not len(recorded.speech):
        return {}
    ours, theirs = spoken.cepstra, recorded.cepstra
    costs = np.sqrt(np.maximum(_squared_distances(ours, theirs), 0.0))
    path = warp(costs)
    distance = 10 / math.log(10) * math.sqrt(2) * float(costs[path[:, 0], path[:, 1]].mean())
    found = {str(Measure.MEL_DISTANCE): distance}
    pitches = [
        sound.pitch[np.minimum(path[:, side], len(sound.pitch) - 1)]
        for side, sound in enumerate((spoken, recorded))
    ]
    both = ~np.isnan(pitches[0]) & ~np.isnan(pitches[1])
    if both.sum() >= _LEAST_VOICED:
        semitones = 12 * np.log2(pitches[0][both] / pitches[1][both])
        found[Measure.F0_ERROR] = float(np.sqrt(np.mean(semitones**2)))
    return found


def _squared_distances(ours: Frames, theirs: Frames) -> Frames:
    mine, other = np.sum(ours**2, axis=1)[:, None], np.sum(theirs**2, axis=1)[None, :]
    return np.asarray(mine + other - 2 * ours @ theirs.T)


def warp(costs: Frames) -> npt.NDArray[np.intp]:
    """Return the cheapest path through a table of costs, as rows (frame, frame), by dynamic time warping.

    The table is summed up along its antidiagonals, whose cells do not depend on each other.
    """
    rows, columns = costs.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(rows + columns - 1):
        row = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        column = diagonal - row
        before = np.minimum(total[row, column], np.minimum(total[row, column + 1], total[row + 1, column]))
        total[row + 1, column + 1] = costs[row, column] + before
    path = [(rows, columns)]
    while path[-1] != (1, 1):
        down, along = path[-1]
        steps = ((down - 1, along - 1), (down - 1, along), (down, along - 1))
        path.append(min(steps, key=lambda step: float(total[step])))
    return np.array(path[::-1], dtype=np.intp) - 1


def mel_spectrogram(samples: Samples, size: int, window: int, bands: int) -> Frames:
    """The power in each mel band of each frame, one row a band, as librosa's `melspectrogram` gives it.

    Resemblyzer's model was trained on librosa's, whose import takes longer than all of this.

    Args:
        samples: at RATE; a frame's middle is HOP after that of the frame before it.
        size: samples of the Fourier transform.
        window: samples of the Hann window.
        bands: how many.
    """
    around = (size - window) // 2
    hann = np.pad(
        0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window), (around, size - window - around)
    )
    padded = np.pad(samples.astype(float), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::HOP]
    power = np.abs(np.fft.rfft(frames * hann, axis=1)) ** 2
    # Slaney's scale: linear up to 1 kHz, then 27 bands for a factor of 6.4; each band has an area of one.
    step, linear = math.log(6.4) / 27, 15.0
    top = linear + math.log(RATE / 2 / 1000) / step
    mels = np.linspace(0, top, bands + 2)
    edges = np.where(mels < linear, mels * 200 / 3, 1000 * np.exp(step * (mels - linear)))
    bins = np.fft.rfftfreq(size, 1 / RATE)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return np.asarray(weights @ power.T)


def _pitch(samples: Samples) -> Frames:
    """The fundamental frequency of each frame by the autocorrelation of its window; NaN if not voiced."""
    if len(samples) < _WINDOW:
        return np.full(max(1, len(samples) // HOP + 1), np.nan)
    padded = np.pad(samples.astype(float), _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    window = np.hanning(_WINDOW)
    # Dividing by the window's own autocorrelation makes long and short lags comparable (Boersma, 1993).
    own = np.fft.irfft(np.abs(np.fft.rfft(window, 2 * _WINDOW)) ** 2)[:_WINDOW]
    spectrum = np.abs(np.fft.rfft(frames * window, 2 * _WINDOW)) ** 2
    correlation = np.fft.irfft(spectrum)[:, :_WINDOW]
    energy = correlation[:, :1]
    shortest, longest = int(RATE / _HIGHEST_F0), int(RATE / _LOWEST_F0)
    lags = np.arange(shortest, longest + 1)
    strength = correlation[:, lags] / np.maximum(energy, 1e-12) / (own[lags] / own[0])
    # Two periods correlate nearly as well as one: a longer lag must be clearly better.
    weighted = strength - 0.02 * np.log2(lags / shortest)
    best = weighted.argmax(axis=1)
    rows = np.arange(len(best))
    voiced = (strength[rows, best] > _VOICED) & (energy[:, 0] > energy.max(initial=0.0) * 1e-3)
    inside = (best > 0) & (best < len(lags) - 1)
    left, middle, right = (strength[rows, np.clip(best + step, 0, len(lags) - 1)] for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(inside & (bend < 0), 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
    return np.where(voiced & inside, RATE / (lags[best] + shift), np.nan)
