"""The report of what a session used, from fake clocks and recorded output of nvidia-smi."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import Stage
from kernel_template.tools.files import LineFile, folder_bytes, write_atomic
from kernel_template.tools.process import Captured, ChildEnd, ChildPlan, OnLine
from kernel_template.tools.report import Reporter
from kernel_template.train.host_link import HostLink
from kernel_template.usage.meter import Meter
from kernel_template.usage.readings import GpuReading, read_gpus, used_memory
from tests.fakes.clock import FakeClock
from tests.kernel.kit import Capture, Log, paths_in, put, settings

_T4 = {"accelerator": "NvidiaTeslaT4", "gpu_name": "T4", "gpus": 2}
_BUSY = Captured(0, "97, 9830, 15360\n91, 9600, 15360\n")
_IDLE = Captured(0, "3, 9830, 15360\n[N/A], 4096, 15360\n")
_PLAN = ChildPlan(["train"], {})


class World:
    """A meter with its clock and files, and made-up trainings."""

    def __init__(self, root: Path, log: Log, answer: Any = None, **more: Any) -> None:
        self.clock, self.log = FakeClock(), log
        self.paths = paths_in(root)
        self.report = Reporter(session=3, clock=self.clock, out=log)
        self.capture = Capture({"nvidia-smi": answer})
        self.host = HostLink(self.paths, write_atomic)
        self.meter = Meter(
            settings=settings(disk={"limit_bytes": 19_000_000_000}, **more),
            paths=self.paths,
            host=self.host,
            report=self.report,
            clock=self.clock,
            capture=self.capture,
            env={"KAGGLE_KEY": "secret"},
            memory=lambda: 5_000_000_000,
            every_s=3600.0,
        )

    def count(self, **values: Any) -> None:
        """Set what the host reports."""
        put(self.host.report, json.dumps({"hooks": True, **values}))

    def train(self, play: Callable[[OnLine], None]) -> None:
        """Run a training that calls `play` with the meter's listener."""

        def run(plan: ChildPlan, on_line: OnLine, on_stop: Any = None) -> ChildEnd:
            play(on_line)
            return ChildEnd(0, 1.0)

        self.meter.watching(run)(_PLAN, lambda _text, *, is_bar: None)

    def after(self, seconds: float, on_line: OnLine, text: str = "a line") -> None:
        """Advance the clock, and let the training print a line."""
        self.clock.advance(seconds)
        on_line(text, is_bar=False)


@pytest.fixture
def world(root: Path, log: Log) -> Iterator[World]:
    """A session on two busy GPUs, 40 seconds after its start."""
    world = World(root, log, [_BUSY, _IDLE], **_T4)
    world.report.metrics = LineFile(world.paths.metrics)
    for name, seconds in (("environment", 2.0), ("inputs", 20.0), ("install", 17.0)):
        with world.report.stage(Stage(name), name):
            world.clock.advance(seconds)
    world.clock.advance(1.0)
    yield world
    world.report.metrics.close()


def _whole_training(world: World) -> None:
    """Ten seconds to the first step, of 2 s; 196 s more, 180 s of them in steps."""

    def play(on_line: OnLine) -> None:
        began = {"imports_s": 4.0, "data_s": 1.5, "first_step_at": 10.0, "first_step_s": 2.0}
        totals = ("counted_at", "step_seconds_total", "samples_total", "loader_wait_s_total")

        def count(*values: float) -> None:
            world.count(**began, **dict(zip(totals, values, strict=True)))

        world.after(5, on_line)
        count(10.0, 2.0, 32, 0.5)
        world.meter.sample()
        world.after(6, on_line)
        count(110.0, 92.0, 1632, 1.0)
        world.meter.sample()
        world.after(104, on_line)
        count(206.0, 182.0, 3232, 2.06)
        world.clock.advance(91)

    world.train(play)


def test_the_start_is_told_once_and_by_stages(world: World) -> None:
    """The start report lists stages, imports, loaders and the first step, also in state.json."""
    world.report.parallel_seconds["install"] = 37.0
    _whole_training(world)
    (start,) = world.log.events("start")
    assert start["seconds"] == {
        "environment": 2.0,
        "inputs": 20.0,
        "install": 17.0,
        "imports": 4.0,
        "data": 1.5,
        "setup": 2.5,
        "first_step": 2.0,
        "total": 50.0,
    }
    (said,) = [line for line in world.log.lines if line.startswith("▸")]
    assert said.startswith(
        "▸ First step done after 50 s: environment 2.0 s, inputs 20 s, install 17 s, imports"
    )
    assert said.endswith("first step 2.0 s (install took 37 s in all, partly beside other stages)")
    assert (world.report.seconds["first_step"], world.report.seconds["start"]) == (2.0, 50.0)


