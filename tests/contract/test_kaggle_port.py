"""What every implementation of `orchestrator.ports.Kaggle` does: the fake, and the client over HTTP."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.errors import (
    CredentialsError,
    ForbiddenError,
    KgttsError,
    NotFoundError,
    RefusedError,
    ServiceError,
    SilentLogError,
)
from orchestrator.models import InputDetails, InputFile, KernelRef, LogEvent, SessionState
from orchestrator.ports import Kaggle
from tests.contract.worlds import ATTEMPTS, KERNEL, PREPARED_S, SENT_ONCE, World, push_of
from tests.support import USER

DATASET = f"{USER}/some-dataset"
MODEL = f"{USER}/voice/transformers/default/1"
DETAILS = InputDetails("Some dataset", license="other")
NOBODY = KernelRef(USER, "no-such-kernel")
CALLS: dict[str, Callable[[Kaggle], object]] = {
    "push": lambda kaggle: kaggle.push(push_of()),
    "kernel": lambda kaggle: kaggle.kernel(KERNEL),
    "session_status": lambda kaggle: kaggle.session_status(KERNEL),
    "outputs": lambda kaggle: kaggle.outputs(KERNEL),
    "output_file": lambda kaggle: kaggle.output_file(KERNEL, "state.json"),
    "stored_log": lambda kaggle: kaggle.stored_log(KERNEL),
    "log_stream": lambda kaggle: list(kaggle.log_stream(KERNEL, idle_s=1)),
    "delete": lambda kaggle: kaggle.delete(KERNEL),
    "cancel_session": lambda kaggle: kaggle.cancel_session(12345),
    "my_kernels": lambda kaggle: kaggle.my_kernels(),
    "quota": lambda kaggle: kaggle.quota(),
    "dataset_files": lambda kaggle: list(kaggle.dataset_files(DATASET)),
    "dataset_ready": lambda kaggle: kaggle.dataset_ready(DATASET),
    "model_files": lambda kaggle: list(kaggle.model_files(MODEL)),
}
# What Kaggle answers for what does not exist, and the worlds that answer so in either way.
UNSEEN = (NotFoundError, ForbiddenError)
WORLDS_OF_ABSENCE = [
    "memory",
    pytest.param("wire", marks=pytest.mark.posix),
    pytest.param("wire-404", marks=pytest.mark.posix),
]
READS = ["kernel", "session_status", "outputs", "stored_log"]
BUSY = (429, 500, 503)
KINDS: dict[int, type[KgttsError]] = {
    400: RefusedError,
    401: CredentialsError,
    403: ForbiddenError,
    404: NotFoundError,
    429: ServiceError,
    500: ServiceError,
    503: ServiceError,
}


def test_a_push_becomes_the_next_version(world: World) -> None:
    """Versions of each kernel count from one; the answer has the page's address."""
    assert str(world.run("one")) == f"{KERNEL}/1"
    assert str(world.run("two")) == f"{KERNEL}/2"
    other = world.kaggle.push(push_of(ref=KernelRef(USER, "other-kernel"), title="Other kernel"))
    assert str(other.ref) == f"{USER}/other-kernel/1"
    assert other.url.startswith("http")


def test_the_answer_names_the_kernel_after_its_title(world: World) -> None:
    """Kaggle uses the title, whatever name was asked for."""
    assert world.kaggle.push(push_of(title="Quite another")).ref == KernelRef(USER, "quite-another", 1)


def test_what_a_push_carries_is_received(world: World) -> None:
    """The session's time limit, internet and inputs arrive."""
    world.dataset(DATASET, {"a.txt": "a"})
    world.model(MODEL, {"b.txt": "b"})
    parent = world.run("one")
    ref = world.kaggle.push(
        push_of(
            ref=KernelRef(USER, "other-kernel"),
            title="Other kernel",
            session_timeout_s=4321,
            internet=False,
            dataset_sources=(DATASET,),
            model_sources=(MODEL,),
            kernel_sources=(str(parent.kernel),),
        )
    ).ref
    sources = (DATASET, MODEL, str(KERNEL))
    assert world.received(ref) == {"timeout_s": 4321, "internet": False, "sources": sources}


