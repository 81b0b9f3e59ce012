"""What a listener would miss in the samples: letters outside of the vocabulary, and silence."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kernel_template
from kernel_template.checkpoints import Checkpoint
from kernel_template.files import write_atomic
from kernel_template.samples import SampleSpeaker
from tests.kernel.kit import Child, Log, paths_in, put, reporter

_TORCH = """
state = 7
def manual_seed(number): global state; state = number
class cuda: is_available = staticmethod(lambda: False)
"""
# Each spoken sentence moves torch's random state on, as a real one does.
_SYNTHESIZER = """
import torch
class Tokenizer: not_found_characters = ["left", "from", "before"]
class Model: tokenizer = Tokenizer()
class Synthesizer:
    def __init__(self, **others): self.output_sample_rate, self.tts_model = 22050, Model
    def tts(self, text, **others):
        Model.tokenizer.not_found_characters += [letter for letter in text if letter in "xyz"]
        torch.state += 1
        return [] if text == "nothing" else [torch.state / 100 if text != "silence" else 0.0001]
"""


def speak(folder: Path, *sentences: str) -> list[dict[str, Any]]:
    """The records that speak.py prints, over made-up torch and TTS."""
    packages = folder / "packages"
    put(packages / "torch.py", _TORCH)
    put(packages / "TTS" / "__init__.py", "")
    put(packages / "TTS" / "utils" / "__init__.py", "")
    put(packages / "TTS" / "utils" / "synthesizer.py", _SYNTHESIZER)
    asked = put(folder / "sentences.json", json.dumps(sentences))
    program = Path(kernel_template.__file__).parent / "programs" / "speak.py"
    command = [sys.executable, str(program), "--config", "c", "--checkpoint", "c", "--sentences", str(asked)]
    done = subprocess.run(
        [*command, "--out", str(folder / "out")],
        env={"PYTHONPATH": str(packages), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return [json.loads(line)["sample"] for line in done.stdout.splitlines() if line.startswith('{"sample"')]


def test_a_sentence_sounds_the_same_whatever_was_said_before(tmp_path: Path) -> None:
    """Its randomness is its own, and so are its unknown letters."""
    first, second, third = speak(tmp_path, "a", "axy", "a")
    assert first["peak"] == second["peak"] == third["peak"] == 0.01
    assert [record["unknown"] for record in (first, second, third)] == [[], ["x", "y"], []]


def test_silence_is_noticed(tmp_path: Path) -> None:
    """A voice that is far too quiet, and one that says nothing at all: an empty file plays nowhere."""
    quiet, nothing = speak(tmp_path, "silence", "nothing")
    assert (quiet["silent"], quiet["error"]) == (True, None)
    assert nothing["error"] == "ValueError: the voice says nothing"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["01.wav"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"unknown": ["x", "☺"]}, "lacks 'x', '☺'"),
        ({"silent": True}, "01.wav"),
    ],
)
def test_what_cannot_be_heard_is_a_warning(root: Path, log: Log, changes: dict[str, Any], word: str) -> None:
    """People judge by their ears: what they cannot hear is told."""
    record = {"file": "01.wav", "text": "আx", "seconds": 0.5, "error": None, **changes}
    speaker = SampleSpeaker(
        run=Child([json.dumps({"sample": record})]),
        program=root / "speak.py",
        python="python",
        env={},
        paths=paths_in(root),
        report=reporter(log),
        write=write_atomic,
    )
    speaker.speak(Checkpoint(root / "checkpoint_5.pth", 5, best=False), root / "config.json", ["আx"])
    (warning,) = log.events("warning")
    assert word in warning["message"]
