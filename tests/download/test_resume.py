"""Interrupted downloads are resumed: within one transfer, and by the next one."""

import base64
import email.utils
import hashlib
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from threading import Event, Thread

import pytest

from orchestrator.download import Content, TransferListener, TransferOptions, UnavailableError
from orchestrator.download.storage import Attempts, ExpiredError
from orchestrator.download.storage import Storage as Transport
from orchestrator.errors import LocalError, ServiceError
from orchestrator.models import OutputFile
from tests.download.storage import Answer, Storage
from tests.download.support import Ear, bring, content, parts

MB = 1 << 20
BODY = random.Random(7).randbytes(28 * MB)  # noqa: S311  # No secret.
IMPATIENT = TransferOptions(attempts=1)


def ranges(storage: Storage) -> list[str | None]:
    """Return the requested ranges in order."""
    return [request.range for request in storage.requests]


def test_a_big_file_comes_in_ranges(storage: Storage, tmp_path: Path) -> None:
    """The ranges cover it once, and all but the first name its ETag."""
    brought = bring([storage.put("f", BODY)], tmp_path)
    assert content(tmp_path) == {"f": BODY}
    assert sorted(ranges(storage)) == [  # type: ignore[type-var]  # None of them is None.
        f"bytes={start * MB}-{end * MB - 1}" for start, end in ((0, 8), (24, 28), (8, 24))
    ]
    assert [request.if_range is None for request in storage.requests] == [True, False, False]
    assert (brought.counts.received, brought.counts.again) == (len(BODY), 0)
    assert (brought.counts.requests, 1 <= brought.counts.connections <= 3) == (3, True)
    assert parts(tmp_path) == []


def test_a_slow_line_gets_all_connections(storage: Storage, tmp_path: Path) -> None:
    """A transfer begins with two connections, and soon has as many as it may if they bring little."""
    files = [storage.put(str(number), Answer(BODY[:200], pace=(100, 0.15))) for number in range(10)]
    assert bring(files, tmp_path, options=TransferOptions(connections=5)).counts.connections == 5


def test_a_reset_is_gone_on_with_from_that_byte(storage: Storage, tmp_path: Path) -> None:
    """A broken connection repeats nothing."""
    brought = bring([storage.put("f", Answer(BODY[:MB], reset_after=300_001), BODY[:MB])], tmp_path)
    assert content(tmp_path) == {"f": BODY[:MB]}
    assert ranges(storage)[-1] == f"bytes=300001-{MB - 1}"
    assert (brought.counts.received, brought.counts.again, brought.counts.retries) == (MB, 0, 1)


def test_the_next_transfer_goes_on_where_the_last_one_broke(storage: Storage, tmp_path: Path) -> None:
    """One byte is requested to check that the file is the same, then what is missing."""
    file = storage.put("f", Answer(BODY[:MB], reset_after=300_001), BODY[:MB])
    with pytest.raises(ServiceError, match="f could not be fetched: the connection broke"):
        bring([file], tmp_path, options=IMPATIENT)
    assert content(tmp_path) == {}
    assert len(parts(tmp_path)) == 1
    brought = bring([file], tmp_path)
    assert content(tmp_path) == {"f": BODY[:MB]}
    assert ranges(storage)[1:] == ["bytes=0-0", f"bytes=300001-{MB - 1}"]
    assert (brought.counts.resumed, brought.counts.received) == (300_001, MB - 300_001)
    assert parts(tmp_path) == []


def test_another_content_begins_anew(storage: Storage, tmp_path: Path) -> None:
    """A part with another ETag is deleted and not used."""
    other = BODY[5 * MB : 6 * MB]
    file = storage.put("f", Answer(BODY[:MB], reset_after=300_001), other)
    with pytest.raises(ServiceError):
        bring([file], tmp_path, options=IMPATIENT)
    brought = bring([file], tmp_path)
    assert content(tmp_path) == {"f": other}
    assert brought.counts.resumed == 0
    assert parts(tmp_path) == []


@pytest.mark.parametrize("ranges_heeded", [True, False])
def test_a_file_that_changes_on_its_way_begins_anew(
    storage: Storage, tmp_path: Path, *, ranges_heeded: bool
) -> None:
    """If the content changes, its answer is not mixed into the old part."""
    new = bytes(reversed(BODY))
    ear = Ear()
    bring([storage.put("f", BODY, Answer(new, ranges=ranges_heeded))], tmp_path, ear)
    assert content(tmp_path) == {"f": new}
    assert ("retried", "f", "the storage has another content now") in ear.heard
    assert parts(tmp_path) == []


