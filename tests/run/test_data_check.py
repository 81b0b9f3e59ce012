"""What the doctor finds in a dataset before quota is spent, on this machine and on Kaggle alike."""

import io
import wave
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models import Quota
from orchestrator.run.checked import Checked, Level
from orchestrator.run.data_check import UTTERANCE_S, check_data, kaggle_place, local_place, read_config
from orchestrator.settings import Settings
from tests.fakes.clock import START
from tests.fakes.inputs import Upload
from tests.fakes.kaggle import OWNER, FakeKaggle

SOURCE = f"{OWNER}/datahrbnn"
CONFIG: dict[str, Any] = {
    "audio": {"sample_rate": 22050},
    "characters": {"characters": "আমিতুমভখাই", "punctuations": "। ", "pad": "_", "is_unique": True},
}


def sound(rate: int = 22050, seconds: float = 1.0) -> bytes:
    """Return a WAV file."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * int(rate * seconds)))
    return made.getvalue()


def data(count: int = 40, text: str = "আমি।", table: bytes | None = None) -> dict[str, bytes]:
    """Return the files of a dataset of so many recordings."""
    rows = "".join(f"a{number}|{text}|{text}\n" for number in range(count))
    files = {"metadata.csv": rows.encode(), **{f"wavs/a{number}.wav": sound() for number in range(count)}}
    if table is not None:
        files["metadata.csv"] = table
    return {f"MyTTSDataset/{name}": content for name, content in files.items()}


Check = Callable[..., dict[str, Checked]]


@pytest.fixture(params=["here", "on Kaggle"])
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Check:
    """Check files against settings; the lines by their subjects."""

    def run(files: Mapping[str, bytes], config: Any = CONFIG, **tables: Any) -> dict[str, Checked]:
        settings = Settings.model_validate({"training": {"batch_size": 4}, **tables}).with_owner(OWNER)
        if request.param == "here":
            for name, content in files.items():
                path = tmp_path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            place = local_place(tmp_path)
        else:
            fake = FakeKaggle(datasets={SOURCE: [Upload(files)]})
            place = kaggle_place(fake, SOURCE)
        week = Quota(timedelta(0), timedelta(0), timedelta(hours=30), START + timedelta(days=3))
        found = list(check_data(settings, place, config, week, START))
        assert len({line.subject for line in found}) == len(found)
        return {line.subject: line for line in found}

    return run


def test_a_good_data_set(check: Check) -> None:
    """Everything is said, and the one warning is that there is little of it."""
    found = check(data())
    assert found["texts"].text.startswith("40 utterances")
    assert found["letters"].level is Level.OK
    assert "about 40 s, 22,050 Hz" in found["recordings"].text
    assert {subject for subject, each in found.items() if each.level is not Level.OK} == {"recordings"}


def test_the_outlook_is_that_of_the_public_run(check: Check) -> None:
    """50 epochs of 5,039 utterances took 6.5 hours there."""
    rows = {"MyTTSDataset/metadata.csv": "".join(f"a{n}|আমি|আমি\n" for n in range(5039)).encode()}
    found = check(data(0) | rows, training={"epochs": 50})
    assert "texts" in found
    assert pytest.approx(23_244, rel=0.01) == UTTERANCE_S * 5039 * 50
    assert "GPU hours in 2 sessions, done after" in found["outlook"].text
    assert found["outlook"].text.startswith("estimate: 50 epochs of 7m4")


def test_missing_recordings_and_texts(check: Check) -> None:
    """Both are counted, and some are named."""
    files = data()
    del files["MyTTSDataset/wavs/a3.wav"]
    files["MyTTSDataset/wavs/zz.wav"] = sound()
    text = check(files)["texts"].text
    assert "1 recording missing (a3)" in text
    assert "1 recording without a text" in text


def test_another_rate(check: Check) -> None:
    """A session would find it after its install."""
    files = {name: sound(44100) if name.endswith(".wav") else each for name, each in data().items()}
    assert "44,100 Hz, but training.sample_rate is 22,050" in check(files)["recordings"].text
    found = check(files, {**CONFIG, "audio": {"sample_rate": 44100}})
    assert "training.sample_rate = 44100" in str(found["base voice"].hint)


def test_letters_that_the_voice_lacks(check: Check) -> None:
    """What a listener misses, most frequent first: letters, signs that are said, other kinds of spaces."""
    found = check(data(text="আমি ৳ ৭৭।"))["letters"]
    assert found.level is Level.WARNING
    assert "120 characters" in found.text
    assert found.text.startswith("the voice has no ৭ (BENGALI DIGIT SEVEN), ৳")
    assert "NO-BREAK SPACE" in check(data(text="আমি\u00a0তুমি।"))["letters"].text


def test_what_has_no_sound_is_no_warning(check: Check) -> None:
    """Quotes and pictures are left out, and nobody misses them."""
    found = check(data(text="“আমি” 😀।"))["letters"]
    assert found.level is Level.OK
    assert "it leaves out “" in found.text


def test_a_batch_that_is_larger_than_the_data(check: Check) -> None:
    """An epoch would be one step; a number that fits is named."""
    found = check(data(12), training={"batch_size": 16})["batch"]
    assert "a step takes 32 utterances" in found.text
    assert "training.batch_size = 3" in str(found.hint)


@pytest.mark.parametrize(
    ("files", "subject", "words"),
    [
        ({"x/readme.txt": b"x"}, "texts", "has no metadata.csv"),
        (data(table=b"caf\xe9|x|y\n"), "texts", "is not UTF-8"),
        (data(table=b"only texts\n" * 9), "texts", "most cannot be used"),
        (
            {"MyTTSDataset/metadata.csv": "a|আমি|আমি\n".encode()},
            "recordings",
            "no recordings in MyTTSDataset/wavs/",
        ),
        (
            {**data(), "MyTTSDataset/wavs/a0.wav": b"<html>"},
            "recordings",
            "not WAV: MyTTSDataset/wavs/a0.wav",
        ),
    ],
)
def test_what_cannot_be_read_is_named(
    check: Check, files: dict[str, bytes], subject: str, words: str
) -> None:
    """Each with the command that mends it, as far as there is one."""
    assert words in check(files)[subject].text


def test_the_configuration_is_found_at_the_top_too() -> None:
    """The guide says model/config.json; the real model has it at the top of its version."""
    settings = Settings().with_owner(OWNER)
    fake = FakeKaggle(models={settings.inputs.model: {"config.json": b'{"model": "vits"}'}})
    assert read_config(fake, settings) == {"model": "vits"}
    fake.models[settings.inputs.model] = {}
    assert read_config(fake, settings) is None
