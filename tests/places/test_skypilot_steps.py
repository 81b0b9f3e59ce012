"""The task's own steps on this machine: started, killed, started again elsewhere."""

import json
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.places.skypilot import render_task, write_task
from orchestrator.settings import load_settings
from tests.cli.voice import SETTINGS, TRAIN, make_python, provide_inputs
from tests.places.machines import Machine, take_away

pytestmark = pytest.mark.posix
# The weights of each epoch depend on all that was before; after the first two epochs the training hangs.
CHAIN = (
    TRAIN.replace(
        "total = max(saved, default=0)\n",
        """total, weights = max(saved, default=0), b"base"
import hashlib, time
if total:
    with zipfile.ZipFile(os.path.join(run, f"checkpoint_{total}.pth")) as archive:
        weights = archive.read("data.pkl")
""",
    )
    .replace('archive.writestr("data.pkl", name)', 'archive.writestr("data.pkl", weights)')
    .replace(
        "    # The epoch is over.\n",
        """    weights = hashlib.sha256(weights + str(total).encode()).digest()
    save(f"checkpoint_{total}.pth")
    while epoch < 2 and not os.environ.get("NEVER_KILLED"):
        time.sleep(0.1)
        print("It hangs.", flush=True)
""",
    )
)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """The task of a run of three epochs."""
    provide_inputs(tmp_path / "inputs", CHAIN)
    dataset = tmp_path / "inputs" / "datasets" / "asha" / "datahrbnn"
    voice = tmp_path / "inputs" / "models" / "asha" / "ttsbnng/transformers/default/1"
    (tmp_path / "kgtts.toml").write_text(
        f'{SETTINGS}[skypilot]\ngpus = "none"\nresults = "s3://asha"\nhours = 1\n'
        f'data = "{dataset}"\nvoice = "{voice}"\n[scores]\nenabled = false\n',
        encoding="utf-8",
    )
    overrides = ("training.epochs=3", "training.time_limit=5m", "kernel.owner=asha")
    settings = load_settings(None, overrides, environ={}, cwd=tmp_path).settings.with_owner("asha")
    return write_task(render_task(settings, tmp_path / "task"), tmp_path / "task")[0]


def state(bucket: Path, number: int) -> dict[str, Any]:
    """The state.json of a session; empty before there is one."""
    found = list(bucket.glob(f"bangla-tts/*/session-{number:02}/state.json"))
    try:
        content: dict[str, Any] = json.loads(found[0].read_text()) if found else {}
    except ValueError:  # It is being written.
        content = {}
    return content


def weights(bucket: Path) -> bytes:
    """The newest session's newest checkpoint's."""
    (place,) = bucket.glob("bangla-tts/*/session-*/training/*/checkpoint_6.pth")
    with zipfile.ZipFile(place) as archive:
        return archive.read("data.pkl")


def run_of(machine: Machine, log: Path, **variables: str) -> int:
    """Run the run step to its end. Returns its exit code."""
    return machine.step("run", log, **variables).wait(60)


@pytest.mark.skipif(sys.platform != "linux", reason="what a machine runs is found in /proc")
def test_a_task_survives_its_machines(task: Path, tmp_path: Path) -> None:
    """Killed twice and started on new machines, it ends with what a run that nobody killed ends with."""
    python, log, bucket = make_python(tmp_path / "image"), tmp_path / "log.txt", tmp_path / "bucket"

    def new_machine(name: str, bucket: Path) -> Machine:
        bucket.mkdir(exist_ok=True)
        machine = Machine.of(task, tmp_path / name, bucket=bucket, python=python)
        assert machine.step("setup", log).wait(60) == 0, log.read_text()
        return machine

    for number in (1, 2):
        machine = new_machine(f"machine-{number}", bucket)
        process = machine.step("run", log)
        try:
            until = time.monotonic() + 30
            while state(bucket, number).get("global_step") != 2 * number:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.02)
        finally:
            take_away(machine)
        assert process.wait() == -9
        assert state(bucket, number)["status"] == "running"
    last = new_machine("machine-3", bucket)
    assert run_of(last, log) == 0, log.read_text()
    end = state(bucket, 3)
    assert (end["done"], end["global_step"], end["run"]["kernel"]) == (True, 6, "skypilot/bangla-tts")
    spans = [(item["session"], item["from_step"], item["to_step"]) for item in end["history"]]
    assert spans == [(1, 0, 2), (2, 2, 4), (3, 4, 6)]
    assert run_of(last, log) == 0  # A task that is launched once more has nothing to do.
    assert "The run is done at step 6" in log.read_text()
    alone = new_machine("alone", tmp_path / "whole")
    assert run_of(alone, log, NEVER_KILLED="1") == 0, log.read_text()
    assert weights(bucket) == weights(tmp_path / "whole")


