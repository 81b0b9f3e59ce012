"""Child processes: streaming their output, time limits, SIGINT and SIGKILL."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel_template.tools.lines import LineSplitter, plain_text
from kernel_template.tools.process import (
    ChildEnd,
    ChildPlan,
    ChildRunner,
    StopCause,
    StopFlag,
    capture_output,
    child_environment,
)
from tests.fakes.clock import FakeClock

_ENV = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
_IGNORES = """
import signal, time
signal.signal(signal.SIGINT, lambda *_: print("ignored", flush=True))
print("ready", flush=True)
while True: time.sleep(0.05)
"""
_SAVES = """
import sys, time
try:
    print("ready", flush=True)
    while True: time.sleep(0.05)
except KeyboardInterrupt:
    print("saved", flush=True)
    sys.exit(130)
"""


class Heard:
    """Collects the lines of a child, and acts on words in them."""

    def __init__(self, reactions: dict[str, Callable[[], None]] | None = None) -> None:
        self.lines: list[str] = []
        self.bars: list[str] = []
        self.cuts: list[tuple[StopCause, bool]] = []
        self._reactions = reactions or {}

    def __call__(self, text: str, *, is_bar: bool) -> None:
        """Add a line."""
        (self.bars if is_bar else self.lines).append(text)
        if text in self._reactions:
            self._reactions[text]()

    def on_stop(self, cut: StopCause, killed: bool) -> None:  # noqa: FBT001 - the shape that the runner calls.
        """Record that the child was stopped."""
        self.cuts.append((cut, killed))


def python(
    code: str,
    heard: Heard,
    *,
    clock: FakeClock | None = None,
    stop: StopFlag | None = None,
) -> ChildEnd:
    """Run a Python program with 100 s and 30 s of grace, on a clock that the test advances."""
    runner = ChildRunner(stop=stop or StopFlag(), clock=clock or FakeClock(), poll_s=0.02)
    plan = ChildPlan([sys.executable, "-c", code], _ENV, limit_s=100.0, grace_s=30.0)
    return runner(plan, heard, heard.on_stop)


def test_output_comes_line_by_line_while_the_child_runs(tmp_path: Path) -> None:
    """The child continues only after the listener has made a file, so lines are read while it runs."""
    sign = tmp_path / "sign"
    heard = Heard({"first": sign.touch})
    code = (
        "import os, sys, time; print('first', flush=True)\n"
        f"while not os.path.exists({str(sign)!r}): time.sleep(0.01)\n"
        "print('আমি', file=sys.stderr)"
    )
    assert python(code, heard).returncode == 0
    assert heard.lines == ["first", "আমি"]


def test_progress_bars_colours_and_rubbish() -> None:
    """Carriage returns end bars, colours are removed, binary data is harmless, the last line needs no end."""
    heard = Heard()
    code = (
        "import sys; w = sys.stdout.buffer.write; "
        r"w(b' 10%|#\r 20%|##\r\n\x1b[1mbold\x1b[0m\n\xff\xfe\x00\x01bin\r\r\nlast')"
    )
    python(code, heard)
    assert heard.bars == [" 10%|#"]
    assert heard.lines == [" 20%|##", "bold", "\ufffd\ufffdbin", "last"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pieces_of_any_size_give_the_same_lines(size: int) -> None:
    """The pieces in which a pipe delivers bytes make no difference, even within a character."""
    data = "আমি ভাত খাই\r\nbar 1\rbar 2\r\n\nend".encode()
    splitter, lines = LineSplitter(), []
    for start in range(0, len(data), size):
        lines += splitter.feed(data[start : start + size])
    lines += splitter.feed(b"", final=True)
    assert lines == [("আমি ভাত খাই", False), ("bar 1", True), ("bar 2", False), ("", False), ("end", False)]


def test_a_line_without_end_is_said_in_pieces() -> None:
    """A megabyte without a line end is printed in pieces, and memory stays bounded."""
    splitter = LineSplitter()
    pieces = splitter.feed(b"x" * 1_000_000)
    assert sum(len(text) for text, _ in pieces) > 900_000
    assert max(len(text) for text, _ in pieces) <= 32 * 1024


def test_plain_text_drops_titles_and_cursor_moves() -> None:
    """No control sequence is left."""
    assert plain_text("\x1b]0;title\x07a\x1b[2Kb\x1b[?25lc\td\x7f") == "abc\td"


def test_at_the_limit_the_child_is_asked_once_and_may_save() -> None:
    """At the limit the child gets SIGINT; one that saves and exits is not killed."""
    clock = FakeClock()
    heard = Heard({"ready": lambda: clock.advance(101)})
    end = python(_SAVES, heard, clock=clock)
    assert (end.returncode, end.stop_cause, end.killed) == (130, StopCause.TIME_LIMIT, False)
    assert heard.lines == ["ready", "saved"]
    assert heard.cuts == [(StopCause.TIME_LIMIT, False)]


def test_a_child_that_ignores_the_request_is_killed_after_the_grace() -> None:
    """SIGINT is sent once, then SIGKILL."""
    clock = FakeClock()
    heard = Heard({"ready": lambda: clock.advance(101), "ignored": lambda: clock.advance(31)})
    end = python(_IGNORES, heard, clock=clock)
    assert (end.returncode, end.stop_cause, end.killed) == (-signal.SIGKILL, StopCause.TIME_LIMIT, True)
    assert heard.lines == ["ready", "ignored"]
    assert heard.cuts == [(StopCause.TIME_LIMIT, False), (StopCause.TIME_LIMIT, True)]


def test_workers_hear_no_interrupt_and_outlive_nothing() -> None:
    """SIGINT goes to the training alone; its process group is killed at the end."""
    clock = FakeClock()
    code = (
        "import subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time\\ntry: time.sleep(99)\\n"
        'except KeyboardInterrupt: print("worker interrupted", flush=True)\'])\n'
        "print(worker.pid, flush=True)\n"
        "try: print('ready', flush=True); time.sleep(99)\n"
        "except KeyboardInterrupt: time.sleep(0.2); sys.exit(130)"
    )
    heard = Heard({"ready": lambda: clock.advance(101)})
    end = python(code, heard, clock=clock)
    assert end.returncode == 130
    assert "worker interrupted" not in heard.lines
    worker = int(heard.lines[0])
    for _ in range(200):  # The system buries it a moment later.
        status = Path(f"/proc/{worker}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            break
        time.sleep(0.01)
    else:
        pytest.fail("the worker outlived its training")


def test_a_stop_of_the_kernel_is_passed_on() -> None:
    """If the kernel is told to stop, the child gets SIGINT and its grace."""
    stop = StopFlag()

    def tell() -> None:
        stop.received = "SIGTERM"

    heard = Heard({"ready": tell})
    end = python(_SAVES, heard, stop=stop)
    assert (end.returncode, end.stop_cause) == (130, StopCause.INTERRUPTED)
    assert heard.lines == ["ready", "saved"]


def test_signals_to_the_kernel_are_noted_and_handlers_restored() -> None:
    """While the flag is installed SIGTERM only sets it; afterwards the old handlers are back."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    stop = StopFlag()
    assert stop.install()
    try:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    finally:
        stop.restore()
    assert stop.received == "SIGTERM"
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_child_hears_the_interrupt_though_the_kernel_was_started_to_ignore_it() -> None:
    """A background kernel inherits an ignored SIGINT; with the flag installed, its child does not."""
    clock = FakeClock()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = StopFlag()
    try:
        assert stop.install()
        heard = Heard({"ready": lambda: clock.advance(101), "saved": lambda: None})
        assert python(_SAVES, heard, clock=clock, stop=stop).returncode == 130
    finally:
        stop.restore()
        signal.signal(signal.SIGINT, before)


