"""Which session a command means."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from kernel_template.contract import STATE_FILE
from orchestrator.download import TransferListener
from orchestrator.errors import NotFoundError, RefusedError, ServiceError, UsageError
from orchestrator.models import KernelPush, KernelRef, SessionState
from orchestrator.render.stamp import RunStamp
from orchestrator.run.collect import collect
from orchestrator.run.context import RunContext, Target
from orchestrator.run.ledger import Intent, Ledger, PushOutcome, SessionRecord
from orchestrator.run.status import report_session
from orchestrator.run.target import delete, find_target
from tests.fakes.kaggle import FakeKaggle
from tests.fakes.sessions import Reading, said
from tests.run.states import STATES, start

KERNEL = KernelRef("asha", "bangla-tts")


def remember(  # noqa: PLR0913 - each is a word of its own to the test.
    ledger: Ledger,
    kaggle: FakeKaggle,
    run_id: str,
    version: int | None,
    *,
    kernel: KernelRef = KERNEL,
    session: int = 1,
) -> SessionRecord:
    """Record a push in the ledger; without a version its answer was lost."""
    kaggle.clock.advance(60)
    intent = Intent(run_id, session, kernel, "NvidiaTeslaT4", "f" * 64)
    record = ledger.intend(intent, kaggle.clock.now())
    return record if version is None else ledger.confirm(record, kernel.at(version))


def push_from_elsewhere(kaggle: FakeKaggle, kernel: str, session: int, parent: str | None = None) -> None:
    """Push a session of a run from another machine."""
    stamp = RunStamp("run", session, parent, "f" * 64, kernel, "0.1.0")
    ref = KernelRef.parse(kernel)
    kaggle.push(KernelPush(ref, ref.slug, f"{stamp.comment}\n", accelerator=None))


def test_nothing_named_means_the_newest(context: RunContext, ledger: Ledger, kaggle: FakeKaggle) -> None:
    """The last push from this machine is meant, at its version."""
    remember(ledger, kaggle, "aaa111", 1)
    record = remember(ledger, kaggle, "bbb222", 2)
    assert find_target(context, None) == Target(KERNEL.at(2), record)


def test_nothing_named_and_nothing_known_means_the_settings_kernel(
    context: RunContext, kaggle: FakeKaggle
) -> None:
    """On a fresh machine the kernel of kgtts.toml is meant, or its newest session."""
    with pytest.raises(NotFoundError, match="has not been pushed yet"):
        find_target(context, None, default=lambda: KERNEL)
    push_from_elsewhere(kaggle, "asha/bangla-tts-a", session=1)
    push_from_elsewhere(kaggle, "asha/bangla-tts-b", session=2, parent="asha/bangla-tts-a/1")
    newest = Target(KernelRef("asha", "bangla-tts-b", 1), None)
    assert (
        find_target(context, None, default=lambda: KERNEL)
        == find_target(context, "asha/bangla-tts")
        == newest
    )
    kaggle.have("asha/bangla-tts", 7)  # One that has the very name comes first.
    assert find_target(context, None, default=lambda: KERNEL) == Target(KERNEL, None)


@pytest.mark.parametrize("is_over", [False, True])
@pytest.mark.parametrize("state", STATES)
def test_a_command_that_only_shows_finds_the_same_session(
    tmp_path: Path, state: str, *, is_over: bool
) -> None:
    """The account's list may tell which kernel ran last, but not another session than reading both does."""
    play = start(tmp_path / "run", state, has_ledger=False)
    for versions in play.kaggle.kernels.values():
        for version in versions if is_over else ():
            if STATE_FILE in version.outputs:
                left = json.loads(version.outputs[STATE_FILE])
                version.outputs = {**version.outputs, STATE_FILE: json.dumps({**left, "done": True}).encode()}
    found = list[Target | str]()
    for only_shows in (False, True):
        with play.ledger() as empty:
            context = RunContext(play.kaggle, empty, play.clock)
            try:
                found.append(find_target(context, "asha/bangla-tts", only_shows=only_shows))
            except NotFoundError as error:
                found.append(str(error))
    assert found[0] == found[1]
    play.kaggle.have("asha/bangla-tts", 7)  # One that has the very name comes first.
    with play.ledger() as empty:
        context = RunContext(play.kaggle, empty, play.clock)
        assert find_target(context, "asha/bangla-tts", only_shows=True) == Target(KERNEL, None)