@pytest.mark.parametrize(
    ("ends", "codes"),
    [(0, [0]), (1, [1]), (130, [75]), (137, [75, 75, 1])],
    ids=["done", "failed", "told", "killed"],
)
def test_what_skypilot_starts_again(task: Path, tmp_path: Path, ends: int, codes: list[int]) -> None:
    """What passes is started again, three times if the run gets no further; what stays is not."""
    (tmp_path / "bucket").mkdir()
    log = tmp_path / "log.txt"
    machine = Machine.of(task, tmp_path / "machine", bucket=tmp_path / "bucket")
    python = machine.home / "kgtts" / "python"
    image = make_python(tmp_path / "image")
    python.write_text(f'#!/bin/sh\n[ "$1" = - ] && exec "{image}" "$@"\nexit {ends}\n', encoding="utf-8")
    python.chmod(0o755)
    for code in codes:
        assert run_of(machine, log) == code, log.read_text()
    assert ("third time in a row" in log.read_text()) is (len(codes) == 3)


def test_the_setup_makes_an_environment_where_the_image_has_none(task: Path, tmp_path: Path) -> None:
    """It asks uv for a Python with torch, then pip for the packages of the settings; once."""
    (tmp_path / "bucket").mkdir()
    machine = Machine.of(task, tmp_path / "machine", bucket=tmp_path / "bucket", python="/bin/false")
    calls, made, log = tmp_path / "calls", tmp_path / "made", tmp_path / "log.txt"
    image = make_python(tmp_path / "image")
    made.write_text(  # Coqui cannot be imported, as without torchcodec.
        f'#!/bin/sh\necho "python $*" >> "{calls}"\n[ "$1" = -m ] && exit 0\n'
        f'[ "$2" = "import TTS" ] && exit 1\nexec "{image}" "$@"\n',
        encoding="utf-8",
    )
    uv = machine.programs / "uv"
    uv.write_text(
        f'#!/bin/sh\necho "uv $*" >> "{calls}"\n[ "$1" = venv ] || exit 0\nfor last; do :; done\n'
        f'mkdir -p "$last/bin"\ncp "{made}" "$last/bin/python"\nchmod +x "$last/bin/python"\n',
        encoding="utf-8",
    )
    uv.chmod(0o755)
    assert machine.step("setup", log).wait(60) == 0, log.read_text()
    said = calls.read_text(encoding="utf-8")
    assert "uv venv --quiet --seed --python 3.12" in said
    assert "--torch-backend=auto torch torchaudio" in said
    assert f"torchaudio -r {machine.home}/kgtts/requirements.txt" in said
    assert said.rstrip().splitlines()[-2].endswith("constraints.txt torchcodec"), said
    packages = (machine.home / "kgtts" / "requirements.txt").read_text(encoding="utf-8")
    assert packages == "coqui-tts>=0.28,<0.29\nsix>=1.16\n"
    calls.write_text("", encoding="utf-8")
    assert machine.step("setup", log).wait(60) == 0
    assert "uv" not in calls.read_text(encoding="utf-8")


def test_the_setup_builds_on_the_image_s_own_torch(task: Path, tmp_path: Path) -> None:
    """An image whose Python has torch but no Coqui keeps it: pip may not put another torch beside it."""
    (tmp_path / "bucket").mkdir()
    image = tmp_path / "python"
    real = make_python(tmp_path / "image")
    image.write_text(f'#!/bin/sh\n[ "$*" = "- torch TTS" ] && exit 1\nexec "{real}" "$@"\n', encoding="utf-8")
    image.chmod(0o755)
    machine = Machine.of(task, tmp_path / "machine", bucket=tmp_path / "bucket", python=str(image))
    calls, log = tmp_path / "calls", tmp_path / "log.txt"
    own = machine.home / "kgtts" / "env" / "bin" / "python"
    made = tmp_path / "made"
    made.write_text(
        f'#!/bin/sh\necho "python $*" >> "{calls}"\ncase "$*" in\n'
        f'"-m pip freeze") echo torch==2.0.0+cu126; echo numpy==2.0.0;;\n'
        f'*get_path*) echo "{machine.home}";;\n"-m pip"*) ;;\n*) exec "{image}" "$@";;\nesac\n',
        encoding="utf-8",
    )
    uv = machine.programs / "uv"
    uv.write_text(
        f'#!/bin/sh\necho "uv $*" >> "{calls}"\nmkdir -p "{own.parent}"\n'
        f'cp "{made}" "{own}"\nchmod +x "{own}"\n',
        encoding="utf-8",
    )
    uv.chmod(0o755)
    assert machine.step("setup", log).wait(60) == 0, log.read_text()
    said = calls.read_text(encoding="utf-8")
    assert "--system-site-packages" in said
    assert "torch torchaudio" not in said
    root = machine.home / "kgtts"
    assert (root / "constraints.txt").read_text(encoding="utf-8") == "torch==2.0.0+cu126\n"
    assert f"--constraint {root}/constraints.txt" in said
    assert "site-packages" in (machine.home / "image.pth").read_text(encoding="utf-8")