def test_a_file_that_changes_for_ever_is_given_up(storage: Storage, tmp_path: Path) -> None:
    """It ends with an error."""
    answers = [Answer(BODY, etag=f'"{number}"') for number in range(100)]
    with pytest.raises(ServiceError, match="f could not be fetched: it changes faster"):
        bring([storage.put("f", *answers)], tmp_path)
    assert content(tmp_path) == {}


def test_a_storage_without_ranges_is_read_in_one_stream(storage: Storage, tmp_path: Path) -> None:
    """A 200 to the first range is the file, and is not requested again."""
    brought = bring([storage.put("f", Answer(BODY, ranges=False))], tmp_path)
    assert content(tmp_path) == {"f": BODY}
    assert ranges(storage) == [f"bytes=0-{8 * MB - 1}"]
    assert brought.counts.again == 0


def test_a_range_ignored_once_is_asked_for_again(storage: Storage, tmp_path: Path) -> None:
    """If much is here, a whole file instead of a range is not read."""
    brought = bring([storage.put("f", BODY, Answer(BODY, ranges=False), BODY)], tmp_path)
    assert content(tmp_path) == {"f": BODY}
    assert (brought.counts.again, brought.counts.retries) == (0, 1)


def test_a_stream_that_breaks_goes_on_although_ranges_are_ignored(storage: Storage, tmp_path: Path) -> None:
    """Each attempt starts at the first byte, and adds what the one before did not reach."""
    answers = [Answer(BODY, ranges=False, reset_after=after * MB) for after in (3, 2, 9, 12, 15)]
    bring([storage.put("f", *answers, Answer(BODY, ranges=False))], tmp_path)
    assert content(tmp_path) == {"f": BODY}
    assert parts(tmp_path) == []


def test_a_stream_that_breaks_goes_on_in_ranges_where_they_are_heeded_again(
    storage: Storage, tmp_path: Path
) -> None:
    """Nothing of what a whole file instead of a range had brought is fetched twice."""
    brought = bring([storage.put("f", Answer(BODY, ranges=False, reset_after=15 * MB), BODY)], tmp_path)
    assert content(tmp_path) == {"f": BODY}
    assert ranges(storage)[-1] == f"bytes={15 * MB}-{len(BODY) - 1}"
    assert brought.counts.again == 0


def test_other_bytes_than_asked_for_are_not_taken(storage: Storage, tmp_path: Path) -> None:
    """A part with another Content-Range is requested again."""
    bring([storage.put("f", BODY, Answer(BODY, shift=1), BODY)], tmp_path)
    assert content(tmp_path) == {"f": BODY}


def test_an_end_of_the_file_that_moved_begins_anew(storage: Storage, tmp_path: Path) -> None:
    """A 416 means that the file became shorter."""
    bring([storage.put("f", BODY, Answer(status=416), b"short")], tmp_path)
    assert content(tmp_path) == {"f": b"short"}


def test_a_damaged_big_file_comes_again_from_its_first_byte(storage: Storage, tmp_path: Path) -> None:
    """Nobody knows which range was wrong, so none is kept."""
    bad = BODY[: 9 * MB] + bytes([BODY[9 * MB] ^ 1]) + BODY[9 * MB + 1 :]  # Another byte, whichever it was.
    ear, md5 = Ear(), storage.put("right", BODY)
    bring([md5], tmp_path / "other")
    etag = '"same"'
    answers = [Answer(bad, etag=etag, headers=_hashes(BODY))] * 4
    brought = bring([storage.put("f", *answers, Answer(BODY, etag=etag))], tmp_path / "to", ear)
    assert content(tmp_path / "to") == {"f": BODY}
    assert brought.counts.again == len(BODY)
    assert any(heard[0] == "retried" and "damaged" in str(heard[2]) for heard in ear.heard)
    assert parts(tmp_path) == []


def _hashes(body: bytes) -> dict[str, str]:
    """Return the hash header that a storage sends with `body`."""
    md5 = hashlib.md5(body, usedforsecurity=False).digest()
    return {"x-goog-hash": f"md5={base64.b64encode(md5).decode()}"}


@pytest.mark.parametrize("status", [400, 401, 403])
def test_an_expired_address_is_listed_again(storage: Storage, tmp_path: Path, status: int) -> None:
    """One new listing serves all files."""
    old = [storage.put(name, Answer(status=status)) for name in "abc"]
    listed = list[int]()

    def relist() -> list[OutputFile]:
        listed.append(1)
        return [storage.put(name, name.encode()) for name in "abc"]

    bring(old, tmp_path, relist=relist)
    assert content(tmp_path) == {"a": b"a", "b": b"b", "c": b"c"}
    assert len(listed) == 1


