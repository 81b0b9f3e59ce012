"""Whatever fails at Kaggle: no second run, no older parent, no lost results, no unreported push.

`tests/run/faults.py` tries every fault and every pair; these tests a fixed part.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.download.storage import Storage, serve
from tests.run.faults import Search

EVERY = 300  # One pair of so many is tried.
CASES = [
    ("sync", "nothing was pushed", None),
    ("sync", "two have ended", None),
    ("sync", "two have ended", "laptop"),
    ("sync", "the second was killed and left outputs", "laptop"),
    ("push", "the second failed", None),
    ("pull", "two have ended", None),
]


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    """Where outputs are fetched from."""
    with serve() as served:
        yield served


@pytest.mark.parametrize(
    ("command", "state", "machine"),
    CASES,
    ids=[f"{case[0]}, {case[1]}, {case[2] or 'fresh'}" for case in CASES],
)
def test_a_part_of_all_faults_makes_nothing_wrong(
    tmp_path: Path, storage: Storage, command: str, state: str, machine: str | None
) -> None:
    """All single faults and some pairs do no harm, each followed by a pass without faults."""
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
