"""Files are downloaded complete and checked, or not at all."""

import os
import signal
import subprocess
import sys
from operator import attrgetter
from pathlib import Path
from threading import Event

import pytest

from orchestrator.download import UnavailableError
from orchestrator.errors import LocalError, ServiceError
from orchestrator.models import OutputFile
from tests.download.storage import Answer, Storage
from tests.download.support import Ear, bring, content, parts
from tests.support import REPOSITORY

name_of = attrgetter("name")


def test_files_arrive_below_the_target(storage: Storage, tmp_path: Path) -> None:
    """Folders are created, empty files are files, and a name of 255 bytes fits."""
    long = "ক" * 85
    files = [storage.put(name, data) for name, data in (("a/b.txt", b"b"), ("empty", b""), (long, b"long"))]
    brought = bring(files, tmp_path / "to")
    assert content(tmp_path / "to") == {"a/b.txt": b"b", "empty": b"", long: b"long"}
    silent = storage.put("empty", Answer(b"", drop=("x-goog-hash", "ETag")))
    assert bring([silent], tmp_path / "to").files[0].unchanged
    assert brought.refused == []
    assert [(str(file.path), file.size) for file in brought.files] == [
        ("a/b.txt", 1),
        ("empty", 0),
        (long, 4),
    ]


def test_a_damaged_file_is_fetched_once_more(storage: Storage, tmp_path: Path) -> None:
    """After one wrong MD5 the file is downloaded again."""
    file = storage.put("f", Answer(b"bad", claimed_md5=b"0" * 16), b"good")
    bring([file], tmp_path / "to")
    assert content(tmp_path / "to") == {"f": b"good"}
    assert len(storage.asked) == 2


def test_a_file_that_stays_damaged_is_not_kept(storage: Storage, tmp_path: Path) -> None:
    """A second damaged file is an error that names it; nothing of it stays."""
    with pytest.raises(UnavailableError, match=r"model\.pth arrived damaged twice") as caught:
        bring([storage.put("model.pth", Answer(b"bad", claimed_md5=b"0" * 16))], tmp_path / "to")
    assert caught.value.hint == "run the same pull again later"
    assert list((tmp_path / "to").iterdir()) == []
    assert len(storage.asked) == 2


def test_a_file_that_never_comes_whole_is_no_file(storage: Storage, tmp_path: Path) -> None:
    """A file that always breaks off at the same place fails, and is not put in place."""
    with pytest.raises(ServiceError, match=r"model\.pth could not be fetched: the connection"):
        bring([storage.put("model.pth", Answer(b"short", claimed_size=500))], tmp_path / "to")
    assert content(tmp_path / "to") == {}
    assert len(storage.asked) == 10


def test_a_damaged_file_does_not_replace_a_good_one(storage: Storage, tmp_path: Path) -> None:
    """The earlier file stays until the new one is complete."""
    bring([storage.put("f", b"old")], tmp_path / "to")
    with pytest.raises(ServiceError):
        bring([storage.put("f", Answer(b"new", claimed_md5=b"0" * 16))], tmp_path / "to")
    assert content(tmp_path / "to") == {"f": b"old"}


def test_unchanged_files_are_not_fetched_again(storage: Storage, tmp_path: Path) -> None:
    """A file with the same ETag and mtime is kept; one that changed here or there is downloaded."""
    target = tmp_path / "to"
    files = [storage.put("same", b"1"), storage.put("edited", b"2"), storage.put("newer", b"3", b"4")]
    assert not any(file.unchanged for file in bring(files, target).files)
    (target / "edited").write_bytes(b"by hand")
    again = {str(file.path): file.unchanged for file in bring(files, target).files}
    assert again == {"same": True, "edited": False, "newer": False}
    assert content(target) == {"same": b"1", "edited": b"2", "newer": b"4"}


def test_a_file_of_the_same_size_that_was_changed_is_fetched_again(storage: Storage, tmp_path: Path) -> None:
    """Only its modification time shows the change."""
    file = storage.put("f", b"right")
    bring([file], tmp_path)
    (tmp_path / "f").write_bytes(b"wrong")
    os.utime(tmp_path / "f", (1_000_000_000, 1_000_000_000))
    assert not bring([file], tmp_path).files[0].unchanged
    assert content(tmp_path) == {"f": b"right"}


