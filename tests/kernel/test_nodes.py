"""Launchers of two machines, on loopback, with fake hosts: starting, stopping, failing and being gone."""

import shutil
import signal
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import NODE_LOST, RANK_ENDED, RANK_LINES, EndReason
from kernel_template.nodes.link import Link, LostError
from kernel_template.tools.nodes import Nodes
from kernel_template.tools.outcome import KernelFailure
from kernel_template.train.diagnosis import diagnose
from tests.fakes.clock import FakeClock
from tests.kernel.hosting import PACKAGE, REAL_TRAINER, ForkServer, has_ended, with_package
from tests.kernel.kit import put

# A fake host that asks for the ranks after it, and then does what the test says.
HEAD = """
import os, pathlib, signal, sys, time
def main(arguments):
    rank, folder = int(os.environ["KGTTS_RANK"]), pathlib.Path(os.environ["KGTTS_RENDEZVOUS"])
    here = pathlib.Path(".")
    def wait_for(name):
        while not (here / name).exists(): time.sleep(0.01)
    def say(text): print(text, flush=True)
    (here / f"here{rank}").write_text(str(os.getpid()))
    WANTED
"""
WANTED = '(folder / "wanted").touch()'


class Machines:
    """Two machines that have run a fake host."""

    def __init__(self, server: ForkServer, folder: Path, host: str, wanted: str = WANTED) -> None:
        self.folder = folder
        package = folder / "package" / "kernel_template"
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        text = HEAD.replace("WANTED", wanted) + textwrap.indent(textwrap.dedent(host), "    ")
        put(package / "host" / "__main__.py", text)
        variables = with_package({"TMPDIR": str(folder), "CUDA_VISIBLE_DEVICES": "3,5"}, package)
        arguments = ["1", "CONTROL.json", "script.py"]
        began = time.monotonic()
        self.codes = server.run_nodes([arguments, arguments], folder / "log", variables, cwd=folder)
        self.seconds = time.monotonic() - began

    @property
    def said(self) -> list[list[str]]:
        """The lines of each machine."""
        return [(self.folder / name).read_text().splitlines() for name in ("log", "log.rank1")]

    @property
    def log(self) -> str:
        """What rank 1 has printed."""
        log = self.folder / "train_log_rank1.txt"
        return log.read_text() if log.is_file() else ""

    def gone(self, rank: int) -> bool:
        """Whether a rank's process ends within some seconds."""
        until = time.monotonic() + 10
        while not (ended := has_ended(int((self.folder / f"here{rank}").read_text()))):
            if time.monotonic() > until:
                break
            time.sleep(0.02)
        return ended


@REAL_TRAINER
def test_two_machines_are_one_training(fork_server: ForkServer, tmp_path: Path) -> None:
    """Rank 0's output is machine 0's; SIGINT to machine 1 goes to rank 0 alone; nothing is left."""
    host = """
        names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RUN_ID")
        say([rank, os.environ["KGTTS_RANKS"], os.environ["CUDA_VISIBLE_DEVICES"], arguments])
        say([os.environ.get(name) for name in names])
        if rank:
            wait_for("ready")
            os.kill(os.getppid(), signal.SIGINT)
            wait_for("saved")
            return 0
        try:
            (here / "ready").touch()
            time.sleep(60)
        except KeyboardInterrupt:
            say("saved")
            (here / "saved").touch()
        return 0
    """
    ran = Machines(fork_server, tmp_path, host)
    told = "['CONTROL.json', 'script.py']"
    first = [f"[0, '2', '3', {told}]", "[None, None, None, None]", "saved"]
    assert (ran.codes, ran.said) == ([0, 0], [first, []])
    assert ran.log == f"[1, '2', '3', {told}]\n['1', None, None, None]\n"
    assert not list(tmp_path.glob("kgtts-ranks-*"))


@REAL_TRAINER
@pytest.mark.parametrize("code", [0, 7])
def test_a_script_without_a_trainer_runs_once(fork_server: ForkServer, tmp_path: Path, code: int) -> None:
    """If rank 0 never asks for the others, they run nothing, and both machines end as it did."""
    ran = Machines(fork_server, tmp_path, f"say('once')\nreturn {code}\n", wanted="")
    assert ran.codes == [code, code]
    assert ran.said[0] == ["once"]
    assert not (tmp_path / "here1").exists()
    ended = [f" > kgtts: rank 0 ended with exit code {code} on machine 0, so the training ended."]
    assert ran.said[1] == (ended if code else [])


@REAL_TRAINER
def test_the_first_to_fail_is_the_cause_on_both(fork_server: ForkServer, tmp_path: Path) -> None:
    """Machine 1 fails, rank 0 then misses it: both logs end with what rank 1 said."""
    host = """
        wait_for("here1")
        if rank:
            raise ValueError("bad sample")
        try:
            while True: os.kill(int((here / "here1").read_text()), 0); time.sleep(0.01)
        except ProcessLookupError:
            time.sleep(0.5)
        raise RuntimeError("connection closed by peer")
    """
    ran = Machines(fork_server, tmp_path, host)
    assert ran.codes == [1, 1]
    last = " > kgtts: rank 1 ended with exit code 1 on machine 1, so the training ended."
    for lines in ran.said:
        assert lines[-2:] == ["ValueError: bad sample", last]


