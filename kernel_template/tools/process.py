"""Running another program: its output line by line as it comes, under a clock, ended gently first."""

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import IO, Any, Protocol

from kernel_template.tools.lines import LineSplitter

_QUEUE_CHUNKS = 256  # a child that writes faster than we print waits, instead of filling our memory.
# How long those that left a dead child's group may keep the pipe open: without a word, and at most.
_LINGER_QUIET_S = 2.0
_LINGER_S = 20.0


class Cut(StrEnum):
    """Why a child was ended before its own end."""

    TIME_LIMIT = "time_limit"
    INTERRUPTED = "interrupted"


class StopSign(Protocol):
    """Something that may tell a child's runner to end it: a word once it does."""

    received: str | None


class StopFlag:
    """Remembers that the kernel itself was told to stop (SIGINT or SIGTERM).

    Signals can be caught in the main thread only; elsewhere `install` returns False, and KeyboardInterrupt
    and the default of SIGTERM stay as they are. While it is installed, children start with the default
    SIGINT, also when the kernel was started with SIGINT ignored (as a background job is): without that the
    time limit could not save.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._old: dict[signal.Signals, Any] = {}

    def install(self) -> bool:
        """Start listening. Returns whether that was possible."""
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        except ValueError:
            return False
        return True

    def restore(self) -> None:
        """Put the handlers back that `install` replaced."""
        for number, handler in self._old.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._old.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the shape of a handler.
        self.received = self.received or signal.Signals(number).name


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """A program to run: `limit_s` seconds until SIGINT, `grace_s` more until SIGKILL."""

    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None = None
    limit_s: float | None = None
    grace_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """How a child ended. `returncode` is negative for a signal, as in subprocess."""

    returncode: int
    seconds: float
    cut: Cut | None = None
    killed: bool = False


class OnLine(Protocol):
    """Hears each line of a child; `is_bar` marks one that ended in a carriage return (a progress bar)."""

    def __call__(self, text: str, *, is_bar: bool) -> None:
        """Take one line, without its line end and without colours."""


class RunChild(Protocol):
    """Runs a plan to its end; the seam at which tests put their own."""

    def __call__(
        self, plan: ChildPlan, on_line: OnLine, on_cut: Callable[[Cut, bool], None] | None = None
    ) -> ChildEnd:
        """Run `plan`; `on_cut(why, killed)` hears when the child is asked to end, and when it is killed."""


@dataclass(slots=True)
class _Watch:
    """The clock over one child: SIGINT once, then the grace period, then SIGKILL for the whole group."""

    process: subprocess.Popen[bytes]
    plan: ChildPlan
    stop: StopSign
    began: float
    on_cut: Callable[[Cut, bool], None]
    cut: Cut | None = None
    cut_at: float = 0.0
    killed: bool = False

    def look(self, now: float) -> None:
        if self.killed or self.process.poll() is not None:
            return
        if self.cut is None:
            late = self.plan.limit_s is not None and now - self.began >= self.plan.limit_s
            if late or self.stop.received is not None:
                self.cut = Cut.INTERRUPTED if self.stop.received is not None else Cut.TIME_LIMIT
                self.cut_at = now
                self.on_cut(self.cut, False)
                # The process alone, and once: data loader workers die of a SIGINT with a traceback each, and
                # a second one during the save leaves a truncated checkpoint.
                with contextlib.suppress(ProcessLookupError):
                    self.process.send_signal(signal.SIGINT)
        elif now - self.cut_at >= self.plan.grace_s:
            self.killed = True
            self.on_cut(self.cut, True)
            end_group(self.process.pid)


@dataclass(slots=True)
class _Linger:
    """The few seconds between a child's end and the end of its output, in real time."""

    process: subprocess.Popen[bytes]
    heard: float = field(default_factory=time.monotonic)
    dead_since: float | None = None

    def over(self) -> bool:
        """Whether a dead child has said all that it will."""
        now = time.monotonic()
        if self.dead_since is None:
            self.dead_since = now
            end_group(self.process.pid)  # Workers that outlive their training hold the pipe open.
        silent = now - max(self.heard, self.dead_since)
        return silent >= _LINGER_QUIET_S or now - self.dead_since >= _LINGER_S


