"""Stand-ins for torchaudio and torchcodec: when they are needed, and that they work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.emulator.runner.standins import decide, needed_standins, standin_path
from orchestrator.errors import LocalError

HERE = ["/lib/module.py", 1]


def interpreter(folder: Path, found: dict[str, object], *, loads: bool = False) -> str:
    """Make a program instead of Python that reports these modules, and loads audio or fails."""
    program = folder / "python"
    answer, code = f"echo '{json.dumps(found)}'", 0 if loads else 1
    script = f'#!/bin/sh\ncase "$3" in *find_spec*) {answer};; *) exit {code};; esac\n'
    program.write_text(script, encoding="utf-8")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("torch", "audio", "codec", "loads", "needed"),
    [
        (True, False, False, False, ("torchaudio", "torchcodec")),
        (True, True, True, True, ()),
        (True, True, False, True, ("torchcodec",)),
        (True, True, True, False, ("torchaudio",)),
        (True, False, True, False, ("torchaudio",)),
        (False, False, False, False, ()),
    ],
)
def test_what_is_needed_follows_what_works(
    *, torch: bool, audio: bool, codec: bool, loads: bool, needed: tuple[str, ...]
) -> None:
    """Missing modules and a broken torchaudio get stand-ins, unless torch is missing."""
    there = {"torch": torch, "torchaudio": audio, "torchcodec": codec}
    found = {name: HERE if here else None for name, here in there.items()}
    assert decide(found, loads=lambda: loads) == needed


def test_slow_question_is_asked_only_when_it_counts() -> None:
    """If torchaudio is not installed, torch is not imported to try it."""

    def loads() -> bool:
        raise AssertionError

    assert "torchaudio" in decide({"torch": HERE, "torchaudio": None, "torchcodec": None}, loads=loads)


def test_no_standins_where_all_works(tmp_path: Path) -> None:
    """An interpreter whose modules all work gets no folder."""
    python = interpreter(tmp_path, {"torch": HERE, "torchaudio": HERE, "torchcodec": HERE}, loads=True)
    assert standin_path(python, cache=tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()


def test_both_standins_come_from_the_package(tmp_path: Path) -> None:
    """If both are missing, the package's own folder is used, and nothing is written."""
    python = interpreter(tmp_path, {"torch": HERE, "torchaudio": None, "torchcodec": None})
    folder = standin_path(python, cache=tmp_path / "cache")
    assert folder is not None
    names = {entry.name for entry in folder.iterdir()}
    assert names - {"__pycache__"} == {"torchaudio", "torchcodec"}
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("missing", ["torchaudio", "torchcodec"])
def test_a_working_module_is_not_hidden(tmp_path: Path, missing: str) -> None:
    """If one is missing, the folder has only that one; asking again gives the same folder."""
    found: dict[str, object] = {"torch": HERE, "torchaudio": HERE, "torchcodec": HERE} | {missing: None}
    python = interpreter(tmp_path, found, loads=True)
    folder = standin_path(python, cache=tmp_path / "cache")
    assert folder is not None
    assert [entry.name for entry in folder.iterdir()] == [missing]
    assert standin_path(python, cache=tmp_path / "cache") == folder
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_a_broken_torchaudio_is_noticed(tmp_path: Path) -> None:
    """A torchaudio that cannot load files counts as missing."""
    python = interpreter(tmp_path, {"torch": HERE, "torchaudio": HERE, "torchcodec": HERE}, loads=False)
    assert needed_standins(python) == ("torchaudio",)


def test_an_interpreter_that_does_not_run_is_said(tmp_path: Path) -> None:
    """The error names a wrong path."""
    with pytest.raises(LocalError, match="no-python"):
        standin_path(str(tmp_path / "no-python"))


def test_an_interpreter_that_answers_nonsense_is_said(tmp_path: Path) -> None:
    """A program that is not Python is an error."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho hello\n", encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(LocalError, match="could not be asked"):
        standin_path(str(program))


def test_standins_load_save_and_resample(tmp_path: Path) -> None:
    """The stand-in torchaudio loads what it saved, describes and resamples it."""
    folder = standin_path(interpreter(tmp_path, {"torch": HERE, "torchaudio": None, "torchcodec": None}))
    code = """
import sys, torch, torchaudio, torchcodec
from torchaudio.functional import resample
assert "standin" in torchaudio.__version__
tone = torch.sin(torch.arange(22050) / 20)[None] * 0.5
torchaudio.save(sys.argv[1], tone, 22050)
read, rate = torchaudio.load(sys.argv[1])
assert rate == 22050 and read.dtype == torch.float32 and read.shape == tone.shape
assert (read - tone).abs().max() < 1e-3
assert torchaudio.load(sys.argv[1], frame_offset=10, num_frames=5)[0].shape == (1, 5)
assert torchaudio.info(sys.argv[1]).num_frames == 22050
assert resample(read, 22050, 16000).shape == (1, 16000)
assert torchaudio.transforms.Resample(22050, 11025)(read).shape == (1, 11025)
assert not hasattr(torchaudio.transforms, "MelSpectrogram")
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path / "tone.wav")],
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