@pytest.mark.posix  # Windows has no umask.
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_have_the_permissions_of_any_new_file(
    storage: Storage, tmp_path: Path, umask: int, mode: int
) -> None:
    """The umask decides, however the file was downloaded."""
    before = os.umask(umask)
    try:
        bring([storage.put("f", b"x"), storage.put("g", Answer(b"y", drop=("Content-Length",)))], tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"f": mode, "g": mode}


def test_what_killed_transfers_left_is_removed(storage: Storage, tmp_path: Path) -> None:
    """Parts that cannot be resumed, an old index and another transfer's folder are deleted."""
    parts_of_another = tmp_path / ".kgtts-parts-abc"
    parts_of_another.mkdir()
    (tmp_path / ".kgtts-parts").mkdir()
    for name in ("index.new", "123.new", "1-2.map"):
        (tmp_path / ".kgtts-parts" / name).write_text("left")
    names = ["..kgtts-complete.x1y2.part", ".session.log.x1y2.part", "..kgtts-pull.json.x1y2.part"]
    earlier = [tmp_path / name for name in (*names, ".kgtts-pull.json")]
    for old in earlier:
        old.write_text("left")
    for old in (*earlier, parts_of_another):
        os.utime(old, (1_000_000_000, 1_000_000_000))
    bring([storage.put("f", b"x")], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_unsafe_names_are_reported_and_the_rest_is_brought(storage: Storage, tmp_path: Path) -> None:
    """A hostile name costs only its file, and touches nothing outside of the target."""
    files = [storage.put(name, b"x") for name in ("../evil", "fine", "/etc/evil", "a\x1b[31m")]
    brought = bring(files, tmp_path / "to")
    assert list(map(name_of, brought.refused)) == ["../evil", "/etc/evil", "a\x1b[31m"]
    assert content(tmp_path) == {"to/fine": b"x"}


def test_names_that_collide_are_refused(storage: Storage, tmp_path: Path) -> None:
    """Of names that are equal but for case, the first is downloaded."""
    files = [
        storage.put(name, name.encode()) for name in ("Model.pth", "model.PTH", "Model.pth", "./Model.pth")
    ]
    brought = bring(files, tmp_path / "to")
    assert content(tmp_path / "to") == {"Model.pth": b"Model.pth"}
    assert len(brought.refused) == 3


def test_a_link_out_of_the_target_is_not_followed(storage: Storage, tmp_path: Path) -> None:
    """Links in the target and the files that they lead to are not changed."""
    elsewhere, target = tmp_path / "elsewhere", tmp_path / "to"
    elsewhere.mkdir()
    target.mkdir()
    (elsewhere / "f").write_text("mine")
    (target / "folder").symlink_to(elsewhere)
    (target / "file").symlink_to(elsewhere / "f")
    brought = bring([storage.put("folder/f", b"x"), storage.put("file", b"x")], target)
    assert list(map(name_of, brought.refused)) == ["folder/f", "file"]
    assert content(elsewhere) == {"f": b"mine"}


def test_files_with_equal_long_beginnings_do_not_mix(storage: Storage, tmp_path: Path) -> None:
    """Files that arrive together never share a temporary file."""
    names = ["x" * 210 + str(number) for number in range(8)] + [".f.part", "f"]
    files = [storage.put(name, name.encode() * 50_000) for name in names]
    bring(files, tmp_path / "to")
    assert content(tmp_path / "to") == {name: name.encode() * 50_000 for name in names}


def test_a_full_disk_is_a_sentence(storage: Storage, tmp_path: Path) -> None:
    """A file that does not fit is not started; the error names the folder, the hint what to do."""
    with pytest.raises(LocalError, match=r"needs at least 1000000064 MB of free disk space") as caught:
        bring([storage.put("f", Answer(b"x", claimed_size=1_000_000_000 << 20))], tmp_path / "to")
    assert "free some space" in (caught.value.hint or "")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_folder_in_the_way_is_a_sentence(storage: Storage, tmp_path: Path) -> None:
    """The error names what cannot be written, with the reason."""
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "g").touch()
    with pytest.raises(LocalError, match=r"f could not be written: "):
        bring([storage.put("f", b"x")], tmp_path)


def test_a_busy_storage_is_asked_again(storage: Storage, tmp_path: Path) -> None:
    """After 429 and 5xx the request is repeated."""
    bring([storage.put("f", Answer(status=429), Answer(status=503), b"x")], tmp_path)
    assert content(tmp_path) == {"f": b"x"}


