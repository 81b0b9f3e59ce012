"""Voice packages: what is whole is read from a folder and an archive, and nothing else is."""

import hashlib
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import KgttsError, UsageError
from orchestrator.voice.package import HASHES, hash_list, is_package, open_package, write_package

FILES = {"voice.json": b"{}", "voice.onnx": b"onnx" * 1000, "samples/01.wav": b"RIFF"}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A package."""
    write_package(tmp_path / "voice.zip", FILES)
    return tmp_path / "voice.zip"


def repacked(place: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]], *, listed: bool) -> None:
    """Change the files of an archive; with `listed` the hash list says what they are now."""
    with zipfile.ZipFile(place) as source:
        files = {name: source.read(name) for name in source.namelist()}
    files = change(files)
    if listed:
        files[HASHES] = hash_list(
            {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != HASHES}
        )
    with zipfile.ZipFile(place, "w") as target:
        for name, data in files.items():
            target.writestr(name, data)


def test_a_package_is_read_from_archive_and_folder(archive: Path, tmp_path: Path) -> None:
    """Both give the same verified files, also with a folder around them; the copy goes with the block."""
    with zipfile.ZipFile(archive) as source:
        source.extractall(tmp_path / "folder")
    (tmp_path / "folder" / "notes.txt").write_text("my own")
    repacked(archive, lambda files: {f"my voice/{name}": data for name, data in files.items()}, listed=False)
    for place in (archive, tmp_path / "folder"):
        assert is_package(place)
        with open_package(place) as package:
            read = {name: path.read_bytes() for name, path in package.paths.items()}
            assert {name: read[name] for name in FILES} == FILES
            assert set(read) == {*FILES, HASHES}
            kept = package.folder
        assert not kept.exists()


@pytest.mark.parametrize("at", [0, 1999, 3999])
def test_a_changed_byte_is_found(archive: Path, tmp_path: Path, at: int) -> None:
    """In an archive and in a folder, and named with its file."""

    def change(files: dict[str, bytes]) -> dict[str, bytes]:
        data = bytearray(files["voice.onnx"])
        data[at] ^= 1
        return {**files, "voice.onnx": bytes(data)}

    repacked(archive, change, listed=False)
    with zipfile.ZipFile(archive) as source:
        source.extractall(tmp_path / "folder")
    for place in (archive, tmp_path / "folder"):
        with pytest.raises(UsageError, match=r"SHA-256 of voice\.onnx"), open_package(place):
            pass


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil", "not a name"),
        ("/etc/passwd", "not a name"),
        ("a/b/c", "not a name"),
        ("C:\\evil", "not a name"),
        ("samples/../../evil", "not a name"),
        ("aux.wav", "not a name"),
        ("con", "not a name"),
        ("voice.onnx.", "not a name"),
        (".bashrc", "not a name"),
        ("\u202egnp.exe", "not a name"),
        ("VOICE.ONNX", "twice"),
        ("sha256sums", "not a name"),
    ],
    ids=ascii,
)
def test_names_that_lead_elsewhere_are_refused(archive: Path, tmp_path: Path, name: str, words: str) -> None:
    """Nothing is written outside the copy, whoever signs for it in the list."""
    repacked(archive, lambda files: {**files, name: b"evil"}, listed=True)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=words) as caught, open_package(archive):
        pass
    assert caught.value.message.isprintable()
    assert set(tmp_path.rglob("*")) == before


def test_links_and_extra_files_are_refused(archive: Path, tmp_path: Path) -> None:
    """What the list does not name is no part of an archive, and a link is no file."""
    with zipfile.ZipFile(archive, "a") as target:
        target.writestr("extra.txt", b"x")
    with pytest.raises(UsageError, match=r"extra\.txt is not in SHA256SUMS"), open_package(archive):
        pass
    write_package(archive, FILES)
    with zipfile.ZipFile(archive, "a") as target:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        target.writestr(link, b"/etc/passwd")
    with pytest.raises(UsageError, match="no plain file"), open_package(archive):
        pass


@pytest.mark.posix
def test_a_link_in_a_folder_is_refused(archive: Path, tmp_path: Path) -> None:
    """Even if what it leads to has the right hash."""
    with zipfile.ZipFile(archive) as source:
        source.extractall(tmp_path / "folder")
    shutil.move(tmp_path / "folder" / "voice.onnx", tmp_path / "elsewhere")
    (tmp_path / "folder" / "voice.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="not a plain file"), open_package(tmp_path / "folder"):
        pass


def test_what_is_missing_is_named(archive: Path, tmp_path: Path) -> None:
    """A file, the list, the description, all of it."""
    for name, words in (("voice.onnx", r"voice\.onnx is missing"), (HASHES, f"no {HASHES}")):
        write_package(archive, FILES)
        repacked(archive, lambda files: {k: v for k, v in files.items() if k != name}, listed=False)  # noqa: B023
        with pytest.raises(UsageError, match=words), open_package(archive):
            pass
    write_package(archive, {"voice.onnx": b"x"})
    with pytest.raises(UsageError, match=r"no voice\.json"), open_package(archive):
        pass
    for place in (tmp_path / "nothing.zip", tmp_path):
        with pytest.raises(UsageError, match="missing"), open_package(place):
            pass


def test_a_bomb_is_refused(archive: Path) -> None:
    """A file is not unpacked beyond what a package may have."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        data = b"\0" * (17 << 20)
        target.writestr("README.md", data)
        target.writestr("voice.json", b"{}")
        listed = {
            "README.md": hashlib.sha256(data).hexdigest(),
            "voice.json": hashlib.sha256(b"{}").hexdigest(),
        }
        target.writestr(HASHES, hash_list(listed))
    with pytest.raises(UsageError, match="too large"), open_package(archive):
        pass


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 5000), by=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_archive_is_whole_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, by: int, *, cut: bool
) -> None:
    """Whatever byte of it changes, the files are the right ones or there is a sentence."""
    place = tmp_path_factory.mktemp("damaged") / "voice.zip"
    write_package(place, FILES)
    data = bytearray(place.read_bytes())
    at %= len(data)
    data[at] ^= by
    place.write_bytes(data[:at] if cut else data)
    try:
        with open_package(place) as package:
            assert {name: (package.folder / name).read_bytes() for name in FILES} == FILES
    except KgttsError as error:
        assert error.message.isprintable()  # noqa: PT017
