"""Uploaded datasets on the emulator: uploads, versions, and which version is mounted."""

import io
import os
import zipfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from kagglesdk.blobs.types.blob_api_service import ApiBlobType, ApiStartBlobUploadRequest
from kagglesdk.datasets.types import dataset_api_service as sdk
from kagglesdk.datasets.types.dataset_api_service import ApiUploadDirectoryInfo

from orchestrator.emulator import EmulatorOptions
from orchestrator.emulator.service.uploads import CHUNK_MULTIPLE, LIFETIME
from orchestrator.errors import UsageError
from tests.emulator.support import TIMEOUT_S, USER, Account, error_of, refused
from tests.fakes.clock import FakeClock

Start = Callable[..., Account]
SLUG = "made-data"
LOOK = """
import os, pathlib
root = pathlib.Path(os.environ["KGTTS_KAGGLE_ROOT"])
print("sees", sorted(path.name for path in (root / "input").rglob("*.txt")))
"""


def begin(
    account: Account, name: str = "a.txt", size: int = 3, kind: ApiBlobType = ApiBlobType.DATASET
) -> Any:
    """Return the answer to StartBlobUpload."""
    request = ApiStartBlobUploadRequest()
    request.type, request.name, request.content_length = kind, name, size
    return account.client.blobs.blob_api_client.start_blob_upload(request)


def put(url: str, body: bytes = b"", content_range: str | None = None) -> requests.Response:
    """Send one request of an upload."""
    headers = {} if content_range is None else {"Content-Range": content_range}
    return requests.put(url, data=body, headers=headers, timeout=TIMEOUT_S)


def send(account: Account, name: str, body: bytes = b"one") -> str:
    """Upload a whole file; returns its token."""
    begun = begin(account, name, len(body))
    assert put(begun.create_url, body).ok
    return str(begun.token)


def files_of(tokens: tuple[str, ...]) -> list[Any]:
    """Return tokens in the form of a request."""
    files = []
    for token in tokens:
        file = sdk.ApiDatasetNewFile()
        file.token = token
        files.append(file)
    return files


def create(
    account: Account,
    *tokens: str,
    slug: str = SLUG,
    title: str = "Made data",
    owner: str = USER,
    directories: Sequence[ApiUploadDirectoryInfo] = (),
) -> Any:
    """Return the answer to CreateDataset."""
    request = sdk.ApiCreateDatasetRequest()
    request.owner_slug, request.slug, request.title, request.is_private = owner, slug, title, True
    request.files, request.directories = files_of(tokens), list(directories)
    return account.client.datasets.dataset_api_client.create_dataset(request)


def version(account: Account, *tokens: str, slug: str = SLUG, **fields: Any) -> Any:
    """Return the answer to CreateDatasetVersion."""
    request, body = sdk.ApiCreateDatasetVersionRequest(), sdk.ApiCreateDatasetVersionRequestBody()
    body.version_notes, body.files = "notes", files_of(tokens)
    for name, value in fields.items():
        setattr(body, name, value)
    request.owner_slug, request.dataset_slug, request.body = USER, slug, body
    return account.client.datasets.dataset_api_client.create_dataset_version(request)


def status(account: Account, slug: str = SLUG) -> str:
    """Return the name of a dataset's status."""
    request = sdk.ApiGetDatasetStatusRequest()
    request.owner_slug, request.dataset_slug = USER, slug
    return str(account.client.datasets.dataset_api_client.get_dataset_status(request).status.name)


def names(account: Account, slug: str = SLUG, number: int = 0) -> list[str]:
    """Return the files of a version; 0 is the newest."""
    request = sdk.ApiListDatasetFilesRequest()
    request.owner_slug, request.dataset_slug, request.dataset_version_number = USER, slug, number
    answer = account.client.datasets.dataset_api_client.list_dataset_files(request)
    return [file.name for file in answer.dataset_files]


def seen(account: Account, source: str) -> str:
    """Return what a session sees of a dataset."""
    account.run(LOOK, "Look around", dataset_data_sources=[source])
    return account.text("look-around").strip().splitlines()[-1]


