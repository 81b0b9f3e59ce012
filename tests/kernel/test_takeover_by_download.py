"""A session downloads what it resumes from: verified like a mount, or ended at once."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import EndReason
from kernel_template.start.download import DownloadRules, Downloads
from kernel_template.start.parent import ParentSession, ResumePoint
from kernel_template.tools.files import write_atomic
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.process import StopFlag
from tests.download.storage import Answer, Storage, serve
from tests.fakes.clock import FakeClock
from tests.kernel.kit import Log, paths_in, put_checkpoint, reporter
from tests.kernel.sessions import HEAD, Played, resume_of, stamp
from tests.kernel.test_resume import FOLDER, STEPS, TAKEN, asked, mount
from tests.kernel.test_session_chain import ON

NEWEST = f"{FOLDER}/checkpoint_14.pth"
EXPIRED = Answer(status=400)


@pytest.fixture
def storage() -> Iterator[Storage]:
    """A storage server on loopback."""
    with serve() as started:
        yield started


def stored(storage: Storage, outputs: Path, **instead: Answer) -> dict[str, str]:
    """Move a session's outputs to the storage server, some (by stem) changed; returns the URLs."""
    urls = {}
    for path in sorted(outputs.rglob("*")):
        if path.is_file() and not path.name.startswith(".kgtts-"):
            name = path.relative_to(outputs).as_posix()
            urls[name] = storage.put(name, instead.get(path.stem, Answer(path.read_bytes()))).url
    shutil.rmtree(outputs)
    return urls


def take(root: Path, log: Log, urls: dict[str, str], **changes: Any) -> ResumePoint:
    """Resume from the parent."""
    paths, clock = paths_in(root), FakeClock()
    downloads = Downloads(
        urls, paths, reporter(log), StopFlag(), DownloadRules(clock=clock, sleep=clock.sleep)
    )
    section = asked(downloads=urls, **changes)
    try:
        return ParentSession(section, paths, reporter(log), write_atomic, downloads).take_over()
    finally:
        assert not downloads.folder.exists()
        assert "127.0.0.1" not in log.text


def refused(root: Path, log: Log, urls: dict[str, str], **changes: Any) -> str:
    """Return why it cannot be resumed; the run is not to blame."""
    with pytest.raises(KernelFailure) as caught:
        take(root, log, urls, **changes)
    assert caught.value.reason is EndReason.HANDOVER_FAILED
    assert "127.0.0.1" not in caught.value.message
    return caught.value.message


def test_what_is_downloaded_is_taken_over(root: Path, log: Log, storage: Storage) -> None:
    """Run folder, newest checkpoint, best model and logs are downloaded; older checkpoints are not."""
    urls = stored(storage, mount(root))
    resumed = take(root, log, urls)
    folder = root / "working" / FOLDER
    assert (resumed.checkpoint, resumed.global_step) == (folder / "checkpoint_14.pth", 14)
    assert resumed.best_model == folder / "best_model_12.pth"
    assert {path.name for path in folder.iterdir()} == TAKEN
    assert (root / "working" / "train_log.txt").read_text() == "before\n"
    metrics = (root / "working" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["global_step"] for line in metrics] == [9, 12, 14]
    fetched = {list(urls)[int(key)] for key in storage.asked}
    assert fetched == set(urls) - {f"{FOLDER}/checkpoint_10.pth", f"{FOLDER}/best_model.pth"}
    assert len(storage.asked) == len(fetched)


@pytest.mark.parametrize(
    ("instead", "why"),
    [
        (Answer(b"PK something else"), r"could not be downloaded (it has 17 B instead of"),
        (Answer(status=404), "could not be downloaded (the storage does not have it any more (404))"),
        (None, "could not be downloaded (its SHA-256 differs from the one in state.json)"),
    ],
)
def test_a_damaged_newest_checkpoint_falls_back(
    root: Path, log: Log, storage: Storage, instead: Answer | None, why: str
) -> None:
    """The next checkpoint is downloaded instead, and reported."""
    folder = mount(root)
    if instead is None:
        put_checkpoint(folder / NEWEST, "checkpoint_1X.pth")
        instead = Answer((folder / NEWEST).read_bytes())
    resumed = take(root, log, stored(storage, folder, checkpoint_14=instead))
    assert resumed.checkpoint.name == "best_model_12.pth"
    (event,) = log.events("warning")
    assert event["message"].startswith(f"checkpoint_14.pth {why}")
    assert event["message"].endswith("the training continues from best_model_12.pth instead.")