def test_an_address_that_expires_in_the_middle_loses_nothing(storage: Storage, tmp_path: Path) -> None:
    """The bytes from the old URL are kept."""
    etag = '"same"'
    old = storage.put("f", Answer(BODY, etag=etag), Answer(status=400))
    brought = bring([old], tmp_path, relist=lambda: [storage.put("f", Answer(BODY, etag=etag))])
    assert content(tmp_path) == {"f": BODY}
    assert brought.counts.again == 0


def test_an_address_that_stays_expired_is_an_error(storage: Storage, tmp_path: Path) -> None:
    """There is one new listing only; a file that it does not have is gone."""
    listed = list[int]()

    def relist() -> list[OutputFile]:
        listed.append(1)
        return [storage.put("f", Answer(status=403))]

    with pytest.raises(ServiceError, match="f could not be fetched: the storage answered 403"):
        bring(relist(), tmp_path, relist=relist)
    assert len(listed) == 2
    with pytest.raises(UnavailableError, match="not among the session's outputs any more"):
        bring([storage.put("f", Answer(status=403))], tmp_path, relist=list)


def test_an_address_that_another_thread_renewed_costs_no_listing() -> None:
    """Each file keeps its right to one new listing."""
    tried = list[str]()
    storage = Transport([OutputFile("f", "first")], lambda: [OutputFile("f", "third")], TransferOptions())

    def request(file: OutputFile) -> str:
        tried.append(file.url)
        if file.url == "first":
            storage.files["f"] = OutputFile("f", "second")  # Another thread has listed it meanwhile.
        if file.url != "third":
            raise ExpiredError("the storage answered 400")
        return file.url

    assert Attempts(storage, "f", print).until_done(request) == "third"
    assert tried == ["first", "second", "third"]


def test_waits_grow_and_honour_retry_after(storage: Storage, tmp_path: Path) -> None:
    """Waits are half to all of a doubling delay, longer if asked for, and bounded."""
    waits = list[float]()
    busy = [Answer(status=503), Answer(status=503), Answer(status=429, headers={"Retry-After": "7"})]
    far = Answer(status=429, headers={"Retry-After": "86400"})
    options = TransferOptions(sleep=waits.append, first_delay_s=1.0)
    bring([storage.put("f", *busy, far, b"x")], tmp_path, options=options)
    assert 0.5 <= waits[0] <= 1.0 <= waits[1] <= 2.0
    assert waits[2:] == [7.0, 60.0]


def test_retry_after_may_be_a_date(storage: Storage, tmp_path: Path) -> None:
    """A date counts like seconds (RFC 9110), by the storage's clock."""
    waits = list[float]()
    until = email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    busy = Answer(status=503, headers={"Retry-After": until})
    bring([storage.put("f", busy, b"x")], tmp_path, options=TransferOptions(sleep=waits.append))
    assert len(waits) == 1
    assert 20 <= waits[0] <= 31


def test_progress_refills_the_attempts(storage: Storage, tmp_path: Path) -> None:
    """New bytes reset the attempts; ten without any are the end."""
    breaks = [Answer(BODY[: 2 * MB], reset_after=70_000)] * 20
    bring([storage.put("f", *breaks, BODY[: 2 * MB])], tmp_path / "a")
    drips = [Answer(BODY[: 2 * MB], reset_after=100)] * 20
    with pytest.raises(ServiceError, match="the connection broke"):
        bring([storage.put("f", *drips, BODY[: 2 * MB])], tmp_path / "b")


@pytest.mark.parametrize(
    ("drop", "heeds"),
    [
        (("ETag",), True),
        (("ETag",), False),
        (("ETag", "x-goog-hash"), True),
        (("ETag", "x-goog-hash"), False),
        (("Content-Length",), False),
        (("Content-Length", "ETag", "x-goog-hash"), False),
    ],
)
def test_a_storage_that_says_little(
    storage: Storage, tmp_path: Path, drop: tuple[str, ...], *, heeds: bool
) -> None:
    """Without ETag, hashes or length the file is still right."""
    bring([storage.put("f", Answer(BODY[: 9 * MB], drop=drop, ranges=heeds))], tmp_path)
    assert content(tmp_path) == {"f": BODY[: 9 * MB]}
    assert parts(tmp_path) == []


