"""Trainings that a script starts as programs of its own."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_template.host.programs import PID_FILE, TrainingPrograms, hosted, write_pid
from kernel_template.host.rendezvous import ASSIGNED_GPU, Rendezvous
from tests.kernel.kit import put

HOSTED = [sys.executable, "-u", "-P", "-m", "kernel_template.host", "/c.json"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Scripts that train, and one that does not."""
    put(tmp_path / "bn" / "my train.py", "from trainer import Trainer\n")
    put(tmp_path / "run.py", "import os\nfrom TTS.bin import train_tts\n")
    put(tmp_path / "resample.py", "import soundfile  # for the trainer\n")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("python -m TTS.bin.train_tts --config_path c", "-m TTS.bin.train_tts --config_path c"),
        ("/usr/bin/python3.12 -u -W ignore run.py --a b", "run.py --a b"),
        ("python3 -m trainer.distribute --script run.py --gpus 0,1 --x y", "run.py --x y"),
        ("python -m trainer.distribute --gpus=0,1 --script=run.py", "run.py"),
        ("accelerate launch --multi_gpu --num_processes 2 run.py --x", "run.py --x"),
        ("torchrun --nproc_per_node=2 run.py --x", "run.py --x"),
        ("python -m torch.distributed.run --nproc_per_node 2 run.py", "run.py"),
        ("python TTS/bin/train_tts.py --x", "TTS/bin/train_tts.py --x"),
        ("python resample.py", None),
        ("python -m pip install x", None),
        ("python -c 'import trainer'", None),
        ("python", None),
        ("cat run.py", None),
    ],
)
def test_commands_that_train(folder: Path, command: str, program: str | None) -> None:
    """A training is recognised by Coqui's modules, or by what its script imports; others stay as they are."""
    made = hosted(shlex.split(command), "/c.json", folder)
    assert made == (None if program is None else [*HOSTED, *program.split()])


@pytest.mark.parametrize(
    ("command", "program"),
    [
        (
            'cd bn && CUDA_VISIBLE_DEVICES=0 python "my train.py" --out $HOME/x "--t=a b" 2>&1 | tee log',
            'cd bn && CUDA_VISIBLE_DEVICES=0 @ "my train.py" --out $HOME/x "--t=a b" 2>&1 | tee log',
        ),
        ("python resample.py; python run.py&", "python resample.py; @ run.py&"),
        ("(python run.py \\\n  --a $B 2>&1)>log", "(@ run.py --a $B 2>&1)>log"),
        ("mypython run.py; echo python run.py", None),
        ("python 'run.py", None),
    ],
)
def test_lines_of_a_shell(folder: Path, command: str, program: str | None) -> None:
    """What is around the training, and what its words meant to the shell, stays."""
    said: list[str] = []
    hooks = TrainingPrograms("/c.json", folder, folder, Rendezvous(), said.append)
    made = hooks.changed(command, folder, shell=True)  # noqa: S604 - it starts nothing.
    assert made == (None if program is None else program.replace("@", " ".join(HOSTED)))
    assert len(said) == (made is not None)


def test_files_of_a_shell(folder: Path) -> None:
    """What a file of commands starts is found, and it still sees its name and its arguments."""
    put(folder / "bn.sh", "cd $(dirname $0)\nexport A=1\npython run.py --a $1\n")
    put(folder / "other.sh", "python resample.py\n")
    changed = TrainingPrograms("/c.json", folder, folder, Rendezvous(), lambda _text: None).changed
    text = f"cd $(dirname $0)\nexport A=1\n{' '.join(HOSTED)} run.py --a $1\n"
    assert changed(["bash", "-e", "bn.sh", "x"], folder, shell=False) == [
        "bash",
        "-e",
        "-c",
        text,
        "bn.sh",
        "x",
    ]
    line = changed("set -e; bash bn.sh x | tee log", folder, shell=True)  # noqa: S604 - it starts nothing.
    assert line == f"set -e; bash -c {shlex.quote(text)} bn.sh x | tee log"
    assert changed(["sh", "-lc", "python run.py"], folder, shell=False) == [
        *("sh", "-lc", f"{' '.join(HOSTED)} run.py")
    ]
    for words in (["bash", "other.sh"], ["bash", "none.sh"], ["sh", "-c"], ["bash"], ["sh", "-c", "ls"]):
        assert changed(words, folder, shell=False) is None


_SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from kernel_template.host.programs import TrainingPrograms
from kernel_template.host.rendezvous import Rendezvous
folder = Path(sys.argv[1])
os.chdir(folder)
TrainingPrograms("/c.json", folder, folder, Rendezvous(0, 2, folder, "1"), print).install()
os.environ["CUDA_VISIBLE_DEVICES"] = "0"
sys.exit(os.system("python run.py") >> 8 if sys.argv[2] == "shell" else subprocess.call(["python", "run.py"]))
"""
_PROGRAM = f"""
import os, signal, sys, time
from pathlib import Path
Path(os.environ["{PID_FILE}"]).write_text(str(os.getpid()))
signal.signal(signal.SIGINT, lambda *_: sys.exit(7))
print(os.environ["{ASSIGNED_GPU}"], *sys.argv[1:], flush=True)
while True:
    time.sleep(0.05)  # signal.pause would miss a signal that comes just before it.
"""


@pytest.mark.parametrize("way", ["shell", "list"])
def test_a_signal_reaches_the_program(folder: Path, way: str) -> None:
    """It stops and saves by itself; the script that waits for it goes on, and knows its exit code."""
    put(folder / "kernel_template" / "__init__.py", "")
    put(folder / "kernel_template" / "host" / "__init__.py", "")
    put(folder / "kernel_template" / "host" / "__main__.py", _PROGRAM)
    with subprocess.Popen(
        [sys.executable, "-u", "-c", _SCRIPT, str(folder), way],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as script:
        try:
            assert script.stdout is not None
            assert "kgtts's host runs `python run.py …`" in script.stdout.readline()
            assert script.stdout.readline() == "1 /c.json run.py\n"
            script.send_signal(signal.SIGINT)
            assert script.wait(30) == 7
        finally:
            script.kill()


def test_only_a_program_of_a_script_writes_its_number(tmp_path: Path) -> None:
    """The session's own training has nobody to tell."""
    write_pid({})
    write_pid({PID_FILE: str(tmp_path / "pid")})
    assert (tmp_path / "pid").read_text() == str(os.getpid())