def test_sources_that_do_not_exist_are_refused_although_the_version_is_saved(world: World) -> None:
    """The error names all of them; whoever pushes has to know that a version exists."""
    push = push_of(dataset_sources=(f"{USER}/none",), kernel_sources=(str(NOBODY),))
    with pytest.raises(RefusedError, match=f"{USER}/none.*{NOBODY}"):
        world.kaggle.push(push)
    assert world.kaggle.kernel(KERNEL).latest_version == 1


def test_another_owners_kernel_is_refused_and_nothing_is_saved(world: World) -> None:
    """This account may not push to it."""
    with pytest.raises(RefusedError, match="permission"):
        world.kaggle.push(push_of(ref=KernelRef("omar", "small-kernel")))
    assert list(world.kaggle.my_kernels()) == []


def test_a_kernel_is_described(world: World) -> None:
    """Any version has its own source; the number is always the newest version's."""
    first = world.kaggle.push(push_of("print('এক')")).ref
    world.kaggle.push(push_of("print(2)"))
    old, new = world.kaggle.kernel(first), world.kaggle.kernel(KERNEL)
    assert (old.source, old.latest_version, old.private) == ("print('এক')", 2, True)
    assert (new.source, new.latest_version, new.title) == ("print(2)", 2, "Small kernel")
    assert new.ref == KERNEL


@pytest.mark.parametrize("world", WORLDS_OF_ABSENCE, indirect=True)
@pytest.mark.parametrize(
    "name", ["kernel", "session_status", "outputs", "stored_log", "delete", "log_stream"]
)
def test_an_unknown_kernel_is_not_shown(world: World, name: str) -> None:
    """A kernel that was never pushed is a 404, or a 403 like another account's."""
    with pytest.raises(UNSEEN, match=str(KERNEL)):
        CALLS[name](world.kaggle)


@pytest.mark.parametrize("name", READS)
def test_an_unknown_version_is_not_found(world: World, name: str) -> None:
    """The kernel exists, but not this version."""
    world.run("one")
    with pytest.raises(NotFoundError):
        getattr(world.kaggle, name)(KERNEL.at(7))


def test_the_state_is_that_of_the_version(world: World) -> None:
    """Without a version the newest one's is returned; a failed session has a reason."""
    first, second = world.run("one"), world.run("two", exit_code=3)
    assert world.kaggle.session_status(first).state is SessionState.COMPLETE
    failed = world.kaggle.session_status(second)
    assert failed.state is SessionState.ERROR
    assert "exit code 3" in (failed.failure_message or "")
    assert world.kaggle.session_status(KERNEL) == failed


def test_a_session_that_goes_on_has_no_outputs_and_no_stored_log(world: World) -> None:
    """Kaggle has both only at its end."""
    ref = world.begin("ready")
    assert world.kaggle.session_status(ref).state is SessionState.RUNNING
    assert list(world.kaggle.outputs(ref)) == []
    assert list(world.kaggle.stored_log(ref)) == []
    assert world.kaggle.output_file(ref, "state.json") is None


def test_outputs_are_listed_and_fetched(world: World) -> None:
    """All pages of that version are listed, each file with a URL to its bytes."""
    files = {f"{number:03}.txt": str(number) for number in range(230)}
    first = world.run("one", files={**files, "deep/er/a.txt": "x"})
    second = world.run("two", files={"b.txt": "two"})
    listed = {file.name: file for file in world.kaggle.outputs(first)}
    assert set(listed) == {*files, "deep/er/a.txt"}
    assert world.content(listed["229.txt"]) == b"229"
    assert [file.name for file in world.kaggle.outputs(second)] == ["b.txt"]


def test_one_output_is_read_by_its_name(world: World) -> None:
    """It is that of the given version; None if there is no such file."""
    first, second = world.run("one", files={"state.json": "1"}), world.run("two", files={"state.json": "2"})
    assert world.kaggle.output_file(first, "state.json") == b"1"
    assert world.kaggle.output_file(second, "state.json") == b"2"
    assert world.kaggle.output_file(KERNEL, "state.json") == b"2"
    assert world.kaggle.output_file(first, "none.json") is None


def stdout(events: list[LogEvent]) -> str:
    """Return what the script itself printed."""
    return "".join(event.text for event in events if event.stream == "stdout")


