"""A session's downloads by signed URLs: complete, or a prompt error, and never a URL in the log."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from kernel_template.contract import EndReason
from kernel_template.start.download import DamagedError, DownloadError, DownloadRules, Downloads
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.process import StopFlag
from tests.download.storage import Answer, Storage, serve
from tests.fakes.clock import FakeClock
from tests.kernel.kit import Log, paths_in, reporter

CONTENT = bytes(range(256)) * 40_000  # 10 MB
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).digest()
PATH = "training/run/checkpoint_14.pth"
REFUSED = Answer(status=403)


@pytest.fixture
def storage() -> Iterator[Storage]:
    """A storage server on loopback."""
    with serve() as started:
        yield started


class World:
    """A session that downloads `PATH` from a storage server with prepared answers."""

    def __init__(self, root: Path, log: Log, storage: Storage, *answers: Answer | bytes) -> None:
        self.clock, self.stop, self.log, self.storage = FakeClock(), StopFlag(), log, storage
        self.rules = DownloadRules(clock=self.clock, sleep=self.clock.sleep, free_bytes=lambda _: 10**12)
        self.sha256: str | None = None
        self.root, self.urls = root, {PATH: storage.put(PATH, *answers).url}

    def bring(self, size: int | None = None) -> bytes:
        """Download the file, and return its content."""
        downloads = Downloads(self.urls, paths_in(self.root), reporter(self.log), self.stop, self.rules)
        downloads.bring(PATH, size, self.sha256)
        (found,) = [path for path in downloads.folder.rglob("*") if path.is_file()]
        assert found == downloads.folder / PATH
        return found.read_bytes()

    def failure(self, kind: type[Exception] = DownloadError, size: int | None = None) -> str:
        """Return the error; nothing is left of the file, and no URL is printed."""
        with pytest.raises(kind) as caught:
            self.bring(size)
        assert type(caught.value) is kind
        assert not [path for path in (self.root / "temp").rglob("*") if path.is_file()]
        for told in (str(caught.value), self.log.text, str(caught.value.__cause__)):
            assert "Signature" not in told
            assert "127.0.0.1" not in told
        return str(caught.value)


World_ = Callable[..., World]


@pytest.fixture
def world(root: Path, log: Log, storage: Storage) -> World_:
    """Makes a session and the answers of its storage server."""
    return lambda *answers: World(root, log, storage, *answers)


def test_a_file_arrives_once(world: World_) -> None:
    """A file is downloaded with one request, reported with its size, and not requested again."""
    played = world(CONTENT)
    assert played.bring(len(CONTENT)) == CONTENT
    assert played.log.lines == [f"✓ Downloaded: {PATH} (10.2 MB)"]
    played.bring(len(CONTENT))
    assert len(played.storage.asked) == 1


def test_a_connection_that_breaks_goes_on_where_it_was(world: World_) -> None:
    """A broken download resumes with Range and If-Range; new bytes reset the number of retries."""
    played = world(*[Answer(CONTENT, reset_after=1_000_000)] * 6, CONTENT)
    assert played.bring() == CONTENT
    asked = played.storage.requests
    assert asked[0].range is None
    begins = [int((item.range or "").removeprefix("bytes=").partition("-")[0]) for item in asked[1:]]
    assert begins == sorted(begins)
    assert begins[0] > 0
    assert all(item.if_range for item in asked[1:])
    assert played.clock.waits == [1.0] * 6


@pytest.mark.parametrize("second", [Answer(CONTENT, ranges=False), Answer(CONTENT, etag='"other"')])
def test_a_whole_answer_to_a_part_starts_again(world: World_, second: Answer) -> None:
    """If the storage ignores Range or has new content, the download starts again."""
    assert world(Answer(CONTENT, reset_after=3_000_000), second).bring() == CONTENT


def test_another_part_than_was_asked_for_is_not_taken(world: World_) -> None:
    """A wrong Content-Range counts as a broken connection."""
    shifted = Answer(CONTENT, shift=7)
    assert world(Answer(CONTENT, reset_after=3_000_000), shifted, CONTENT).bring() == CONTENT


def test_a_single_refusal_is_not_believed(world: World_) -> None:
    """After a single 403 the same URL is tried again two seconds later."""
    played = world(REFUSED, CONTENT)
    assert played.bring() == CONTENT
    assert played.clock.waits == [2.0]


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("before", [(), (Answer(CONTENT, reset_after=3_000_000),)])
def test_an_expired_url_ends_at_once(world: World_, status: int, before: tuple[Answer, ...]) -> None:
    """An expired URL ends the download within seconds, since the GPU is paid for, also in mid-file."""
    played = world(*before, Answer(status=status))
    assert played.failure() == f"its address is not valid any more (the storage answered {status})"
    assert played.clock.passed <= 3


def test_an_expired_url_is_not_tried_again_if_the_storage_says_so(world: World_) -> None:
    """Google's `ExpiredToken` is final."""
    body = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code></Error>"
    played = world(Answer(body, status=400))
    assert played.failure() == "its address has expired (the storage answered 400)"
    assert played.clock.waits == []


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_storage_that_stays_busy_is_given_up(world: World_, status: int) -> None:
    """After four errors the download fails, within seconds."""
    played = world(Answer(status=status))
    assert played.failure() == f"the storage answered {status}, 4 times in a row"
    assert played.clock.waits == [1.0, 2.0, 4.0]


