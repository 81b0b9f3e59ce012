"""SIGKILL at random moments of a pull: what is here is not downloaded again, and nothing is wrong.

`KGTTS_TEST_KILLS=20` makes it twenty moments.
"""

import os
import shutil
from pathlib import Path

from orchestrator.emulator import Emulator
from orchestrator.emulator.faults.plan import FaultPlan
from tests.download.killing import Order, killed, pulled_in, received
from tests.download.support import content, parts
from tests.download.test_faults import KEY, REF, USER, digest, emulator, right

__all__ = ["emulator"]  # The fixture.

KILLS = int(os.environ.get("KGTTS_TEST_KILLS", "2"))
SLOW = {"what": "bandwidth", "where": "storage", "bytes_per_s": 10_000_000}


def order(emulator: Emulator, folder: Path) -> Order:
    """A pull into `folder`, with its counter at 0."""
    folder.mkdir()
    counter = folder / "counter"
    counter.write_bytes(bytes(8))
    return Order(emulator.url, USER, KEY, str(REF), folder / "to", counter)


def test_a_killed_pull_is_gone_on_with(emulator: Emulator, tmp_path: Path) -> None:
    """Killed once at each moment and pulled to the end, at most 5 % is received twice."""
    wanted = right(emulator)
    emulator.server.faults.set(FaultPlan.model_validate({"faults": [SLOW]}))
    try:
        whole = order(emulator, tmp_path / "whole")
        seconds = pulled_in(whole)
        size = received(whole)
        for number in range(KILLS):
            one = order(emulator, tmp_path / str(number))
            moments = list(killed(one, seconds, 1, seed=5 + number))
            pulled_in(one)
            brought = {name: digest(data) for name, data in content(one.folder).items()}
            brought.pop("session.log")
            assert brought == wanted, moments
            assert parts(one.folder) == [], moments
            assert received(one) - size <= 0.05 * size, moments
            shutil.rmtree(one.folder)
    finally:
        emulator.server.faults.clear()


def test_a_pull_killed_again_and_again_arrives(emulator: Emulator, tmp_path: Path) -> None:
    """Each of many kills loses only what was in flight."""
    emulator.server.faults.set(FaultPlan.model_validate({"faults": [SLOW]}))
    try:
        one = order(emulator, tmp_path / "one")
        assert len(list(killed(one, 0.4, KILLS, seed=7))) == KILLS
        pulled_in(one)
    finally:
        emulator.server.faults.clear()
    brought = {name: digest(data) for name, data in content(one.folder).items()}
    brought.pop("session.log")
    assert brought == right(emulator)
    assert parts(one.folder) == []
