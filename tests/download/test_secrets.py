"""A download sends credentials to nobody, and shows no signed URL."""

from pathlib import Path

import pytest

from orchestrator.errors import ServiceError
from orchestrator.models import OutputFile
from tests.download.storage import Answer, Storage
from tests.download.support import bring, content
from tests.test_connections import empty, redirecting, server

SIGNED = "?X-Goog-Signature=5ec4e7"


@pytest.mark.parametrize("location", ["http://[", "//", "ftp://127.0.0.1/x", "http://a:99999/", "http://:x/"])
def test_an_invalid_redirect_is_a_sentence(storage: Storage, tmp_path: Path, location: str) -> None:
    """The file cannot be fetched; nothing crashes."""
    file = storage.put("f", Answer(status=302, headers={"Location": location + SIGNED}))
    with pytest.raises(ServiceError, match="f could not be fetched") as caught:
        bring([file], tmp_path / "to")
    assert "5ec4e7" not in repr(caught.value)
    assert "secret" not in repr(caught.value)


@pytest.mark.parametrize("redirected", [None, 302, 307, 308])
def test_a_netrc_file_is_not_sent_to_storage(workplace: Path, tmp_path: Path, redirected: int | None) -> None:
    """Neither to the host of the signed URL nor to one that it sends on to."""
    (Path.home() / ".netrc").write_text("default login asha password from-netrc\n")
    (Path.home() / ".netrc").chmod(0o600)
    with server(empty) as (other, seen):
        target = other.replace("127.0.0.1", "localhost") + "/f"
        with server(redirecting(redirected or 302, target)) as (url, asked):
            bring([OutputFile("f", (url if redirected else other) + SIGNED)], tmp_path / "to")
    assert content(tmp_path / "to") == {"f": b"{}"}
    assert seen
    assert all("authorization" not in headers for _, headers, _ in seen + asked)
