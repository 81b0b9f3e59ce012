"""Measures a recording or a spoken sentence, and tells what is odd about its sound. Needs numpy alone.

Sessions check the sentences that a voice speaks, `kgtts say` what it plays, both with the same figures: a
recording and the same sentence by the voice can be compared. `measure` takes about 10 ms for 3 s of sound.

These figures do not tell whether a voice is good. They find what is certainly wrong: silence, a hum or a hiss
instead of speech, speech that is far too fast or too slow, clipping, a constant offset.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np

from kernel_template.levels import FRAME_S, find_activity, frame_levels

SILENT_PEAK = 10 ** (-60 / 20)  # A peak of -60 dB: nothing can be heard.
STEADY_DB = 4.5
"""Below it a sound is a hum or a hiss. Measured in dB: a hum 0, also one that swells; white noise 1.9; a hum
in pulses 3.8; eSpeak's speech 10.4 to 12.6, with noise 5 dB below it 4.8; our demo's voices 7.1 to 12.9."""
CLIPPED_SHARE = 0.001
"""Of the samples: some hundred clipped samples within a sentence are heard as crackling."""
DC = 0.02  # A share of full scale; a good recording has less than 0.001.
PAUSE_S = 1.5  # A longer pause within a sentence is a hole.
MARGIN_S = 1.0  # More silence than that before or after the speech.
TOO_FAST, TOO_SLOW = 0.5, 2.0  # Times the recordings' seconds a letter.
PLAUSIBLE = (0.03, 0.25)
"""Seconds a letter of any understandable Bangla; people who read aloud need 0.06 to 0.12."""
_FEW_LETTERS = 8  # A shorter text says little about the pace.

_FULL_SCALE = 32_766.5 / 32_767  # What 16 bits cannot tell from 1.
_OVER = 1.05  # Times full scale: a peak above it is named.
_FLOOR_DB = -90.0  # Of a sound without a loud frame.
_WINDOW_S, _HOP_S = 0.032, 0.016
_BANDS = 20
_LOWEST_HZ, _HIGHEST_HZ = 100.0, 8000.0
_LARGEST = 1000.0  # Of any figure that is read: what is beyond it was not measured.
_LEAST_FRAMES = 6  # Of sound, to say whether it is steady: a tenth of a second.


class OddKind(StrEnum):
    """What can be odd about the sound of a spoken sentence."""

    NOT_FINITE = "not_finite"  # Samples are NaN or infinite.
    SILENT = "silent"
    STEADY = "steady"  # A hum, a hiss.
    FAST = "fast"
    SLOW = "slow"
    PAUSE = "pause"  # A long silence within, before or after the speech.
    CLIPPED = "clipped"
    OFFSET = "offset"  # A DC offset.


@dataclass(frozen=True, slots=True)
class Odd:
    """Something odd: its kind, and what was measured, as the end of a sentence about the sound."""

    kind: OddKind
    what: str


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured in a sound. Levels are dB of full scale.

    Attributes:
        seconds: its length.
        speech_s: from where the sound begins to where it ends: the length without silence at both ends.
        lead_s, tail_s: the silence before and after it.
        longest_pause_s: the longest silence within it.
        silent_share: the share of `speech_s` that is silence.
        peak: the largest absolute sample; above 1 it was clipped when it was written as 16 bits.
        clipped: the share of samples at full scale or beyond.
        dc: the mean of all samples.
        loudness_db: the level of what is not silence.
        loudness_spread_db: the standard deviation of that level over frames of 10 ms.
        movement_db: how much the shape of the spectrum changes over time: the standard deviation of the
            level of each band against that of all bands, averaged over the bands. Speech moves, a hum does
            not. None if there is too little sound.
        finite: whether all samples are numbers.
    """

    seconds: float
    speech_s: float
    lead_s: float
    tail_s: float
    longest_pause_s: float
    silent_share: float
    peak: float
    clipped: float
    dc: float
    loudness_db: float
    loudness_spread_db: float
    movement_db: float | None
    finite: bool

    def as_json(self) -> dict[str, Any]:
        """The figures, rounded, as samples.json has them."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Reference:
    """What recordings of the speaker are like: medians over some of them.

    Attributes:
        recordings: how many were measured.
        seconds_a_letter: `speech_s` divided by the letters of the text.
        loudness_db: as in Measures.
        movement_db: as in Measures.
    """

    recordings: int
    seconds_a_letter: float
    loudness_db: float
    movement_db: float

    @classmethod
    def of(cls, measured: Iterable[tuple[Measures, str]]) -> Self | None:
        """Take the medians over recordings and their texts; None if none of them says anything."""
        usable = [
            (found, count)
            for found, text in measured
            if found.movement_db is not None and (count := count_spoken(text)) >= _FEW_LETTERS
        ]
        if not usable:
            return None
        return cls(
            len(usable),
            _median(found.speech_s / count for found, count in usable),
            _median(found.loudness_db for found, _ in usable),
            _median(found.movement_db or 0.0 for found, _ in usable),
        )

    @classmethod
    def read(cls, value: object) -> Self | None:
        """Read it from JSON; None if it is not what `as_json` wrote."""
        if not isinstance(value, Mapping):
            return None
        figures: list[Any] = [value.get(field) for field in cls.__slots__]
        count = figures.pop(0)
        if type(count) is not int or not all(
            # False for NaN.
            type(figure) in (int, float) and lowest < figure < _LARGEST
            for figure, lowest in zip(figures, (0, -_LARGEST, -_LARGEST), strict=True)
        ):
            return None
        return cls(count, *map(float, figures))

    def as_json(self) -> dict[str, Any]:
        """The figures, rounded."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def count_spoken(text: str) -> int:
    """Count the letters and vowel signs of a text, which take time; signs and spaces do not count."""
    return sum(unicodedata.category(letter)[0] in "LMN" for letter in text)


