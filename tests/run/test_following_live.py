"""Following over HTTP, with the emulator's faults."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from orchestrator.emulator import Emulator
from orchestrator.emulator.faults.kinds import Error, Fault, LogDropped, Reset, SlowStatus
from orchestrator.emulator.faults.plan import FaultPlan
from orchestrator.kaggle import connect
from orchestrator.kaggle.client import KaggleClient
from orchestrator.kaggle.logs import LogLine
from orchestrator.models import KernelPush, KernelRef, SessionState, SessionStatus
from orchestrator.run.context import RunContext, Target
from orchestrator.run.follow import follow_session
from orchestrator.run.ledger import Ledger
from tests.fakes.clock import HastyClock
from tests.support import USER, Cli

SOURCE = """
import sys, time
for number in range(40):
    print("line", number, flush=True)
    if number % 10 == 0:
        print("warning", number, file=sys.stderr, flush=True)
    time.sleep(0.02)
print("unfinished", end="")
"""
KERNEL = KernelRef(USER, "small-kernel")


@pytest.fixture
def kaggle_client(emulator: Emulator) -> Iterator[KaggleClient]:
    """The client, logged in at the emulator; retries happen, but nothing waits for them."""
    client = connect()
    with stamina.set_testing(True, attempts=8, cap=True):
        yield client
    client.close()


DROP = LogDropped(lines=12, first=4)
FAULTS: dict[str, tuple[Fault, ...]] = {
    "nothing": (),
    "the log drops": (DROP,),
    "the log drops as if it were whole": (DROP.model_copy(update={"clean": True}),),
    "the log drops at every line": (LogDropped(lines=1),),
    "the log is reset": (Reset(where="log", after=700, first=3),),
    "there is no log": (Error(where="log", status=404),),
    "every second log fails": (Error(where="log", status=503, every=2), DROP),
    "every second look fails": (Error(where="api:GetKernelSessionStatus", status=502, skip=1, every=2),),
    "looks are to be fewer": (
        Error(where="api:GetKernelSessionStatus", status=429, retry_after_s=60, skip=1, first=3),
        DROP,
    ),
    "the state lags": (SlowStatus(seconds=0.5), DROP),
    "the stored log fails at first": (Error(where="api:ListKernelSessionOutput", status=503, first=2), DROP),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_line_is_told_once_whatever_goes_wrong(
    emulator: Emulator, kaggle_client: KaggleClient, tmp_path: Path, name: str
) -> None:
    """With drops, replays, errors and late states each stream's lines are in order, to the end."""
    ref = kaggle_client.push(KernelPush(KERNEL, "Small kernel", SOURCE, None)).ref
    deadline = time.monotonic() + 30
    while kaggle_client.session_status(ref).state is SessionState.QUEUED:
        assert time.monotonic() < deadline
    emulator.server.faults.set(FaultPlan(faults=FAULTS[name]))
    with Ledger(tmp_path / "ledger.db", kaggle_client.service) as ledger:
        context = RunContext(kaggle_client, ledger, HastyClock())
        *events, last = follow_session(context, Target(ref, None))
    told = [event for event in events if isinstance(event, LogLine)]
    numbers = [f"line {number}" for number in range(40)]
    assert [line.text for line in told if line.stream == "stdout"] == [*numbers, "unfinished"]
    warnings = [line.text for line in told if line.stream == "stderr" and line.text.startswith("warning")]
    assert warnings == [f"warning {number}" for number in range(0, 40, 10)]
    assert last == SessionStatus(SessionState.COMPLETE)


def test_verbose_says_what_a_following_cost(
    emulator: Emulator, kaggle_client: KaggleClient, cli: Cli
) -> None:
    """With -v, its calls, time and rate are printed on the error stream at the end."""
    kaggle_client.push(KernelPush(KERNEL, "Small kernel", "print('hello')", None))
    result = cli("-v", "logs", "--follow", str(KERNEL))
    assert result.code == 0, result.said
    words = result.err.splitlines()[-1]
    assert words.endswith("an hour")
    assert f" calls to {emulator.url}; " in words
    assert " of following, " in words
    assert "an hour" not in cli("-v", "logs", str(KERNEL)).err
    assert "calls" not in cli("logs", "--follow", str(KERNEL)).err
