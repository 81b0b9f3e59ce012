"""What the speaker's recordings are like, and the packages that phonemes need."""

import json
from pathlib import Path
from typing import Any

import pytest

from kernel_template.host.protocol import SampleRules
from kernel_template.host.recordings import describe_recordings
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.report import Reporter
from kernel_template.host.sample_filter import SampleFilter
from kernel_template.sound_check import Reference
from kernel_template.start.packages import phonemizer_packages
from tests.kernel.test_sound_check import RATE, TEXT, silence, syllables

np = pytest.importorskip("numpy")
soundfile = pytest.importorskip("soundfile")


def recordings(folder: Path, count: int) -> list[dict[str, Any]]:
    """Recordings of one text, with silence at both ends."""
    sound = np.concatenate([silence(0.5), syllables(), silence(0.5)])
    soundfile.write(folder / "x.wav", sound, RATE)
    return [{"audio_file": str(folder / "x.wav"), "text": TEXT} for _ in range(count)]


def test_some_recordings_are_measured(tmp_path: Path) -> None:
    """At most 40 recordings give the pace of the speech without its silence; damaged ones are left out."""
    samples = recordings(tmp_path, 100)
    samples[0] = {"audio_file": str(tmp_path / "gone.wav"), "text": TEXT}
    found = Reference.read(json.loads(json.dumps(describe_recordings(samples))))
    assert found is not None
    assert found.recordings == 39
    assert 0.05 < found.seconds_a_letter < 0.09  # Two seconds for 25 letters.
    assert found.movement_db > 6


def test_the_recordings_of_a_training_are_described(tmp_path: Path) -> None:
    """The samples' filter writes what the recordings are like, for the samples and voice.json."""
    file = tmp_path / "recordings.json"
    reporter = Reporter(tmp_path / "report.json", lambda _line: None)
    SampleFilter(SampleRules(recordings=str(file)), Rendezvous(), reporter).apply(
        {}, {"train_samples": recordings(tmp_path, 3)}
    )
    found = Reference.read(json.loads(file.read_text()))
    assert found is not None
    assert found.recordings == 3


def test_measuring_recordings_ends_in_time(tmp_path: Path) -> None:
    """On a slow disk a few must do; without any there is no reference."""
    times = iter(range(0, 1000, 4))
    found = describe_recordings(recordings(tmp_path, 40), lambda: next(times))
    assert found is not None
    assert found["recordings"] == 2
    assert describe_recordings([]) is None
    assert describe_recordings([{"audio_file": str(tmp_path / "gone.wav"), "text": TEXT}]) is None


@pytest.mark.parametrize(
    ("config", "packages"),
    [
        ({}, ()),
        ({"use_phonemes": False, "phonemizer": "espeak"}, ()),
        ({"use_phonemes": True, "phonemizer": "espeak"}, ("espeakng-loader>=0.2.4",)),
        ({"use_phonemes": True, "phonemizer": None}, ("espeakng-loader>=0.2.4",)),
        ({"use_phonemes": True, "phonemizer": "gruut"}, ()),
        (
            {"use_phonemes": True, "phonemizer": "bn_phonemizer"},
            ("bangla", "bnnumerizer", "bnunicodenormalizer"),
        ),
    ],
    ids=str,
)
def test_phonemes_bring_their_packages(config: dict[str, Any], packages: tuple[str, ...]) -> None:
    """A configuration with phonemes names the packages that make them."""
    assert phonemizer_packages(config, has_espeak=False) == packages


@pytest.mark.parametrize(
    ("script", "packages"),
    [
        ("config.use_phonemes = False\nphonemizer='espeak'", ()),
        ("config = VitsConfig(use_phonemes=True, phoneme_language='bn')", ("espeakng-loader>=0.2.4",)),
        ("""{"use_phonemes": True, "phonemizer": "espeak"}""", ("espeakng-loader>=0.2.4",)),
        ("use_phonemes = True\nphonemizer = 'gruut'", ()),
        (
            "use_phonemes=True, phonemizer='bn_phonemizer'",
            ("bangla", "bnnumerizer", "bnunicodenormalizer"),
        ),
    ],
    ids=str,
)
def test_a_script_may_ask_for_phonemes(script: str, packages: tuple[str, ...]) -> None:
    """A script that sets them itself brings their packages too."""
    assert phonemizer_packages({}, script, has_espeak=False) == packages


def test_a_program_that_is_there_is_enough() -> None:
    """With eSpeak NG's own program nothing is installed."""
    assert phonemizer_packages({"use_phonemes": True}, has_espeak=True) == ()