@REAL_TRAINER
@pytest.mark.parametrize("gone", [1, 0])
def test_a_machine_that_dies_ends_the_other(fork_server: ForkServer, tmp_path: Path, gone: int) -> None:
    """The other says within a few seconds which machine is gone, and leaves no process."""
    host = f"""
        wait_for("here1")
        if rank == {gone}:
            os.kill(os.getppid(), signal.SIGKILL)
        while os.getppid() != 1: time.sleep(0.05)
        time.sleep(60)
    """
    if gone:  # Rank 0 fails, as it does when a peer's connection breaks.
        host = host.replace(
            "time.sleep(0.05)\n", "time.sleep(0.05); rank or time.sleep(1) or sys.exit(3)\n", 1
        )
    ran = Machines(fork_server, tmp_path, host)
    assert ran.codes[gone] == -signal.SIGKILL
    assert ran.codes[1 - gone] == 1
    assert ran.said[1 - gone][-1] == f" > kgtts: machine {gone} is gone, so the training ended."
    assert ran.seconds < 12
    assert ran.gone(0)
    assert ran.gone(1)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Nodes()),
        ({"KGTTS_NODES": "1", "KGTTS_NODE": "0"}, Nodes()),
        ({"KGTTS_NODES": "3", "KGTTS_NODE": "2", "KGTTS_HEAD": "10.0.0.1"}, Nodes(3, 2, "10.0.0.1")),
        ({"KGTTS_NODES": "2", "KGTTS_HEAD": "h", "KGTTS_PORT": "7000"}, Nodes(2, 0, "h", 7000)),
        ({"KGTTS_NODES": "2", "KGTTS_NODE": "2", "KGTTS_HEAD": "h"}, "do not name one of several machines"),
        ({"KGTTS_NODES": "two"}, "do not name one of several machines"),
        ({"KGTTS_NODES": "2"}, "KGTTS_HEAD must name machine 0"),
        ({"KGTTS_NODES": "2", "KGTTS_HEAD": "h", "KGTTS_PORT": "65535"}, "KGTTS_PORT=65535 is no port"),
    ],
)
def test_which_machine_this_is(variables: dict[str, str], expected: Any) -> None:
    """The variables name one of several machines; those that contradict each other are an error."""
    if isinstance(expected, Nodes):
        assert Nodes.read(variables) == expected
        return
    with pytest.raises(KernelFailure, match=expected):
        Nodes.read(variables)


class Store:
    """A store as torch's, in one process."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, name: str, count: int) -> int:
        """Add to a counter, and return it."""
        self.counts[name] = self.counts.get(name, 0) + count
        return self.counts[name]


class Gone(Store):
    """A store whose machine is gone."""

    def add(self, name: str, count: int) -> int:
        """Fail as torch does."""
        raise RuntimeError("Broken pipe")


def test_a_machine_that_falls_silent(clock: FakeClock) -> None:
    """It is lost after a minute without a sign of life, but not while it has yet to come."""
    store = Store()
    head, *others = (Link(Nodes(3, number, "h"), store, clock) for number in range(3))
    clock.advance(1000)
    head.beat()
    for _ in range(100):
        clock.advance(1)
        for link in (*others, head):
            link.beat()
    for _ in range(59):
        clock.advance(1)
        others[1].beat()
        head.beat()
    assert (head.silent(2.0), head.silent(60.0)) == ([1], [])
    clock.advance(1)
    others[1].beat()
    with pytest.raises(LostError, match="has not answered for 60 seconds") as lost:
        head.beat()
    assert lost.value.node == 1
    with pytest.raises(LostError, match="is gone") as gone:
        Link(Nodes(3, 1, "h"), Gone(), clock).beat()
    assert gone.value.node == 0


def test_a_lost_machine_is_no_fault_of_the_run() -> None:
    """The session ends as one that was interrupted, to be started again; a failed rank is a failure."""
    lines = ["Traceback (most recent call last):", "RuntimeError: Connection closed by peer"]
    lost = diagnose([*lines, NODE_LOST.format(node=1, how="is gone")], 1, batch_size=4, tts=None)
    assert lost.reason is EndReason.INTERRUPTED
    assert lost.sentence.startswith("The training was interrupted: machine 1 is gone. Start it again")
    ended = RANK_ENDED.format(rank=3, how="ended with exit code 1 on machine 1")
    last = [RANK_LINES.format(rank=3), "Traceback (most recent call last):", "ValueError: bad sample", ended]
    failed = diagnose([*lines, *last], 1, batch_size=4, tts=None)
    assert failed.reason is EndReason.TRAINING_FAILED
    assert failed.cause == "The training failed: ValueError: bad sample."
