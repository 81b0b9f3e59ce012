"""How well the session's time is used: the time to the first step, goodput, cards, memory and disk.

Goodput is the share of the session's seconds that went into optimizer steps: quota is billed by wall clock.
A thread reads the cards, the memory and the disk twice a minute while the training runs. It says nothing: the
main thread tells of it between the training's lines. Nothing that fails here costs the session anything.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kernel_template.start.environment import Paths, memory_bytes
from kernel_template.tools.files import human_seconds
from kernel_template.tools.process import (
    Capture,
    ChildEnd,
    ChildPlan,
    Cut,
    OnLine,
    RunChild,
    child_environment,
)
from kernel_template.tools.report import Reporter
from kernel_template.train.host_link import HostLink
from kernel_template.usage.usage import (
    CardSpan,
    CardUse,
    Span,
    Work,
    folder_bytes,
    read_cards,
    share,
    usage_in_words,
    used_memory,
)

_SAMPLE_EVERY_S = 30.0
_METER_TELL_S = 60.0
_METER_LOOK_S = 1.0
_METER_JOIN_S = 1.0
_MAX_SILENCES = 3  # An nvidia-smi that does not answer is not asked for ever.
_MAX_COUNTED = 50_000  # A look at the outputs is cheap, whatever a script puts there.
_STEP_MARK = "GLOBAL_STEP: "
_TRAIN_PARTS = ("imports", "data", "setup", "first_step")
_START_STAGES = ("environment", "inputs", "gpu", "install", "prepare")


class Meter:
    """Measures a session.

    Args:
        settings: the kernel's settings.
        paths: the session's folders.
        host: the files shared with host.py.
        report: where things are said; it knows the session's time.
        clock: seconds of the clock that the report has too.
        capture: runs nvidia-smi.
        env: its environment.
        memory: bytes of memory in use.
        every_s: seconds between two readings.
    """

    def __init__(  # noqa: PLR0913 - the meter looks at all that a session has.
        self,
        *,
        settings: Mapping[str, Any],
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
        self._limit = (settings.get("disk") or {}).get("limit_bytes")
        self._silences = 0 if settings.get("accelerator") is not None else _MAX_SILENCES
        self._cards: tuple[CardUse, ...] = ()
        self._spans: list[CardSpan] = []
        self._disk, self._ram = Span(), Span()
        self._last_disk: int | None = None
        self._last_ram: int | None = None
        # Of the trainings that have ended, and of the one that runs (its start is None when none does).
        self._steps_s = self._waiting_s = self._trained_s = 0.0
        self._samples = 0
        self._work = Work()
        self._began: float | None = None
        self._first_at: float | None = None  # When the first step was done, and what it took.
        self._first_s = 0.0
        self._counted = 0.0  # When all this was true.
        self._told = self._looked = float("-inf")
        self._marked: float | None = None  # The first line of the trainer that names a step.

    def watching(self, run: RunChild) -> RunChild:
        """`run`, measured while its child trains."""

        def watched(
            plan: ChildPlan, on_line: OnLine, on_cut: Callable[[Cut, bool], None] | None = None
        ) -> ChildEnd:
            def heard(text: str, *, is_bar: bool) -> None:
                on_line(text, is_bar=is_bar)
                self._hear(text)

            with self._training():
                return run(plan, heard, on_cut)

        return watched

    def sample(self) -> None:
        """Read cards, memory and disk once."""
        with contextlib.suppress(Exception):  # A reading is not worth a session.
            self._read()

    def _read(self) -> None:
        self._last_disk = folder_bytes(self._paths.working, _MAX_COUNTED)
        self._last_ram = self._memory()
        self._disk.add(self._last_disk)
        self._ram.add(self._last_ram)
        if self._silences >= _MAX_SILENCES:
            return
        cards = read_cards(self._capture, self._env)
        self._silences = self._silences + 1 if cards is None else 0
        self._cards = cards or ()
        for index, card in enumerate(self._cards):
            if index == len(self._spans):
                self._spans.append(CardSpan())
            self._spans[index].add(card)

    @contextlib.contextmanager
    def _training(self) -> Iterator[None]:
        """While a training runs; after one that ran out of memory comes another."""
        self._began = self._told = self._counted = self._clock()
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
            thread.join(_METER_JOIN_S)
            with contextlib.suppress(Exception):
                self._end()

    def _end(self) -> None:
        """Keep what the training that has ended has counted."""
        self._look()
        assert self._began is not None
        self._counted = self._clock()
        self._trained_s += self._counted - self._began
        self._steps_s += self._work.steps_s
        self._waiting_s += self._work.waiting_s
        self._samples += self._work.samples
        self._work, self._began = Work(), None
        self._last_disk = folder_bytes(self._paths.working, _MAX_COUNTED)
        self._disk.add(self._last_disk)
        self._tell()

    def _hear(self, text: str) -> None:
        """Between two lines of the training, in the main thread."""
        now = self._clock()
        if self._marked is None and _STEP_MARK in text:
            self._marked = now
        if now - self._looked < _METER_LOOK_S:
            return
        with contextlib.suppress(Exception):
            if self._first_at is None or now - self._told >= _METER_TELL_S:
                self._look()
            if now - self._told >= _METER_TELL_S:
                self._tell()
        self._looked = now

    def _look(self) -> None:
        """Read what the host has counted; say when the first step is done."""
        assert self._began is not None
        work = Work.of(self._host.facts())
        if work.first_at is None and self._first_at is None and self._marked is not None:
            # A script without the Trainer that is known: its first line about a step has to do.
            work = Work(first_at=self._marked - self._began)
        self._work = work
        if work.at is not None:
            self._counted = self._began + work.at
        if self._first_at is None and work.first_at is not None:
            self._first_at, self._first_s = self._began + work.first_at, work.first_s
            self._say_start(work, work.first_at)

    def _say_start(self, work: Work, first_at: float) -> None:
        """Which stage took how much of the time until the first step was done."""
        report = self._report
        assert self._began is not None
        parts: dict[str, float | None] = {name: report.seconds.get(name) for name in _START_STAGES}
        known = (work.imports_s or 0.0) + (work.data_s or 0.0) + work.first_s
        parts |= {
            "imports": work.imports_s,
            "data": work.data_s,
            "setup": max(first_at - known, 0.0),  # The samples' check, the model and its weights.
            "first_step": work.first_s or None,
            "total": round(report.elapsed - (self._clock() - self._began) + first_at, 2),
        }
        told = {name: round(value, 2) for name, value in parts.items() if value is not None}
        words = ", ".join(
            f"{name.replace('_', ' ')} {human_seconds(value)}"
            for name, value in told.items()
            if name != "total"
        )
        beside = "".join(
            f" ({name} took {human_seconds(seconds)} in all, beside other stages)"
            for name, seconds in report.beside.items()
            if seconds - report.seconds.get(name, 0.0) >= 1.0
        )
        report.say(f"▸ First step done after {human_seconds(told['total'])}: {words}{beside}")
        report.event("start", seconds=told)
        report.seconds |= {name: told[name] for name in _TRAIN_PARTS if name in told}
        report.seconds["start"] = told["total"]

    def _figures(self, now: float) -> dict[str, Any]:
        """The shares and rates up to `now`; None for what is not known."""
        running = now - self._began if self._began is not None else 0.0
        steps_s = self._steps_s + self._work.steps_s
        samples = self._samples + self._work.samples
        waited = self._waiting_s + self._work.waiting_s
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

    def _tell(self) -> None:
        """Say the readings and figures to the programs."""
        self._told = self._clock()
        self._report.event(
            "resources",
            gpus=[card.record() for card in self._cards],
            disk_used_bytes=self._last_disk,
            disk_limit_bytes=self._limit,
            ram_used_bytes=self._last_ram,
            **self._figures(self._counted),
        )

    def summary(self) -> dict[str, Any] | None:
        """The `resources` of state.json: means and peaks; None before the training.

        Units: seconds, bytes, MiB for the cards' memory, per cent for their utilisation, and shares of one.
        """
        with contextlib.suppress(Exception):
            if self._told > float("-inf"):
                return self._summary()
        return None

    def _summary(self) -> dict[str, Any]:
        return {
            "seconds": round(self._report.elapsed, 2),
            "step_seconds": round(self._steps_s + self._work.steps_s, 2),
            "loader_wait_seconds": round(self._waiting_s + self._work.waiting_s, 2),
            "samples": self._samples + self._work.samples,
            **self._figures(self._clock() if self._began is None else self._counted),
            "gpus": [card.record() for card in self._spans],
            "disk_used_peak_bytes": self._disk.peak,
            "disk_limit_bytes": self._limit,
            "ram_used_mean_bytes": round(self._ram.mean) if self._ram.mean is not None else None,
            "ram_used_peak_bytes": self._ram.peak,
            "ram_total_bytes": memory_bytes(),
        }

    def sentence(self) -> str | None:
        """The summary for people; None when no step was counted."""
        told = self.summary()
        return usage_in_words(told, self._report.seconds.get("start", 0.0)) if told else None
