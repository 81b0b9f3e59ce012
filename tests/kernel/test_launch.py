"""launch.py with fake hosts that need no torch: starting and ending ranks, and naming a failure's cause."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kernel.hosting import CONFIG, PACKAGE, REAL_TRAINER, TOY, has_ended, with_package
from tests.kernel.kit import put

LAUNCH = (sys.executable, "-u", "-P", "-m", "kernel_template.host.launch")
# A fake host that asks for the other ranks, and then does what the test says.
HEAD = """
import os, pathlib, signal, sys, time
rank, folder = int(os.environ["KGTTS_RANK"]), pathlib.Path(os.environ["KGTTS_RENDEZVOUS"])
(folder / "wanted").touch()
def wait_for(name):
    while not (folder / name).exists(): time.sleep(0.01)
def say(text): print(text, flush=True)
pathlib.Path(f"pid{rank}").write_text(str(os.getpid()))
(folder / f"here{rank}").touch()
"""


def start(folder: Path, host: str, *, ranks: int = 2, **variables: str) -> "subprocess.Popen[str]":
    """Launch fake hosts."""
    package = folder / "package" / "kernel_template"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    put(package / "host" / "__main__.py", HEAD + host)
    return subprocess.Popen(
        [*LAUNCH, str(ranks), "CONTROL.json", "script.py"],
        cwd=folder,
        env=with_package({**os.environ, "TMPDIR": str(folder), **variables}, package),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return the exit status and the output."""
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def gone(folder: Path, rank: int) -> bool:
    """Whether a rank's process has ended."""
    return has_ended(int((folder / f"pid{rank}").read_text()))


def test_rank_0_speaks_and_decides(tmp_path: Path) -> None:
    """Rank 0's output and exit code are the launcher's; another rank's output goes to a file."""
    host = (
        "wait_for('here1')\nsay(f'rank {rank} ' + os.environ['CUDA_VISIBLE_DEVICES'] + ' ' + "
        "os.environ.get('RANK', '-') + ' ' + ' '.join(sys.argv[1:]))\n"
    )
    code, said = finish(start(tmp_path, host, CUDA_VISIBLE_DEVICES="3,5"))
    assert (code, said) == (0, "rank 0 3 - CONTROL.json script.py\n")
    assert (tmp_path / "train_log_rank1.txt").read_text() == "rank 1 5 1 CONTROL.json script.py\n"
    assert not list(tmp_path.glob("kgtts-ranks-*"))


def test_a_script_without_a_trainer_runs_once(tmp_path: Path) -> None:
    """If rank 0 never asks for the others, they are never started."""
    process = start(
        tmp_path, "(folder / 'wanted').unlink()\nprint('once', flush=True)\nraise SystemExit(7)\n"
    )
    assert finish(process) == (7, "once\n")


def test_an_interrupt_goes_to_rank_0_alone(tmp_path: Path) -> None:
    """SIGINT goes to rank 0 alone, and the other rank lives until rank 0 ends."""
    host = (
        "if rank: signal.signal(signal.SIGINT, lambda *_: say('heard')); time.sleep(60)\n"
        "wait_for('here1')\n"
        "try:\n    say('READY'); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    say('saved'); sys.exit(0)\n"
    )
    process = start(tmp_path, host)
    assert process.stdout is not None
    assert process.stdout.readline() == "READY\n"
    process.send_signal(signal.SIGINT)
    assert finish(process) == (0, "saved\n")
    assert (tmp_path / "train_log_rank1.txt").read_text() == ""
    assert gone(tmp_path, 1)


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_rank_that_fails_ends_all(tmp_path: Path, stubborn: bool) -> None:  # noqa: FBT001 - pytest's way.
    """Its traceback is printed at once and again at the end, which comes within ten seconds."""
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if stubborn else ""
    host = f"{ignore}if rank:\n    wait_for('here0')\n    raise ValueError('bad sample')\ntime.sleep(60)\n"
    began = time.monotonic()
    code, said = finish(start(tmp_path, host))
    assert time.monotonic() - began < 10
    assert code == 1
    assert "[rank 1] ValueError: bad sample" in said
    *_, raised, last = said.splitlines()
    assert raised == "ValueError: bad sample"
    assert last == " > kgtts: rank 1 ended with exit code 1, so the training ended."
    assert gone(tmp_path, 0)


def test_the_first_to_fail_is_the_cause(tmp_path: Path) -> None:
    """Rank 1 records its failure before rank 0 fails because of it, and is named as the cause."""
    host = (
        "if rank:\n    (folder / 'failed').write_text('1'); wait_for('gone0')\n    raise ValueError('mine')\n"
        "wait_for('failed'); (folder / 'gone0').touch()\nraise RuntimeError('connection closed by peer')\n"
    )
    code, said = finish(start(tmp_path, host))
    assert code == 1
    assert said.splitlines()[-2] == "ValueError: mine"


def test_what_follows_from_rank_0_is_no_cause(tmp_path: Path) -> None:
    """Rank 0 fails first; rank 1's error about it is only in rank 1's own log."""
    host = (
        "if rank:\n    wait_for('failed')\n    raise RuntimeError('connection closed by peer')\n"
        "wait_for('here1'); (folder / 'failed').write_text('0'); time.sleep(0.5)\nraise ValueError('mine')\n"
    )
    code, said = finish(start(tmp_path, host))
    assert code == 1
    assert said.splitlines()[-1] == "ValueError: mine"
    assert "connection closed" not in said
    assert "connection closed" in (tmp_path / "train_log_rank1.txt").read_text()