def test_a_listener_that_fails_leaves_no_child() -> None:
    """An exception while a line is handled ends the child and is raised."""

    def fail() -> None:
        raise RuntimeError("no")

    heard = Heard({"ready": fail})
    with pytest.raises(RuntimeError, match="no"):
        python(_IGNORES, heard)


def test_a_program_that_is_not_there() -> None:
    """Running it raises, capturing it returns None, and nothing hangs."""
    with pytest.raises(FileNotFoundError):
        ChildRunner()(ChildPlan(["/no/such/program"], _ENV), Heard())
    assert capture_output(["/no/such/program"], _ENV, 1.0) is None


def test_short_programs_are_captured() -> None:
    """Exit code and both streams are returned; a program that takes too long is not."""
    answer = capture_output([sys.executable, "-c", "import sys; print('a'); sys.exit(3)"], _ENV, 30.0)
    assert answer is not None
    assert (answer.returncode, answer.output) == (3, "a\n")
    assert capture_output([sys.executable, "-c", "import time; time.sleep(99)"], _ENV, 0.2) is None


def test_children_inherit_no_kaggle_variable() -> None:
    """Children do not inherit Kaggle's tokens."""
    env = child_environment({"KAGGLE_KEY": "s", "KAGGLE_DATA_PROXY_TOKEN": "s", "HOME": "/root"}, {"A": "1"})
    assert env == {"HOME": "/root", "PYTHONUNBUFFERED": "1", "A": "1"}