def end_group(leader: int) -> None:
    """SIGKILL the process group of a child that was started as its leader; nothing left is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _pump(stream: IO[bytes], chunks: "queue.Queue[bytes | None]") -> None:
    """Carry the pipe's bytes to the main thread, which alone prints (a notebook's stdout belongs to it)."""
    with contextlib.suppress(OSError, ValueError):
        while chunk := os.read(stream.fileno(), 64 * 1024):
            chunks.put(chunk)
    chunks.put(None)


@dataclass(frozen=True, slots=True)
class ChildRunner:
    """Runs programs in their own process group and streams what they write.

    Args:
        stop: set when the kernel is told to stop; the child then gets the same gentle end as at its time
        limit. clock: seconds of a clock that never goes back.
        poll_s: seconds between two looks at the clock while the child is silent.
    """

    stop: StopSign = field(default_factory=StopFlag)
    clock: Callable[[], float] = time.monotonic
    poll_s: float = 0.2

    def __call__(
        self, plan: ChildPlan, on_line: OnLine, on_cut: Callable[[Cut, bool], None] | None = None
    ) -> ChildEnd:
        """Run `plan` to its end.

        Raises:
            OSError: the program could not be started.
        """
        began = self.clock()
        process = subprocess.Popen(
            list(plan.command),
            cwd=plan.cwd,
            env=dict(plan.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        chunks: queue.Queue[bytes | None] = queue.Queue(_QUEUE_CHUNKS)
        reader = threading.Thread(target=_pump, args=(process.stdout, chunks), daemon=True)
        reader.start()
        watch = _Watch(process, plan, self.stop, began, on_cut or (lambda _cut, _killed: None))
        try:
            self._follow(watch, chunks, on_line)
        finally:
            end_group(process.pid)
            process.wait()
            while reader.is_alive():  # Empty what it may be blocked on; the pipe's writers are dead.
                with contextlib.suppress(queue.Empty):
                    chunks.get(timeout=0.05)
            process.stdout.close()
        return ChildEnd(process.returncode, self.clock() - began, watch.cut, watch.killed)

    def _follow(self, watch: _Watch, chunks: "queue.Queue[bytes | None]", on_line: OnLine) -> None:
        """Pass lines on until the child has ended and said all."""
        splitter = LineSplitter()
        linger = _Linger(watch.process)
        open_pipe = True
        while watch.process.poll() is None or (open_pipe and not linger.over()):
            chunk = self._next(chunks)
            if chunk is None:
                open_pipe = False
                continue
            if chunk:
                linger.heard = time.monotonic()
            for text, is_bar in splitter.feed(chunk):
                on_line(text, is_bar=is_bar)
            watch.look(self.clock())
        for text, is_bar in splitter.feed(b"", final=True):
            on_line(text, is_bar=is_bar)

    def _next(self, chunks: "queue.Queue[bytes | None]") -> bytes | None:
        """What the child wrote next: nothing after a while of silence, None at the end of the pipe."""
        try:
            return chunks.get(timeout=self.poll_s)
        except queue.Empty:
            return b""
        except KeyboardInterrupt:  # Where the flag could not be installed.
            self.stop.received = self.stop.received or "SIGINT"
            return b""


@dataclass(frozen=True, slots=True)
class Captured:
    """What a short program answered."""

    returncode: int
    output: str


class Capture(Protocol):
    """Runs a short program and returns all that it wrote; None when it does not exist or does not answer."""

    def __call__(self, command: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Captured | None:
        """Run `command` for at most `timeout_s` seconds."""


def capture_through(run: RunChild) -> Capture:
    """What runs short programs as children of `run`, and so ends them when the session is told to stop."""

    def capture(command: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Captured | None:
        lines: list[str] = []

        def on_line(text: str, *, is_bar: bool) -> None:  # noqa: ARG001 - the shape that the runner calls.
            lines.append(text)

        try:
            end = run(ChildPlan(command, env, limit_s=timeout_s, grace_s=0.0), on_line)
        except OSError:
            return None
        return Captured(end.returncode, "\n".join(lines)) if end.cut is None else None

    return capture


def capture_output(command: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Captured | None:
    """Run a short program; its stdout and stderr together, decoded whatever they hold."""
    try:
        done = subprocess.run(
            list(command),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Captured(done.returncode, done.stdout.decode("utf-8", "replace"))


def child_environment(base: Mapping[str, str], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child: ours without Kaggle's variables (tokens among them), and `extra`."""
    kept = {name: value for name, value in base.items() if not name.startswith("KAGGLE_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **(extra or {})}
