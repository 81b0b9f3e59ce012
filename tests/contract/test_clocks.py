"""What every clock does: the machine's and the tests'."""

import threading
from datetime import UTC
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from orchestrator.emulator.options import MachineClock, WaitableClock
from orchestrator.ports import Clock, SystemClock
from tests.fakes.clock import FakeClock, HastyClock

if TYPE_CHECKING:
    from orchestrator.emulator.options import WaitableClock

SLEEPING: dict[str, type[Clock]] = {"system": SystemClock, "fake": FakeClock, "hasty": HastyClock}


@pytest.mark.parametrize("name", SLEEPING)
def test_sleeping_lets_time_pass(name: str) -> None:
    """Both of its times advance by what was asked for, also by 0."""
    clock = SLEEPING[name]()
    before, moment = clock.monotonic(), clock.now()
    clock.sleep(0.0)
    clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01 - 1e-9
    assert clock.now() >= moment
    assert moment.tzinfo is UTC


@pytest.mark.parametrize("name", [*SLEEPING, "ticking"])
def test_monotonic_time_never_goes_back(name: str) -> None:
    """It never decreases, whatever is done in between."""
    clock = FakeClock(tick_s=1.0) if name == "ticking" else SLEEPING[name]()
    looks = []
    for _ in range(10):
        clock.now()
        clock.sleep(0.001)
        looks.append(clock.monotonic())
    assert all(before <= after for before, after in pairwise(looks))


def waiting(name: str) -> "WaitableClock":
    """Return a clock of the emulator's kind."""
    return MachineClock() if name == "machine" else FakeClock()


@pytest.mark.posix
@pytest.mark.parametrize("name", ["machine", "fake"])
def test_a_wait_ends_when_it_is_notified(name: str) -> None:
    """Without a time limit it waits only for that."""
    clock, condition, woken = waiting(name), threading.Condition(), threading.Event()

    def wait() -> None:
        with condition:
            clock.wait(condition, None)
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    while not woken.wait(0.01):
        with condition:
            condition.notify_all()
    thread.join()


@pytest.mark.posix
@pytest.mark.parametrize("name", ["machine", "fake"])
def test_a_wait_ends_when_its_time_comes(name: str) -> None:
    """The machine's clock reaches it by itself, the tests' clock when it is advanced."""
    clock, condition, woken = waiting(name), threading.Condition(), threading.Event()
    until = clock.monotonic() + 0.05

    def wait() -> None:
        with condition:
            while clock.monotonic() < until:
                clock.wait(condition, until)
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    if isinstance(clock, FakeClock):
        assert not woken.wait(0.1)
        clock.advance(0.05)
    assert woken.wait(60)
    thread.join()
