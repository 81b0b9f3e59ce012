"""The wire: addresses, credentials, malformed requests, errors in Kaggle's form."""

import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from kagglesdk.datasets.types import dataset_api_service as datasets
from kagglesdk.models.types import model_api_service as models
from kagglesdk.models.types.model_enums import ModelFramework
from kagglesdk.security.types.oauth_service import IntrospectTokenRequest
from requests import HTTPError

from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.errors import LocalError, UsageError
from tests.emulator.support import KEY, TIMEOUT_S, USER, Account, error_of

KERNELS = "kernels.KernelsApiService"
MODEL = ("alice", "some-model", "default")


def call(account: Account, **options: Any) -> requests.Response:
    """Call ListKernels with these credentials, headers or body."""
    address = f"{account.url}/v1/{KERNELS}/ListKernels"
    return requests.post(address, timeout=TIMEOUT_S, **{"json": {}, **options})


@pytest.mark.parametrize("auth", [None, (USER, "wrong"), ("bob", KEY), (USER, ""), (USER + "x", KEY)])
def test_wrong_credentials_are_a_401(account: Account, auth: tuple[str, str] | None) -> None:
    """Without the right pair every call is a 401."""
    response = call(account, auth=auth)
    assert response.status_code == 401
    assert error_of(response) == {"code": 401, "message": "Unauthenticated", "status": "UNAUTHENTICATED"}


@pytest.mark.parametrize("header", ["Basic !!!", "Basic", "Bearer", "Bearer x", f"Digest {KEY}", f"{KEY}"])
def test_odd_authorization_headers_are_a_401(account: Account, header: str) -> None:
    """A header that is none of the two schemes is a 401."""
    assert call(account, headers={"Authorization": header}).status_code == 401


def test_the_key_is_a_token_too(account: Account) -> None:
    """The key works as a Bearer token, and IntrospectToken names its user."""
    assert call(account, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    request = IntrospectTokenRequest()
    request.token = KEY
    answer = account.client.security.oauth_client.introspect_token(request)
    assert (answer.active, answer.username) == (True, USER)
    request.token = "another"
    assert not account.client.security.oauth_client.introspect_token(request).active


def test_streams_want_credentials_too(account: Account) -> None:
    """The log stream needs credentials as well."""
    address = f"{account.url}/api/v1/kernels/logs/stream/{USER}/my-kernel"
    assert requests.get(address, timeout=TIMEOUT_S).status_code == 401
    assert error_of(requests.get(address, auth=account.auth, timeout=TIMEOUT_S))["code"] == 403


def test_both_prefixes(account: Account) -> None:
    """Kaggle's production paths begin with /v1, its local ones with /api/v1."""
    address = f"{account.url}/api/v1/{KERNELS}/ListKernels"
    assert requests.post(address, json={}, auth=account.auth, timeout=TIMEOUT_S).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/kernels.KernelsApiService/CreateKernelSession", 501),
        ("/v1/other.Service/Method", 501),
        ("/", 404),
        ("/v2/x/y", 404),
    ],
)
def test_what_is_not_offered(account: Account, path: str, status: int) -> None:
    """An unknown method or address is an error in Kaggle's form."""
    response = requests.post(account.url + path, json={}, auth=account.auth, timeout=TIMEOUT_S)
    assert (response.status_code, error_of(response)["code"]) == (status, status)


@pytest.mark.parametrize(
    "body",
    [
        {"data": b"{no json"},
        {"data": b"\xff\xfe"},
        {"json": []},
        {"json": {"search": 5}},
        {"json": {"page": "one"}},
        {"json": {"page": True}},
        {"json": {"group": "NO_SUCH_GROUP"}},
        {"json": {"pageSize": -1}},
        {"json": {"pageToken": "²"}},
    ],
)
def test_malformed_requests_are_a_400(account: Account, body: dict[str, Any]) -> None:
    """A body that cannot be read, or a field of another type, is a 400."""
    body = {"json": None, **body}
    response = call(account, auth=account.auth, **body)
    assert (response.status_code, error_of(response)["code"]) == (400, 400)


@pytest.mark.parametrize("name", ["../../etc", "..", "", "a/b/c", "x\u0000y", "ক"])
def test_hostile_names_find_nothing(account: Account, name: str) -> None:
    """Names from outside never become paths."""
    for method, service, body in (
        ("GetKernel", KERNELS, {"userName": USER, "kernelSlug": name}),
        ("GetKernel", KERNELS, {"userName": name, "kernelSlug": "my-kernel"}),
        ("ListDatasetFiles", "datasets.DatasetApiService", {"ownerSlug": name, "datasetSlug": name}),
        ("GetModelInstance", "models.ModelApiService", {"ownerSlug": name, "instanceSlug": name}),
    ):
        assert account.post(method, body, service).status_code in (403, 404)


def test_another_host_name_is_refused(account: Account) -> None:
    """A web page whose own host name resolves to loopback gets nothing."""
    assert call(account, auth=account.auth, headers={"Host": "evil.example"}).status_code == 400