def test_a_silent_connection_is_given_up(world: World_) -> None:
    """Every attempt has a time limit; with the waits between them it takes less than a minute."""
    hold = Event()
    played = world(Answer(b"x", hold=hold))  # Of whose one byte nothing comes.
    played.rules = replace(played.rules, silence_s=0.2, pauses_s=(1.0,))
    why = played.failure()
    hold.set()
    assert why.endswith("(TimeoutError), 2 times in a row")
    rules = DownloadRules()
    assert (len(rules.pauses_s) + 1) * rules.silence_s + sum(rules.pauses_s) < 45


def test_no_connection(world: World_) -> None:
    """If nobody listens, the download fails."""
    played = world(CONTENT)
    played.urls = {PATH: "http://127.0.0.1:9/x?X-Goog-Signature=secret"}
    assert played.failure() == "the connection failed (URLError), 4 times in a row"


@pytest.mark.parametrize(
    "url", ["http://192.0.2.7/x?X-Goog-Signature=a", "file:///etc/passwd", "", "http://["]
)
def test_no_other_connections(world: World_, url: str) -> None:
    """Only https may leave this machine, and no other answer is read."""
    played = world(CONTENT)
    played.urls = {PATH: url}
    assert "the connection failed (ValueError)" in played.failure()


@pytest.mark.parametrize("place", ["http://storage.invalid/x", "ftp://storage.invalid/x"])
def test_no_other_connections_after_a_redirect(world: World_, place: str) -> None:
    """A redirect may not lead where a first URL may not lead."""
    played = world(Answer(status=302, headers={"Location": f"{place}?X-Goog-Signature=a"}))
    assert "the connection failed (ValueError)" in played.failure()


def test_a_redirect_is_followed(world: World_, storage: Storage) -> None:
    """A redirect to where a first URL may lead is followed."""
    elsewhere = storage.put("elsewhere", CONTENT).url
    assert world(Answer(status=302, headers={"Location": elsewhere})).bring() == CONTENT


@pytest.mark.parametrize("length", ["9" * 5000, "many", "-1", "1" * 16])
def test_a_length_that_no_file_has(world: World_, length: str) -> None:
    """It is an answer that cannot be used, and another may be right."""
    odd = Answer(CONTENT, headers={"Content-Length": length})
    played = world(odd, CONTENT)
    assert played.bring() == CONTENT
    shutil.rmtree(played.root)
    assert world(odd).failure() == "the storage answered with a length that no file has, 4 times in a row"


