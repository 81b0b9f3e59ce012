"""Programs of the package that run as forks of one process, which imports what they need once."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kernel_template.context import SessionContext
from kernel_template.finish.stage import VoiceStage
from kernel_template.place import find_place
from kernel_template.start.config_file import PreparedConfig
from kernel_template.start.inputs import Inputs
from kernel_template.tools.fork_program import is_fit
from kernel_template.tools.forks import ForkServer
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import ChildEnd, ChildPlan, ChildRunner, OnLine, StopCause, StopFlag
from tests.fakes.clock import FakeClock
from tests.kernel.kit import Child, Log, make_tools, paths_in, put, put_checkpoint, settings

pytestmark = [
    pytest.mark.posix,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has forks that are safe"),
]

# Says in a file that it was imported, and by which process.
_SLOW = """
import os, pathlib
with pathlib.Path(os.environ["SEEN"]).open("a") as file:
    file.write(f"{os.getpid()}\\n")
"""
_SPEAKS = """
import heavy, json, os, sys
print(json.dumps([__name__, sys.argv[1:], os.getcwd(), os.environ.get("CUDA_VISIBLE_DEVICES")]))
print(f"errors {os.getpid() == os.getpgid(0)}", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""
_HANGS = """
import signal, time
signal.signal(signal.SIGINT, lambda *_: print("asked", flush=True))
print("ready", flush=True)
while True: time.sleep(0.05)
"""
_SAVES = """
import time
try:
    print("ready", flush=True)
    while True: time.sleep(0.05)
finally:
    print("saved")
"""
_THREAD = """
import threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""


class Place:
    """A package with programs, what they import, and a server for them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, folder / "seen.txt"
        self.programs = PackagePrograms(root=folder / "root")
        self.stop, self.lines = StopFlag(), list[str]()
        self.clock: Callable[[], float] = time.monotonic
        put(folder / "root" / "kernel_template" / "__init__.py", "")
        self.module("heavy", _SLOW)
        self.server = ForkServer("heavy")

    def module(self, name: str, text: str) -> None:
        """Write a module that programs can import."""
        put(self.folder / "root" / f"{name}.py", text)

    def run(
        self,
        text: str,
        *arguments: str,
        limit_s: float | None = None,
        reactions: dict[str, Callable[[], None]] | None = None,
        **variables: str,
    ) -> ChildEnd:
        """Run a program with this text, and react to its lines."""
        put(self.folder / "root" / "kernel_template" / "program.py", text)
        base = {"PATH": os.environ["PATH"], "SEEN": str(self.seen), "PYTHONDONTWRITEBYTECODE": "1"}
        command = self.programs.command("program", *arguments)
        env = self.programs.environment({**base, **variables})
        self.lines.clear()

        def take(text: str, *, is_bar: bool) -> None:
            self.lines.append(text)
            (reactions or {}).get(text, lambda: None)()

        runner = ChildRunner(stop=self.stop, clock=self.clock, poll_s=0.02, start=self.server.start)
        return runner(ChildPlan(command, env, self.folder, limit_s, grace_s=5.0), take)

    @property
    def imports(self) -> int:
        """How often the slow module was imported."""
        return len(self.seen.read_text(encoding="utf-8").splitlines())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Make programs, and end their server."""
    made = Place(tmp_path)
    yield made
    made.server.close()


def test_programs_share_one_import(place: Place) -> None:
    """Each has its own arguments, folder, environment and exit code, and sees what was imported before."""
    first = place.run(_SPEAKS, "0", "a b")
    assert (first.returncode, first.stop_cause) == (0, None)
    assert place.lines == [f'["__main__", ["0", "a b"], "{place.folder}", null]', "errors True"]
    second = place.run(_SPEAKS, "3", CUDA_VISIBLE_DEVICES="1")
    assert second.returncode == 3
    assert place.lines[0] == f'["__main__", ["3"], "{place.folder}", "1"]'
    assert place.imports == 1


def test_a_program_that_crashes_takes_nothing_with_it(place: Place) -> None:
    """Its signal is its exit code, an exception is printed, and the next program needs no other import."""
    assert place.run("import os; os.abort()").returncode == -signal.SIGABRT
    assert place.run("raise ValueError('odd')").returncode == 1
    assert place.lines[-1] == "ValueError: odd"
    assert place.run(_SPEAKS, "0").returncode == 0
    assert place.imports == 1


def test_a_program_that_hangs_is_asked_to_end_and_killed(place: Place) -> None:
    """Its time limit is its own: the next program runs."""
    place.clock = clock = FakeClock()

    def pass_time() -> None:
        clock.advance(10)

    end = place.run(_HANGS, limit_s=9.0, reactions={"ready": pass_time, "asked": pass_time})
    assert (end.returncode, end.stop_cause, end.killed) == (-signal.SIGKILL, StopCause.TIME_LIMIT, True)
    assert place.lines == ["ready", "asked"]
    assert place.run(_SPEAKS, "0").returncode == 0
    assert place.imports == 1


def test_an_import_that_hangs_is_stopped_too(place: Place) -> None:
    """The time limit counts from the start, and a later program has a server of its own."""
    place.module("heavy", "import time, os\nwhile os.environ['HANG']: time.sleep(0.05)")
    place.clock = itertools.count().__next__  # Python may lose a SIGINT that comes within an import.
    end = place.run(_SPEAKS, "0", limit_s=0.0, HANG="yes")
    assert end.stop_cause is StopCause.TIME_LIMIT
    assert end.returncode != 0
    assert place.run(_SPEAKS, "0", HANG="").returncode == 0


def test_the_servers_death_ends_its_program_only(place: Place) -> None:
    """A program whose server is killed has failed; the next one gets another server."""
    kill = "import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\nwhile True: time.sleep(0.05)"
    assert place.run(kill).returncode == -signal.SIGKILL
    assert place.run(_SPEAKS, "0").returncode == 0


def test_an_interrupted_session_ends_its_program(place: Place) -> None:
    """SIGINT reaches the program, whose server stays."""

    def stop() -> None:
        place.stop.received = "SIGTERM"

    end = place.run(_SAVES, reactions={"ready": stop})
    assert end.stop_cause is StopCause.INTERRUPTED
    assert "saved" in place.lines
    place.stop.received = None
    assert place.run(_SPEAKS, "0").returncode == 0
    assert place.imports == 1


def test_another_environment_gets_another_server(place: Place) -> None:
    """What was imported may depend on it; the GPUs that a program sees are looked at later."""
    place.run(_SPEAKS, "0")
    place.run(_SPEAKS, "0", OMP_NUM_THREADS="1")
    assert place.imports == 2


def test_new_packages_need_a_new_import(place: Place) -> None:
    """After `close`, the next program's server imports what is there by then."""
    place.run(_SPEAKS, "0")
    place.server.close()
    place.module("heavy", _SLOW + "new = 5")
    assert place.run("import heavy, sys; sys.exit(heavy.new)").returncode == 5


@pytest.mark.parametrize("packages", [["kgtts-nothing==1"], []])
def test_an_installation_ends_the_server(root: Path, log: Log, packages: list[str]) -> None:
    """What the export's packages replace is imported again by the programs after them; else nothing is."""
    done: list[str] = []

    class Watched(ForkServer):
        def close(self) -> None:
            done.append("closed")

    def run(plan: ChildPlan, on_line: OnLine, _on_stop: object = None) -> ChildEnd:
        done.append("pip" if "install" in plan.command else "program")
        return Child()(plan, on_line)

    asked = settings(internet=True, voice={"onnx": True, "packages": packages}, samples={"enabled": False})
    tools = make_tools(root, log, run=run)
    context = replace(SessionContext.create(find_place(asked, root, {}), tools), forks=Watched())
    put_checkpoint(paths_in(root).training / "v" / "checkpoint_4.pth")
    base = Inputs(None, None, root / "config.json", root / "base.pth", root)
    VoiceStage(context).run(base, PreparedConfig({"model": "vits", "test_sentences": ["আমি"]}, {}))
    assert done == [*(["pip", "closed"] if packages else []), "program"]


def test_a_program_starts_afresh_if_a_fork_is_not_safe(place: Place) -> None:
    """Threads of what is imported would be missing in a fork, so the program imports by itself."""
    place.module(
        "heavy",
        _SLOW
        + "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    )
    threads = "import heavy, threading, sys; sys.exit(threading.active_count())"
    assert place.run(threads).returncode == 2
    assert place.imports == 2


def test_cuda_is_not_forked() -> None:
    """A process that has CUDA's library in memory, or other threads, is not fit for forks."""
    line = "7f01-7f02 r-xp 0 00:00 0 {}\n".format
    assert is_fit(line("/site-packages/torch/lib/libtorch_cuda.so"), 1)
    assert not is_fit(line("/usr/lib/x86_64-linux-gnu/libcuda.so.580.82"), 1)
    assert not is_fit("", 2)


def test_other_commands_are_started_as_usual(place: Place) -> None:
    """A command that is no module of the package is not forked, and one that does not exist is an error."""

    def take(text: str, *, is_bar: bool) -> None:
        """Forget a line."""

    runner = ChildRunner(start=place.server.start)
    assert runner(ChildPlan([sys.executable, "-c", "print('x')"], {}), take).returncode == 0
    assert not place.seen.exists()
    with pytest.raises(OSError, match="no-python"):
        runner(ChildPlan(["/no-python", "-u", "-P", "-m", "kernel_template.x"], {}), take)