def test_it_listens_on_loopback_only(account: Account) -> None:
    """The address is 127.0.0.1; this machine's other addresses are not served."""
    port = int(account.url.removeprefix("http://127.0.0.1:"))
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))


def test_a_bad_day_can_be_rehearsed(account: Account) -> None:
    """`fail_next` fails the named calls as often as it is told, and then stops."""
    account.emulator.server.faults.fail_next(429, method="ListKernels", times=2, retry_after_s=7)
    assert account.post("GetAcceleratorQuotaStatistics", {}).status_code == 200
    for _ in range(2):
        response = account.post("ListKernels", {})
        assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
    assert account.post("ListKernels", {}).status_code == 200


def test_datasets(account: Account, root: Path) -> None:
    """A folder in datasets/ exists, is ready, and lists its files by page; others do not exist."""
    client = account.client.datasets.dataset_api_client
    request = datasets.ApiListDatasetFilesRequest()
    request.owner_slug, request.dataset_slug, request.page_size = USER, "some-data", 1
    first = client.list_dataset_files(request)
    assert [(file.name, file.total_bytes) for file in first.dataset_files] == [("a.txt", 5)]
    request.page_token = first.next_page_token
    second = client.list_dataset_files(request)
    assert [file.name for file in second.dataset_files] == ["deep/b ক.txt"]
    assert not second.next_page_token
    status = datasets.ApiGetDatasetStatusRequest()
    status.owner_slug, status.dataset_slug = USER, "some-data"
    assert client.get_dataset_status(status).status.name == "READY"
    wanted = datasets.ApiGetDatasetRequest()
    wanted.owner_slug, wanted.dataset_slug = USER, "some-data"
    assert client.get_dataset(wanted).ref == "alice/some-data"
    wanted.dataset_slug = "no-data"
    with pytest.raises(HTTPError) as caught:
        client.get_dataset(wanted)
    assert caught.value.response.status_code == 403


def test_models(account: Account, root: Path) -> None:
    """A model's version lists its files; its framework is matched by the wire's enum."""
    client = account.client.models.model_api_client
    wanted = models.ApiGetModelInstanceRequest()
    wanted.owner_slug, wanted.model_slug, wanted.instance_slug = MODEL
    wanted.framework = ModelFramework.MODEL_FRAMEWORK_TRANSFORMERS
    assert client.get_model_instance(wanted).version_number == 1
    request = models.ApiListModelInstanceVersionFilesRequest()
    request.owner_slug, request.model_slug, request.instance_slug = MODEL
    request.framework, request.version_number = ModelFramework.MODEL_FRAMEWORK_TRANSFORMERS, 1
    assert [file.name for file in client.list_model_instance_version_files(request).files] == ["config.json"]
    request.version_number = 2
    with pytest.raises(HTTPError) as caught:
        client.list_model_instance_version_files(request)
    assert caught.value.response.status_code == 404


def test_made_credentials_are_kept_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials a pair is made, kept over a restart, and readable only by its owner."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    options = EmulatorOptions(sandbox="relocate")
    with Emulator(tmp_path, options=options) as emulator:
        made = emulator.credentials
    with Emulator(tmp_path, options=options) as emulator:
        assert emulator.credentials == made
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    monkeypatch.setenv("KAGGLE_USERNAME", "carol")
    monkeypatch.setenv("KAGGLE_KEY", "hers")
    with Emulator(tmp_path, options=options) as emulator:
        assert emulator.credentials == ("carol", "hers")


def test_one_emulator_a_folder_and_a_port(start: Callable[..., Account], root: Path, tmp_path: Path) -> None:
    """A second emulator on the same folder or port is an error."""
    account = start()
    with pytest.raises(LocalError, match="Another emulator"):
        Emulator(root, credentials=(USER, KEY)).start()
    port = int(account.url.rpartition(":")[2])
    with pytest.raises(LocalError, match="cannot listen"):
        Emulator(tmp_path / "other", credentials=(USER, KEY), port=port).start()
    with pytest.raises(UsageError):
        Emulator(tmp_path / "third", credentials=("../x", KEY))


@pytest.mark.parametrize(
    "options", [{"sandbox": "jail"}, {"layout": "odd"}, {"page_size": 0}, {"queue_delay_s": -1}]
)
def test_senseless_options(options: dict[str, object]) -> None:
    """An option that makes no sense is a usage error that names it."""
    with pytest.raises(UsageError, match=next(iter(options))):
        EmulatorOptions(**options)  # type: ignore[arg-type]


def test_nothing_is_printed(start: Callable[..., Account], capfd: pytest.CaptureFixture[str]) -> None:
    """Server and backend print nothing, whatever happens."""
    account = start()
    account.run("print(1)")
    account.post("ListKernels", {"page": "x"})
    account.emulator.stop()
    assert capfd.readouterr() == ("", "")
