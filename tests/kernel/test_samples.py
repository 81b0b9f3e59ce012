"""The spoken test sentences: how they are recorded, and what is wrong with them."""

import json
import subprocess
import wave
from pathlib import Path
from typing import Any

import pytest

from kernel_template.finish.samples import SampleSpeaker
from kernel_template.finish.voice_program import VoiceProgram
from kernel_template.tools.files import write_atomic
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import ChildPlan, StopCause
from kernel_template.train.checkpoints import Checkpoint
from tests.kernel.kit import Child, Log, base_config, mount_inputs, paths_in, put, reporter
from tests.kernel.sessions import HEAD, TRAINS, Played, stamp
from tests.kernel.test_session_chain import second

_TORCH = """
state = 7
def manual_seed(number): global state; state = number
class cuda: is_available = staticmethod(lambda: False)
"""
# Each spoken sentence moves torch's random state on, as a real one does.
_SYNTHESIZER = """
import torch
class Characters:
    tokens = ["<PAD>", *"কখগঘচছজঝটঠডঢতথদধনপফবভমযরলশষসহঅআইউএওািুে্োঁ\u09dc\u09bc ।"]
    num_chars = len(tokens)
    def id_to_char(self, number): return self.tokens[number]
    def char_to_id(self, token): return self.tokens.index(token)
class Tokenizer: not_found_characters = ["left", "from", "before"]
class BanglaTokenizer(Tokenizer): characters = Characters()
class Model: tokenizer = Tokenizer()
class Audio: do_trim_silence = True
class Config: audio, text_cleaner = Audio, None
class Synthesizer:
    def __init__(self, **others):
        self.output_sample_rate, self.tts_model, self.tts_config = 22050, Model, Config()
        if others["tts_config_path"] == "bangla": Model.tokenizer = BanglaTokenizer
    def tts(self, text, **others):
        Model.tokenizer.not_found_characters += [letter for letter in text if letter in "xyz"]
        torch.state += 1
        if Audio.do_trim_silence: raise ValueError("cut off")
        return [] if text == "nothing" else [torch.state / 100 if text != "silence" else 0.0001]
"""


def speak(
    folder: Path, *sentences: str, config: str = "c", letters: dict[str, int] | None = None
) -> list[dict[str, Any]]:
    """Return the records that the speaker prints, with made-up torch and TTS."""
    packages = folder / "packages"
    put(packages / "torch.py", _TORCH)
    put(packages / "TTS" / "__init__.py", "")
    put(packages / "TTS" / "utils" / "__init__.py", "")
    put(packages / "TTS" / "utils" / "synthesizer.py", _SYNTHESIZER)
    asked = put(folder / "sentences.json", json.dumps(sentences))
    programs = PackagePrograms()
    asked_for = (
        "--config",
        config,
        "--checkpoint",
        "c",
        "--sentences",
        str(asked),
        "--out",
        str(folder / "out"),
        *(("--letters", str(put(folder / "letters.json", json.dumps(letters)))) if letters else ()),
    )
    env = {"PYTHONPATH": str(packages), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        programs.command("finish.speak_program", *asked_for),
        env=programs.environment(env),
        capture_output=True,
        text=True,
        check=False,
    )
    return [json.loads(line)["sample"] for line in done.stdout.splitlines() if line.startswith('{"sample"')]


def test_a_sentence_sounds_the_same_whatever_was_said_before(tmp_path: Path) -> None:
    """Each sentence has its own random state and its own unknown letters."""
    first, second, third = speak(tmp_path, "a", "axy", "a")
    assert first["peak"] == second["peak"] == third["peak"] == 0.01
    assert [record["unknown"] for record in (first, second, third)] == [[], ["x", "y"], []]


def test_silence_is_noticed(tmp_path: Path) -> None:
    """A sentence that is far too quiet is noticed, and so is an empty one."""
    quiet, nothing = speak(tmp_path, "silence", "nothing")
    assert ([item["kind"] for item in quiet["odd"]], quiet["error"]) == (["silent"], None)
    assert nothing["error"] == "ValueError: the voice makes no sound"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["01.wav"]


def test_a_sentence_is_spoken_in_the_letters_of_the_voice(tmp_path: Path) -> None:
    """Numbers become words, in the spelling that the training texts had; the record has both texts."""
    plain, number = speak(tmp_path, "ভাত", "ষোলো ৫ ☺", config="bangla")
    assert "spoken" not in plain
    assert (number["text"], number["spoken"]) == ("ষোলো ৫ ☺", "ষোলো পাঁচ")
    letters = dict.fromkeys("বড\u09bc", 1) | {"ড\u09bc": 1}
    (decomposed,) = speak(tmp_path, "ব\u09dc", config="bangla", letters=letters)
    assert decomposed["spoken"] == "বড\u09bc"


def test_a_text_is_spoken_as_say_speaks_it(tmp_path: Path) -> None:
    """Each sentence is spoken by itself, with its pause; wrapped lines are joined; nothing is cut off."""
    (record,) = speak(tmp_path, "ভাত\nখাই। না?\n\nহ্যাঁ", config="bangla")
    assert record["error"] is None
    assert record["spoken"] == "ভাত খাই। না। হ্যাঁ"
    with wave.open(str(tmp_path / "out" / "01.wav")) as file:
        values = memoryview(file.readframes(10**6)).cast("h")
    # The made-up voice says each sentence as one sample, each time a louder one.
    assert [at for at, value in enumerate(values) if value] == [0, 1 + 6615, 2 + 6615 + 13_230]
    assert values[0] < values[6616] < values[-1]


