"""Archives of inputs that a server sends: whole, harmless, or refused with a sentence."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import LocalError, ServiceError
from orchestrator.places.downloads import unpack
from orchestrator.places.machine import check_system, session_environment


def pack(place: Path, *names: str, kind: str = "zip") -> Path:
    """Make an archive of files that hold their own name."""
    if kind == "zip":
        with zipfile.ZipFile(place, "w") as archive:
            for name in names:
                archive.writestr(name, name)
        return place
    with tarfile.open(place, "w:gz") as packed:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(name.encode())
            packed.addfile(entry, io.BytesIO(name.encode()))
    return place


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_files_keep_their_folders(tmp_path: Path, kind: str) -> None:
    """Both kinds of archives give the files below the target."""
    archive = pack(tmp_path / "archive", "a.txt", "গান/deep/b.txt", kind=kind)
    unpack(archive, tmp_path / "new")
    assert (tmp_path / "new" / "গান" / "deep" / "b.txt").read_text(encoding="utf-8") == "গান/deep/b.txt"
    assert (tmp_path / "new" / "a.txt").is_file()


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt", "CON", "a:b"])
def test_names_that_lead_out_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    """Nothing is written outside the target."""
    archive = pack(tmp_path / "archive", "in.txt", name, kind=kind)
    with pytest.raises(ServiceError, match="is refused"):
        unpack(archive, tmp_path / "below" / "new")
    assert not list(tmp_path.rglob("out.txt"))


def link_in_zip(place: Path) -> None:
    """Make an archive whose only entry is a link."""
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr(entry, "/etc/passwd")


def link_in_tar(place: Path) -> None:
    """Make the same as a tar archive."""
    entry = tarfile.TarInfo("link")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(place, "w") as archive:
        archive.addfile(entry)


def cut_off(place: Path) -> None:
    """Make an archive that ends early."""
    pack(place, *(f"{number}.txt" for number in range(200)), kind="tar")
    place.write_bytes(place.read_bytes()[:-300])


def changed(place: Path) -> None:
    """Make an archive in which a byte is another."""
    pack(place, "a" * 200)
    content = bytearray(place.read_bytes())
    content[30 + 200 + 50] ^= 1
    place.write_bytes(content)


def no_archive(place: Path) -> None:
    """Make a web page."""
    place.write_text("<html>Log in</html>")


@pytest.mark.parametrize("make", [link_in_zip, link_in_tar, cut_off, changed, no_archive])
def test_what_is_no_good_archive_is_an_error(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Links, an early end, another byte and a web page each end in a sentence."""
    make(tmp_path / "archive")
    with pytest.raises(ServiceError, match="archive"):
        unpack(tmp_path / "archive", tmp_path / "new")


def test_windows_is_told_of_wsl() -> None:
    """One sentence, before anything else."""
    with pytest.raises(LocalError, match="WSL"):
        check_system("nt")


def test_what_a_session_may_see() -> None:
    """Names and values that look like secrets stay out; what the machine needs stays in."""
    environ = {
        "PATH": "/bin",
        "CUDA_HOME": "/cuda",
        "KGTTS_CPU_RANKS": "2",
        "KGTTS_HOME": "/x",
        "A": "ftp://b:c@d",
    }
    found = session_environment({**environ, "MY_SECRET": "1"}, KGTTS_SERIES="/runs")
    assert found.keys() == {"PATH", "CUDA_HOME", "KGTTS_CPU_RANKS", "KGTTS_SERIES", "PYTHONUNBUFFERED"}