def test_resources_are_told_each_minute_and_at_the_end(world: World) -> None:
    """Readings are reported each minute and at the end, also in metrics.jsonl."""
    _whole_training(world)
    first, last = world.log.events("resources")
    assert first["gpus"] == [
        {"utilisation": 3.0, "memory_used_mb": 9830.0, "memory_total_mb": 15360.0},
        {"utilisation": None, "memory_used_mb": 4096.0, "memory_total_mb": 15360.0},
    ]
    assert (first["disk_limit_bytes"], first["ram_used_bytes"]) == (19_000_000_000, 5_000_000_000)
    assert first["goodput"] == round(92 / 150, 4)
    assert first["goodput_since_first_step"] == round(90 / 100, 4)
    assert first["samples_per_s"] == 16.0
    assert last["loader_wait_share"] == 0.01
    kept = [json.loads(line) for line in world.paths.metrics.read_text().splitlines()]
    assert [item["event"] for item in kept] == ["start", "resources", "resources"]
    assert kept[1] == {**first, "session": 3}


def test_the_end_has_means_and_peaks(world: World) -> None:
    """Goodput covers the whole session, including what follows the training."""
    put(world.paths.working / "training" / "checkpoint_1.pth", b"x" * 1000)
    _whole_training(world)
    world.clock.advance(18)
    told = world.meter.summary()
    assert told is not None
    assert (told["seconds"], told["step_seconds"], told["samples"]) == (264.0, 182.0, 3232)
    assert told["goodput"] == round(182 / 264, 4)
    assert told["goodput_since_first_step"] == round(180 / 196, 4)
    assert told["gpus"] == [
        {
            "utilisation_mean": 50.0,
            "memory_used_mean_mb": 9830.0,
            "memory_used_peak_mb": 9830.0,
            "memory_total_mb": 15360.0,
        },
        {
            "utilisation_mean": 91.0,
            "memory_used_mean_mb": 6848.0,
            "memory_used_peak_mb": 9600.0,
            "memory_total_mb": 15360.0,
        },
    ]
    assert (told["disk_used_peak_bytes"] or 0) >= 1000
    said = world.meter.sentence()
    assert said is not None
    assert said.startswith(
        "Goodput 69% of the session's 4 min 24 s (92% from the first step, after 50 s, to the training's end)"
        "; 16.3 samples a second; 1.0% of the training waiting for data; GPU 0 50% busy; "
        "GPU 0's memory at most 64% full; GPU 1 91% busy;"
    )
    assert said.endswith(" of 19.0 GB.")


def test_trainings_that_follow_one_another_add_up(world: World) -> None:
    """After running out of memory the host counts from 0 again, but the session's totals do not."""

    def play(steps: float, first_at: float) -> Callable[[OnLine], None]:
        def played(on_line: OnLine) -> None:
            world.count(
                first_step_at=first_at, first_step_s=1.0, counted_at=50.0, step_seconds_total=steps,
                samples_total=100,
            )  # fmt: skip
            world.after(50, on_line)

        return played

    world.train(play(40.0, 8.0))
    world.host.report.unlink()
    world.train(play(45.0, 3.0))
    told = world.meter.summary()
    assert told is not None
    assert (told["step_seconds"], told["samples"]) == (85.0, 200)
    assert told["goodput_since_first_step"] == round(84 / 92, 4)
    assert len(world.log.events("start")) == 1


def test_a_script_without_the_trainer(root: Path, log: Log) -> None:
    """The first line about a step ends the start; without counted steps there is no goodput."""
    world = World(root, log)

    def play(on_line: OnLine) -> None:
        world.after(12, on_line, "   --> TIME: now -- STEP: 0/1 -- GLOBAL_STEP: 0")
        world.after(2, on_line)

    world.train(play)
    (start,) = log.events("start")
    assert start["seconds"] == {"setup": 12.0, "total": 12.0}
    told = world.meter.summary()
    assert told is not None
    assert told["goodput"] is None
    assert world.meter.sentence() is None


def test_the_first_step_is_timed_by_the_host(world: World) -> None:
    """The trainer prints a step just before the host reports it; that line does not end the first step."""

    def play(on_line: OnLine) -> None:
        world.count(hooks=True, counted_at=1.0)
        world.after(12, on_line, "   --> TIME: now -- STEP: 0/1 -- GLOBAL_STEP: 0")
        world.count(
            hooks=True, first_step_at=20.0, first_step_s=10.0, counted_at=30.0, step_seconds_total=18.0,
            samples_total=4,
        )  # fmt: skip
        world.after(18, on_line)

    world.train(play)
    told = world.meter.summary()
    assert told is not None
    assert told["goodput_since_first_step"] == round(8 / 10, 4)