def test_versions_become_ready_in_their_time(start: Start, clock: FakeClock) -> None:
    """Until the newest version is ready, sessions mount the one before; before the first, nothing."""
    account = start(clock=clock, dataset_processing_s=60.0)
    source = f"{USER}/{SLUG}"
    assert create(account, send(account, "a.txt")).status == "ok"
    assert (status(account), names(account)) == ("BLOBS_RECEIVED", ["a.txt"])
    assert seen(account, source) == "sees []"
    clock.advance(60)
    assert status(account) == "READY"
    assert seen(account, source) == "sees ['a.txt']"
    assert version(account, send(account, "b.txt")).status == "ok"
    assert (status(account), names(account), names(account, number=1)) == (
        "BLOBS_RECEIVED",
        ["b.txt"],
        ["a.txt"],
    )
    assert seen(account, source) == "sees ['a.txt']"
    assert seen(account, f"{source}/2") == "sees []"
    clock.advance(60)
    assert seen(account, source) == "sees ['b.txt']"
    assert seen(account, f"{source}/1") == "sees ['a.txt']"
    assert account.push(
        LOOK, "Look around", dataset_data_sources=[f"{source}/3"]
    ).invalid_dataset_sources == [f"{source}/3"]
    account.wait("look-around")


def test_a_folder_filled_by_hand_is_version_1(root: Path, start: Start, clock: FakeClock) -> None:
    """It stays unchanged and is ready at once; an upload becomes version 2."""
    account = start(clock=clock, dataset_processing_s=60.0)
    assert (status(account, "some-data"), names(account, "some-data")) == ("READY", ["a.txt", "deep/b ক.txt"])
    assert version(account, send(account, "c.txt"), slug="some-data").status == "ok"
    assert seen(account, f"{USER}/some-data") == "sees ['a.txt', 'b ক.txt']"
    clock.advance(60)
    assert seen(account, f"{USER}/some-data") == "sees ['c.txt']"
    assert names(account, "some-data", 1) == ["a.txt", "deep/b ক.txt"]
    assert (root / "datasets" / USER / "some-data" / "a.txt").read_text() == "data\n"
    assert version(account, send(account, "d.txt"), slug="some-data").status == "ok"
    assert [names(account, "some-data", n)[0] for n in (1, 2, 3)] == ["a.txt", "c.txt", "d.txt"]


def test_datasets_and_uploads_survive_a_restart(start: Start, clock: FakeClock) -> None:
    """Complete and partial uploads survive; a partial one expires after a week."""
    account = start(clock=clock)
    create(account, send(account, "a.txt"))
    begun = begin(account, "big.pth", 2 * CHUNK_MULTIPLE)
    assert (
        put(
            begun.create_url, b"x" * CHUNK_MULTIPLE, f"bytes 0-{CHUNK_MULTIPLE - 1}/{2 * CHUNK_MULTIPLE}"
        ).status_code
        == 308
    )
    account.emulator.stop()
    account = start(clock=clock)
    assert names(account) == ["a.txt"]
    url = account.url + begun.create_url.removeprefix(begun.create_url.split("/upload/")[0])
    assert put(url, b"", f"bytes */{2 * CHUNK_MULTIPLE}").headers["Range"] == f"bytes=0-{CHUNK_MULTIPLE - 1}"
    assert (
        put(
            url,
            b"y" * CHUNK_MULTIPLE,
            f"bytes {CHUNK_MULTIPLE}-{2 * CHUNK_MULTIPLE - 1}/{2 * CHUNK_MULTIPLE}",
        ).status_code
        == 200
    )
    assert put(url, b"", f"bytes */{2 * CHUNK_MULTIPLE}").status_code == 200
    clock.advance(LIFETIME.total_seconds())
    assert put(url).status_code == 404
    assert version(account, begun.token).status == "error"
    folder = account.emulator.backend.state.root / "uploads"
    account.emulator.stop()
    start(clock=clock)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "C:x", "a\nb", "x" * 256, "\ud800"]
)
def test_a_hostile_file_name_is_refused(account: Account, name: str) -> None:
    """Names that would leave the dataset's folder, or that file systems cannot hold, are refused."""
    body = {"type": "DATASET", "name": name, "contentLength": 3}
    assert account.post("StartBlobUpload", body, "blobs.BlobApiService").status_code == 400


