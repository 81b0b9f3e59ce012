"""A run is read from Kaggle alone: its newest session, and what the next one can continue from."""

import json
from collections.abc import Callable

import pytest

from orchestrator.errors import ServiceError, UsageError
from orchestrator.models import KernelRef, SessionState
from orchestrator.render.stamp import read_stamp
from orchestrator.run.view import RunView
from tests.download.storage import Storage
from tests.fakes.inputs import Upload
from tests.run.conftest import Play

After = Callable[..., Play]


def view_of(play: Play) -> RunView:
    """Return what Kaggle shows now."""
    view = play.look().view
    assert view is not None
    return view


def test_nothing_is_seen_before_the_first_push(play: Play) -> None:
    """Two unknown kernels are not a run, and neither is somebody's notebook of that name."""
    assert play.look().view is None
    play.kaggle.save("asha/bangla-tts-a")
    assert play.look().view is None


def test_siblings_take_turns(after: After) -> None:
    """Each session goes to the kernel that its parent is not on, and names the parent's version."""
    play = after(100, 200, 300, 400)
    assert {str(ref): len(versions) for ref, versions in play.kaggle.kernels.items()} == {
        "asha/bangla-tts-a": 2,
        "asha/bangla-tts-b": 2,
    }
    stamps = [read_stamp(push.source) for push in play.kaggle.pushes]
    assert {(stamp.session, stamp.kernel, stamp.parent) for stamp in stamps if stamp} == {
        (1, "asha/bangla-tts-a", None),
        (2, "asha/bangla-tts-b", "asha/bangla-tts-a/1"),
        (3, "asha/bangla-tts-a", "asha/bangla-tts-b/1"),
        (4, "asha/bangla-tts-b", "asha/bangla-tts-a/2"),
    }
    assert [push.kernel_sources for push in play.kaggle.pushes if push.ref.slug.endswith("b")] == [
        ("asha/bangla-tts-a",),
        ("asha/bangla-tts-a",),
    ]


def test_a_running_session_shows_what_it_continues_from(after: After) -> None:
    """Its step is its parent's until it has ended."""
    play = after(100)
    play.pushed()
    view = view_of(play)
    assert (view.newest.stamp.session, view.newest.status.state) == (2, SessionState.QUEUED)
    assert (view.global_step, len(view.history), view.sessions_without_progress) == (100, 1, 0)


def test_an_ended_session_takes_few_calls(after: After) -> None:
    """Six calls: the quota, both siblings, their states and one small file."""
    play = after(*range(100, 900, 100))
    play.kaggle.asked.clear()
    view = view_of(play)
    assert view.global_step == 800
    assert [call.split()[0] for call in play.kaggle.asked] == [
        "quota",
        "kernel",
        "status",
        "kernel",
        "status",
        "output",
    ]


@pytest.mark.parametrize("state", [SessionState.ERROR, SessionState.CANCEL_ACKNOWLEDGED])
def test_a_killed_session_leaves_its_parent_to_go_on_from(after: After, state: SessionState) -> None:
    """Nothing of it was kept, so the mount still has its parent."""
    play = after(100)
    play.kaggle.kill(play.pushed(), state=state)
    view = view_of(play)
    assert (str(view.resumable and view.resumable.ref), view.global_step) == ("asha/bangla-tts-a/1", 100)
    assert (view.sessions_without_progress, view.newest.cause, view.unreachable) == (1, None, None)


def test_outputs_of_a_killed_session_cannot_be_mounted(after: After) -> None:
    """Kaggle kept them, but a mount has only completed versions."""
    play = after(100)
    version = play.pushed()
    state = {**play.kaggle.state_of(version, 150), "status": "running"}
    play.kaggle.kill(version, keep=json.dumps(state).encode())
    view = view_of(play)
    assert (view.global_step, view.without_stranded().sessions_without_progress) == (100, 1)
    assert [item.session for item in view.history] == [1, 2]
    assert view.stranded is not None
    assert (str(view.stranded.ref), view.stranded.step, view.sessions_without_progress) == (version, 150, 0)


def test_a_state_that_was_copied_from_the_parent_is_not_the_sessions_own(after: After) -> None:
    """A kernel that was killed before it wrote its own state has none."""
    play = after(100)
    play.kaggle.kill(play.pushed(), keep=play.kaggle.version("asha/bangla-tts-a/1").outputs["state.json"])
    assert view_of(play).newest.result is None


def test_a_killed_session_after_an_idle_one_is_the_second_in_a_row(after: After) -> None:
    """The count is the same with and without kept outputs."""
    play = after(100, 100)
    version = play.pushed()
    play.kaggle.kill(version)
    assert view_of(play).sessions_without_progress == 2
    play.kaggle.kill(version, keep=json.dumps(play.kaggle.state_of(version, None)).encode())
    assert view_of(play).sessions_without_progress == 2


def test_the_kernels_own_words_are_the_cause(after: After) -> None:
    """They are in its state, or in its log if the outputs were not kept."""
    play = after(100, "The disk is full.")
    assert view_of(play).newest.cause == "The disk is full."
    play.kaggle.fail(play.pushed(retry=True), "No GPU.\x1b[31m\n is there", keep=False)
    assert view_of(play).newest.cause == "No GPU. is there"