def test_a_list_that_cannot_be_read_does_not_hide_a_kernel(context: RunContext, kaggle: FakeKaggle) -> None:
    """The kernel of the very name is shown; of another account's kernel the list says nothing."""
    kaggle.always("my_kernels", ServiceError("cut off"))
    for name in ("asha/bangla-tts", "omar/other-voice"):
        kaggle.have(name, 2)
        assert find_target(context, name, only_shows=True) == Target(KernelRef.parse(name), None)
    assert kaggle.asked.count("kernels") == 1


def test_a_base_name_means_the_sibling_that_was_pushed_here_last(
    context: RunContext, ledger: Ledger, kaggle: FakeKaggle
) -> None:
    """The sibling is found without asking Kaggle; each has its own name too."""
    first, second = (KernelRef("asha", f"bangla-tts-{letter}") for letter in "ab")
    older = remember(ledger, kaggle, "abc111", 1, kernel=first)
    newer = remember(ledger, kaggle, "abc111", 1, kernel=second, session=2)
    assert (
        find_target(context, "asha/bangla-tts") == find_target(context, "abc") == Target(second.at(1), newer)
    )
    assert find_target(context, "asha/bangla-tts-a") == Target(first.at(1), older)
    again = remember(ledger, kaggle, "abc111", 2, kernel=first, session=3)
    assert find_target(context, "asha/bangla-tts") == Target(first.at(2), again)
    assert find_target(context, "asha/bangla-tts-a/1") == Target(first.at(1), older)
    assert kaggle.asked == []


def test_nothing_named_nothing_known_and_no_settings_is_a_sentence(context: RunContext) -> None:
    """The error says that no run is known, and what to type."""
    with pytest.raises(UsageError, match="No run is known on this machine") as caught:
        find_target(context, None)
    assert "kgtts push" in (caught.value.hint or "")


def test_a_run_is_found_by_its_id_or_the_beginning_of_it(
    context: RunContext, ledger: Ledger, kaggle: FakeKaggle
) -> None:
    """The beginning must be unique."""
    remember(ledger, kaggle, "abc111", 1)
    record = remember(ledger, kaggle, "abd222", 2)
    assert find_target(context, "abd") == find_target(context, "abd222") == Target(KERNEL.at(2), record)


@pytest.mark.parametrize(
    ("text", "words"), [("ab", "matches 2 runs"), ("zzz", "is no run"), ("%", "is no run")]
)
def test_a_run_that_cannot_be_told_is_a_sentence(
    context: RunContext, ledger: Ledger, kaggle: FakeKaggle, text: str, words: str
) -> None:
    """If several runs match, or none, the hint is `kgtts list`."""
    remember(ledger, kaggle, "abc111", 1)
    remember(ledger, kaggle, "abd222", 2)
    with pytest.raises(UsageError, match=words) as caught:
        find_target(context, text)
    assert "kgtts list" in (caught.value.hint or "")


def test_a_kernel_named_without_version_is_the_version_pushed_here(
    context: RunContext, ledger: Ledger, kaggle: FakeKaggle
) -> None:
    """Kaggle's newest version may be another's; a version that is named counts."""
    record = remember(ledger, kaggle, "abc111", 1)
    assert find_target(context, "asha/bangla-tts") == Target(KERNEL.at(1), record)
    assert find_target(context, "asha/bangla-tts/4") == Target(KERNEL.at(4), None)
    kaggle.have("omar/other-voice", 3)
    assert find_target(context, "https://www.kaggle.com/code/omar/other-voice/") == Target(
        KernelRef("omar", "other-voice"), None
    )


