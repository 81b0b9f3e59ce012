"""What is odd about a sound: made-up sounds whose faults are known."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from kernel_template.sound_check import Measures, OddKind, Reference, count_spoken, measure, oddities

np = pytest.importorskip("numpy")
RATE = 16_000
TEXT = "আমি বাংলায় গান গাই, তুমিও গাও।"  # 25 letters and signs.


def at(seconds: float) -> Any:
    """Times of samples."""
    return np.arange(round(seconds * RATE)) / RATE


def hum(seconds: float = 2.0) -> Any:
    """A buzz at 110 Hz with its overtones."""
    return 0.1 * sum(np.sin(2 * np.pi * 110 * k * at(seconds)) / k for k in range(1, 40))


@cache
def syllables(count: int = 12, each_s: float = 0.16) -> Any:
    """Something that moves as speech does: buzzes and hisses of changing colour, each fading out."""
    random = np.random.default_rng(1)
    parts = []
    for number in range(count):
        time = at(each_s)
        tones = sum(
            np.sin(2 * np.pi * 120 * k * time) * np.exp(-(((120 * k - 500 - 300 * (number % 5)) / 250) ** 2))
            for k in range(1, 40)
        )
        hiss = random.normal(0, 0.3, len(time)) * (time < each_s / 3) * (number % 3 == 0)
        parts.append(0.2 * (tones + hiss) * np.exp(-8 * time))
    return np.concatenate(parts)


def silence(seconds: float) -> Any:
    """Digital silence."""
    return np.zeros(round(seconds * RATE))


def kinds(sound: Any, text: str = TEXT, recorded: Reference | None = None) -> list[OddKind]:
    """What is odd."""
    return [item.kind for item in oddities(measure(sound, RATE), text, recorded)]


def test_speech_is_not_odd() -> None:
    """What moves, is loud and has a person's pace is not odd, also in noise."""
    speech = syllables()
    assert kinds(speech) == []
    noise = np.random.default_rng(2).normal(0, 1, len(speech))
    assert kinds(speech + noise * speech.std() * 10 ** (-15 / 20)) == []
    found = measure(speech, RATE)
    assert found.movement_db is not None
    assert found.movement_db > 6


@pytest.mark.parametrize(
    ("sound", "expected"),
    [
        (hum(), [OddKind.STEADY]),
        (hum() * (1 + 0.9 * np.sin(2 * np.pi * 2 * at(2.0))), [OddKind.STEADY]),  # It swells.
        (np.random.default_rng(0).normal(0, 0.1, 2 * RATE), [OddKind.STEADY]),
        (silence(2.0), [OddKind.SILENT]),
        (syllables() * 1e-4, [OddKind.SILENT]),
        (syllables()[:0], [OddKind.SILENT]),
        (syllables(3, 0.1), [OddKind.FAST]),
        (np.concatenate([syllables(12)] * 4), [OddKind.SLOW]),
        (np.concatenate([silence(1.2), syllables(), silence(1.3)]), [OddKind.PAUSE] * 2),
        (np.concatenate([syllables(), silence(1.7), syllables()]), [OddKind.PAUSE]),
        (syllables() * 20, [OddKind.CLIPPED]),
        (syllables() + 0.05, [OddKind.OFFSET]),
        (np.where(at(1.92) > 1, np.nan, syllables()), [OddKind.NOT_FINITE]),
        (np.full(RATE, np.inf), [OddKind.NOT_FINITE]),
    ],
    ids=str,
)
def test_what_is_wrong_is_found(sound: Any, expected: list[OddKind]) -> None:
    """Each fault is found, and nothing else."""
    assert kinds(sound) == expected


def test_absurd_samples_are_measured() -> None:
    """Samples whose squares would be infinite are clipped, and nothing is NaN."""
    found = measure(np.where(syllables() > 0.2, 1e300, syllables()), RATE)
    assert OddKind.CLIPPED in [item.kind for item in oddities(found, TEXT)]
    json.dumps(found.as_json(), allow_nan=False)


def test_the_recordings_decide_about_the_pace() -> None:
    """A pace that a person could have is odd if the speaker's is twice or half of it."""
    speech = syllables()
    found = measure(speech, RATE)
    recorded = Reference.of([(found, TEXT)] * 3)
    assert recorded is not None
    assert recorded.seconds_a_letter == pytest.approx(found.speech_s / count_spoken(TEXT))
    assert kinds(speech, recorded=recorded) == []
    slow, fast = replace(recorded, seconds_a_letter=0.2), replace(recorded, seconds_a_letter=0.03)
    (odd,) = oddities(found, TEXT, slow)
    assert (odd.kind, "the recordings need 0.200" in odd.what) == (OddKind.FAST, True)
    assert kinds(speech, recorded=fast) == [OddKind.SLOW]
    assert kinds(speech, text="আ", recorded=fast) == []  # One letter says nothing about the pace.


def test_silence_at_both_ends_is_no_speech() -> None:
    """The length of the speech is that without silence at both ends; the silence within is a share."""
    found = measure(
        np.concatenate([silence(0.5), syllables(), silence(0.3), syllables(), silence(0.7)]), RATE
    )
    assert found.lead_s == pytest.approx(0.5, abs=0.02)
    assert found.tail_s == pytest.approx(0.7, abs=0.1)  # The last syllable fades out.
    assert found.longest_pause_s == pytest.approx(0.3, abs=0.1)
    assert found.speech_s + found.lead_s + found.tail_s == pytest.approx(found.seconds)
    assert 0.05 < found.silent_share < 0.2


def test_loudness_is_that_of_the_speech() -> None:
    """Silence does not make a sentence quieter; half the amplitude is 6 dB less."""
    speech = syllables()
    loud, padded, half = (
        measure(sound, RATE).loudness_db
        for sound in (speech, np.concatenate([speech, silence(1.0)]), speech / 2)
    )
    assert loud == pytest.approx(padded, abs=0.3)
    assert loud - half == pytest.approx(6.02, abs=0.2)


@pytest.mark.parametrize("rate", [1000, 8000, 22_050, 192_000])
@pytest.mark.parametrize("count", [0, 1, 7, 500, 5000])
def test_any_length_and_rate_is_measured(rate: int, count: int) -> None:
    """Very short sounds and odd rates are measured without a warning; all figures are JSON."""
    found = measure(np.sin(np.arange(count)) * 0.3, rate)
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["seconds"] == round(count / rate, 4)
    assert isinstance(found, Measures)
    oddities(found, TEXT)


@pytest.mark.parametrize(
    "change",
    [
        {"seconds_a_letter": 0},
        {"loudness_db": float("nan")},
        {"recordings": "x"},
        {"movement_db": True},
        {"loudness_db": 10**400},
        {"movement_db": None},
    ],
)
def test_a_reference_is_read_as_it_was_written(change: dict[str, Any]) -> None:
    """What recordings are like goes through JSON; what is no such thing is None."""
    recorded = Reference(40, 0.08, -20.5, 11.0)
    assert Reference.read(json.loads(json.dumps(recorded.as_json()))) == recorded
    assert Reference.read({**recorded.as_json(), **change}) is None
    assert Reference.read([]) is None
    assert Reference.of([(measure(hum(), RATE), "আ")]) is None
