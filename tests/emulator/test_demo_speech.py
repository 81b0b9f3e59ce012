"""Bangla speech: its format, its determinism and its failures."""

import array
import wave
from pathlib import Path

import pytest

from orchestrator.emulator.demo import speech
from orchestrator.errors import LocalError

TEXTS = {"one": "আজ আকাশে মেঘ জমেছে।", "two": "তুমি কেমন আছ?"}


def test_speech_is_mono_16_bit_at_the_voices_rate(tmp_path: Path) -> None:
    """Each text becomes one audible wav in the format that training expects."""
    for path in speech.speak(TEXTS, tmp_path):
        with wave.open(str(path), "rb") as file:
            shape = (file.getframerate(), file.getnchannels(), file.getsampwidth())
            seconds = file.getnframes() / file.getframerate()
            samples = array.array("h", file.readframes(file.getnframes()))
        assert shape == (22_050, 1, 2)
        assert 0.5 < seconds < 5
        assert max(samples) > 3_000


def test_speech_is_the_same_each_time(tmp_path: Path) -> None:
    """The same texts give the same bytes, although eSpeak NG itself carries state between utterances."""
    first = [path.read_bytes() for path in speech.speak(TEXTS, tmp_path)]
    second = [path.read_bytes() for path in speech.speak(TEXTS, tmp_path)]
    assert first == second


def test_different_texts_sound_different(tmp_path: Path) -> None:
    """A longer Bangla sentence takes longer, and none is silent."""
    longer = speech.speak({"short": "মেঘ।", "long": "মেঘের পরে মেঘ জমেছে, আঁধার করে আসে।"}, tmp_path)
    assert 2 * longer[0].stat().st_size < longer[1].stat().st_size


def test_both_spellings_sound_the_same(tmp_path: Path) -> None:
    """With a nukta of its own, ড় loses no vowel sign: eSpeak NG hears the composed letter."""
    (tmp_path / "apart").mkdir()
    (tmp_path / "whole").mkdir()
    apart = speech.speak({"one": "গাড\u09bcি"}, tmp_path / "apart")
    whole = speech.speak({"one": "গা\u09dcি"}, tmp_path / "whole")
    assert apart[0].read_bytes() == whole[0].read_bytes()


def test_files_come_in_the_order_given(tmp_path: Path) -> None:
    """The paths are in the order of the texts, and nothing else is left in the folder."""
    spoken = speech.speak(TEXTS, tmp_path)
    assert spoken == [tmp_path / "one.wav", tmp_path / "two.wav"]
    assert sorted(tmp_path.iterdir()) == sorted(spoken)


@pytest.mark.parametrize("nothing", ["", "   ", "\n"])
def test_nothing_to_speak_is_an_error(tmp_path: Path, nothing: str) -> None:
    """The error names a text without words, since a silent wav would spoil a dataset."""
    with pytest.raises(LocalError, match="no words to speak"):
        speech.speak({"empty": nothing}, tmp_path)


def test_an_unwritable_place_is_an_error(tmp_path: Path) -> None:
    """A missing folder is an error, and eSpeak NG's process has ended."""
    with pytest.raises(LocalError, match="could not be made"):
        speech.speak(TEXTS, tmp_path / "missing")


def test_a_deep_data_folder_is_reached_by_a_short_link(tmp_path: Path) -> None:
    """A data path above 160 bytes, which eSpeak NG would ignore, gets a short link."""
    deep = tmp_path / ("deep" * 20) / ("deeper" * 20) / "espeak-ng-data"
    deep.mkdir(parents=True)
    short = tmp_path / "s"
    short.mkdir()
    assert speech._reachable(Path("/opt/espeak-ng-data"), short) == Path("/opt/espeak-ng-data")
    assert speech._reachable(deep, short) == short / "espeak-ng-data"
    assert (short / "espeak-ng-data").resolve() == deep.resolve()


def test_helper_processes_get_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kaggle's credentials are not passed on; the module path is."""
    monkeypatch.setenv("KAGGLE_KEY", "made-up")
    monkeypatch.setenv("PYTHONPATH", "/users/own")
    environment = speech.child_environment(tmp_path)
    assert not [name for name in environment if name.startswith("KAGGLE_")]
    assert environment["PYTHONPATH"].startswith(f"{tmp_path}:")
    assert environment["PYTHONPATH"].endswith(":/users/own")
