"""The next session downloads what a killed one kept, by URLs that only its source has."""

import ast
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kernel_template.contract import EndReason
from orchestrator.errors import ForbiddenError, RefusedError, ServiceError
from orchestrator.models import KernelPush
from orchestrator.render.stamp import RunStamp, read_stamp
from orchestrator.run.decide import RunState
from tests.download.storage import serve
from tests.fakes.sessions import Answer
from tests.run.conftest import Play
from tests.run.test_rescue import DATASET, FOLDER, corrupt, kill, uploads

KILLED = "asha/bangla-tts-b/1"
TAKEN = {
    "state.json",
    "train_log.txt",
    "metrics.jsonl",
    *(f"{FOLDER}/{name}" for name in ("checkpoint_120.pth", "checkpoint_150.pth", "best_model_120.pth")),
    *(f"{FOLDER}/{name}" for name in ("config.json", "trainer_0_log.txt")),
}


@pytest.fixture
def killed(after: Callable[..., Play]) -> Iterator[Play]:
    """Session 1 ended well at step 100; session 2 was killed after its checkpoint of step 150, all kept."""
    play = after(100)
    with serve() as storage:
        play.kaggle.storage = storage
        kill(play, play.pushed(), 120, 150)
        yield play


def settings_in(push: KernelPush) -> dict[str, Any]:
    """Return what a push tells its session."""
    for node in ast.parse(push.source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SETTINGS":
            settings: dict[str, Any] = ast.literal_eval(node.value)
            return settings
    raise AssertionError


def pushed(play: Play) -> tuple[KernelPush, RunStamp, dict[str, Any]]:
    """Make one pass, which must push: the push, its stamp, and what it tells its session."""
    play.pushed()
    push = play.kaggle.pushes[-1]
    stamp = read_stamp(push.source)
    assert stamp is not None
    return push, stamp, settings_in(push)


def fail(play: Play, *, keep: bool = True) -> None:
    """End the newest session as one that could not download; `keep` decides whether its outputs are kept."""
    push = play.kaggle.pushes[-1]
    version = f"{push.ref}/{len(play.kaggle.kernels[push.ref])}"
    words = "state.json of session 2 could not be downloaded: its address is not valid any more."
    play.kaggle.fail(version, words, keep=keep, reason=EndReason.HANDOVER_FAILED)
    if keep:
        left = play.kaggle.version(version)
        state = json.loads(left.outputs["state.json"])
        own = {**state["history"][-1], "from_step": 150, "to_step": 150}
        own |= {"reason": EndReason.HANDOVER_FAILED, "seconds": 40.0}
        state["history"] = [*settings_in(push)["before"], own]  # It has seen no other session's.
        left.outputs = {"state.json": json.dumps(state).encode()}


def test_the_next_session_downloads_it(killed: Play) -> None:
    """Its source lists each file with its URL; nothing passes this machine, and nothing is mounted."""
    push, stamp, settings = pushed(killed)
    assert (stamp.session, stamp.parent, stamp.failed_downloads) == (3, KILLED, 0)
    resume = settings["resume"]
    assert (resume["session"], resume["global_step"], resume["dataset"]) == (2, 150, None)
    assert set(resume["downloads"]) == TAKEN
    assert all("X-Goog-Signature" in url for url in resume["downloads"].values())
    assert (push.kernel_sources, len(push.dataset_sources), uploads(killed)) == ((), 1, 0)
    assert killed.kaggle.storage is not None
    assert killed.kaggle.storage.asked == []
    assert killed.sync().pushed is None


def test_no_url_is_told(killed: Play) -> None:
    """No URL is in what a pass returns, however it is printed, nor in the stamp."""
    done = killed.sync()
    start = done.decision.start
    assert start is not None
    assert start.downloads
    assert "Signature" not in f"{done!r} {start.downloads!r} {killed.kaggle.pushes[-1]!r}"
    info = killed.kaggle.kernel(killed.kaggle.pushes[-1].ref)
    assert "Signature" in str(info.source)
    assert "Signature" not in repr(info)
    head = killed.kaggle.pushes[-1].source.partition('"""')[0]
    assert head.startswith("# kgtts-run")
    assert "Signature" not in head


def test_a_best_model_older_than_what_is_mounted_goes_along(killed: Play) -> None:
    """The best model is downloaded; checkpoints that are not newer are not."""
    kill(killed, KILLED, 90, 150)
    downloads = pushed(killed)[2]["resume"]["downloads"]
    names = {name.rpartition("/")[2] for name in downloads if name.endswith(".pth")}
    assert names == {"checkpoint_150.pth", "best_model_90.pth"}


@pytest.mark.parametrize("keep", [True, False])
def test_failed_downloads_get_fresh_urls_then_the_dataset(killed: Play, *, keep: bool) -> None:
    """After two downloads that came too late the dataset is used; the run neither stalls nor fails."""
    urls, stamps = [], []
    for failures in range(2):
        _, stamp, settings = pushed(killed)
        urls.append(settings["resume"]["downloads"])
        stamps.append((stamp.session, stamp.parent, stamp.failed_downloads))
        assert uploads(killed) == 0
        fail(killed, keep=keep)
        seen = killed.look()
        assert seen.state is RunState.READY
        assert "continues from step 150" in seen.decision.reason
        assert ("once", "2 times")[failures] in seen.decision.reason
        (note,) = seen.warnings
        assert note.startswith(f"Session {3 + failures} ended at its start: state.json of session 2 could")
    assert not set(urls[0].values()) & set(urls[1].values())
    push, stamp, settings = pushed(killed)
    stamps.append((stamp.session, stamp.parent, stamp.failed_downloads))
    assert stamps == [(3, KILLED, 0), (4, KILLED, 1), (5, KILLED, 2)]
    assert (settings["resume"]["downloads"], settings["resume"]["dataset"]) == (None, DATASET)
    assert (push.dataset_sources[1:], uploads(killed)) == ((DATASET,), 1)
    if keep:
        before = [(item["session"], item["reason"]) for item in settings["before"]]
        assert before == [(3, "handover_failed"), (4, "handover_failed")]


def test_what_no_way_can_bring_is_lost(killed: Play) -> None:
    """After two sessions found everything damaged, the dataset's own check ends it, and the run continues."""
    for _ in range(2):
        killed.pushed()
        fail(killed)
    corrupt(killed)
    done = killed.sync()
    assert done.pushed is not None
    assert done.warnings[-1].startswith("What session 2 kept, up to step 150, is lost: ")
    assert killed.kaggle.pushes[-1].kernel_sources == ("asha/bangla-tts-a",)


def test_sessions_that_die_without_a_word_still_stall_the_run(killed: Play) -> None:
    """Sessions whose URLs had expired do not count among them."""
    for _ in range(2):
        killed.pushed()
        fail(killed)
    for index in range(2):
        killed.kaggle.kill(killed.pushed())
        assert killed.look().state is (RunState.READY, RunState.STALLED)[index]
    assert uploads(killed) == 1


def test_what_it_did_with_them_counts_from_the_next_killed_session_on(killed: Play) -> None:
    """If a session that resumed is killed too, its own outputs are downloaded."""
    killed.pushed()
    fail(killed)
    kill(killed, killed.pushed(), 170)
    _, stamp, settings = pushed(killed)
    assert (stamp.session, stamp.failed_downloads, settings["resume"]["global_step"]) == (5, 0, 170)
    assert settings["resume"]["downloads"]
    assert uploads(killed) == 0


def test_hours_of_short_sessions_are_counted(killed: Play) -> None:
    """They count by what they took, not by their plan, towards the limit of hours."""
    killed.changes["run.max_gpu_hours"] = 14
    for _ in range(2):
        killed.pushed()
        fail(killed)
    view = killed.look().view
    assert view is not None
    assert [(item.session, item.reason) for item in view.history][2:] == [
        (3, "handover_failed"),
        (4, "handover_failed"),
    ]
    assert killed.sync().pushed is not None


@pytest.mark.parametrize("key", ["kernel.internet", "kernel.private"])
def test_without_internet_or_for_anybody_to_read_the_dataset_is_used(killed: Play, key: str) -> None:
    """A public kernel's source, which would hold the URLs, can be read by anybody."""
    killed.changes[key] = "false"
    assert pushed(killed)[2]["resume"]["downloads"] is None
    assert uploads(killed) == 1


def crowd(play: Play) -> None:
    """The run folder has very many files."""
    version = play.kaggle.version(KILLED)
    version.outputs = {**version.outputs, **{f"{FOLDER}/events.{number}": b"" for number in range(60)}}


def lengthen(play: Play) -> None:
    """The URLs are very long."""
    assert play.kaggle.storage is not None
    play.kaggle.storage.url += "/" * 20_000


def unlock(play: Play) -> None:
    """The storage is another machine, reached without encryption, by the first listing."""
    listed = [
        dataclasses.replace(file, url=file.url.replace("127.0.0.1", "192.0.2.7"))
        for file in play.kaggle.outputs(play.kaggle.pushes[-1].ref.at(1))
    ]
    play.kaggle.next("outputs", Answer(listed))


def refuse(play: Play) -> None:
    """The listing is refused once."""
    play.kaggle.next("outputs", RefusedError("Kaggle refused."))


def hide(play: Play) -> None:
    """The first listing is not whole, since outputs are still being saved: it lacks the newest checkpoint."""
    listed = play.kaggle.outputs(play.kaggle.pushes[-1].ref.at(1))
    newest = f"{FOLDER}/checkpoint_150.pth"
    play.kaggle.next("outputs", Answer([file for file in listed if file.name != newest]))


@pytest.mark.parametrize("harm", [crowd, lengthen, unlock, refuse, hide])
def test_what_cannot_be_downloaded_is_handed_over_as_a_dataset(
    killed: Play, harm: Callable[[Play], None]
) -> None:
    """The dataset is used in the same pass."""
    harm(killed)
    done = killed.sync()
    assert done.pushed is not None
    assert uploads(killed) == 1
    assert "checkpoint_150.pth" in killed.kaggle.mounted(DATASET)
    assert "continues from step 150" in done.decision.reason


@pytest.mark.parametrize(
    "error", [ForbiddenError("Kaggle refused (403)."), ServiceError("Kaggle does not answer."), Answer([])]
)
def test_a_listing_that_cannot_be_seen_changes_nothing(killed: Play, error: Any) -> None:
    """If the listing cannot be read, the next pass tries again."""
    killed.kaggle.next("outputs", error)
    with pytest.raises(ServiceError):
        killed.sync()
    assert (len(killed.kaggle.pushes), uploads(killed)) == (2, 0)
    killed.pushed()
    assert uploads(killed) == 0


def test_a_push_without_an_answer_is_not_repeated(killed: Play) -> None:
    """The stamp shows that it arrived, whatever its source has."""
    killed.kaggle.next("push", ServiceError("No answer."))
    with pytest.raises(ServiceError) as caught:
        killed.sync()
    assert "Signature" not in str(caught.value)
    assert killed.sync().pushed is not None
    assert [push.ref.slug for push in killed.kaggle.pushes].count("bangla-tts-a") == 2
