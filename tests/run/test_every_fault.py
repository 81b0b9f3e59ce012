"""Whatever goes wrong at Kaggle: no second run, no older parent, no lost collection, no unreported push.

`tests/run/faults.py` tries every fault and every pair; these tests a fixed part.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.download.storage import Storage, serve
from tests.run.faults import COMMANDS, Search

EVERY = 150  # One pair of so many is tried.
STATES = {
    "sync": ("nothing was pushed", "two have ended", "the second was killed and left outputs"),
    "push": ("the second failed", "the third is running"),
    "pull": ("two have ended",),
}


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    """Where outputs are fetched from."""
    with serve() as served:
        yield served


@pytest.mark.parametrize("machine", [None, "laptop"], ids=["a fresh machine", "the machine that pushed"])
@pytest.mark.parametrize(
    ("command", "state"), [(command, state) for command in COMMANDS for state in STATES.get(command, ())]
)
def test_a_part_of_all_faults_makes_nothing_wrong(
    tmp_path: Path, storage: Storage, command: str, state: str, machine: str | None
) -> None:
    """All single faults and some pairs, each followed by a pass without any."""
    search = Search(tmp_path, storage, state, machine, command)
    assert search.clean.found == []
    assert [(wrong, found) for wrong, found in search.run(EVERY) if found] == []
    assert search.tried > 10


def test_a_fault_does_not_end_a_watch(tmp_path: Path, storage: Storage) -> None:
    """Through a session and the next one to the end of the run: one fault of five at each call."""
    search = Search(tmp_path, storage, "the second is running", "laptop", "watch")
    assert (search.clean.error, search.clean.found) == (None, [])
    places = [(place, fault) for place, faults in enumerate(search.clean.faulty.fitting) for fault in faults]
    for place, fault in places[::5]:
        assert search.outcome({place: fault}).found == [], (place, fault)
