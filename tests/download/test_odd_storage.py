"""A storage, or something on the way to it, with other answers or hardly any."""

import gzip
import hashlib
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path, PurePosixPath

import pytest

from orchestrator.download import Content, TransferOptions, UnavailableError
from orchestrator.download.partial import Partial
from orchestrator.errors import ServiceError
from orchestrator.models import OutputFile
from tests.download.storage import Answer, Storage
from tests.download.support import Ear, bring, content, parts
from tests.test_connections import dripping, server

BODY = b"".join(b"%d\n" % number for number in range(100_000))
SILENT = ("Content-Length", "ETag", "x-goog-hash")  # The storage tells nothing about a file.
PROMPT = TransferOptions(sleep=lambda _: None, stall_s=0.1, patience_s=0.3)


def told(body: bytes) -> dict[str, Content]:
    """Return a manifest with the file `f`."""
    return {"f": Content(len(body), hashlib.sha256(body).digest())}


@pytest.mark.parametrize("part", ["head", "body", "redirect"])
def test_an_answer_that_trickles_in_is_given_up(tmp_path: Path, part: str) -> None:
    """A byte now and then does not keep a transfer alive."""
    begun = time.monotonic()
    with server(dripping(part)) as (url, seen), pytest.raises(ServiceError, match="f could not be fetched"):
        bring([OutputFile("f", url)], tmp_path, options=PROMPT)
    assert time.monotonic() - begun < 5
    assert 2 <= len(seen) <= 5
    assert content(tmp_path) == {}


def test_more_bytes_than_announced_are_not_taken(tmp_path: Path) -> None:
    """A part whose body goes on after its last byte does not spoil what lies behind it."""
    body = BODY * 16

    def generous(handler: BaseHTTPRequestHandler) -> None:
        start, last = (int(number) for number in handler.headers["Range"].removeprefix("bytes=").split("-"))
        part = body[start : min(last + 1, len(body))]
        handler.send_response(206)
        handler.send_header("ETag", '"same"')
        handler.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(body)}")
        handler.end_headers()
        handler.wfile.write(part + b"?" * 200_000)

    (tmp_path / ".kgtts-parts").mkdir()
    known = Content(len(body), etag='"same"')
    part = Partial(tmp_path / ".kgtts-parts", PurePosixPath("f"), known)
    first, last = part.missing
    with part.writer(last) as write:
        write(body[last.start :])
    with server(generous) as (url, seen):
        bring([OutputFile("f", url)], tmp_path, manifest=told(body))
    assert content(tmp_path) == {"f": body}
    assert [headers["range"] for _, headers, _ in seen] == ["bytes=0-0", f"bytes=0-{first.end - 1}"]


def test_what_is_slow_but_gets_on_is_waited_for(storage: Storage, tmp_path: Path) -> None:
    """A slow download may take longer than silence may last."""
    file = storage.put("f", Answer(BODY[:2000], pace=(50, 0.01)))
    options = TransferOptions(attempts=1, stall_s=0.05, patience_s=0.1)
    assert bring([file], tmp_path, options=options).counts.requests == 1
    assert content(tmp_path) == {"f": BODY[:2000]}


def test_a_file_does_not_fail_while_others_get_on(storage: Storage, tmp_path: Path) -> None:
    """The time limit counts only if nothing arrives for the whole transfer."""
    busy = [Answer(status=503)] * 8
    files = [storage.put("f", *busy, b"x"), storage.put("g", Answer(BODY, pace=(64 << 10, 0.05)))]
    options = TransferOptions(first_delay_s=0.05, longest_delay_s=0.05, patience_s=0.2)
    bring(files, tmp_path, options=options)
    assert content(tmp_path) == {"f": b"x", "g": BODY}


def test_a_web_page_is_no_file(storage: Storage, tmp_path: Path) -> None:
    """A network's login page is not saved and retried; an output that is a page is a file."""
    page = Answer(
        b"<html>sign in</html>", headers={"Content-Type": "text/html; charset=utf-8"}, drop=SILENT[1:]
    )
    ear = Ear()
    bring([storage.put("f", page, BODY), storage.put("report.HTML", page)], tmp_path / "a", ear)
    assert content(tmp_path / "a") == {"f": BODY, "report.HTML": page.body}
    assert ("retried", "f", "the answer is a web page, perhaps a login page of this network") in ear.heard
    with pytest.raises(ServiceError, match="f could not be fetched: the answer is a web page"):
        bring([storage.put("f", page)], tmp_path / "b")
    assert content(tmp_path / "b") == {}


