"""Sessions of two machines: machine 0 decides, and the other does the same, with a made-up launcher."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import SERIES_VARIABLE, WORKING_VARIABLE, EndReason
from kernel_template.main import run
from kernel_template.nodes.head import OK, REFUSED, Head
from kernel_template.nodes.member import EndedError, Member
from kernel_template.nodes.trust import HEADER, key_of, proof
from kernel_template.start.parent import ResumePoint
from kernel_template.tools.nodes import Nodes
from kernel_template.tools.outcome import KernelFailure, Outcome
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import StopFlag
from kernel_template.train.host_link import BatchPlan
from tests.fakes.clock import FakeClock
from tests.kernel.hosting import two_ports
from tests.kernel.kit import Log, make_tools, mount_inputs, paths_in, put, settings
from tests.kernel.sessions import PROGRAMS, package_with
from tests.kernel.test_place import GOES_ON

KEY = key_of({"run": "2a7c"})
# On machine 0 it runs the training once the other one is there, which waits for its end.
LAUNCH = """
import os, pathlib, subprocess, sys, time
print("TRAINS WITH " + " ".join(sys.argv[1:]), flush=True)
done, there = (pathlib.Path(os.environ["SHARED"], name) for name in ("done", "there"))
if os.environ["KGTTS_NODE"] == "0":
    try:
        while not there.exists(): time.sleep(0.02)
    except KeyboardInterrupt:
        sys.exit(130)
    code = subprocess.call([sys.executable, "-u", *sys.argv[3:]], stderr=subprocess.STDOUT)
    done.write_text(str(code))
    sys.exit(code)
there.touch()
while not done.exists(): time.sleep(0.02)
"""


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> PackagePrograms:
    """The package with made-up programs, of which one is the launcher."""
    return package_with({**PROGRAMS, "nodes/launch.py": LAUNCH}, tmp_path_factory.mktemp("package"))


class Machines:
    """Two machines with inputs and disks of their own, and one bucket."""

    def __init__(self, folder: Path, programs: PackagePrograms) -> None:
        self.folder, self.programs = folder, programs
        self.logs = [Log(), Log()]
        for number in (0, 1):
            mount_inputs(self.root(number) / "input", script=GOES_ON)

    def root(self, number: int) -> Path:
        """The folder of a machine's inputs."""
        return self.folder / f"root {number}"

    def start(self, **changes: Any) -> list[int]:
        """Start the kernel on both, and return both exit codes."""
        self.logs = [Log(), Log()]
        for mark in ("done", "there"):
            (self.folder / mark).unlink(missing_ok=True)
        port, codes = str(two_ports()), [-1, -1]

        def session(number: int) -> None:
            environment = {
                "PATH": "/usr/bin:/bin",
                "SHARED": str(self.folder),
                SERIES_VARIABLE: str(self.folder / "bucket"),
                WORKING_VARIABLE: str(self.folder / f"disk {number}"),
                "KGTTS_NODES": "2",
                "KGTTS_NODE": str(number),
                "KGTTS_HEAD": "127.0.0.1",
                "KGTTS_PORT": port,
            }
            named = {"env": environment, "programs": self.programs}
            real: dict[str, Any] = {"clock": time.monotonic, "sleep": time.sleep}
            named_run = {**settings()["run"], "kernel": "skypilot/voice"}
            asked = settings(**{"run": named_run, "training": {"epochs": 9}, **changes})
            codes[number] = run(asked, make_tools(self.root(number), self.logs[number], **named, **real))

        threads = [threading.Thread(target=session, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return codes


@pytest.fixture
def machines(tmp_path: Path, programs: PackagePrograms) -> Machines:
    """Two machines that have trained nothing."""
    return Machines(tmp_path, programs)


def test_the_other_machine_does_what_machine_0_does(machines: Machines) -> None:
    """It continues from the checkpoint that machine 0 gives it, and leaves nothing in the bucket."""
    assert machines.start() == [0, 0]
    state = machines.folder / "bucket" / "session-01" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "done": False}))
    assert machines.start() == [0, 0]
    first, other = machines.logs
    assert "CONTINUES AFTER 4" in first.lines
    assert other.lines[-1] == first.lines[-1].replace("✅ ", "✅ Machine 0: ")
    (trained,) = [line for line in other.lines if line.startswith("TRAINS WITH 1 ")]
    folder = next((machines.folder / "disk 1" / "node-1" / "training").iterdir())
    assert trained.endswith(f"--restore_path {folder / 'best_model_4.pth'} --continue_path {folder}")
    there = machines.folder / "bucket" / "session-01" / "training" / folder.name / "best_model_4.pth"
    assert (folder / "best_model_4.pth").read_bytes() == there.read_bytes()
    assert str(machines.folder / "disk 0") not in (folder / "config.json").read_text()
    assert sorted(path.name for path in (machines.folder / "bucket").iterdir()) == [
        "session-01",
        "session-02",
    ]