@pytest.mark.parametrize("answer", [None, Captured(9, "no driver"), Captured(0, "what?\n")])
def test_an_nvidia_smi_that_does_not_answer(root: Path, log: Log, answer: Captured | None) -> None:
    """After three failures it is not called again; disk and memory are still read."""
    world = World(root, log, answer, **_T4)
    for _ in range(5):
        world.meter.sample()
    assert len(world.capture.asked) == 3
    assert all("KAGGLE_KEY" not in env for env in world.capture.environments)
    world.train(lambda on_line: world.after(1, on_line))
    told = world.meter.summary()
    assert told is not None
    assert told["gpus"] == []
    assert told["ram_used_peak_bytes"] == 5_000_000_000


def test_without_a_gpu_nothing_is_asked(root: Path, log: Log) -> None:
    """On the CPU nvidia-smi is never called."""
    world = World(root, log, _BUSY)
    world.meter.sample()
    assert world.capture.asked == []


def test_nothing_that_fails_costs_the_session(root: Path, log: Log) -> None:
    """Neither an exception in a reading nor a damaged host report affects the training."""
    world = World(root, log, **_T4)
    world.capture.answers = {"nvidia-smi": [Captured(0, "1, 2, 3")]}
    world.host.report.write_text('{"step_seconds_total": "many", "first_step_at": [], "samples_total": NaN}')
    world.capture.asked = None  # type: ignore[assignment]  # What is asked raises from here on.
    world.meter.sample()
    world.train(lambda on_line: world.after(70, on_line))
    assert world.meter.summary() is not None
    assert world.meter.sentence() is None


def test_the_thread_ends_with_the_training(root: Path, log: Log) -> None:
    """The thread runs only while the training does, also if that fails, and prints nothing else."""
    world = World(root, log)
    read = threading.Event()

    def memory() -> int:
        read.set()
        return 7

    meter = Meter(
        settings=settings(), paths=world.paths, host=world.host, report=world.report, clock=world.clock,
        capture=world.capture, env={}, memory=memory, every_s=0.001,
    )  # fmt: skip

    def run(plan: ChildPlan, on_line: OnLine, on_stop: Any = None) -> ChildEnd:
        assert read.wait(10)
        assert log.lines == []
        raise OSError("no interpreter")

    with pytest.raises(OSError, match="no interpreter"):
        meter.watching(run)(_PLAN, lambda _text, *, is_bar: None)
    assert not [thread for thread in threading.enumerate() if thread.name == "kgtts-meter"]
    (told,) = log.events("resources")
    assert told["ram_used_bytes"] == 7


def test_cards_by_nvidia_smis_words() -> None:
    """Each line is a GPU; missing values stay unknown; headers and warnings are ignored."""
    said = Captured(0, "warning\n0, 3, 15360\n[Not Supported], [N/A], 15360\n")
    assert read_gpus(Capture({"nvidia-smi": said}), {}) == (
        GpuReading(0.0, 3.0, 15360.0),
        GpuReading(None, None, 15360.0),
    )


def test_a_linked_file_takes_its_room_once(tmp_path: Path) -> None:
    """Hard links add nothing to the size."""
    first = put(tmp_path / "out" / "a", b"x" * 500)
    (tmp_path / "out" / "b").hardlink_to(first)
    put(tmp_path / "out" / "sub" / "c", b"x" * 20)
    assert folder_bytes(tmp_path / "out") == 520
    assert folder_bytes(tmp_path / "nothing") == 0


def test_memory_in_use(tmp_path: Path) -> None:
    """A container with a limit counts its own memory without caches; else the machine's counts."""
    put(tmp_path / "proc" / "meminfo", "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:   400 kB\n")
    put(tmp_path / "group" / "memory.max", "max\n")
    put(tmp_path / "group" / "memory.current", "9000\n")
    put(tmp_path / "group" / "memory.stat", "anon 1\ninactive_file 2000\n")
    assert used_memory(tmp_path / "proc", tmp_path / "group") == 600 * 1024
    put(tmp_path / "group" / "memory.max", "99999\n")
    assert used_memory(tmp_path / "proc", tmp_path / "group") == 7000
    assert used_memory(tmp_path / "none", tmp_path / "none") is None
