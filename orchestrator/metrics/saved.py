"""Undo what editors, notebooks and terminals did to a log when somebody saved it.

A log that is copied from a notebook's page into Word, LibreOffice, a Markdown file or PowerShell comes back
with other characters: UTF-16, HTML's `&gt;`, Markdown's backslashes, non-breaking spaces, arrows for `-->`,
or all values of a step on one line. The log's first megabyte shows what was done. A log as the trainer wrote
it is passed on unchanged. Colour codes without their escape characters are handled by `trainer_log`.
"""

import codecs
import html
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from orchestrator.metrics.documents import MOST_BYTES, document_text, is_document

SAMPLE_BYTES = 1024 * 1024  # A Kaggle session prints some hundred kB before the first step.
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_TYPOGRAPHY_1252 = (
    b"\x85\x91\x92\x93\x94\x95\x96\x97\xa0"  # Windows-1252: quotes, dashes, … and a hard space.
)
_ASCII = bytes(range(128))
_FIRST_BYTES = 4096
_MOSTLY = 0.7

_TAGS = re.compile(
    rb"</?(?:a|article|b|body|code|div|em|font|h[1-6]|head|html|i|li|ol|p|pre|samp|section|span|strong|table|tbody"
    rb"|td|th|tr|tt|u|ul|br)\b[^<>]*>",
    re.IGNORECASE,
)
_ENDS_LINE = re.compile(rb"<br\s*/?>|</(?:p|div|pre|li|tr|h[1-6])>", re.IGNORECASE)
_ESCAPED = re.compile(rb"\\([!-/:-@\[-`{-~])")
_HARD_BREAK = re.compile(rb"\\$", re.MULTILINE)
_DASH_AS_MINUS = re.compile("\u2212|[\u2013\u2014](?=[.\\d])")
_ARROW = re.compile("(?:-?[\u2013\u2014]|-)>|[\u2192\u27f6\uf0e0]")
_DASH = re.compile("[\u2013\u2014]")
_SPACES = re.compile("[\u00a0\u2007\u202f]")
_NOTHING = re.compile("[\u200b\u2060\ufeff]")
_JOINED = re.compile(rb"(?:\| > [\w.]+: [^|\n]{1,99}){3}")
_MARK = re.compile(
    rb" *(?=\| > |--> (?:TIME:|STEP:|EVAL P|TRAIN P)|> (?:EPOCH:|TRAINING \(|EVALUATION|BEST M|CHECKPOINT))"
)

# Signs at a log's beginning that these characters replaced the trainer's.
_INVISIBLE = tuple(character.encode() for character in "\u00a0\u2007\u202f\u200b\u2060")
_DASHED = tuple(
    f"{dash}{word}".encode()
    for dash in ("\u2013", "\u2014", "\u2013>", "\u2014>", "\u2192", "\u27f6", "\uf0e0")
    for word in (" TIME:", " STEP:", " GLOBAL_STEP:", " EVAL P")
)
_VALUES_BYTES = 64 * 1024

_Change = Callable[[bytes], bytes]


def undo(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a saved log, as the trainer or Kaggle wrote it.

    Args:
        pieces: the file's bytes, cut anywhere.
    """
    rest = iter(pieces)
    first = list(take_bytes(rest, SAMPLE_BYTES))
    sample = b"".join(first)
    if is_document(sample):
        whole = b"".join(take_bytes(chain(first, rest), MOST_BYTES))
        text = document_text(whole)
        sample = whole if text is None else text
        first = [sample]
    encoding = _encoding(sample)
    if encoding is None:
        return _changed(chain(first, rest), _changes(sample))
    changes = _changes(b"".join(_transcoded((sample,), encoding)))
    return _changed(_transcoded(chain(first, rest), encoding), changes)


def take_bytes(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The first pieces that hold at least `size` bytes, or all."""
    for piece in pieces:
        yield piece
        size -= len(piece)
        if size <= 0:
            return


def _encoding(sample: bytes) -> str | None:
    """The encoding of a text that is not plain UTF-8; None if it is, or if nothing better is known."""
    for mark, name in _BOMS:
        if sample.startswith(mark):
            return name
    # UTF-16 without a mark: every other byte of ASCII is 0.
    zeros = [sample[at:_FIRST_BYTES:2].count(0) / max(1, len(sample[at:_FIRST_BYTES:2])) for at in (0, 1)]
    if min(zeros) == 0 and max(zeros) > _MOSTLY:
        return "utf-16-be" if zeros[0] else "utf-16-le"
    if _is_utf8(sample) or sample.translate(None, _ASCII + _TYPOGRAPHY_1252):
        return None
    return "cp1252"


def _is_utf8(sample: bytes) -> bool:
    if sample.isascii():
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def _transcoded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    beginning = True
    for piece in pieces:
        text = decoder.decode(piece)
        if beginning and text:
            text, beginning = text.removeprefix("\ufeff"), False
        yield text.encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


def _changes(sample: bytes) -> list[_Change]:
    """The repairs that each line of a log needs, as the first values at its beginning show."""
    sample = sample[_first_value(sample) :][:_VALUES_BYTES]
    found: list[_Change] = []
    if _has(sample, b"| &gt; ", b"-&gt; "):
        found.append(_without_html)
    if _has(sample, b"\\_STEP", b"\\| ", b"\\> "):
        found.append(_without_escapes)
    if not sample.isascii():
        if _has(sample, *_INVISIBLE):
            found.append(_with_plain_spaces)
        if _has(sample, *_DASHED):
            found.append(_with_plain_dashes)
    if _JOINED.search(_applied(found, sample)):
        found.append(_one_a_line)
    return found


def _has(sample: bytes, *signs: bytes) -> bool:
    return any(sign in sample for sign in signs)


def _first_value(sample: bytes) -> int:
    """Where the first line of a training step begins, however it is written."""
    at = sample.find(b"STEP:")
    return 0 if at < 0 else sample.rfind(b"\n", 0, at) + 1


def _applied(changes: Iterable[_Change], data: bytes) -> bytes:
    for change in changes:
        data = change(data)
    return data


def _changed(pieces: Iterable[bytes], changes: list[_Change]) -> Iterator[bytes]:
    """The pieces with changes made to whole lines."""
    if not changes:
        yield from pieces
        return
    pending: list[bytes] = []
    for piece in pieces:
        complete, newline, rest = piece.rpartition(b"\n")
        if newline:
            yield _applied(changes, b"".join((*pending, complete, newline)))
            pending = []
        pending.append(rest)
    yield _applied(changes, b"".join(pending))


def _without_html(data: bytes) -> bytes:
    text = _TAGS.sub(b"", _ENDS_LINE.sub(b"\n", data)).decode("utf-8", "surrogateescape")
    return html.unescape(text).encode("utf-8", "surrogateescape")


def _without_escapes(data: bytes) -> bytes:
    return _HARD_BREAK.sub(b"", _ESCAPED.sub(rb"\1", data))


def _with_plain_spaces(data: bytes) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    return _NOTHING.sub("", _SPACES.sub(" ", text)).encode("utf-8", "surrogateescape")


def _with_plain_dashes(data: bytes) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    text = _ARROW.sub("-->", _DASH_AS_MINUS.sub("-", text).replace("-->", "->"))
    return _DASH.sub("--", text).encode("utf-8", "surrogateescape")


def _one_a_line(data: bytes) -> bytes:
    return _MARK.sub(b"\n", data)