def test_a_machine_without_inputs_ends_both(machines: Machines) -> None:
    """Machine 1 says what it misses, and machine 0 stops because of it, as one that was interrupted."""
    (script,) = machines.root(1).rglob("train_tts.py")
    script.unlink()
    assert machines.start() == [130, 1]
    assert "Machine 1: " in machines.logs[0].lines[-1]
    assert "train_tts.py" in machines.logs[0].lines[-1]


def test_a_failure_of_machine_0_ends_both(machines: Machines) -> None:
    """What machine 0 misses is said on the other one, too."""
    (script,) = machines.root(0).rglob("train_tts.py")
    script.unlink()
    assert machines.start() == [1, 1]
    assert "Machine 0: " in machines.logs[1].lines[-1]
    assert "train_tts.py" in machines.logs[1].lines[-1]


def test_a_run_that_is_done_ends_both(machines: Machines) -> None:
    """Neither machine trains once the run has what it was to have."""
    assert machines.start() == [0, 0]
    assert machines.start() == [0, 0]
    over = "✅ The run is done at step 4: all 9 epochs are trained."
    assert [log.lines for log in machines.logs] == [[over], [over]]


@pytest.fixture
def pair(clock: FakeClock) -> Iterator[tuple[Head, Member]]:
    """Two machines that talk, without a session; time passes only while one waits."""
    nodes = Nodes(2, 0, "127.0.0.1", two_ports())
    head = Head(nodes, KEY, StopFlag())
    head.start()
    member = Member(replace(nodes, number=1), KEY, clock, clock.sleep, StopFlag())
    yield head, member
    head.end(Outcome(EndReason.INTERNAL, "It is over."))
    member.fail(Outcome(EndReason.INTERNAL, "It has heard that."))
    head.close()


def test_a_damaged_checkpoint_is_refused(pair: tuple[Head, Member], tmp_path: Path) -> None:
    """What arrives is compared with machine 0's hash; a whole file that is there is not fetched again."""
    head, member = pair
    here, there = paths_in(tmp_path / "0"), paths_in(tmp_path / "1")
    checkpoint = put(here.training / "run" / "checkpoint_4.pth", b"weights")
    put(here.training / "run" / "config.json", json.dumps({"output_path": str(here.training), "other": 1}))
    put(here.training / "run" / "checkpoint_2.pth", b"older")
    point = ResumePoint(checkpoint.parent, checkpoint, None, 4, {})
    head.tell_training(BatchPlan(4, 2, 2), point, here)
    batches, got = member.training(there) or (None, None)
    assert batches == BatchPlan(4, 2, 2)
    assert got is not None
    assert (got.checkpoint, got.global_step) == (there.training / "run" / "checkpoint_4.pth", 4)
    assert got.checkpoint.read_bytes() == b"weights"
    config = json.loads((got.folder / "config.json").read_text())
    assert config == {"output_path": str(there.training), "other": 1}
    assert not (got.folder / "checkpoint_2.pth").exists()
    head.tell_training(BatchPlan(4, 1, 4), point, here)
    put(checkpoint, b"other bytes")
    assert member.training(there) is not None
    put(got.checkpoint, b"damaged")
    head.tell_training(BatchPlan(4, 1, 4), point, here)
    put(checkpoint, b"changed on its way")
    with pytest.raises(KernelFailure, match="was damaged on its way from machine 0"):
        member.training(there)