@pytest.mark.parametrize("drop", [("ETag",), ("ETag", "x-goog-hash"), SILENT])
def test_a_file_that_comes_compressed_is_unpacked(
    storage: Storage, tmp_path: Path, drop: tuple[str, ...]
) -> None:
    """Compression that was not asked for is undone."""
    packed = gzip.compress(BODY, mtime=0)
    answer = Answer(packed, headers={"Content-Encoding": "gzip"}, drop=("x-goog-hash", *drop))
    bring([storage.put("f", answer)], tmp_path / "a", manifest=told(BODY))
    bring([storage.put("f", answer)], tmp_path / "b")
    assert content(tmp_path) == {"a/f": BODY, "b/f": BODY}
    with pytest.raises(UnavailableError, match="arrived damaged twice"):
        bring([storage.put("f", answer)], tmp_path / "c", manifest=told(BODY[1:]))
    assert not (tmp_path / "c" / "f").exists()


def test_hashes_of_what_is_stored_compressed_are_not_those_of_the_file(
    storage: Storage, tmp_path: Path
) -> None:
    """Google's storage unpacks such an object on the way, but sends the packed one's hashes."""
    stored = {"x-goog-stored-content-encoding": "gzip", "x-goog-stored-content-length": "5"}
    answer = Answer(BODY, claimed_md5=b"0" * 16, headers=stored, ranges=False, drop=("Content-Length",))
    bring([storage.put("f", answer)], tmp_path)
    assert content(tmp_path) == {"f": BODY}


def test_a_file_that_nothing_vouches_for_comes_twice_alike(storage: Storage, tmp_path: Path) -> None:
    """Without length and hash it is downloaded twice and compared, unless a manifest has it."""
    cut, whole = (Answer(body, drop=SILENT, ranges=False) for body in (BODY[:5000], BODY))
    brought = bring([storage.put("f", cut, whole)], tmp_path / "a")
    assert (brought.counts.requests, content(tmp_path)) == (3, {"a/f": BODY})
    assert bring([storage.put("f", whole)], tmp_path / "b", manifest=told(BODY)).counts.requests == 1
    assert bring([storage.put("f", cut, whole)], tmp_path / "c", manifest=told(BODY)).counts.requests == 2
    with pytest.raises(UnavailableError, match=r"f arrived damaged twice \(it has 5,000 bytes instead of"):
        bring([storage.put("f", cut)], tmp_path / "d", manifest=told(BODY))
    assert content(tmp_path) == {"a/f": BODY, "b/f": BODY, "c/f": BODY}
    assert parts(tmp_path) == []


def test_a_file_here_is_known_by_its_content(storage: Storage, tmp_path: Path) -> None:
    """The storage's or the manifest's hash proves it; without either it is downloaded again."""
    (tmp_path / "f").write_bytes(BODY)
    silent = storage.put("f", Answer(BODY, drop=("x-goog-hash",)))
    assert bring([storage.put("f", BODY)], tmp_path).files[0].unchanged
    assert bring([silent], tmp_path, manifest=told(BODY)).files[0].unchanged
    assert not bring([silent], tmp_path).files[0].unchanged
    assert bring([storage.put("f", BODY)], tmp_path, manifest=told(BODY)).counts.received == 0


@pytest.mark.parametrize("drop", [(), ("ETag",)])
def test_a_stream_that_always_breaks_at_the_same_place_is_given_up(
    storage: Storage, tmp_path: Path, drop: tuple[str, ...]
) -> None:
    """What was received before is no progress, however much of it comes."""
    answer = Answer(BODY, ranges=False, reset_after=200_000, drop=drop)
    with pytest.raises(ServiceError, match=r"f could not be fetched: the (connection broke|storage ignored)"):
        bring([storage.put("f", answer)], tmp_path)
    assert len(storage.asked) <= 11
    assert bool(parts(tmp_path)) is not bool(drop)  # A part without an ETag is of no use.


def test_a_storage_that_forgets_ranges_in_the_middle_is_read_as_a_whole(
    storage: Storage, tmp_path: Path
) -> None:
    """If only the first range is respected, the file is downloaded again in one stream."""
    body = BODY * 16
    bring([storage.put("f", Answer(body), Answer(body, ranges=False))], tmp_path)
    assert content(tmp_path) == {"f": body}
    assert parts(tmp_path) == []
