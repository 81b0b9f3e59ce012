"""Models on the emulator: folders filled by hand, uploads, and downloads of files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from kagglesdk.blobs.types.blob_api_service import ApiBlobType
from kagglesdk.models.types import model_api_service as sdk
from kagglesdk.models.types.model_enums import ModelFramework

from tests.emulator.support import TIMEOUT_S, USER, Account, refused
from tests.emulator.test_datasets import begin, files_of, put

Start = Callable[..., Account]
TRANSFORMERS = ModelFramework.MODEL_FRAMEWORK_TRANSFORMERS


def send(account: Account, name: str, body: bytes = b"one") -> str:
    """Upload a whole file for a model; returns its token."""
    begun = begin(account, name, len(body), ApiBlobType.MODEL)
    assert put(begun.create_url, body).ok
    return str(begun.token)


def create(account: Account, slug: str = "made-model", **fields: Any) -> Any:
    """Return the answer to CreateModel."""
    request = sdk.ApiCreateModelRequest()
    request.owner_slug, request.slug, request.title = USER, slug, "Made model"
    for name, value in fields.items():
        setattr(request, name, value)
    return account.client.models.model_api_client.create_model(request)


def vary(account: Account, *tokens: str, slug: str = "made-model", **fields: Any) -> Any:
    """Return the answer to CreateModelInstance."""
    request, body = sdk.ApiCreateModelInstanceRequest(), sdk.ApiCreateModelInstanceRequestBody()
    body.instance_slug, body.framework, body.files = "default", TRANSFORMERS, files_of(tokens)
    for name, value in fields.items():
        setattr(body, name, value)
    request.owner_slug, request.model_slug, request.body = USER, slug, body
    return account.client.models.model_api_client.create_model_instance(request)


def about(request: Any, slug: str = "made-model") -> Any:
    """Return a request about the variation `default`."""
    request.owner_slug, request.model_slug = USER, slug
    request.framework, request.instance_slug = TRANSFORMERS, "default"
    return request


def version(account: Account, *tokens: str, slug: str = "made-model") -> Any:
    """Return the answer to CreateModelInstanceVersion."""
    body = sdk.ApiCreateModelInstanceVersionRequestBody()
    body.files = files_of(tokens)
    request = about(sdk.ApiCreateModelInstanceVersionRequest(), slug)
    request.body = body
    return account.client.models.model_api_client.create_model_instance_version(request)


def names(account: Account, slug: str = "made-model", number: int = 0) -> list[str]:
    """Return the files of a version; 0 is the newest."""
    request = about(sdk.ApiListModelInstanceVersionFilesRequest(), slug)
    request.version_number = number
    answer = account.client.models.model_api_client.list_model_instance_version_files(request)
    return [file.name for file in answer.files]


def test_a_model_is_private_unless_it_is_said(account: Account) -> None:
    """Without the field a model is private; a public one needs a licence for each variation."""
    assert create(account).id
    assert account.emulator.backend.models.get(USER, "made-model").private
    assert create(account, "open-model", is_private=False).id
    assert "needs a license" in vary(account, send(account, "a.txt"), slug="open-model").error
    assert vary(account, send(account, "a.txt"), slug="open-model", license_name="CC BY 4.0").id


def test_uploads_continue_a_folder_filled_by_hand(root: Path, start: Start) -> None:
    """The folder is version 1 and cannot be deleted; uploaded versions can."""
    account = start()
    client = account.client.models.model_api_client
    assert version(account, send(account, "b.txt"), slug="some-model").id
    assert (names(account, "some-model", 1), names(account, "some-model")) == (["config.json"], ["b.txt"])
    account.emulator.stop()
    account = start()
    client = account.client.models.model_api_client
    assert names(account, "some-model", 2) == ["b.txt"]
    gone = about(sdk.ApiDeleteModelInstanceVersionRequest(), "some-model")
    gone.version_number = 1
    assert refused(lambda: client.delete_model_instance_version(gone)).status_code == 400
    gone.version_number = 2
    client.delete_model_instance_version(gone)
    assert names(account, "some-model") == ["config.json"]
    assert version(account, send(account, "c.txt"), slug="some-model").url.endswith("/3")
    variation = about(sdk.ApiDeleteModelInstanceRequest(), "some-model")
    assert refused(lambda: client.delete_model_instance(variation)).status_code == 400
    assert (root / "models" / USER / "some-model/transformers/default/1/config.json").exists()


@pytest.mark.parametrize("status", [403, 404])
def test_a_model_that_does_not_exist(start: Start, status: int) -> None:
    """Reading it is a 403 or 404; a version of it is refused in the answer, with a code."""
    account = start(absent=status)
    assert refused(lambda: names(account)).status_code == status
    answer = version(account, send(account, "a.txt"))
    assert (answer.id, answer.error_code) == (0, 404)
    create(account)
    assert refused(lambda: names(account)).status_code == status
    assert vary(account, send(account, "a.txt")).id
    assert refused(lambda: names(account, number=2)).status_code == 404


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"license_name": "My own"}, 400),
        ({"framework": ModelFramework.MODEL_FRAMEWORK_UNSPECIFIED}, 400),
        ({"instance_slug": ""}, 400),
        ({"instance_slug": "../escape"}, 400),
        ({"instance_slug": "Default"}, 400),
        ({"instance_slug": "x" * 51}, 400),
    ],
)
def test_a_variation_that_kaggle_would_not_make(account: Account, fields: dict[str, Any], code: int) -> None:
    """The answer is 200 with a code; the file stays usable for one better request."""
    create(account)
    token = send(account, "a.txt")
    answer = vary(account, token, **fields)
    assert (answer.id, answer.error_code) == (0, code)
    assert answer.error
    assert vary(account, token).id
    assert vary(account, send(account, "a.txt")).error_code == 409


def test_a_file_is_for_a_model_or_for_a_dataset(account: Account) -> None:
    """A file uploaded for the other kind is refused."""
    create(account)
    begun = begin(account)
    assert put(begun.create_url, b"one").ok
    assert "not uploaded for a model" in vary(account, begun.token).error


def test_one_file_is_downloaded_in_parts(account: Account) -> None:
    """Its signed URL supports ranges, and is for this file alone."""
    create(account)
    vary(account, send(account, "a.bin", b"0123456789"))
    request = about(sdk.ApiDownloadModelInstanceVersionRequest())
    request.version_number, request.path = 1, "a.bin"
    with account.client.models.model_api_client.download_model_instance_version(request) as response:
        url, etag = response.url, response.headers["ETag"]
        assert response.content == b"0123456789"
    rest = requests.get(url, headers={"Range": "bytes=4-", "If-Range": etag}, timeout=TIMEOUT_S)
    assert (rest.status_code, rest.content) == (206, b"456789")
    for other in (url.replace("a.bin", "b.bin"), url.replace("/1/", "/2/")):
        assert requests.get(other, timeout=TIMEOUT_S).status_code == 403
    request.path = "../../model.json"
    failed = refused(lambda: account.client.models.model_api_client.download_model_instance_version(request))
    assert failed.status_code == 404


def test_an_update_changes_what_its_mask_names(account: Account) -> None:
    """Nothing else is changed; an unknown word in the mask is a client error."""
    create(account, description="as it was")
    body = {"ownerSlug": USER, "modelSlug": "made-model", "title": "Another", "description": "changed"}
    update = "UpdateModel", {**body, "updateMask": "title"}, "models.ModelApiService"
    assert account.post(*update).json()["ref"] == f"{USER}/made-model"
    found = account.emulator.backend.models.get(USER, "made-model")
    assert (found.title, found.description) == ("Another", "as it was")
    wrong = "UpdateModel", {**body, "updateMask": "owner"}, "models.ModelApiService"
    assert account.post(*wrong).status_code == 400
