"""A push is recorded before it is sent, sent once, and looked for if its answer is lost."""

from pathlib import Path

import pytest

from orchestrator.errors import (
    CredentialsError,
    LocalError,
    NotFoundError,
    RefusedError,
    ServiceError,
    SettingsError,
)
from orchestrator.models import KernelRef
from orchestrator.render.stamp import read_stamp
from orchestrator.run.context import RunContext
from orchestrator.run.ledger import Ledger, PushOutcome
from orchestrator.run.push import PushedSession, make_stamp, new_run_id, preview, push_session
from orchestrator.run.target import find_target
from orchestrator.settings import Settings, load_settings
from tests.fakes.kaggle import FakeKaggle
from tests.fakes.sessions import LOST, Answer, Lost


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The defaults."""
    return load_settings(environ={}, cwd=tmp_path).settings


def push(settings: Settings, kaggle: FakeKaggle, ledger: Ledger) -> PushedSession:
    """Start a run."""
    owned = settings.with_owner(kaggle.username)
    kernel = KernelRef(owned.kernel.owner, owned.kernel.slug)
    stamp = make_stamp(owned, kernel, run_id=new_run_id())
    return push_session(owned, stamp, RunContext(kaggle, ledger, kaggle.clock))


def test_a_push_carries_everything_and_is_remembered(
    settings: Settings, kaggle: FakeKaggle, ledger: Ledger
) -> None:
    """The kernel is named, its sources have the account's owner, and the stamp equals the record."""
    launched = push(settings, kaggle, ledger)
    sent = kaggle.pushes[0]
    assert sent.dataset_sources == ("asha/datahrbnn",)
    assert sent.model_sources == ("asha/ttsbnng/transformers/default/1",)
    assert (str(launched.target.ref), launched.warnings) == ("asha/bangla-tts/1", [])
    record = launched.target.record
    assert record is not None
    assert record == ledger.newest()
    assert record.outcome is PushOutcome.PUSHED
    stamp = read_stamp(sent.source)
    assert stamp is not None
    assert (stamp.id, stamp.fingerprint, stamp.kernel) == (
        record.run_id,
        record.fingerprint,
        "asha/bangla-tts",
    )


def test_every_push_is_a_run_of_its_own(settings: Settings, kaggle: FakeKaggle, ledger: Ledger) -> None:
    """Two pushes of the same settings are two runs with the same fingerprint."""
    runs = [push(settings, kaggle, ledger).target.record for _ in range(2)]
    assert len({run.run_id for run in runs if run}) == 2
    assert len({run.fingerprint for run in runs if run}) == 1


@pytest.mark.parametrize("error", [RefusedError("no quota"), CredentialsError("401")])
def test_a_refused_push_is_recorded_with_its_words(
    settings: Settings, kaggle: FakeKaggle, ledger: Ledger, error: RefusedError | CredentialsError
) -> None:
    """The user gets the error, the history keeps it, and nothing is asked again."""
    kaggle.next("push", error)
    with pytest.raises(type(error)):
        push(settings, kaggle, ledger)
    assert (ledger.all()[0].outcome, ledger.all()[0].message) == (PushOutcome.REFUSED, error.message)
    assert ledger.newest() is None
    assert (kaggle.pushes, kaggle.asked) == ([], ["push asha/bangla-tts"])


def test_a_push_that_arrived_without_an_answer_is_found(
    settings: Settings, kaggle: FakeKaggle, ledger: Ledger
) -> None:
    """Its stamp is found on Kaggle, and there is no second push."""
    kaggle.next("push", Lost(LOST))
    launched = push(settings, kaggle, ledger)
    assert str(launched.target.ref) == "asha/bangla-tts/1"
    assert len(kaggle.pushes) == 1


@pytest.mark.parametrize("old", [1, 2])
def test_old_answers_do_not_hide_a_push_that_arrived(
    settings: Settings, kaggle: FakeKaggle, ledger: Ledger, old: int
) -> None:
    """Three looks have to agree that it is missing."""
    kaggle.save("asha/something-else")
    kaggle.next("my_kernels", *[Answer(kaggle.my_kernels())] * old)
    kaggle.next("push", Lost(LOST))
    kaggle.next("kernel", *[NotFoundError("404")] * old)
    assert str(push(settings, kaggle, ledger).target.ref) == "asha/bangla-tts/1"


