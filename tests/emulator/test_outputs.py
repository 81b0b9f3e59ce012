"""Outputs: which files are kept, how they are listed, and how storage serves them."""

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import pytest
import requests
from kagglesdk.kernels.types import kernels_api_service as sdk
from requests import HTTPError

from tests.emulator.support import TIMEOUT_S, USER, Account
from tests.fakes.clock import FakeClock

CONTENT = bytes(range(256)) * 40
WRITE = "import os\nopen('data.bin', 'wb').write(bytes(range(256)) * 40)\n"


def get(url: str, **headers: str) -> requests.Response:
    """Download a signed URL without credentials."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(url, headers={"Accept-Encoding": "identity", **named}, timeout=TIMEOUT_S)


def test_what_is_kept(account: Account) -> None:
    """Files in folders are kept, whatever mode and name; symlinks and empty folders are not."""
    code = """
import os
os.makedirs("a/b"); os.makedirs("empty/er"); os.makedirs("only-link")
for name in ("a/b/deep.txt", "স্বর ১.wav", "quote'.txt", "percent%41#?.txt"):
    open(name, "w").write(name)
open("locked.txt", "w").write("x"); os.chmod("locked.txt", 0)
open("nothing", "w")
os.symlink("/etc/passwd", "only-link/passwd"); os.symlink("/", "top"); os.mkfifo("pipe")
open(b"\\xff.txt", "w"); open("two\\nlines.txt", "w")
os.chmod("a/b", 0o500)
"""
    assert account.run(code) == "COMPLETE", account.text()
    files = account.files()
    names = ["a/b/deep.txt", "locked.txt", "nothing", "percent%41#?.txt", "quote'.txt", "স্বর ১.wav"]
    assert sorted(files) == names
    for name in ("a/b/deep.txt", "স্বর ১.wav", "quote'.txt", "percent%41#?.txt"):
        assert get(files[name]).text == name
    assert get(files["nothing"]).content == b""


def test_pages(account: Account) -> None:
    """Every file is on exactly one page; the last page has no token; an unknown token is a 400."""
    account.run("for i in range(45): open(f'{i:02}.txt', 'w').write(str(i))")
    names: list[str] = []
    token = ""
    for expected in (20, 20, 5):
        page = account.output(page_token=token)
        assert len(page.files) == expected
        names += [file.file_name for file in page.files]
        token = page.next_page_token
    assert not token
    assert names == [f"{number:02}.txt" for number in range(45)]
    assert len(account.output(page_size=200).files) == 45
    with pytest.raises(HTTPError) as caught:
        account.output(page_token="../x")
    assert caught.value.response.status_code == 400


def test_storage_headers(account: Account) -> None:
    """A file has its length, hashes, a strong ETag, and a date that the stock client can read."""
    account.run(WRITE)
    response = get(account.files()["data.bin"])
    assert response.content == CONTENT
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["ETag"] == f'"{hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()}"'
    assert response.headers["Last-Modified"].endswith("GMT")
    md5 = base64.b64encode(hashlib.md5(CONTENT, usedforsecurity=False).digest()).decode()
    crc = base64.b64encode(google_crc32c.Checksum(CONTENT).digest()).decode()
    assert response.headers["x-goog-hash"] == f"crc32c={crc},md5={md5}"


@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [
        ("bytes=100-199", 206, CONTENT[100:200]),
        ("bytes=10200-", 206, CONTENT[10200:]),
        ("bytes=-10", 206, CONTENT[-10:]),
        ("bytes=10000-99999", 206, CONTENT[10000:]),
        ("bytes=10240-", 416, None),
    ],
)
def test_ranges(account: Account, wanted: str, status: int, part: bytes | None) -> None:
    """A range gives 206 with its part; one beyond the end gives 416 with the length."""
    account.run(WRITE)
    response = get(account.files()["data.bin"], Range=wanted)
    assert response.status_code == status
    if part is None:
        assert response.headers["Content-Range"] == f"bytes */{len(CONTENT)}"
    else:
        assert response.content == part
        assert response.headers["Content-Range"].endswith(f"/{len(CONTENT)}")


def test_a_range_of_another_file_is_the_whole(account: Account) -> None:
    """If-Range with another file's ETag gives the whole file with 200."""
    account.run(WRITE)
    url = account.files()["data.bin"]
    tag = get(url).headers["ETag"]
    assert get(url, Range="bytes=0-9", If_Range=tag).status_code == 206
    assert get(url, Range="bytes=0-9", If_Range='"other"').status_code == 200


def test_signed_urls_expire(start: Callable[..., Account], clock: FakeClock) -> None:
    """A URL works without credentials until it expires; a new listing gives a new one."""
    account = start(clock=clock, url_lifetime_s=900)
    account.run(WRITE)
    url = account.files()["data.bin"]
    clock.advance(899)
    assert get(url).status_code == 200
    clock.advance(2)
    late = get(url)
    assert (late.status_code, "ExpiredToken" in late.text) == (400, True)
    assert get(account.files()["data.bin"]).status_code == 200


def test_a_changed_url_is_refused(account: Account) -> None:
    """A URL with another name, expiry or signature is a 403; nothing outside can be read."""
    account.run(WRITE + "open('other.bin', 'w').write('1')")
    url = account.files()["data.bin"]
    assert get(url.replace("data.bin", "other.bin")).status_code == 403
    assert get(url.replace("Expires=900", "Expires=9000")).status_code == 403
    assert get(url.partition("?")[0]).status_code == 403
    assert get(url.replace("data.bin", "..%2F..%2Fkernel.json")).status_code == 403
    signer = account.emulator.server._signer
    names = ("alice/my-kernel/1/../../kernel.json", "alice/my-kernel/1//etc/passwd", "nonsense", "a/b/c/d")
    for name in names:  # requests itself resolves the dots, and the signature is for the other name.
        assert get(account.url + signer.sign(name)).status_code in (403, 404)


def test_download_by_name(account: Account) -> None:
    """DownloadKernelOutput redirects to the file's signed URL; an unknown file is a 404."""
    account.run(WRITE)
    request = sdk.ApiDownloadKernelOutputRequest()
    request.owner_slug, request.kernel_slug, request.file_path = USER, "my-kernel", "data.bin"
    request.version_number = 1
    with account.kernels.download_kernel_output(request) as response:
        assert response.content == CONTENT
        assert "/storage/" in response.url
    request.file_path = "../kernel.json"
    with pytest.raises(HTTPError) as caught:
        account.kernels.download_kernel_output(request)
    assert caught.value.response.status_code == 404


def test_files_with_sizes(account: Account) -> None:
    """ListKernelFiles gives names and sizes."""
    account.run(WRITE)
    request = sdk.ApiListKernelFilesRequest()
    request.user_name, request.kernel_slug = USER, "my-kernel"
    (file,) = account.kernels.list_kernel_files(request).files
    assert (file.name, file.size) == ("data.bin", len(CONTENT))


def test_outputs_survive_a_restart(start: Callable[..., Account], root: Path) -> None:
    """A later emulator on the same folder serves the same files, dated by their session's end."""
    first = start()
    first.run(WRITE)
    first.emulator.stop()
    output = next(root.glob("kernels/*/*/1/output/data.bin"))
    os.utime(output, (0, 0))
    second = start()
    response = get(second.files()["data.bin"])
    assert response.content == CONTENT
    assert "1970" not in response.headers["Last-Modified"]