def test_a_killed_rank_is_the_cause(tmp_path: Path) -> None:
    """launch.py names the signal and ends with the same one, as a single process would."""
    host = "if rank: wait_for('here0'); os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)\n"
    code, said = finish(start(tmp_path, host))
    assert code == -signal.SIGKILL
    assert said == " > kgtts: rank 1 was killed by signal 9, so the training ended.\n"
    assert not list(tmp_path.glob("kgtts-ranks-*"))


def test_rank_0_may_save_when_another_is_gone(tmp_path: Path) -> None:
    """Rank 0 is not killed while it saves; if it then exits with 0, so does the launcher."""
    host = (
        "if rank: wait_for('saving'); sys.exit(1)\nwait_for('here1')\n(folder / 'saving').touch()\n"
        "time.sleep(1.5)\n(folder / 'saving').unlink()\nsay('saved')\n"
    )
    assert finish(start(tmp_path, host)) == (0, "saved\n")


def test_no_rank_outlives_launch(tmp_path: Path) -> None:
    """If launch.py is killed, Linux kills its ranks."""
    script = put(
        tmp_path / "script.py",
        f"import sys, time, pathlib, os\nsys.path.insert(0, {str(tmp_path / 'package')!r})\nimport trainer\n",
    )
    put(
        tmp_path / "package" / "trainer" / "__init__.py",
        "import os, pathlib, time\n"
        "pathlib.Path('pid' + os.environ['KGTTS_RANK']).write_text(str(os.getpid()))\n"
        "pathlib.Path(os.environ['KGTTS_RENDEZVOUS'], 'wanted').touch()  # As if this had made a Trainer.\n"
        "while not pathlib.Path('pid1').exists(): time.sleep(0.01)\n"
        "print('READY', flush=True)\ntime.sleep(60)\n",
    )
    put(tmp_path / "CONTROL.json", json.dumps({"report": str(tmp_path / "HOST_REPORT.json")}))
    process = subprocess.Popen(
        [*LAUNCH, "2", "CONTROL.json", str(script)],
        cwd=tmp_path,
        env=with_package({**os.environ, "TMPDIR": str(tmp_path)}),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "READY\n"
    process.kill()
    process.communicate(timeout=30)  # Until the last that holds the pipe is gone.
    deadline = time.monotonic() + 10
    while not (gone(tmp_path, 0) and gone(tmp_path, 1)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_script_that_chooses_a_gpu_itself(tmp_path: Path) -> None:
    """Each rank keeps its assigned GPU, and the log says so."""
    package = tmp_path / "package"
    names = "import os; os.environ['CUDA_VISIBLE_DEVICES'] = '0'\n"
    script = f"{names}import sys; sys.path.insert(0, {str(package)!r})\nimport torch\n{names}import trainer\n"
    sees = "import os, pathlib, time\nrank = os.environ['KGTTS_RANK']\n"
    sees += "pathlib.Path(f'NAME{rank}').write_text(os.environ['CUDA_VISIBLE_DEVICES'])\n"
    put(package / "torch.py", sees.replace("NAME", "torch"))
    wait = "pathlib.Path(os.environ['KGTTS_RENDEZVOUS'], 'wanted').touch()\n"
    wait += "while not pathlib.Path('trainer1').exists(): time.sleep(0.01)\nos._exit(0)\n"
    put(package / "trainer.py", sees.replace("NAME", "trainer") + wait)
    put(tmp_path / "CONTROL.json", json.dumps({"report": str(tmp_path / "HOST_REPORT.json")}))
    done = subprocess.run(
        [
            *(*LAUNCH, "2", "CONTROL.json"),
            str(put(tmp_path / "script.py", script)),
        ],
        cwd=tmp_path,
        env=with_package({**os.environ, "CUDA_VISIBLE_DEVICES": "3,5"}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    seen = {path.name: path.read_text() for path in tmp_path.glob("t*[01]")}
    assert seen == {"torch0": "3", "trainer0": "3", "torch1": "5", "trainer1": "5"}
    assert "ignoring the script's CUDA_VISIBLE_DEVICES" in done.stdout


def test_arguments_that_name_nothing(tmp_path: Path) -> None:
    """Without a command, usage is printed and nothing runs."""
    for arguments in ([], ["2", "c"], ["x", "c", "s"], ["0", "c", "s"]):
        done = subprocess.run(
            [*LAUNCH, *arguments], env=with_package(os.environ), capture_output=True, check=False
        )
        assert done.returncode == 2


@REAL_TRAINER
def test_a_rank_killed_within_a_training(tmp_path: Path) -> None:
    """If rank 1 of a real training is killed in its third step, the training ends within ten seconds."""
    config = {**CONFIG, "epochs": 50, "die_at": 3, "fault_rank": 1, "output_path": str(tmp_path / "out")}
    put(tmp_path / "config.json", json.dumps(config))
    put(tmp_path / "CONTROL.json", json.dumps({"report": str(tmp_path / "HOST_REPORT.json")}))
    process = subprocess.Popen(
        [
            *(*LAUNCH, "2", "CONTROL.json", str(TOY)),
            *("--config_path", str(tmp_path / "config.json")),
        ],
        cwd=tmp_path,
        env=with_package(
            {**os.environ, "OMP_NUM_THREADS": "1", "TRAINER_TELEMETRY": "0", "CUDA_VISIBLE_DEVICES": ""}
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    died = None
    said = []
    with process:
        for line in process.stdout:
            said.append(line)
            if "GLOBAL_STEP: 2" in line:
                died = time.monotonic()
    assert died is not None, said[-30:]
    assert time.monotonic() - died < 10
    assert process.returncode == -signal.SIGKILL
    assert said[-1] == " > kgtts: rank 1 was killed by signal 9, so the training ended.\n"