def measure(samples: Any, sample_rate: int) -> Measures:
    """Measure mono samples; full scale is 1.

    Args:
        samples: an array of numbers, before it is clipped.
        sample_rate: samples per second.
    """
    given = np.asarray(samples, dtype=np.float64).reshape(-1)
    finite = bool(np.isfinite(given).all())
    sound = given if finite else np.nan_to_num(given, nan=0.0, posinf=0.0, neginf=0.0)
    loud = np.abs(sound)
    peak, count = float(loud.max(initial=0.0)), max(1, len(sound))
    sound = sound.clip(-_LARGEST, _LARGEST)  # Squares of what is beyond would be infinite.
    seconds = len(sound) / sample_rate
    dc = float(sound.sum() / count)
    begin, end, levels, active = _activity(sound, sample_rate)
    frames = np.flatnonzero(active)
    gaps = np.diff(frames) - 1
    sounding = levels[active]
    within = max(1, end - begin)
    return Measures(
        seconds=seconds,
        speech_s=min(seconds, (end - begin) * FRAME_S),
        lead_s=begin * FRAME_S if len(frames) else seconds,
        tail_s=max(0.0, seconds - end * FRAME_S) if len(frames) else 0.0,
        longest_pause_s=float(gaps.max(initial=0)) * FRAME_S,
        silent_share=(within - len(frames)) / within if len(frames) else 1.0,
        peak=peak,
        clipped=float(np.count_nonzero(loud >= _FULL_SCALE)) / count,
        dc=dc,
        loudness_db=float(10 * np.log10(np.mean(10 ** (sounding / 10)))) if len(frames) else _FLOOR_DB,
        loudness_spread_db=float(sounding.std()) if len(frames) else 0.0,
        movement_db=_movement(sound - dc, sample_rate),
        finite=finite,
    )