def test_the_stored_log_has_every_line(world: World) -> None:
    """Its lines are in order with Bangla intact, and of that version only."""
    first = world.run("এক", "two", "three", "four")
    world.run("another")
    assert stdout(list(world.kaggle.stored_log(first))) == "এক\ntwo\nthree\nfour\n"


def test_the_live_log_of_an_ended_session_ends(world: World) -> None:
    """It is the whole log."""
    ref = world.run("one", "two")
    assert stdout(list(world.kaggle.log_stream(ref, idle_s=60))) == "one\ntwo\n"


def test_a_live_log_begins_at_its_start_each_time_and_ends_in_silence(world: World) -> None:
    """A second reading has everything again; silence is an error of its own."""
    ref = world.begin("one", "ready")
    for _ in range(2):
        heard: list[LogEvent] = []
        with pytest.raises(SilentLogError):
            heard.extend(world.kaggle.log_stream(ref, idle_s=0.3))
        assert stdout(heard) == "one\nready\n"


def test_cancelling_ends_a_session_and_keeps_its_kernel(world: World) -> None:
    """It takes the session's id; a second time there is nothing to cancel."""
    first = world.run("one", files={"a.txt": "a"})
    ref = world.begin("ready")
    world.kaggle.cancel_session(world.session(ref))
    for _ in world.kaggle.log_stream(ref, idle_s=60):
        pass
    assert world.kaggle.session_status(ref).state is SessionState.CANCEL_ACKNOWLEDGED
    assert [file.name for file in world.kaggle.outputs(first)] == ["a.txt"]
    with pytest.raises(RefusedError, match="not running"):
        world.kaggle.cancel_session(world.session(ref))


def test_nobody_cancels_a_session_that_is_not_theirs(world: World) -> None:
    """An unknown id is a 403."""
    ref = world.begin("ready")
    with pytest.raises(ForbiddenError):
        world.kaggle.cancel_session(7)
    assert world.kaggle.session_status(ref).state is SessionState.RUNNING


def test_deleting_takes_all_versions(world: World) -> None:
    """A running session ends too; a second time there is nothing to delete."""
    world.run("one")
    ref = world.begin("ready")
    world.kaggle.delete(ref.kernel)
    for call in (lambda: world.kaggle.session_status(ref), lambda: world.kaggle.delete(ref.kernel)):
        with pytest.raises(UNSEEN):
            call()
    assert list(world.kaggle.my_kernels()) == []


def test_kernels_are_listed_with_the_last_one_first(world: World) -> None:
    """Each is listed once with title and last run, without its source."""
    for name in ("First kernel", "Second kernel"):
        world.run("x", ref=KernelRef(USER, name.lower().replace(" ", "-")), title=name)
    world.run("y", ref=KernelRef(USER, "first-kernel"), title="First kernel")
    found = world.kaggle.my_kernels()
    assert [(item.ref.slug, item.title, item.source) for item in found] == [
        ("first-kernel", "First kernel", None),
        ("second-kernel", "Second kernel", None),
    ]
    assert all(item.last_run is not None and item.last_run.tzinfo is not None for item in found)


def test_inputs_are_listed_with_their_sizes(world: World) -> None:
    """A dataset's files come over several pages, and those of a model version."""
    files = {f"{number:03}.wav": "x" * number for number in range(230)}
    world.dataset(DATASET, files)
    world.model(MODEL, {"model/config.json": "{}"})
    listed = sorted(world.kaggle.dataset_files(DATASET), key=lambda item: item.name)
    assert listed == [InputFile(name, len(text)) for name, text in files.items()]
    assert list(world.kaggle.model_files(MODEL)) == [InputFile("model/config.json", 2)]
    assert world.kaggle.dataset_ready(DATASET)


@pytest.mark.parametrize("world", WORLDS_OF_ABSENCE, indirect=True)
@pytest.mark.parametrize("name", ["dataset_files", "dataset_ready", "model_files"])
def test_unknown_inputs_are_not_shown(world: World, name: str) -> None:
    """The error names them, as a 404 or a 403."""
    with pytest.raises(UNSEEN, match=DATASET if "dataset" in name else MODEL):
        CALLS[name](world.kaggle)


