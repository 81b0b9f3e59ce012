"""The kernel's stand-alone programs, run as the kernel runs them, with made-up torch and TTS packages."""

import importlib.metadata
import json
import os
import subprocess
import wave
from pathlib import Path
from typing import Any

import pytest

from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.packages import remember_packages
from kernel_template.tools.process import capture_output
from tests.kernel.kit import put

_PROGRAMS = PackagePrograms()
_TORCH = """
import contextlib
__version__ = "2.10.0"
class version: cuda = None
class cuda:
    is_available = staticmethod(lambda: False)
    device_count = staticmethod(lambda: 0)
manual_seed = lambda number: None
inference_mode = contextlib.nullcontext
"""
_SYNTHESIZER = """
import numpy
class Names: speaker_names = language_names = {names}
class Model: speaker_manager = language_manager = Names
class Synthesizer:
    def __init__(self, *, tts_checkpoint, tts_config_path, use_cuda):
        self.output_sample_rate, self.tts_model = 22050, Model
    def tts(self, text, speaker_name, language_name, split_sentences):
        print("Input:", text, speaker_name, language_name)
        if "ভুল" in text: raise ValueError("a letter\\nis not in the vocabulary")
        return [0.0, 0.5, -2.0, float("nan"), 0.25] + [0] * 10000
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which the made-up packages are found first."""
    packages = tmp_path / "packages"
    put(packages / "torch.py", _TORCH)
    put(packages / "trainer.py", "__version__ = '0.4.0'")
    put(packages / "TTS" / "__init__.py", "__version__ = '0.28.0'")
    put(packages / "TTS" / "utils" / "__init__.py", "")
    put(packages / "TTS" / "utils" / "synthesizer.py", _SYNTHESIZER.format(names="None"))
    return {"PYTHONPATH": str(packages), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}


def probe(env: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Run the probe."""
    answer = capture_output(_PROGRAMS.command("start.probe_program"), _PROGRAMS.environment(env), 60.0)
    assert answer is not None
    return answer.returncode, json.loads(answer.output.strip().splitlines()[-1])


def speak(env: dict[str, str], folder: Path, sentences: list[str]) -> tuple[int, list[dict[str, Any]], str]:
    """Run the speaker; returns its exit code, records and output."""
    asked = put(folder / "sentences.json", json.dumps(sentences))
    arguments = ("--config", "c.json", "--checkpoint", "c.pth", "--sentences", str(asked))
    command = _PROGRAMS.command("finish.speak_program", *arguments, "--out", str(folder / "out"))
    env = _PROGRAMS.environment(env)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    records = [
        json.loads(line)["sample"] for line in done.stdout.splitlines() if line.startswith('{"sample"')
    ]
    return done.returncode, records, done.stdout + done.stderr


def test_installed_packages_are_looked_through_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Coqui and transformers ask when they are imported; what is installed meanwhile is seen."""
    asked: list[int] = []

    def found() -> dict[str, list[str]]:
        asked.append(len(asked) + 1)
        return {"torch": [str(len(asked))]}

    def ask() -> list[str]:
        return [importlib.metadata.packages_distributions()["torch"][0] for _ in range(2)]

    monkeypatch.setattr(importlib.metadata, "packages_distributions", found)
    remember_packages()
    assert ask() == ["1", "1"]
    monkeypatch.syspath_prepend(str(tmp_path))
    assert ask() == ["2", "2"]
    os.utime(tmp_path, ns=(1, 1))  # As if one had been installed there.
    assert ask() == ["3", "3"]
    assert asked == [1, 2, 3]


def test_probe_tells_versions(env: dict[str, str]) -> None:
    """Packages that can be imported are listed with their versions, and CUDA if there is one."""
    code, found = probe(env)
    assert code == 0
    assert (found["ok"], found["TTS"], found["torch"], found["cuda"]) == (True, "0.28.0", "2.10.0", False)


@pytest.mark.parametrize("module", ["start.probe_program", "finish.speak_program", "finish.export_program"])
def test_programs_do_not_import_outputs(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """A file in the working folder is not imported, whatever its name."""
    put(tmp_path / "outputs" / "json.py", "raise SystemExit('an output was imported')")
    monkeypatch.chdir(tmp_path / "outputs")
    answer = capture_output(_PROGRAMS.command(module, "--help"), _PROGRAMS.environment(env), 60.0)
    assert answer is not None
    assert "an output was imported" not in answer.output
    assert answer.output


def test_probe_tells_what_is_missing(env: dict[str, str]) -> None:
    """A failed import is one line with the missing module's name."""
    put(Path(env["PYTHONPATH"]) / "TTS" / "__init__.py", "import torchcodec_that_is_not_there")
    code, found = probe(env)
    assert code == 1
    assert found["missing"] == "torchcodec_that_is_not_there"
    assert "ModuleNotFoundError" in found["error"]


def test_sentences_become_16_bit_wavs(env: dict[str, str], root: Path) -> None:
    """Samples are clipped, NaN becomes silence, and the silence that Coqui appends is removed."""
    code, records, _ = speak(env, root, ["আমি ভাত খাই।", 'কেমন "আছেন"?'])
    assert code == 0
    assert [record["file"] for record in records] == ["01.wav", "02.wav"]
    assert records[0]["text"] == "আমি ভাত খাই।"
    assert records[0]["peak"] == 2.0
    assert [item["kind"] for item in records[0]["odd"]] == ["not_finite"]
    with wave.open(str(root / "out" / "01.wav"), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 22050)
        data = file.readframes(100)
    values = [int.from_bytes(data[at : at + 2], "little", signed=True) for at in range(0, len(data), 2)]
    assert values == [0, 16384, -32767, 0, 8192]


def test_a_sentence_that_fails_does_not_cost_the_others(env: dict[str, str], root: Path) -> None:
    """Its record has the error, and the exit code says that a sentence is missing."""
    code, records, _ = speak(env, root, ["ভুল", "ঠিক"])
    assert code == 1
    assert records[0]["error"] == "ValueError: a letter is not in the vocabulary"
    assert records[1]["error"] is None
    assert not (root / "out" / "01.wav").exists()


def test_the_first_of_several_speakers_speaks(env: dict[str, str], root: Path) -> None:
    """A voice with several speakers and languages uses the first of each."""
    put(
        Path(env["PYTHONPATH"]) / "TTS" / "utils" / "synthesizer.py",
        _SYNTHESIZER.format(names="['first', 'second']"),
    )
    _, _, output = speak(env, root, ["a"])
    assert "Input: a first first" in output