@pytest.mark.parametrize(
    "text", ["a/b/c/d", "/", "a/", "/b", "../x", "a/b/0", "a/b/x", "a b/c", "a/b/v", "a/b/-1"]
)
def test_a_text_that_is_no_kernel_is_a_sentence(context: RunContext, text: str) -> None:
    """The hint says how kernels are written."""
    with pytest.raises(UsageError, match="is not a kernel") as caught:
        find_target(context, text)
    assert "OWNER/SLUG" in (caught.value.hint or "")


def test_a_report_says_when_the_newest_version_is_not_ours(
    context: RunContext, ledger: Ledger, kaggle: FakeKaggle
) -> None:
    """The report is about our version and names the other."""
    remember(ledger, kaggle, "abc111", 1)
    kaggle.have("asha/bangla-tts", 2)
    kaggle.version("asha/bangla-tts/1").log = said("done")
    report = report_session(context, find_target(context, None))
    assert (report.target.ref.version, report.latest_version, report.is_latest) == (1, 2, False)
    assert kaggle.asked[-2:] == ["status asha/bangla-tts/1", "log asha/bangla-tts/1"]


def test_a_report_of_a_stranger_is_of_its_newest_version(context: RunContext, kaggle: FakeKaggle) -> None:
    """A kernel without version and record is shown as it is now."""
    kaggle.have("omar/other-voice", 7).state = SessionState.QUEUED
    report = report_session(context, find_target(context, "omar/other-voice"))
    assert (report.target.ref.version, report.is_latest) == (7, True)


def test_a_report_remembers_what_it_saw(context: RunContext, ledger: Ledger, kaggle: FakeKaggle) -> None:
    """`kgtts list` shows the last state that was seen."""
    remember(ledger, kaggle, "abc111", 1)
    version = kaggle.have("asha/bangla-tts", 1)
    version.state, version.message = SessionState.ERROR, "it broke"
    report_session(context, find_target(context, None))
    newest = ledger.newest()
    assert newest is not None
    assert (newest.state, newest.message, newest.seen_at) == (
        SessionState.ERROR,
        "it broke",
        kaggle.clock.now(),
    )


@pytest.mark.parametrize("error", [ServiceError("cut off"), NotFoundError("no log")])
def test_a_log_that_cannot_be_read_does_not_hide_the_state(
    context: RunContext, kaggle: FakeKaggle, error: Exception
) -> None:
    """What was read before the error counts."""
    kaggle.have("asha/bangla-tts", 1).state = SessionState.RUNNING
    kaggle.next("log_stream", Reading(said("one"), error))
    report = report_session(context, find_target(context, "asha/bangla-tts"))
    assert report.status.state is SessionState.RUNNING
    assert list(report.tail) == ["one"]


def test_a_lost_answer_is_found_out_later(context: RunContext, ledger: Ledger, kaggle: FakeKaggle) -> None:
    """If the push never arrived, pushing again is safe, and Kaggle is not asked again."""
    remember(ledger, kaggle, "abc111", None)
    with pytest.raises(ServiceError, match="never arrived") as caught:
        find_target(context, None)
    assert caught.value.hint == "`kgtts push` again is safe"
    assert ledger.all()[0].outcome is PushOutcome.REFUSED
    with pytest.raises(UsageError):
        find_target(context, None)


def test_outputs_of_a_session_that_goes_on_are_refused(context: RunContext, kaggle: FakeKaggle) -> None:
    """Kaggle has outputs only at the end; the hint waits for it."""
    kaggle.have("asha/bangla-tts", 1).state = SessionState.RUNNING
    target = find_target(context, "asha/bangla-tts/1")
    with pytest.raises(RefusedError, match="is running") as caught:
        collect(context, target, Path("unused"), lambda names: names, TransferListener())
    assert caught.value.hint == "kgtts status asha/bangla-tts/1 --watch"
    assert "outputs asha/bangla-tts/1" not in kaggle.asked


