"""Whatever fails at Kaggle: no second run, no older parent, no lost results, no unreported push.

`tests/run/faults.py` tries every fault and every pair; these tests try a fixed part.
"""

import itertools

import pytest

from tests.run.faults import Search

EVERY = 300  # One pair of so many is tried.
CASES = [
    ("sync", "nothing was pushed", "fresh"),
    ("sync", "two have ended", "fresh"),
    ("sync", "two have ended", "laptop"),
    ("sync", "the second was killed and left outputs", "laptop"),
    ("push", "the second failed", "fresh"),
    ("push", "the second was trained here", "fresh"),
    ("sync", "after the one here the third was killed", "fresh"),
    ("sync", "the third was killed, and another machine has no results", "fresh"),
    ("pull", "two have ended", "fresh"),
    ("watch", "somebody saved a version on the website", "fresh"),
    ("watch", "somebody saved our version again", "laptop"),
]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """A search that has tried nothing yet."""
    return Search(tmp_path_factory.mktemp("search"))


@pytest.mark.parametrize(("command", "state", "machine"), CASES, ids=[", ".join(case) for case in CASES])
def test_a_part_of_all_faults_makes_nothing_wrong(
    search: Search, command: str, state: str, machine: str
) -> None:
    """All single faults and some pairs do no harm, each followed by a pass without faults."""
    tried = [*search.run(search.begin(state, machine), command, EVERY)]
    assert [(wrong, found) for wrong, found in tried if found] == []
    assert len(tried) > 10


def test_all_pairs_of_faults_beside_a_session_that_is_queued(search: Search) -> None:
    """Two old answers that agree hide it; only the last look before a push finds it then."""
    tried = [*search.run(search.begin("the first session is queued", "fresh"), "sync")]
    assert [(wrong, found) for wrong, found in tried if found] == []
    assert len(tried) > 100


@pytest.mark.parametrize(
    ("state", "kind"),
    [("somebody saved our version again", "stale"), ("the second failed", "empty")],
    ids=["old answers", "empty answers"],
)
def test_two_answers_of_a_kind_hide_neither_a_strangers_version_nor_a_failure(
    search: Search, state: str, kind: str
) -> None:
    """All pairs of old answers beside a copy that somebody saved, and of empty ones after a failure."""
    number = search.begin(state, "fresh")
    places = [place for place, fault in search.clean(number, "watch").faults() if fault == kind]
    for one, other in itertools.combinations(places, 2):
        wrong = {one: kind, other: kind}
        assert search.judged(number, wrong, "watch", search.outcome(number, wrong, "watch")) == []


def test_a_fault_does_not_end_a_watch(search: Search) -> None:
    """Through a session and the next one to the end of the run: one fault of five at each call."""
    number = search.begin("the second is running", "laptop")
    clean = search.clean(number, "watch")
    assert search.judged(number, {}, "watch", clean) == []
    for place, fault in [*clean.faults()][::5]:
        wrong = {place: fault}
        assert search.judged(number, wrong, "watch", search.outcome(number, wrong, "watch")) == []
