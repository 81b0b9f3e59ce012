"""Runs other programs: passes on each line as it comes, enforces a time limit, and ends them gently first."""

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

_QUEUE_CHUNKS = 256  # If a child writes faster than we print, it waits instead of filling our memory.
# How long processes that a dead child left behind may keep the pipe open: in silence, and at most.
_LINGER_QUIET_S = 2.0
_LINGER_S = 20.0


class StopCause(StrEnum):
    """Why a child was stopped."""

    TIME_LIMIT = "time_limit"
    INTERRUPTED = "interrupted"


class StopSign(Protocol):
    """Says when a child must end: `received` is then a word for the reason, such as SIGTERM."""

    received: str | None


class StopFlag:
    """Remembers that the session was told to stop, by SIGINT or SIGTERM.

    Only the main thread can catch signals. Elsewhere `install` returns False, and KeyboardInterrupt and the
    default of SIGTERM remain. While it is installed, children start with the default SIGINT, even if the
    kernel was started with SIGINT ignored, as background jobs are: the time limit needs SIGINT to save.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._old: dict[signal.Signals, Any] = {}

    def install(self) -> bool:
        """Catch the signals. Returns whether that is possible."""
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        except ValueError:
            return False
        return True

    def restore(self) -> None:
        """Restore the handlers that `install` replaced."""
        for number, handler in self._old.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._old.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a handler's signature.
        self.received = self.received or signal.Signals(number).name


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """A program to run: SIGINT after `limit_s` seconds, SIGKILL after `grace_s` more."""

    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None = None
    limit_s: float | None = None
    grace_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """How a child ended. `returncode` is negative for a signal, as in subprocess; `seconds` is its time."""

    returncode: int
    seconds: float
    stop_cause: StopCause | None = None
    killed: bool = False


class OnLine(Protocol):
    """Takes each line of a child; `is_bar` if it ended in a carriage return, as progress bars do."""

    def __call__(self, text: str, *, is_bar: bool) -> None:
        """Take one line, without newline and colours."""


class RunChild(Protocol):
    """Runs a program to its end; tests use their own."""

    def __call__(
        self, plan: ChildPlan, on_line: OnLine, on_stop: Callable[[StopCause, bool], None] | None = None
    ) -> ChildEnd:
        """Run `plan`; call `on_stop(cause, killed)` when the child is asked to end, and if it is killed."""


@dataclass(slots=True)
class _Watch:
    """Watches one child's time: SIGINT once, then the grace period, then SIGKILL for its whole group."""

    process: subprocess.Popen[bytes]
    plan: ChildPlan
    stop: StopSign
    began: float
    on_stop: Callable[[StopCause, bool], None]
    stop_cause: StopCause | None = None
    stopped_at: float = 0.0
    killed: bool = False

    def look(self, now: float) -> None:
        if self.killed or self.process.poll() is not None:
            return
        if self.stop_cause is None:
            late = self.plan.limit_s is not None and now - self.began >= self.plan.limit_s
            if late or self.stop.received is not None:
                self.stop_cause = (
                    StopCause.INTERRUPTED if self.stop.received is not None else StopCause.TIME_LIMIT
                )
                self.stopped_at = now
                self.on_stop(self.stop_cause, False)
                # Only this process, and only once: each data loader worker would print a traceback, and a
                # second SIGINT during the save would leave a truncated checkpoint.
                with contextlib.suppress(ProcessLookupError):
                    self.process.send_signal(signal.SIGINT)
        elif now - self.stopped_at >= self.plan.grace_s:
            self.killed = True
            self.on_stop(self.stop_cause, True)
            end_group(self.process.pid)


@dataclass(slots=True)
class _Linger:
    """The few seconds, in real time, between a child's end and the end of its output."""

    process: subprocess.Popen[bytes]
    heard: float = field(default_factory=time.monotonic)
    dead_since: float | None = None

    def over(self) -> bool:
        """Whether nothing more is to be expected of a dead child."""
        now = time.monotonic()
        if self.dead_since is None:
            self.dead_since = now
            end_group(self.process.pid)  # Workers that outlive the training keep the pipe open.
        silent = now - max(self.heard, self.dead_since)
        return silent >= _LINGER_QUIET_S or now - self.dead_since >= _LINGER_S


def end_group(leader: int) -> None:
    """Kill the process group that a child leads, if any of it is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _pump(stream: IO[bytes], chunks: "queue.Queue[bytes | None]") -> None:
    """Pass the pipe's bytes to the main thread: in a notebook only that one may print."""
    with contextlib.suppress(OSError, ValueError):
        while chunk := os.read(stream.fileno(), 64 * 1024):
            chunks.put(chunk)
    chunks.put(None)


@dataclass(frozen=True, slots=True)
class ChildRunner:
    """Runs programs in their own process group, and passes on each line that they write.

    Args:
        stop: says when the session was told to stop; the child then ends as gently as at its time limit.
        clock: seconds, monotonic.
        poll_s: how often to look at the clock while the child is silent, in seconds.
    """

    stop: StopSign = field(default_factory=StopFlag)
    clock: Callable[[], float] = time.monotonic
    poll_s: float = 0.2

    def __call__(
        self, plan: ChildPlan, on_line: OnLine, on_stop: Callable[[StopCause, bool], None] | None = None
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
        watch = _Watch(process, plan, self.stop, began, on_stop or (lambda _cut, _killed: None))
        try:
            self._follow(watch, chunks, on_line)
        finally:
            end_group(process.pid)
            process.wait()
            while reader.is_alive():  # Empty the queue that it may wait on; the writers are dead.
                with contextlib.suppress(queue.Empty):
                    chunks.get(timeout=0.05)
            process.stdout.close()
        return ChildEnd(process.returncode, self.clock() - began, watch.stop_cause, watch.killed)

    def _follow(self, watch: _Watch, chunks: "queue.Queue[bytes | None]", on_line: OnLine) -> None:
        """Pass on lines until the child has ended and its output too."""
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
        """The next bytes of the child: empty after some silence, None at the end of its output."""
        try:
            return chunks.get(timeout=self.poll_s)
        except queue.Empty:
            return b""
        except KeyboardInterrupt:  # If the signals could not be caught.
            self.stop.received = self.stop.received or "SIGINT"
            return b""


@dataclass(frozen=True, slots=True)
class Captured:
    """The exit code and output of a short program."""

    returncode: int
    output: str


class Capture(Protocol):
    """Runs a short program and returns its output; None if it does not exist or takes too long."""

    def __call__(self, command: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Captured | None:
        """Run `command` for at most `timeout_s` seconds."""


def capture_through(run: RunChild) -> Capture:
    """Run short programs with `run`, so that they end if the session is told to stop."""

    def capture(command: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Captured | None:
        lines: list[str] = []

        def on_line(text: str, *, is_bar: bool) -> None:  # noqa: ARG001 - the runner's signature.
            lines.append(text)

        try:
            end = run(ChildPlan(command, env, limit_s=timeout_s, grace_s=0.0), on_line)
        except OSError:
            return None
        return Captured(end.returncode, "\n".join(lines)) if end.stop_cause is None else None

    return capture


def capture_output(command: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Captured | None:
    """Run a short program. Returns stdout and stderr together, with undecodable bytes replaced."""
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
    """A child's environment: `base` without Kaggle's variables, some of which are tokens, and `extra`."""
    kept = {name: value for name, value in base.items() if not name.startswith("KAGGLE_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **(extra or {})}