@pytest.mark.parametrize("name", ["ক খ.pth", "events.out.tfevents.1.host", ".hidden", "a'b\"c&d.txt"])
def test_an_unusual_file_name_is_taken(account: Account, name: str) -> None:
    """Names in any script are accepted."""
    assert create(account, send(account, name)).status == "ok"
    assert names(account) == [name]


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 0-2/4",
        "bytes 1-2/3",
        "bytes 0-3/3",
        "bytes 2-1/3",
        "bytes */4",
        "bytes 0-2/*",
        "nonsense",
        "bytes 0-²/3",
    ],
)
def test_a_content_range_that_does_not_fit_is_refused(account: Account, content_range: str) -> None:
    """Another size, a gap, beyond the end, backwards, or no range is an error."""
    answer = put(
        begin(account).create_url, b"one", content_range.encode("latin-1", "replace").decode("latin-1")
    )
    assert answer.status_code == 400


def test_the_address_of_an_upload_is_its_key(account: Account) -> None:
    """Nobody can upload without the address; it accepts the declared bytes, each once."""
    begun = begin(account)
    for url in (
        begun.create_url[:-1],
        begun.create_url.replace(begun.token, "0" * 32),
        begun.create_url.replace(begun.token, ".."),
        begun.create_url.split("?")[0],
    ):
        assert put(url, b"one").status_code in (404, 405)
    assert put(begun.create_url, b"four").status_code == 400
    assert create(account, begun.token).status == "error"
    assert put(begun.create_url, b"one").status_code == 200
    assert put(begun.create_url, b"two").status_code == 200
    assert create(account, begun.token).status == "ok"
    folder = account.emulator.backend.state.root / "uploaded" / USER / SLUG / "1"
    assert (folder / "a.txt").read_bytes() == b"one"
    assert put(begun.create_url, b"two").status_code == 404


def test_a_short_body_is_kept_in_whole_grains(account: Account) -> None:
    """A broken upload keeps multiples of 256 KiB, like Google's storage; the client asks and resumes."""
    content = os.urandom(3 * CHUNK_MULTIPLE + 5)
    begun = begin(account, "big.pth", len(content))
    answer = put(begun.create_url, content[: CHUNK_MULTIPLE + 9])
    assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{CHUNK_MULTIPLE - 1}")
    rest = f"bytes {CHUNK_MULTIPLE}-{len(content) - 1}/{len(content)}"
    assert put(begun.create_url, content[CHUNK_MULTIPLE:], rest).status_code == 200


def test_a_dataset_that_kaggle_would_not_make_is_refused(account: Account) -> None:
    """The answer is 200 with an error, as for pushes; the uploaded files stay usable."""
    token = send(account, "a.txt")
    refused = [
        create(account),
        create(account, "0" * 32),
        create(account, "../../x"),
        create(account, begin(account).token),
        create(account, token, send(account, "a.txt")),
        create(account, token, slug="short"),
        create(account, token, slug="Not A Slug"),
        create(account, token, slug="../escape"),
        create(account, token, title="x" * 51),
        create(account, token, owner="somebody"),
    ]
    assert [answer.status for answer in refused] == ["error"] * len(refused)
    assert all(answer.error for answer in refused)
    assert create(account, token).status == "ok"
    again = send(account, "b.txt")
    refused = [
        create(account, again),
        create(account, again, slug="other-slug"),
        version(account, again, version_notes=""),
    ]
    assert [answer.status for answer in refused] == ["error"] * len(refused)
    assert version(account, again).status == "ok"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"body": None},
        {"body": {"versionNotes": 3}},
        {"body": {"versionNotes": "x", "files": [{"token": 3}]}},
    ],
)
def test_a_malformed_request_is_a_client_error(account: Account, body: dict[str, Any]) -> None:
    """Nothing in a malformed request becomes a path."""
    asked = {"ownerSlug": USER, "datasetSlug": SLUG, **body}
    assert account.post("CreateDatasetVersion", asked, "datasets.DatasetApiService").status_code == 400


def test_an_upload_is_for_what_it_was_sent_for(account: Account) -> None:
    """Not for something else; and not for competitions, which there are none of."""
    begun = begin(account, kind=ApiBlobType.MODEL)
    assert put(begun.create_url, b"one").ok
    assert "not uploaded for a dataset" in create(account, begun.token).error
    for kind in ("COMPETITION_SOLUTION", "API_BLOB_TYPE_UNSPECIFIED"):
        body = {"type": kind, "name": "a", "contentLength": 1}
        assert account.post("StartBlobUpload", body, "blobs.BlobApiService").status_code == 400