def test_cancel_deletes_the_kernel_and_remembers_it(
    context: RunContext, ledger: Ledger, kaggle: FakeKaggle
) -> None:
    """The kernel is deleted with all versions, and the ledger records it."""
    remember(ledger, kaggle, "abc111", 2)
    kaggle.have("asha/bangla-tts", 2)
    delete(context, find_target(context, None))
    assert kaggle.kernels == {}
    newest = ledger.newest()
    assert newest is not None
    assert newest.state is SessionState.CANCEL_ACKNOWLEDGED
    assert timedelta(0) == kaggle.clock.now() - (newest.seen_at or kaggle.clock.now())


def test_a_run_is_found_by_its_slug(context: RunContext, ledger: Ledger, kaggle: FakeKaggle) -> None:
    """The slug may be that of the settings or of a kernel; a fresh machine asks Kaggle."""
    first, second = KERNEL.siblings
    older = remember(ledger, kaggle, "abc111", 1, kernel=first)
    newer = remember(ledger, kaggle, "abc111", 1, kernel=second, session=2)
    remember(ledger, kaggle, "def222", 1, kernel=KernelRef("asha", "other-voice-a"))
    assert find_target(context, "bangla-tts") == Target(second.at(1), newer)
    assert find_target(context, "bangla-tts-a") == Target(first.at(1), older)
    assert kaggle.asked == []
    push_from_elsewhere(kaggle, "asha/third-voice-a", session=1)
    assert find_target(context, "third-voice") == Target(KernelRef("asha", "third-voice-a", 1), None)
    with pytest.raises(UsageError, match="Kaggle has no asha/never-was"):
        find_target(context, "never-was")


def test_a_slug_of_two_owners_is_told_apart(context: RunContext, ledger: Ledger, kaggle: FakeKaggle) -> None:
    """If both match, the owner has to be named."""
    for owner, run in (("asha", "abc111"), ("omar", "def222")):
        remember(ledger, kaggle, run, 1, kernel=KernelRef(owner, "bangla-tts-a"))
    with pytest.raises(UsageError, match="matches 2 runs"):
        find_target(context, "bangla-tts")
    assert find_target(context, "omar/bangla-tts").ref == KernelRef("omar", "bangla-tts-a", 1)


def test_in_a_folder_with_settings_its_run_is_meant(
    context: RunContext, ledger: Ledger, kaggle: FakeKaggle
) -> None:
    """The run of the folder is meant, not this machine's newest."""
    record = remember(ledger, kaggle, "abc111", 1, kernel=KERNEL.siblings[0])
    remember(ledger, kaggle, "def222", 1, kernel=KernelRef("asha", "other-voice-a"))
    assert find_target(context, None, default=lambda: KERNEL) == Target(KERNEL.siblings[0].at(1), record)
    with pytest.raises(
        NotFoundError, match=r"asha/third-voice, which kgtts\.toml names, has not been pushed"
    ):
        find_target(context, None, default=lambda: KernelRef("asha", "third-voice"))


def test_a_run_from_elsewhere_is_found_by_its_id_in_its_folder(
    context: RunContext, kaggle: FakeKaggle
) -> None:
    """A fresh machine knows no id, but the folder's settings lead to the run."""
    push_from_elsewhere(kaggle, "asha/bangla-tts-a", session=1)
    assert find_target(context, "ru", default=lambda: KERNEL) == Target(KERNEL.siblings[0].at(1), None)


def test_the_address_of_a_page_names_its_version(context: RunContext) -> None:
    """A browser's address is accepted, of any service."""
    target = Target(KernelRef("asha", "bangla-tts-a", 3), None)
    for service in ("https://api.kaggle.com", "http://127.0.0.1:7788"):
        assert find_target(context, target.page(service)) == target
    assert target.page("https://api.kaggle.com") == (
        "https://www.kaggle.com/code/asha/bangla-tts-a?scriptVersionNumber=3"
    )