def test_a_proxy_is_not_asked_for_this_machine(world: World_, monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulator is reached directly, whatever proxy the environment names."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert world(CONTENT).bring() == CONTENT


def test_a_file_that_arrives_damaged_is_fetched_again(world: World_) -> None:
    """A file with a wrong MD5 is downloaded once more; a second damaged one is an error."""
    spoiled = Answer(CONTENT[:-1] + b"!", claimed_md5=MD5)
    played = world(spoiled, CONTENT)
    assert played.bring() == CONTENT
    shutil.rmtree(played.root)
    assert world(spoiled).failure(DamagedError) == "its MD5 differs from the storage's"


@pytest.mark.parametrize("broken", [(), (Answer(CONTENT, reset_after=3_000_000),)])
def test_the_hash_that_state_json_has_decides(world: World_, broken: tuple[Answer, ...]) -> None:
    """Whatever the storage says of its own file, and also if it came in pieces."""
    played = world(*broken, CONTENT)
    played.sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert played.bring(len(CONTENT)) == CONTENT
    shutil.rmtree(played.root)
    other = world(*broken, CONTENT)
    other.sha256 = "0" * 64
    assert other.failure(DamagedError) == "its SHA-256 differs from the one in state.json"


def test_another_size_than_state_json_tells_is_no_file(world: World_) -> None:
    """A wrong size is an error before a gigabyte is downloaded, or at the end if no length was sent."""
    assert world(CONTENT).failure(DamagedError, 7) == "it has 10.2 MB instead of 7 B"
    unknown = Answer(CONTENT, drop=("Content-Length",))
    assert world(unknown).failure(DamagedError, 7) == "it has 10.2 MB instead of 7 B"


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_is_gone(world: World_, status: int) -> None:
    """A missing file is reported, and is not the session's failure."""
    assert world(Answer(status=status)).failure(DamagedError).startswith("the storage does not have it")


@pytest.mark.parametrize(("free", "fits"), [(10_239_999, False), (10_240_000, True)])
def test_a_disk_without_room(world: World_, free: int, *, fits: bool) -> None:
    """Room is needed for the file and further outputs."""
    played = world(CONTENT)
    played.rules = replace(played.rules, free_bytes=lambda _: free + 256 * 1024 * 1024)
    if fits:
        played.bring()
    else:
        assert played.failure().startswith("it needs 10.2 MB of disk, but only 278.7 MB is free in ")


def test_a_disk_that_is_full(world: World_) -> None:
    """A write error counts, whatever free space was reported."""
    played = world(CONTENT)
    (played.root / "temp" / "before").mkdir(parents=True)
    (played.root / "temp" / "before" / "training").write_text("in the way")
    with pytest.raises(DownloadError, match="it cannot be written: "):
        played.bring()


def test_a_session_that_is_told_to_stop_does_not_go_on(world: World_) -> None:
    """A download stops if the session is told to stop."""
    played = world(CONTENT)
    played.stop.received = "SIGTERM"
    with pytest.raises(KernelFailure, match="SIGTERM") as caught:
        played.bring()
    assert caught.value.reason is EndReason.INTERRUPTED


def test_a_crawl_has_an_end(world: World_) -> None:
    """A download that is too slow fails."""
    played = world(CONTENT)
    played.rules = replace(played.rules, clock=iter(range(0, 10**6, 901)).__next__)
    assert played.failure().endswith("came in 30 min 0 s")


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", ""])
def test_nothing_is_written_elsewhere(root: Path, log: Log, storage: Storage, path: str) -> None:
    """A path that leads out of the folder is refused."""
    urls = {path: storage.put(path, CONTENT).url}
    downloads = Downloads(urls, paths_in(root), reporter(log), StopFlag(), DownloadRules())
    assert list(downloads) == []
    downloads.bring(path)
    assert storage.asked == []