def test_silence_and_the_end(pair: tuple[Head, Member], tmp_path: Path, clock: FakeClock) -> None:
    """After a failure of its own a machine waits a minute; a machine 0 that has gone is named."""
    head, member = pair
    paths = paths_in(tmp_path)
    began = clock()
    assert member.training(paths, 60.0) is None
    assert 60 <= clock() - began <= 61
    head.end(Outcome(EndReason.FINISHED, "All epochs are trained.", complete=True))
    with pytest.raises(EndedError, match="Machine 0: All epochs are trained"):
        member.training(paths)
    member.fail(Outcome(EndReason.BAD_DATA, "It failed because machine 0 did."))
    assert head.failed is None
    head.close()
    with pytest.raises(KernelFailure, match="is gone, and with it the training"):
        member.training(paths)
    assert clock() - began < 75


def asked(head: Head, path: str, headers: dict[str, str], data: bytes | None = None) -> int:
    """The status of a request to machine 0."""
    connection = http.client.HTTPConnection(head.nodes.head, head.nodes.port, timeout=10)
    connection.request("GET" if data is None else "POST", path, data, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_strangers_learn_and_command_nothing(pair: tuple[Head, Member], tmp_path: Path) -> None:
    """Who does not know the run gets no settings and no file, and stops nothing."""
    head, member = pair
    paths = paths_in(tmp_path)
    checkpoint = put(paths.training / "run" / "checkpoint_4.pth", b"weights")
    head.tell_parent(ResumePoint(checkpoint.parent, checkpoint, None, 4, {}), paths)
    shown = proof(KEY, "GET", "/told/parent", "1", b"")
    other = proof(key_of({"run": "other"}), "GET", "/told/parent", "1", b"")
    assert asked(head, "/told/parent", {"From": "1", HEADER: shown}) == OK
    refused: list[tuple[str, dict[str, str]]] = [
        ("/told/parent", {}),
        ("/told/parent", {"From": "1", HEADER: other}),
        ("/told/parent", {"From": "7", HEADER: proof(KEY, "GET", "/told/parent", "7", b"")}),
        ("/file/run/checkpoint_4.pth", {"From": "1", HEADER: shown}),
        ("/file/run/checkpoint_4.pth", {"From": "1", HEADER: "\x1b[2J\xff"}),
    ]
    for path, given in refused:
        assert asked(head, path, given) == REFUSED
    assert asked(head, "/failed", {"From": "1"}, b'{"node": 1, "message": "stop"}') == REFUSED
    assert asked(head, "/failed", {"Content-Length": "-1"}, b"x") == REFUSED
    assert head.stop is not None
    assert (head.failed, head.stop.received) == (None, None)
    assert member.parent(paths_in(tmp_path / "1")) is not None


def test_a_stranger_is_not_taken_for_machine_0(pair: tuple[Head, Member], tmp_path: Path) -> None:
    """What answers without knowing the run, or with another kernel, is named at once."""
    head, member = pair
    head.tell_parent(None, paths_in(tmp_path))
    member.key = key_of({"run": "other"})
    with pytest.raises(KernelFailure, match="is not machine 0 of this run, or has another kernel"):
        member.parent(paths_in(tmp_path))
    member.key = KEY


def test_machine_0_listens_at_its_own_address(pair: tuple[Head, Member]) -> None:
    """Other networks of the machine cannot reach it; what is no address of this machine takes all of them."""
    assert bound(pair[0]) == "127.0.0.1"
    for name in ("203.0.113.7", "localhost"):
        head = Head(Nodes(1, 0, name, two_ports()), KEY)
        head.start()
        assert bound(head) == "0.0.0.0"  # noqa: S104 - it is not set here.
        head.close()


def bound(head: Head) -> str:
    """The address at which machine 0 listens."""
    assert head._server is not None
    return str(head._server.server_address[0])
