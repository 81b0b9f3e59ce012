"""Tell sound from silence by level: what the laptop's data checks and the training's own take for silent.

Needs numpy, so only these two import it; the rest of a session runs on the standard library.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SILENT_DB = -50.0  # A recording whose loud frames are below this can hardly be heard.
FRAME_S = 0.01
LOUD_PERCENT = 5  # So many of a recording's frames are its loud ones: a word in a long silence is not enough.
_FLOOR_DB = -90.0
_CLICK_S = 0.03  # Speech is longer than this.
_ALONE_S = 0.15  # Without sound before and after it, for as long, what is so short is a click.

Levels = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Activity:
    """Where in a recording there is sound.

    Attributes:
        loud_db: level of the loud frames, in dB of full scale.
        quiet_db: level of the quietest ones.
        has_contrast: whether the two differ by more than noise alone does.
        active: for each frame whether it has sound, without clicks.
    """

    loud_db: float
    quiet_db: float
    has_contrast: bool
    active: npt.NDArray[np.bool_]

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to hear."""
        return self.loud_db < SILENT_DB or not self.active.any()


def frame_levels(samples: npt.NDArray[Any], rate: int) -> Levels:
    """The level of each frame in dB of full scale, of one channel whose full scale is 1."""
    size = max(1, round(rate * FRAME_S))
    count = max(1, len(samples) // size)
    frames = samples[: count * size].reshape(count, -1).astype(np.float64)
    frames -= frames.mean()  # A constant offset of the microphone is no sound.
    power = np.mean(np.square(frames), axis=1)
    levels: Levels = 10 * np.log10(np.maximum(power, 10 ** (_FLOOR_DB / 10)))
    return levels


def find_activity(levels: Levels) -> Activity:
    """Find the frames that stand clear of the recording's own noise."""
    loud, quiet = (float(np.percentile(levels, share)) for share in (100 - LOUD_PERCENT, 5))
    has_contrast = loud - quiet > 10  # noqa: PLR2004  # dB; speech itself varies by more.
    # Weak consonants are up to 35 dB below the vowels, but must stand clear of the noise.
    limit = min(max(quiet + 8, loud - 38), loud - 6)
    active = without_clicks(levels > limit) if has_contrast else levels > SILENT_DB
    return Activity(loud, quiet, has_contrast, active)


def without_clicks(active: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Drop bursts that are short and alone."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], active.astype(np.int8), [0]))))
    begins, ends = edges[::2], edges[1::2]
    kept = active.copy()
    alone = round(_ALONE_S / FRAME_S)
    for index, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        before = begin - ends[index - 1] if index else alone
        after = begins[index + 1] - end if index + 1 < len(begins) else alone
        if (end - begin) * FRAME_S <= _CLICK_S and before >= alone and after >= alone:
            kept[begin:end] = False
    return kept