def speaker(root: Path, log: Log, child: Child) -> SampleSpeaker:
    """Make a speaker whose program is made up."""
    return SampleSpeaker(
        program=VoiceProgram(
            child, PackagePrograms("python"), "finish.speak_program", {}, root, write_atomic
        ),
        paths=paths_in(root),
        report=reporter(log),
        write=write_atomic,
    )


def test_samples_are_recorded(root: Path, log: Log) -> None:
    """samples.json has the program's records, the step and the checkpoint."""
    record = {"file": "01.wav", "text": "আ", "seconds": 0.5, "error": None}
    child = Child(["noise", '{"sample": broken', json.dumps({"sample": record})])
    checkpoint = Checkpoint(root / "working" / "training" / "v" / "checkpoint_5.pth", 5, best=False)
    speaker(root, log, child).speak(
        checkpoint, root / "config.json", ["আ"], paths_in(root).samples / "step_5"
    )
    written = json.loads((root / "working" / "validation_samples" / "step_5" / "samples.json").read_text())
    expected = {
        "global_step": 5,
        "best": False,
        "checkpoint": "training/v/checkpoint_5.pth",
        "samples": [record],
    }
    assert written == expected
    assert not log.events("warning")
    assert isinstance(child.plans[0], ChildPlan)


@pytest.mark.parametrize(
    ("child", "word"),
    [
        (Child(["ImportError: no"], returncode=1), "ImportError: no"),
        (Child(stop_cause=StopCause.TIME_LIMIT), "was stopped: 0 of 1"),
        (Child(error=FileNotFoundError("python")), "could not be spoken: python"),
        (Child(['{"sample": {"file": "01.wav", "error": "bad letter"}}'], returncode=1), "bad letter"),
    ],
)
def test_samples_that_fail_warn(root: Path, log: Log, child: Child, word: str) -> None:
    """A failure of the samples is a warning."""
    checkpoint = Checkpoint(root / "checkpoint_5.pth", 5, best=False)
    speaker(root, log, child).speak(
        checkpoint, root / "config.json", ["আ"], paths_in(root).samples / "step_5"
    )
    (warning,) = log.events("warning")
    assert word in warning["message"]


def test_no_sentences_no_samples(root: Path, log: Log) -> None:
    """If there are no sentences, the log says how to set some."""
    mount_inputs(root / "input", script=HEAD + TRAINS, config=base_config(test_sentences=[]))
    played = Played(root, log, "", samples={"sentences": [], "enabled": True})
    assert played.code == 0
    assert log.text.count("samples.sentences") == 1
    assert not (root / "working" / "validation_samples").exists()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"unknown": ["x", "☺"]}, "does not know 'x', '☺'"),
        ({"odd": [{"kind": "silent", "what": "is silent"}]}, "01.wav is silent"),
    ],
)
def test_what_cannot_be_heard_is_a_warning(root: Path, log: Log, changes: dict[str, Any], word: str) -> None:
    """Silence and unknown letters in the session's own samples are warnings."""
    record = {"file": "01.wav", "text": "আx", "seconds": 0.5, "error": None, **changes}
    voice = speaker(root, log, Child([json.dumps({"sample": record})]))
    checkpoint = Checkpoint(root / "checkpoint_5.pth", 5, best=False)
    voice.speak(checkpoint, root / "config.json", ["আx"], paths_in(root).base_samples)
    assert not log.events("warning")  # What the base voice lacks is no news of the run.
    voice.speak(checkpoint, root / "config.json", ["আx"], paths_in(root).samples / "step_5")
    (warning,) = log.events("warning")
    assert word in warning["message"]


def test_the_base_voice_speaks_once_in_a_run(tmp_path: Path, root: Path, log: Log) -> None:
    """A later session keeps the samples of earlier ones, and adds its own."""
    (tmp_path / "one").mkdir()
    first = Played(tmp_path / "one", Log(), HEAD + TRAINS, run=stamp(1))
    spoken = first.root / "working" / "validation_samples"
    assert {place.name for place in spoken.iterdir()} == {"base", "step_4"}
    told = json.loads((spoken / "base" / "samples.json").read_text())
    assert told["checkpoint"].endswith("/model_file.pth")
    (spoken / "base" / "01.wav").write_bytes(b"as it was")
    second(first, root, log)
    heard = root / "working" / "validation_samples"
    assert {place.name for place in heard.iterdir()} == {"base", "step_4", "step_6"}
    assert (heard / "base" / "01.wav").read_bytes() == b"as it was"


@pytest.mark.parametrize(
    "left", ['{"samples": []}', '{"samples": [{"text": "another sentence"}]}', '{"samples": [7]}', "[]", "{"]
)
def test_a_base_voice_that_was_cut_off_speaks_again(tmp_path: Path, root: Path, log: Log, left: str) -> None:
    """The base voice speaks again if its samples are incomplete or of other sentences."""
    (tmp_path / "one").mkdir()
    first = Played(tmp_path / "one", Log(), HEAD + TRAINS, run=stamp(1))
    put(first.root / "working" / "validation_samples" / "base" / "samples.json", left)
    played = second(first, root, log)
    assert played.code == 0
    told = json.loads((root / "working" / "validation_samples" / "base" / "samples.json").read_text())
    own = json.loads((root / "working" / "validation_samples" / "step_6" / "samples.json").read_text())
    assert [item["text"] for item in told["samples"]] == [item["text"] for item in own["samples"]] != []


def test_a_short_session_hears_its_own_voice_alone(root: Path, log: Log) -> None:
    """With little time only the newest checkpoint speaks, and the log says what was left out."""
    Played(root, log, HEAD + TRAINS, session_budget_s=59)
    assert [place.name for place in (root / "working" / "validation_samples").iterdir()] == ["step_4"]
    assert "No time is left to speak the test sentences with model_file.pth." in log.text