@pytest.mark.parametrize("keep", [True, False])
def test_a_kernel_that_was_told_to_stop_was_killed(after: After, *, keep: bool) -> None:
    """An interruption is not the kernel's fault, so another session may work."""
    play = after(100)
    play.kaggle.fail(play.pushed(), "The training was interrupted.", keep=keep, reason="interrupted")
    assert (view_of(play).newest.cause, view_of(play).sessions_without_progress) == (None, 1)


def test_a_version_that_somebody_made_is_looked_behind(after: After) -> None:
    """The run is found even if a kernel's newest version is not ours."""
    play = after(100)
    play.kaggle.save("asha/bangla-tts-a", state=SessionState.ERROR)
    view = view_of(play)
    assert (str(view.newest.ref), view.global_step) == ("asha/bangla-tts-a/1", 100)
    assert view.heads == {KernelRef("asha", "bangla-tts-a"): 2}


def test_a_completed_version_of_somebody_else_hides_what_was_saved(after: After) -> None:
    """The mount gives that version, so nothing can be continued without another of the run."""
    play = after(100)
    play.kaggle.save("asha/bangla-tts-a")
    view = view_of(play)
    assert (view.resumable, str(view.unreachable)) == (None, "asha/bangla-tts-a/1")
    assert view.has_saved


def test_what_the_mount_really_gives_becomes_the_parent(after: After) -> None:
    """If the newest is hidden, the sibling's completed version is used."""
    play = after(100, 200, 300)
    play.kaggle.save("asha/bangla-tts-a")
    view = view_of(play)
    assert (str(view.resumable and view.resumable.ref), view.global_step) == ("asha/bangla-tts-b/1", 200)
    assert (str(view.unreachable), view.sessions_without_progress) == ("asha/bangla-tts-a/2", 0)
    play.kaggle.storage = Storage()
    with pytest.raises(UsageError, match=r"asha/bangla-tts-a/3, .* was not pushed by kgtts") as caught:
        play.sync()
    assert "kgtts push --overwrite" in (caught.value.hint or "")
    assert play.pushed(overwrite=True) == "asha/bangla-tts-a/4"


def test_a_strangers_version_is_named_before_anything_is_waited_for(after: After) -> None:
    """Nobody waits for a dataset, or uploads one, to learn then that nothing is pushed."""
    play = after(100)
    play.kaggle.save("asha/bangla-tts-b")
    play.kaggle.datasets["asha/datahrbnn"].append(Upload({"a": b""}, ready_s=1e9))
    with pytest.raises(UsageError, match=r"asha/bangla-tts-b/1, .* was not pushed by kgtts"):
        play.sync()


def test_a_version_run_again_by_hand_takes_the_place_of_the_first(after: After) -> None:
    """It has the same stamp: while it runs it is waited for, then it is what the mount gives."""
    play = after(100, None)
    first = play.kaggle.version("asha/bangla-tts-a/1")
    again = play.kaggle.save("asha/bangla-tts-a", first.source, SessionState.RUNNING)
    assert str(view_of(play).newest.ref) == "asha/bangla-tts-a/2"
    assert play.sync().pushed is None
    again.state, again.outputs = SessionState.COMPLETE, first.outputs
    view = view_of(play)
    assert (str(view.resumable and view.resumable.ref), view.unreachable) == ("asha/bangla-tts-a/2", None)


def test_a_parent_that_was_deleted_is_missed(after: After) -> None:
    """Starting again from the base voice would silently lose the run."""
    play = after(100, None)
    play.kaggle.delete(KernelRef("asha", "bangla-tts-a"))
    view = view_of(play)
    assert (view.resumable, str(view.unreachable)) == (None, "asha/bangla-tts-a/1")


@pytest.mark.parametrize("parent", ["", "nonsense", "asha/bangla-tts-a", "a b/c d/0", "eve/other-kernel/1"])
def test_an_edited_stamp_does_no_harm(after: After, parent: str) -> None:
    """An invalid parent, or one of another run, is not continued."""
    play = after(100)
    version = play.kaggle.version(play.pushed())
    version.source = version.source.replace("asha/bangla-tts-a/1", parent)
    version.state = SessionState.ERROR
    view = play.look().view
    # The empty one makes the stamp unreadable: then the session before it is the newest that is ours.
    assert view is not None
    assert view.newest.stamp.session == (2 if parent else 1)
    assert view.global_step == 100


def test_a_version_without_a_session_is_as_good_as_queued(after: After) -> None:
    """It was just saved and its session may appear, so a push would be a second one."""
    play = after(100)
    play.pushed()
    play.kaggle.has_sessions = False
    assert view_of(play).newest.status.state is SessionState.QUEUED


def test_a_kernel_without_a_version_number_is_no_reason_to_push(after: After) -> None:
    """Treating the run as new would start a session with every pass."""
    play = after(100)
    play.kaggle.tells_versions = False
    with pytest.raises(ServiceError, match="which version"):
        play.look()