def test_an_upload_makes_a_dataset_and_then_versions(world: World, tmp_path: Path) -> None:
    """The newest version is listed with its files only."""
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name * 2)
        world.kaggle.upload_dataset(DATASET, DETAILS, {name: tmp_path / name}, notes="x")
        assert list(world.kaggle.dataset_files(DATASET)) == [InputFile(name, 10)]
        world.clock.advance(PREPARED_S + 1)
        assert world.kaggle.dataset_ready(DATASET)


def test_an_upload_is_prepared_before_it_is_ready(world: World, tmp_path: Path) -> None:
    """It is listed at once, and ready after a while."""
    (tmp_path / "a.txt").write_text("a")
    world.kaggle.upload_dataset(DATASET, DETAILS, {"a.txt": tmp_path / "a.txt"}, notes="x")
    assert not world.kaggle.dataset_ready(DATASET)
    assert list(world.kaggle.dataset_files(DATASET)) == [InputFile("a.txt", 1)]
    world.clock.advance(PREPARED_S + 1)
    assert world.kaggle.dataset_ready(DATASET)


@pytest.mark.parametrize(
    ("source", "title", "names"),
    [
        (f"{USER}/short", "Some dataset", ["a"]),
        (f"{USER}/{'x' * 51}", "Some dataset", ["a"]),
        (DATASET, "Title", ["a"]),
        (DATASET, "x" * 51, ["a"]),
        (DATASET, "Some dataset", []),
        (DATASET, "Some dataset", ["../a"]),
        (DATASET, "Some dataset", ["b"]),
    ],
)
def test_an_upload_that_kaggle_would_not_take_is_refused_without_a_call(
    world: World, tmp_path: Path, source: str, title: str, names: list[str]
) -> None:
    """Titles and slugs need 6 to 50 characters, and files their own names."""
    before = world.kaggle.calls
    files = dict.fromkeys(names, tmp_path / "a")
    with pytest.raises(RefusedError, match="Kaggle does not accept the dataset"):
        world.kaggle.upload_dataset(source, InputDetails(title), files, notes="x")
    assert world.kaggle.calls == before


def test_the_quota_is_told(world: World) -> None:
    """What is left is what is allowed less what is used and reserved."""
    quota = world.kaggle.quota()
    assert quota is not None
    assert quota.allowed == timedelta(hours=30)
    assert quota.left == quota.allowed - quota.used - quota.reserved


def test_the_account_and_the_service_are_named(world: World) -> None:
    """Neither needs a call."""
    assert world.kaggle.username == USER
    assert world.kaggle.service.startswith("http")
    assert world.kaggle.calls == 0


def test_calls_are_counted(world: World) -> None:
    """Every call counts as one."""
    world.kaggle.my_kernels()
    world.kaggle.quota()
    assert world.kaggle.calls == 2


@pytest.mark.parametrize("name", CALLS)
def test_each_failure_has_its_kind(world: World, name: str) -> None:
    """Every call tells 400, 401, 403, 404, 429 and 5xx apart."""
    for status, kind in KINDS.items():
        if (name, status) == ("output_file", 404):
            continue  # No error: there is no such file, see test_one_output_is_read_by_its_name.
        repeats = status in BUSY and name not in SENT_ONCE
        world.fail(name, status, times=ATTEMPTS if repeats else 1)
        with pytest.raises(KgttsError) as caught:
            CALLS[name](world.kaggle)
        assert type(caught.value) is kind


@pytest.mark.parametrize("name", sorted(set(CALLS) - set(SENT_ONCE)))
def test_a_read_survives_a_short_bad_spell(world: World, name: str) -> None:
    """A read is retried inside the port."""
    world.run("one", files={"state.json": "{}"})
    world.dataset(DATASET, {"a.txt": "a"})
    world.model(MODEL, {"a.txt": "a"})
    for status in BUSY:
        world.fail(name, status)
        CALLS[name](world.kaggle)


@pytest.mark.parametrize("name", SENT_ONCE)
def test_what_changes_something_is_sent_once(world: World, name: str) -> None:
    """A repeated push could start a second session."""
    if name == "delete":
        world.run("one")
    versions = len(world.kaggle.my_kernels())
    for status in BUSY:
        before = world.kaggle.calls
        world.fail(name, status)
        with pytest.raises(ServiceError):
            CALLS[name](world.kaggle)
        assert world.kaggle.calls == before + 1
    assert len(world.kaggle.my_kernels()) == versions