def test_an_older_checkpoint_is_downloaded_later(root: Path, log: Log, storage: Storage) -> None:
    """The weights of the newest turn out to be NaN when they are loaded: nothing is mounted to go back to."""
    paths, clock, urls = paths_in(root), FakeClock(), stored(storage, mount(root))
    rules = DownloadRules(clock=clock, sleep=clock.sleep)
    downloads = Downloads(urls, paths, reporter(log), StopFlag(), rules)
    parent = ParentSession(asked(downloads=urls), paths, reporter(log), write_atomic, downloads)
    assert parent.take_over().checkpoint.name == "checkpoint_14.pth"
    assert parent.take_older({"checkpoint_14.pth"}).checkpoint.name == "best_model_12.pth"
    with pytest.raises(KernelFailure, match="in all its checkpoints") as caught:
        parent.take_older(set(STEPS))
    assert caught.value.reason is EndReason.HANDOVER_FAILED
    assert not downloads.folder.exists()


def test_without_a_whole_checkpoint_another_way_is_tried(root: Path, log: Log, storage: Storage) -> None:
    """The run has not failed: the next pass knows other ways."""
    gone = Answer(status=404)
    urls = stored(storage, mount(root), checkpoint_14=gone, checkpoint_10=gone, best_model_12=gone)
    assert "no checkpoint in " in refused(root, log, urls)


@pytest.mark.parametrize("name", ["state", "checkpoint_14", "config"])
def test_expired_urls_end_the_session(root: Path, log: Log, storage: Storage, name: str) -> None:
    """Whichever file shows it first, the error names the file and the session."""
    message = refused(root, log, stored(storage, mount(root), **{name: EXPIRED}))
    assert message.partition(" of session 2 ")[0].endswith(f"{name}.{'pth' if '_' in name else 'json'}")
    assert "(owner/voice-a version 3) could not be downloaded: its address is not valid any more" in message
    assert not list((root / "working").rglob("*.pth"))


def test_small_files_that_are_gone_are_done_without(root: Path, log: Log, storage: Storage) -> None:
    """A missing log or configuration is replaced: by none, or by the base voice's with the run's settings."""
    gone = Answer(status=404)
    resumed = take(root, log, stored(storage, mount(root), trainer_0_log=gone, train_log=gone))
    assert resumed.global_step == 14
    assert len(log.events("warning")) == 2


def test_the_outputs_of_another_session_are_not_used(root: Path, log: Log, storage: Storage) -> None:
    """They are refused before a checkpoint is downloaded."""
    urls = stored(storage, mount(root, run={"id": "3f9c", "session": 1}))
    assert "an older version, session 1 of the same run" in refused(root, log, urls)
    assert not {key for key in storage.asked if list(urls)[int(key)].endswith(".pth")}


def test_another_checkpoint_under_the_same_step_is_not_used(root: Path, log: Log, storage: Storage) -> None:
    """The hash recorded at the push decides."""
    urls = stored(storage, mount(root))
    assert "instead of 000000000000…" in refused(root, log, urls, sha256="0" * 64)


@pytest.fixture
def first(tmp_path: Path) -> Played:
    """The first session of a run."""
    (tmp_path / "one").mkdir()
    script = HEAD + "save(2); save(4)\n"
    return Played(tmp_path / "one", Log(), script, run=stamp(1))


def second(first: Played, root: Path, log: Log, storage: Storage, **instead: Answer) -> Played:
    """The following session, which downloads what the first one left, without its manifest."""
    state = first.state
    (first.root / "working" / "manifest.json").unlink()
    urls = stored(storage, first.root / "working", **instead)
    resume = {**resume_of(state), "downloads": urls}
    return Played(root, log, HEAD + ON, run=stamp(2), resume=resume, before=[])


def left(root: Path) -> str:
    """Return all text that a session leaves."""
    return "".join(
        path.read_bytes().decode("utf-8", "replace")
        for path in (root / "working").rglob("*")
        if path.is_file()
    )


def test_a_whole_session_goes_on(first: Played, root: Path, log: Log, storage: Storage) -> None:
    """Nothing that it prints or leaves has a URL."""
    played = second(first, root, log, storage)
    assert played.code == 0
    assert (played.state["global_step"], len(played.state["history"])) == (6, 2)
    assert "X-Goog" not in log.text + left(root)


def test_a_whole_session_whose_urls_have_expired(
    first: Played, root: Path, log: Log, storage: Storage
) -> None:
    """The log and state.json say why, for the next pass, and nothing is trained."""
    played = second(first, root, log, storage, state=EXPIRED)
    assert (played.code, played.state["reason"], played.end["reason"]) == (1, *["handover_failed"] * 2)
    assert "not be downloaded: its address is not valid any more" in played.state["message"]
    assert (played.state["global_step"], played.state["checkpoints"]) == (None, [])
    (own,) = played.state["history"]
    assert (own["session"], own["from_step"], own["to_step"]) == (2, 4, 4)
    assert "train" not in {event["name"] for event in log.events("stage")}
    assert "X-Goog" not in log.text + left(root)