@pytest.mark.parametrize("early", [False, True])
def test_a_next_version_while_one_is_processed(start: Start, clock: FakeClock, *, early: bool) -> None:
    """A 403 that does not say why, as users have met it, or taken."""
    account = start(clock=clock, dataset_processing_s=60.0, version_while_processing=early)
    assert create(account, send(account, "a.txt")).status == "ok"
    token = send(account, "b.txt")
    if not early:
        response = refused(lambda: version(account, token))
        assert (response.status_code, error_of(response)["message"]) == (
            403,
            "Permission 'datasets.update' was denied",
        )
        clock.advance(60)
    assert version(account, token).status == "ok"
    assert names(account) == ["b.txt"]


@pytest.mark.parametrize("answer", [403, 404])
def test_a_dataset_that_does_not_exist(start: Start, answer: int) -> None:
    """Neither its state nor its files; a next version of it is a 403 in any case."""
    account = start(absent=answer)
    assert refused(lambda: names(account)).status_code == answer
    assert refused(lambda: status(account)).status_code == answer
    token = send(account, "a.txt")
    assert refused(lambda: version(account, token)).status_code == 403
    create(account, token)
    assert refused(lambda: names(account, number=2)).status_code == 404


def test_a_file_in_a_folder(account: Account) -> None:
    """As kagglehub sends them: with the names of folders, whose files have tokens of their own."""
    folder = ApiUploadDirectoryInfo()
    folder.name, folder.files = "wavs", files_of((send(account, "a.txt"),))
    deeper = ApiUploadDirectoryInfo()
    deeper.name, deeper.files = "deeper", files_of((send(account, "a.txt"),))
    folder.directories = [deeper]
    assert create(account, send(account, "a.txt"), directories=[folder]).status == "ok"
    assert names(account) == ["a.txt", "wavs/a.txt", "wavs/deeper/a.txt"]
    folder.name = "../escape"
    assert refused(lambda: create(account, slug="other-data", directories=[folder])).status_code == 400


def test_a_folder_filled_by_hand_is_not_deleted(root: Path, account: Account) -> None:
    """It is its owner's; and so no version can be the only one."""
    request = sdk.ApiDeleteDatasetRequest()
    request.owner_slug, request.dataset_slug = USER, "some-data"
    response = refused(lambda: account.client.datasets.dataset_api_client.delete_dataset(request))
    assert response.status_code == 400
    answer = version(account, send(account, "b.txt"), slug="some-data", delete_old_versions=True)
    assert "folder of yours" in answer.error
    assert (root / "datasets" / USER / "some-data" / "a.txt").exists()


def test_processing_takes_no_negative_time() -> None:
    """A negative time is refused, as in other options."""
    with pytest.raises(UsageError, match="dataset_processing_s"):
        EmulatorOptions(dataset_processing_s=-timedelta(seconds=1).total_seconds())


def archive(**files: str) -> bytes:
    """Return a ZIP archive."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as writer:
        for name, text in files.items():
            writer.writestr(name.replace("__", "/"), text)
    return content.getvalue()


def test_a_zipped_folder_is_unpacked(start: Start) -> None:
    """An upload of the client's `--dir-mode zip` is unpacked; a file that is only named .zip is not."""
    account = start()
    zipped = send(account, "wavs.zip", archive(one="1", deeper__two="2"))
    assert create(account, zipped, send(account, "broken.zip", b"no archive")).status == "ok"
    assert sorted(listed(account)) == ["broken.zip", "wavs/deeper/two", "wavs/one"]
    code = (
        "import os, pathlib\nroot = pathlib.Path(os.environ['KGTTS_KAGGLE_ROOT'])\n"
        "print(sorted(path.name for path in (root / 'input').rglob('*')))\n"
    )
    assert account.run(code, dataset_data_sources=[f"{USER}/{SLUG}"]) == "COMPLETE"
    assert all(name in account.text() for name in ("'deeper'", "'one'", "'two'", "'wavs'"))
    assert "wavs.zip" not in account.text()


def test_an_archive_cannot_leave_its_folder(start: Start) -> None:
    """Names that lead out of the folder are unpacked inside it."""
    account = start()
    assert create(account, send(account, "wavs.zip", archive(**{"..__..__evil": "x"}))).status == "ok"
    assert listed(account) == ["wavs/evil"]


def listed(account: Account) -> list[str]:
    """Return the names of the newest version's files."""
    request = sdk.ApiListDatasetFilesRequest()
    request.owner_slug, request.dataset_slug = USER, SLUG
    answer = account.client.datasets.dataset_api_client.list_dataset_files(request)
    return [file.name for file in answer.dataset_files]