def oddities(
    found: Measures, text: str, recorded: Reference | None = None, *, speed: float = 1.0
) -> list[Odd]:
    """Tell what is odd about the sound of a sentence; empty if nothing is.

    Args:
        found: what was measured.
        text: what was spoken, in words; "" if it is not known.
        recorded: what recordings of the speaker are like; without it only the impossible is odd.
        speed: how many times faster than usual the voice was told to speak.
    """
    if not found.finite:
        return [
            Odd(OddKind.NOT_FINITE, "has samples that are not numbers: the training has probably diverged")
        ]
    if found.peak < SILENT_PEAK:
        return [Odd(OddKind.SILENT, "is silent")]
    odd = []
    if found.movement_db is not None and found.movement_db < STEADY_DB:
        what = f"is a hum or a hiss rather than speech: its spectrum changes by {found.movement_db:.1f} dB"
        than = f", recordings by {recorded.movement_db:.1f}" if recorded is not None else ""
        odd.append(Odd(OddKind.STEADY, f"{what}{than}"))
    elif (letters := count_spoken(text)) >= _FEW_LETTERS:
        odd += _pace(found.speech_s * speed / letters, recorded)
    pauses = {
        "begins with": (found.lead_s, MARGIN_S),
        "has a pause of": (found.longest_pause_s, PAUSE_S),
        "ends with": (found.tail_s, MARGIN_S),
    }
    odd += [
        Odd(OddKind.PAUSE, f"{where} {seconds:.1f} s{'' if where.startswith('has') else ' of silence'}")
        for where, (seconds, most) in pauses.items()
        if seconds > most
    ]
    if found.clipped > CLIPPED_SHARE:
        what = f"is clipped: {100 * found.clipped:.1f} % of its samples are at full scale"
        odd.append(
            Odd(OddKind.CLIPPED, what + (f", the loudest at {found.peak:.1f}" if found.peak > _OVER else ""))
        )
    if abs(found.dc) > DC:
        odd.append(Odd(OddKind.OFFSET, f"has an offset of {100 * found.dc:.1f} % of full scale"))
    return odd


def _pace(pace: float, recorded: Reference | None) -> list[Odd]:
    if recorded is None:
        fastest, slowest = PLAUSIBLE
        than = "people need 0.06 to 0.12"
    else:
        fastest, slowest = (recorded.seconds_a_letter * share for share in (TOO_FAST, TOO_SLOW))
        than = f"the recordings need {recorded.seconds_a_letter:.3f}"
    if fastest <= pace <= slowest:
        return []
    kind, how = (OddKind.FAST, "fast") if pace < fastest else (OddKind.SLOW, "slow")
    return [Odd(kind, f"is too {how}: {pace:.3f} s a letter, {than}")]


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def _activity(sound: Any, sample_rate: int) -> tuple[int, int, Any, Any]:
    """The frames where sound begins and ends, and within them their levels and which have sound."""
    if not len(sound):
        return 0, 0, np.zeros(0), np.zeros(0, dtype=bool)
    levels = frame_levels(sound, sample_rate)
    around = np.flatnonzero(find_activity(levels).active)
    if not len(around):
        return 0, 0, np.zeros(0), np.zeros(0, dtype=bool)
    begin, end = int(around[0]), int(around[-1]) + 1
    # Again without the silence at both ends, so that it changes nothing else.
    return begin, end, levels[begin:end], find_activity(levels[begin:end]).active


def _movement(sound: Any, sample_rate: int) -> float | None:
    """See `Measures.movement_db`. Bands are evenly wide on the mel scale; silence is left out."""
    size, hop = round(sample_rate * _WINDOW_S), round(sample_rate * _HOP_S)
    if hop < 1 or len(sound) < size + hop * _LEAST_FRAMES:
        return None
    frames = np.lib.stride_tricks.sliding_window_view(sound, size)[::hop] * np.hanning(size)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1)))
    highest = min(_HIGHEST_HZ, sample_rate / 2)
    mels = np.linspace(np.log1p(_LOWEST_HZ / 700), np.log1p(highest / 700), _BANDS + 1)
    # At low rates some bands would be empty.
    edges = np.unique(np.searchsorted(np.fft.rfftfreq(size, 1 / sample_rate), 700 * np.expm1(mels)))
    power = power[:, edges[0] : edges[-1]]
    total = power.sum(axis=1)
    sounding = total > total.max(initial=0.0) * 1e-4  # 40 dB
    if np.count_nonzero(sounding) < _LEAST_FRAMES or not total.max(initial=0.0):
        return None
    bands = np.add.reduceat(power, edges[:-1] - edges[0], axis=1)[sounding]
    shape = 10 * np.log10(bands / total[sounding, None] + 1e-6)
    return float(shape.std(axis=0).mean())