def test_a_manifest_is_checked_too(storage: Storage, tmp_path: Path) -> None:
    """What the session itself said of a file counts as much as what the storage says."""
    right = {"f": Content(sha256=hashlib.sha256(b"x").digest())}
    bring([storage.put("f", b"x")], tmp_path / "a", manifest=right)
    with pytest.raises(UnavailableError, match=r"twice \(it has another SHA-256 than the session gives"):
        bring([storage.put("f", b"y")], tmp_path / "b", manifest=right)
    assert content(tmp_path) == {"a/f": b"x"}


def test_two_transfers_of_one_file_do_no_harm(storage: Storage, tmp_path: Path) -> None:
    """Each has a part of its own; both end well."""
    hold = Event()
    slow = storage.put("f", Answer(BODY[:MB], hold=hold), BODY[:MB])
    first = Thread(target=lambda: bring([slow], tmp_path))
    first.start()
    assert storage.halved.wait(10)
    bring([slow], tmp_path)
    assert content(tmp_path) == {"f": BODY[:MB]}
    hold.set()
    first.join()
    assert content(tmp_path) == {"f": BODY[:MB]}
    assert parts(tmp_path) == []


class Saboteur(TransferListener):
    """Puts a link where the file's folder is to be, just before the file is put in place."""

    def __init__(self, target: Path, elsewhere: Path) -> None:
        self._target, self._elsewhere = target, elsewhere

    def received(self, path: PurePosixPath, count: int) -> None:
        """Put it there."""
        (self._target / path.parent).symlink_to(self._elsewhere)


def test_a_link_that_comes_later_is_not_followed(storage: Storage, tmp_path: Path) -> None:
    """Neither where the file is to lie nor where its bytes lie until then."""
    elsewhere, target = tmp_path / "elsewhere", tmp_path / "to"
    elsewhere.mkdir()
    with pytest.raises(LocalError, match="is a link; kgtts does not write through links"):
        bring([storage.put("a/f", b"x")], target, Saboteur(target, elsewhere))
    file = storage.put("f", Answer(BODY[:MB], reset_after=70_000), BODY[:MB])
    with pytest.raises(ServiceError):
        bring([file], target, options=IMPATIENT)
    for part in (target / ".kgtts-parts").glob("*.*"):
        part.unlink()
        part.symlink_to(elsewhere / "victim")
    bring([file], target)
    assert (target / "f").read_bytes() == BODY[:MB]
    (tmp_path / ".kgtts-parts").symlink_to(elsewhere)
    with pytest.raises(LocalError, match="is a link; kgtts does not write through links"):
        bring([storage.put("g", b"x")], tmp_path)
    assert list(elsewhere.iterdir()) == []


def test_all_files_count_for_the_free_disk(storage: Storage, tmp_path: Path) -> None:
    """Files that fit one by one but not together are not fetched."""
    options = TransferOptions(free_disk=lambda _: 300 * MB)
    half = Answer(b"x", claimed_size=160 * MB)
    with pytest.raises(
        LocalError, match="needs at least 384 MB of free disk space, but only 300 MB are free"
    ):
        bring([storage.put(name, half) for name in "ab"], tmp_path, options=options)


def test_some_disk_stays_free(storage: Storage, tmp_path: Path) -> None:
    """A file that would fill the last 64 MB of the disk is not begun."""
    file = storage.put("f", BODY[:MB])
    bring([file], tmp_path / "fits", options=TransferOptions(free_disk=lambda _: 65 * MB))
    with pytest.raises(LocalError, match="needs at least 65 MB of free disk space, but only 64 MB"):
        bring([file], tmp_path / "full", options=TransferOptions(free_disk=lambda _: 64 * MB))
    assert list((tmp_path / "full").iterdir()) == []


def test_a_part_is_kept_where_the_first_look_fails(storage: Storage, tmp_path: Path) -> None:
    """Asked again, the storage says that it is the same file: nothing of it is fetched twice."""
    breaks = Answer(BODY[:MB], reset_after=300_001), Answer(BODY[:MB], reset_after=0)
    file = storage.put("f", *breaks, Answer(status=503), BODY[:MB])
    with pytest.raises(ServiceError):
        bring([file], tmp_path, options=IMPATIENT)
    brought = bring([file], tmp_path)
    assert content(tmp_path) == {"f": BODY[:MB]}
    assert (brought.counts.resumed, brought.counts.again) == (300_001, 0)
    assert parts(tmp_path) == []


def test_an_answer_that_is_none_ends(storage: Storage, tmp_path: Path) -> None:
    """`304` to somebody who has nothing is no file."""
    with pytest.raises(ServiceError, match="f could not be fetched: the storage answered 304"):
        bring([storage.put("f", Answer(status=304))], tmp_path)
