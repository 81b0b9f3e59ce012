"""Measures how well the session uses its time: time to the first step, goodput, GPUs, memory and disk.

Goodput is the share of the session's time that went into optimizer steps; quota is billed by wall clock.
While the training runs, a thread reads GPUs, memory and disk twice a minute. It prints nothing: the main
thread reports between the training's lines. No failure here affects the session.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TypedDict

from kernel_template.contract import Resources, Stage
from kernel_template.events import ResourcesEvent, StartEvent
from kernel_template.settings import SessionSettings
from kernel_template.start.environment import memory_bytes
from kernel_template.tools.files import folder_bytes, human_seconds
from kernel_template.tools.paths import Paths
from kernel_template.tools.process import (
    Capture,
    ChildEnd,
    ChildPlan,
    OnLine,
    RunChild,
    StopCause,
    child_environment,
)
from kernel_template.tools.report import Reporter
from kernel_template.train.host_link import HostLink
from kernel_template.usage.readings import (
    GpuReading,
    GpuStats,
    HostCounts,
    Stats,
    read_gpus,
    share,
    usage_in_words,
    used_memory,
)

_SAMPLE_EVERY_S = 30.0
_REPORT_EVERY_S = 60.0
_LOOK_EVERY_S = 1.0
_JOIN_S = 1.0
_MAX_SILENCES = 3  # After that many calls without an answer, nvidia-smi is not called again.
_MAX_COUNTED = 50_000  # Files; so that counting is cheap whatever a script writes.
_STEP_MARK = "GLOBAL_STEP: "
_TRAIN_PARTS = ("imports", "data", "setup", "first_step")
_START_STAGES = (Stage.ENVIRONMENT, Stage.INPUTS, Stage.GPU, Stage.INSTALL, Stage.PREPARE)


class _Rates(TypedDict):
    """Rates and shares of the training so far."""

    samples_per_s: float | None
    loader_wait_share: float | None
    goodput: float | None
    goodput_since_first_step: float | None


class Meter:
    """Measures a session.

    Args:
        settings: the session's settings.
        paths: the session's folders.
        host: what the host reports.
        report: prints messages and events, and knows the session's time.
        clock: seconds, monotonic; the clock of `report`.
        capture: runs nvidia-smi.
        env: its environment.
        memory: reads the bytes of memory in use.
        every_s: seconds between two readings.
    """

    def __init__(  # noqa: PLR0913 - it measures all of these.
        self,
        *,
        settings: SessionSettings,
        paths: Paths,
        host: HostLink,
        report: Reporter,
        clock: Callable[[], float],
        capture: Capture,
        env: Mapping[str, str],
        memory: Callable[[], int | None] = used_memory,
        every_s: float = _SAMPLE_EVERY_S,
    ) -> None:
        self._paths = paths
        self._host = host
        self._report = report
        self._clock = clock
        self._capture = capture
        self._env = child_environment(env)
        self._memory = memory
        self._every_s = every_s
        self._limit = settings["disk"]["limit_bytes"]
        self._silences = 0 if settings["accelerator"] is not None else _MAX_SILENCES
        self._gpus: tuple[GpuReading, ...] = ()
        self._gpu_stats: list[GpuStats] = []
        self._disk, self._ram = Stats(), Stats()
        self._last_disk: int | None = None
        self._last_ram: int | None = None
        # Of the trainings that have ended. Another one follows if GPU memory ran out.
        self._steps_s = self._waiting_s = self._trained_s = 0.0
        self._samples = 0
        self._counts = HostCounts()
        self._began: float | None = None  # When the training began that runs now.
        self._first_at: float | None = None  # When the first step was done.
        self._first_s = 0.0  # How long it took.
        self._counted = 0.0  # When the host counted.
        self._reported = self._looked = float("-inf")
        self._marked: float | None = None  # When the trainer first printed a step.

    def watching(self, run: RunChild) -> RunChild:
        """Wrap `run` so that the child is measured while it trains."""

        def watched(
            plan: ChildPlan, on_line: OnLine, on_stop: Callable[[StopCause, bool], None] | None = None
        ) -> ChildEnd:
            def listen(text: str, *, is_bar: bool) -> None:
                on_line(text, is_bar=is_bar)
                self._on_line(text)

            with self._training():
                return run(plan, listen, on_stop)

        return watched

    def sample(self) -> None:
        """Read GPUs, memory and disk once."""
        with contextlib.suppress(Exception):  # Not worth a session.
            self._read()

    def _read(self) -> None:
        self._last_disk = folder_bytes(self._paths.working, _MAX_COUNTED)
        self._last_ram = self._memory()
        self._disk.add(self._last_disk)
        self._ram.add(self._last_ram)
        if self._silences >= _MAX_SILENCES:
            return
        gpus = read_gpus(self._capture, self._env)
        self._silences = self._silences + 1 if gpus is None else 0
        self._gpus = gpus or ()
        for index, gpu in enumerate(self._gpus):
            if index == len(self._gpu_stats):
                self._gpu_stats.append(GpuStats())
            self._gpu_stats[index].add(gpu)

    @contextlib.contextmanager
    def _training(self) -> Iterator[None]:
        """Measure while a training runs."""
        self._began = self._reported = self._counted = self._clock()
        done = threading.Event()

        def measure() -> None:
            while not done.wait(self._every_s):
                self.sample()

        thread = threading.Thread(target=measure, name="kgtts-meter", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(_JOIN_S)
            with contextlib.suppress(Exception):
                self._end()

    def _end(self) -> None:
        """Add up what the host of the training that has ended counted."""
        self._look()
        assert self._began is not None
        self._counted = self._clock()
        self._trained_s += self._counted - self._began
        self._steps_s += self._counts.steps_s
        self._waiting_s += self._counts.waiting_s
        self._samples += self._counts.samples
        self._counts, self._began = HostCounts(), None
        self._last_disk = folder_bytes(self._paths.working, _MAX_COUNTED)
        self._disk.add(self._last_disk)
        self._report_usage()

    def _on_line(self, text: str) -> None:
        """Report between two lines of the training, in the main thread."""
        now = self._clock()
        if self._marked is None and _STEP_MARK in text:
            self._marked = now
        if now - self._looked < _LOOK_EVERY_S:
            return
        with contextlib.suppress(Exception):
            if self._first_at is None or now - self._reported >= _REPORT_EVERY_S:
                self._look()
            if now - self._reported >= _REPORT_EVERY_S:
                self._report_usage()
        self._looked = now

    def _look(self) -> None:
        """Read what the host counted; report once the first step is done."""
        assert self._began is not None
        status = self._host.status()
        counts = HostCounts.of(status)
        if counts.first_at is None and self._first_at is None and self._marked and not status.hooks:
            # Not Coqui's Trainer: take the first line that names a step. With hooks the host says itself when
            # and how long the first step was, a moment after the trainer has printed it.
            counts = HostCounts(first_at=self._marked - self._began)
        self._counts = counts
        if counts.at is not None:
            self._counted = self._began + counts.at
        if self._first_at is None and counts.first_at is not None:
            self._first_at, self._first_s = self._began + counts.first_at, counts.first_s
            self._report_start(counts, counts.first_at)

    def _report_start(self, counts: HostCounts, first_at: float) -> None:
        """Report how long each part took until the first step was done."""
        report = self._report
        assert self._began is not None
        parts: dict[str, float | None] = {name: report.seconds.get(name) for name in _START_STAGES}
        known = (counts.imports_s or 0.0) + (counts.data_s or 0.0) + counts.first_s
        parts |= {
            "imports": counts.imports_s,
            "data": counts.data_s,
            "setup": max(first_at - known, 0.0),  # Checking the recordings, the model and its weights.
            "first_step": counts.first_s or None,
            "total": round(report.elapsed - (self._clock() - self._began) + first_at, 2),
        }
        seconds_by_part = {name: round(value, 2) for name, value in parts.items() if value is not None}
        words = ", ".join(
            f"{name.replace('_', ' ')} {human_seconds(value)}"
            for name, value in seconds_by_part.items()
            if name != "total"
        )
        beside = "".join(
            f" ({name} took {human_seconds(seconds)} in all, partly beside other stages)"
            for name, seconds in report.parallel_seconds.items()
            if seconds - report.seconds.get(name, 0.0) >= 1.0
        )
        report.say(f"▸ First step done after {human_seconds(seconds_by_part['total'])}: {words}{beside}")
        report.event(StartEvent(seconds_by_part))
        report.seconds |= {name: seconds_by_part[name] for name in _TRAIN_PARTS if name in seconds_by_part}
        report.seconds["start"] = seconds_by_part["total"]

    def _rates(self, now: float) -> _Rates:
        """The shares and rates up to `now`; None for what is unknown."""
        running = now - self._began if self._began is not None else 0.0
        steps_s = self._steps_s + self._counts.steps_s
        samples = self._samples + self._counts.samples
        waited = self._waiting_s + self._counts.waiting_s
        session = self._report.elapsed - (self._clock() - now)
        since = 0.0
        if self._first_at is not None:
            since = (self._counted if self._began is None else now) - self._first_at
        return {
            "samples_per_s": share(samples, since + self._first_s),
            "loader_wait_share": share(waited, self._trained_s + running) if samples else None,
            "goodput": share(steps_s, session) if samples else None,
            "goodput_since_first_step": share(steps_s - self._first_s, since) if samples else None,
        }

    def _report_usage(self) -> None:
        """Report readings and rates as an event."""
        self._reported = self._clock()
        event = ResourcesEvent(
            gpus=[gpu.record() for gpu in self._gpus],
            disk_used_bytes=self._last_disk,
            disk_limit_bytes=self._limit,
            ram_used_bytes=self._last_ram,
            **self._rates(self._counted),
        )
        self._report.event(event)

    def summary(self) -> Resources | None:
        """The `resources` of state.json; None before the training."""
        with contextlib.suppress(Exception):
            if self._reported > float("-inf"):
                return self._summary()
        return None

    def _summary(self) -> Resources:
        return {
            "seconds": round(self._report.elapsed, 2),
            "step_seconds": round(self._steps_s + self._counts.steps_s, 2),
            "loader_wait_seconds": round(self._waiting_s + self._counts.waiting_s, 2),
            "samples": self._samples + self._counts.samples,
            **self._rates(self._clock() if self._began is None else self._counted),
            "gpus": [gpu.record() for gpu in self._gpu_stats],
            "disk_used_peak_bytes": self._disk.peak,
            "disk_limit_bytes": self._limit,
            "ram_used_mean_bytes": round(self._ram.mean) if self._ram.mean is not None else None,
            "ram_used_peak_bytes": self._ram.peak,
            "ram_total_bytes": memory_bytes(),
        }

    def sentence(self) -> str | None:
        """The summary for people; None if no step was counted."""
        used = self.summary()
        return usage_in_words(used, self._report.seconds.get("start", 0.0)) if used else None
