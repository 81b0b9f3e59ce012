"""An answer without its required fields is an error, since the SDK would fill in valid defaults."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator
from orchestrator.errors import ExitCode, OddAnswerError
from orchestrator.kaggle import connect
from orchestrator.kaggle.answers import AnswerError, next_token
from orchestrator.kaggle.client import KaggleClient
from orchestrator.models import SessionState
from tests.altered import Altered, altered
from tests.kaggle.helpers import DETAILS, KERNEL, SOURCE, make_files, run_to_end, small_push, stored
from tests.kaggle.test_faults import CALLS
from tests.support import USER

MODEL = "asha/voice/transformers/default/1"
LISTINGS: dict[str, Callable[[KaggleClient], object]] = {
    "ListKernels": lambda kaggle: list(kaggle.my_kernels()),
    "ListKernelSessionOutput": lambda kaggle: list(kaggle.outputs(KERNEL)),
    "ListDatasetFiles": lambda kaggle: list(kaggle.dataset_files("asha/data")),
    "ListDatasets": lambda kaggle: kaggle.my_datasets(),
    "ListModels": lambda kaggle: kaggle.my_models(),
    "ListModelInstances": lambda kaggle: kaggle.model_variations("asha/voice"),
    "ListModelInstanceVersionFiles": lambda kaggle: list(kaggle.model_files(MODEL)),
}
MAY_BE_EMPTY = ("ListKernels", "ListKernelSessionOutput")  # A new account; a session without outputs.
MUST_SAY = [
    name for name in CALLS if name not in (*MAY_BE_EMPTY, "GetKernelSessionLogsStream", "DeleteKernel")
]


@pytest.fixture
def plan(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Altered]:
    """A server in front of the emulator, with its address in the environment."""
    with altered(emulator.url) as server:
        monkeypatch.setenv("KGTTS_KAGGLE_URL", server.url)
        yield server


@pytest.fixture
def client(plan: Altered) -> Iterator[KaggleClient]:
    """A client of that server."""
    found = connect()
    yield found
    found.close()


@pytest.mark.parametrize("method", [*MUST_SAY, "ListModelInstanceVersionFiles"])
@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b'"x"', b"", b"{torn", b"<html></html>"])
def test_an_answer_without_its_fields_is_odd(
    plan: Altered, client: KaggleClient, method: str, body: bytes
) -> None:
    """`{}` and anything but an object are errors of a class of their own."""
    plan.answers[method] = (200, body)
    call = LISTINGS[method] if method in LISTINGS else CALLS[method][1]
    with pytest.raises(OddAnswerError, match="makes no sense") as caught:
        call(client)
    assert caught.value.exit_code is ExitCode.SERVICE
    is_silent = body == b"{}" and method in ("GetKernelSessionStatus", "GetDatasetStatus")
    assert client.calls == (3 if is_silent else 1)  # Two calls about a state, and one that has to agree.


@pytest.mark.parametrize("word", ["SNOOZING", "", "ING", "E", None, 3, ["RUNNING"], "KERNEL_WORKER_STATUS"])
def test_a_status_that_nobody_knows_is_odd(plan: Altered, client: KaggleClient, word: object) -> None:
    """The SDK matches a word by its end, and takes a missing one for QUEUED."""
    body = json.dumps({"status": word}).encode()
    plan.answers = {"GetKernelSessionStatus": (200, body), "GetDatasetStatus": (200, body)}
    with pytest.raises(OddAnswerError):
        client.session_status(KERNEL)
    with pytest.raises(OddAnswerError):
        client.dataset_ready("asha/data")


def test_a_state_that_is_left_out_is_the_first_one_if_the_kernel_is_shown(
    plan: Altered, client: KaggleClient
) -> None:
    """QUEUED may be left out of an answer; one answer alone is not believed."""
    ref = run_to_end(client, "print()")
    again = client.push(small_push()).ref
    plan.answers["GetKernelSessionStatus"] = (200, b"{}")
    assert client.session_status(again).state is SessionState.QUEUED
    assert client.session_status(again.kernel).state is SessionState.QUEUED
    with pytest.raises(OddAnswerError):
        client.session_status(ref)
    bodies = iter([b"{}"])
    plan.answers.clear()
    plan.changes["GetKernelSessionStatus"] = lambda body: next(bodies, body)
    assert client.session_status(ref).state is SessionState.COMPLETE


def test_a_dataset_whose_state_is_left_out_is_not_ready(
    plan: Altered, client: KaggleClient, emulator: Emulator
) -> None:
    """The first state is NOT_YET_PERSISTED; a dataset that is not listed has none."""
    folder = emulator.backend.state.root / "datasets" / USER / "by-hand"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("1", encoding="utf-8")
    plan.answers["GetDatasetStatus"] = (200, b"{}")
    assert client.dataset_ready(f"{USER}/by-hand") is False
    with pytest.raises(OddAnswerError):
        client.dataset_ready(f"{USER}/none-of-mine")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"versionNumber": 0},
        {"versionNumber": -1},
        {"versionNumber": "1"},
        {"versionNumber": True},
        {"versionNumber": None, "ref": "/code/asha/small-kernel"},
        {"ref": "/code/asha/small-kernel", "url": "https://www.kaggle.com/code/asha/small-kernel"},
    ],
)
def test_a_push_without_a_version_is_odd(plan: Altered, client: KaggleClient, body: object) -> None:
    """It may have arrived, and is not sent again."""
    plan.answers["SaveKernel"] = (200, json.dumps(body).encode())
    with pytest.raises(OddAnswerError, match="which version"):
        client.push(small_push())
    assert plan.calls == ["SaveKernel"]


@pytest.mark.parametrize(
    "quota",
    [
        {"gpuQuota": {"totalTimeAllowed": "9" * 30 + "s"}},
        {"gpuQuota": {"totalTimeAllowed": "1e300s"}},
        {"gpuQuota": {"totalTimeAllowed": "999999999999s", "timeUsed": "0s"}},
        {"gpuQuota": {"totalTimeAllowed": "-5s"}},
        {"gpuQuota": {"totalTimeAllowed": 7}},
        {"gpuQuota": "much"},
        {"gpuQuota": {"totalTimeAllowed": "30s"}, "quotaRefreshTime": "soon"},
    ],
)
def test_a_quota_that_no_week_has_is_odd(plan: Altered, client: KaggleClient, quota: object) -> None:
    """No sum with it overflows."""
    plan.answers["GetAcceleratorQuotaStatistics"] = (200, json.dumps(quota).encode())
    with pytest.raises(OddAnswerError):
        client.quota()


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("ListKernels", {"kernels": [{"ref": None, "currentVersionNumber": 3}]}),
        ("ListKernels", {"kernels": [{"ref": 3}]}),
        ("ListKernels", {"kernels": [{"ref": "no kernel"}]}),
        ("ListKernels", {"kernels": {}}),
        ("ListKernels", {"kernels": [3]}),
        ("ListKernelSessionOutput", {"files": [{"fileName": 3, "url": "x"}]}),
        ("ListKernelSessionOutput", {"files": [{"fileName": "a"}]}),
        ("ListKernelSessionOutput", {"files": "all"}),
        ("ListKernelSessionOutput", {"nextPageToken": 5}),
        ("ListDatasetFiles", {"datasetFiles": []}),
        ("ListDatasetFiles", {"datasetFiles": [{}]}),
        ("ListDatasets", {"datasets": [{"title": "A title"}]}),
        ("ListModels", {"models": [3]}),
        ("ListModelInstances", {"instances": [{}]}),
    ],
)
def test_a_listing_of_something_else_is_odd(
    plan: Altered, client: KaggleClient, method: str, body: object
) -> None:
    """Its items lack the fields that are used."""
    plan.answers[method] = (200, json.dumps(body).encode())
    with pytest.raises(OddAnswerError):
        LISTINGS[method](client)


@pytest.mark.parametrize("half_made", [{}, {"ref": ""}, {"ref": None, "title": "Not yet"}])
def test_a_kernel_that_is_half_made_is_left_out_of_the_list(
    plan: Altered, client: KaggleClient, half_made: object
) -> None:
    """It has no name there, and says nothing about the others."""
    body = {"kernels": [half_made, {"ref": "asha/small-kernel"}]}
    plan.answers["ListKernels"] = (200, json.dumps(body).encode())
    assert [str(info.ref) for info in client.my_kernels()] == ["asha/small-kernel"]


@pytest.mark.parametrize("method", LISTINGS)
def test_a_listing_that_repeats_its_token_ends(plan: Altered, client: KaggleClient, method: str) -> None:
    """Otherwise it would be read for ever."""
    items = {
        "ListKernels": {"kernels": [{"ref": "asha/small-kernel"}]},
        "ListKernelSessionOutput": {"files": [{"fileName": "a", "url": "x"}]},
        "ListDatasetFiles": {"datasetFiles": [{"name": "a"}]},
        "ListDatasets": {"datasets": [{"ref": "asha/data"}]},
        "ListModels": {"models": [{"ref": "asha/voice"}]},
        "ListModelInstances": {"instances": [{"slug": "default"}]},
        "ListModelInstanceVersionFiles": {"files": [{"name": "a"}]},
    }[method]
    plan.answers[method] = (200, json.dumps({**items, "nextPageToken": "20"}).encode())
    with pytest.raises(OddAnswerError, match="it has no end"):
        LISTINGS[method](client)
    assert plan.calls == [method, method]


def test_a_listing_has_an_end_in_any_case() -> None:
    """Pages without end are an error too."""

    class Page:
        next_page_token = ""

    page, used = Page(), set[str]()
    assert next_token(page, used) is None
    for number in range(1000):
        page.next_page_token = str(number)
        assert next_token(page, used) == str(number)
    page.next_page_token = "new"
    with pytest.raises(AnswerError):
        next_token(page, used)


def test_words_for_people_are_cleaned_when_they_come_in(plan: Altered, client: KaggleClient) -> None:
    """Titles and failures lose terminal escapes and half characters."""
    ref = run_to_end(client, "raise SystemExit(1)")

    def change(body: bytes) -> bytes:
        return body.replace(b'"Small kernel"', b'"\\u001b[2J\\u001b]0;x\\u0007Small \\ud800kernel\\u202e"')

    plan.changes = {"GetKernel": change, "ListKernels": change}
    plan.answers["GetKernelSessionStatus"] = (
        200,
        b'{"status": "ERROR", "failureMessage": "\\u001b[31mbad\\u001b[0m\\nluck \\ud800"}',
    )
    assert client.kernel(ref).title == "Small kernel"
    assert client.my_kernels()[0].title == "Small kernel"
    assert client.session_status(ref).failure_message == "bad luck"


@pytest.mark.parametrize("escaped", [True, False])
def test_bangla_is_read_escaped_and_as_it_is(plan: Altered, client: KaggleClient, *, escaped: bool) -> None:
    """JSON allows both, with or without white space, and no header tells which one comes."""
    client.push(small_push("print('হ্যাঁ, ১২')"))
    plan.changes["GetKernel"] = lambda body: json.dumps(
        json.loads(body), ensure_ascii=escaped, indent=None if escaped else 1
    ).encode()
    assert client.kernel(KERNEL).source == "print('হ্যাঁ, ১২')"


def test_a_name_with_half_a_character_is_listed(plan: Altered, client: KaggleClient) -> None:
    """The download decides whether it can be written."""
    ref = run_to_end(client, "open('half.txt', 'w').write('x')")
    plan.changes["ListKernelSessionOutput"] = lambda body: body.replace(b'"half.txt"', b'"\\ud800.txt"')
    assert "\ud800.txt" in [file.name for file in client.outputs(ref)]


def test_an_upload_carries_no_credentials(
    plan: Altered, client: KaggleClient, emulator: Emulator, tmp_path: Path
) -> None:
    """The storage gets neither the login nor the password of `~/.netrc`."""
    (Path.home() / ".netrc").write_text("default login asha password from-netrc\n")
    (Path.home() / ".netrc").chmod(0o600)
    plan.changes["StartBlobUpload"] = lambda body: body.replace(emulator.url.encode(), plan.url.encode())
    client.upload_dataset(SOURCE, DETAILS, make_files(tmp_path / "files", a_txt=b"a"), notes="first")
    assert stored(emulator, 1, "a.txt") == b"a"
    assert "/v1/blobs.BlobApiService/StartBlobUpload" in plan.authorized
    assert all(path.startswith("/v1/") for path in plan.authorized)
    assert set(plan.calls) - {path.rpartition("/")[2] for path in plan.authorized}  # The upload itself.