def test_a_push_that_did_not_arrive_is_said_so(
    settings: Settings, kaggle: FakeKaggle, ledger: Ledger
) -> None:
    """An older version with another stamp is not ours; pushing again is safe."""
    push(settings, kaggle, ledger)
    kaggle.next("push", LOST)
    with pytest.raises(ServiceError, match="did not arrive") as caught:
        push(settings, kaggle, ledger)
    assert caught.value.hint == "`kgtts push` again is safe"
    assert [record.outcome for record in ledger.all()] == [PushOutcome.REFUSED, PushOutcome.PUSHED]
    assert [call for call in kaggle.asked if call.startswith("push")] == ["push asha/bangla-tts"] * 2


@pytest.mark.parametrize("arrived", [True, False])
def test_a_push_of_which_nobody_can_say_stays_open(
    settings: Settings, kaggle: FakeKaggle, ledger: Ledger, *, arrived: bool
) -> None:
    """If Kaggle cannot be read either, the intent stays, and the next command finds out."""
    kaggle.next("push", Lost(LOST) if arrived else LOST)
    kaggle.always("kernel", ServiceError("down"))
    with pytest.raises(ServiceError, match="is not known") as caught:
        push(settings, kaggle, ledger)
    assert "do not push again before" in (caught.value.hint or "")
    newest = ledger.newest()
    assert newest is not None
    assert newest.outcome is PushOutcome.INTENDED
    kaggle.always("kernel", None)
    context = RunContext(kaggle, ledger, kaggle.clock)
    if arrived:
        assert str(find_target(context, None).ref) == "asha/bangla-tts/1"
        assert ledger.all()[0].outcome is PushOutcome.PUSHED
    else:
        with pytest.raises(ServiceError, match="never arrived"):
            find_target(context, None)


def test_a_kernel_under_another_name_is_refused(
    settings: Settings, kaggle: FakeKaggle, ledger: Ledger
) -> None:
    """Kaggle names a kernel by its title; the error says what was made and how to remove it."""
    kaggle.saved_as = KernelRef("asha", "another-name")
    with pytest.raises(RefusedError, match="saved the kernel as asha/another-name, not as") as caught:
        push(settings, kaggle, ledger)
    assert "kgtts stop asha/another-name" in (caught.value.hint or "")
    assert ledger.all()[0].outcome is PushOutcome.REFUSED


def test_an_owner_in_capitals_is_the_same_owner(
    settings: Settings, kaggle: FakeKaggle, ledger: Ledger
) -> None:
    """Kaggle writes names in lower case; the settings may differ."""
    kaggle.username = "Asha"
    assert str(push(settings, kaggle, ledger).target.ref) == "asha/bangla-tts/1"


def test_another_machine_than_asked_is_a_warning(
    settings: Settings, kaggle: FakeKaggle, ledger: Ledger
) -> None:
    """The push succeeds, and a warning says that it runs on another machine."""
    kaggle.machine = "NvidiaTeslaP4"
    warnings = push(settings, kaggle, ledger).warnings
    assert warnings == ["Kaggle says that it runs on NvidiaTeslaP4, not on NvidiaTeslaT4 as asked."]


def test_a_push_that_cannot_be_read_back_is_made_all_the_same(
    settings: Settings, kaggle: FakeKaggle, ledger: Ledger
) -> None:
    """A failed check is a warning, not a failed push."""
    kaggle.always("kernel", ServiceError("down"))
    launched = push(settings, kaggle, ledger)
    assert "could not be read back" in launched.warnings[0]
    assert launched.target.record == ledger.newest()


@pytest.mark.parametrize("name", ["", "no good", "../x"])
def test_an_owner_that_is_none_stops_before_anything_is_pushed(
    settings: Settings, kaggle: FakeKaggle, ledger: Ledger, name: str
) -> None:
    """Without an owner the sources would be incomplete."""
    kaggle.username = name
    with pytest.raises(SettingsError, match=r"kernel\.owner"):
        push(settings, kaggle, ledger)
    assert (kaggle.pushes, list(ledger.all())) == ([], [])


def test_a_ledger_that_cannot_be_written_stops_the_push(
    settings: Settings, kaggle: FakeKaggle, tmp_path: Path
) -> None:
    """A push that cannot be recorded is not sent."""
    with Ledger(tmp_path / "other.db", kaggle.service) as ledger:
        ledger._db.execute("DROP TABLE sessions")
        with pytest.raises(LocalError, match="The ledger"):
            push(settings, kaggle, ledger)
    assert kaggle.pushes == []


def test_a_preview_is_the_same_every_time(settings: Settings) -> None:
    """Rendering is repeatable: it has no clock and no random run id."""
    owned = settings.with_owner("asha")
    assert preview(owned) == preview(owned)