@pytest.mark.parametrize(("status", "times"), [(403, 1), (404, 1), (500, 10)])
def test_a_storage_that_says_no_is_a_sentence_without_the_signature(
    storage: Storage, tmp_path: Path, status: int, times: int
) -> None:
    """The error has the file and the status, never the URL; a 4xx is not retried."""
    with pytest.raises(
        ServiceError, match=f"f could not be fetched: the storage answered {status}"
    ) as caught:
        bring([storage.put("f", Answer(status=status))], tmp_path)
    assert "secret" not in repr(caught.value) + str(caught.value.__cause__)
    assert len(storage.asked) == times


def test_an_address_that_is_none_is_not_asked_again_and_again(storage: Storage, tmp_path: Path) -> None:
    """A listing without a usable URL is an error at once."""
    for url in ("", "file:///etc/passwd", "http://"):
        with pytest.raises(ServiceError, match="f could not be fetched"):
            bring([OutputFile("f", url)], tmp_path)
    assert content(tmp_path) == {}


def test_the_listener_hears_everything(storage: Storage, tmp_path: Path) -> None:
    """Names, sizes, bytes, retries and files are reported as they come."""
    ear, file = Ear(), storage.put("f", Answer(status=503), b"12345")
    bring([file], tmp_path, listener=ear)
    assert ear.heard == [
        ("planned", ["f"]),
        ("retried", "f", "the storage answered 503"),
        ("sized", 5, 0),
        ("received", "f", 5),
        ("placed", "f", False),
    ]
    ear.heard.clear()
    bring([file], tmp_path, listener=ear)
    assert ear.heard == [("planned", ["f"]), ("sized", 5, 5), ("placed", "f", True)]


def test_one_failure_ends_the_whole_transfer_soon(storage: Storage, tmp_path: Path) -> None:
    """A file that fails does not wait for a long one beside it, and leaves no part of it."""
    hold = Event()
    files = [storage.put("missing", Answer(status=404)), storage.put("long", Answer(b"x" * 100, hold=hold))]
    with pytest.raises(ServiceError, match="missing could not be fetched"):
        bring(files, tmp_path)
    hold.set()
    assert content(tmp_path) == {}


@pytest.mark.posix  # Mode bits.
@pytest.mark.posix  # On Windows a folder that is read-only may be written to.
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_a_sentence(storage: Storage, tmp_path: Path) -> None:
    """The error names the file and the missing permission."""
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(LocalError, match="Permission denied"):
            bring([storage.put("f", b"x")], tmp_path)
    finally:
        tmp_path.chmod(0o755)


PULL = """
import sys
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path, PurePosixPath
from orchestrator.models import OutputFile
from orchestrator.download import TransferListener, fetch
class Ear(TransferListener):
    came = 0
    def received(self, path, count):
        self.came += count
        if self.came > 2_400_000 >= self.came - count:
            print("halved", flush=True)
    def placed(self, file):
        print("placed", file.path, flush=True)
try:
    fetch([OutputFile("small", sys.argv[1]), OutputFile("large", sys.argv[2])], Path(sys.argv[3]), Ear())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.posix  # Windows sends no SIGINT to one process alone.
def test_ctrl_c_does_not_wait_for_the_rest_of_a_large_file(storage: Storage, tmp_path: Path) -> None:
    """Complete files stay, the process ends at once, and the next transfer resumes."""
    hold = Event()
    small, large = storage.put("small", b"s"), storage.put("large", Answer(b"x" * 5_000_000, hold=hold))
    process = subprocess.Popen(
        [sys.executable, "-c", PULL, small.url, large.url, str(tmp_path / "to")],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "placed small\n"
        assert process.stdout.readline() == "halved\n"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
    finally:
        hold.set()
        process.kill()
        process.wait()
    assert out == "interrupted\n"
    assert content(tmp_path / "to") == {"small": b"s"}
    brought = bring([small, large], tmp_path / "to")
    assert content(tmp_path / "to") == {"small": b"s", "large": b"x" * 5_000_000}
    assert brought.counts.resumed > 2_000_000
    assert brought.counts.received == 5_000_000 - brought.counts.resumed
    assert parts(tmp_path) == []
