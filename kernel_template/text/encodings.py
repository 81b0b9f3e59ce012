"""Decodes the files that people save texts in, also those whose Bangla a program has mangled.

A program such as Excel takes UTF-8 without a byte order mark for the encoding of Windows or of the Mac, and
saves what it then shows: আমি becomes à¦†à¦®à¦¿ (mohsinulkabir14/BanglaBook #1). Unless bytes were dropped,
it can be read back.
"""

import codecs
import contextlib
import re

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The first two of the three bytes of each Bangla letter, as Windows-1252 shows them, or shows what it saved
# before once more; and as Excel on a Mac does.
_MANGLED = {"cp1252": re.compile("à[¦§]|Ã\xa0Â[¦§]"), "mac_roman": re.compile("‡[¶ß]")}
_TAKEN_FOR = {"cp1252": "Windows-1252", "mac_roman": "Mac OS Roman"}
_ONE_BYTE = 0x100


def decode(data: bytes) -> tuple[str, str]:
    """Return a file's text without a byte order mark, and the name of its encoding for people.

    Raises:
        UnicodeDecodeError: it is neither UTF-8 nor UTF-16.
    """
    text, encoding = _decoded(data)
    codec = _codec_of(text)
    if codec is None:
        return text, encoding
    lines = text.split("\n")
    read_back = [unmangled(line) for line in lines]
    count = sum(old != new for old, new in zip(lines, read_back, strict=True))
    if count:
        lines_read = "1 line" if count == 1 else f"{count} lines"
        encoding = f"{encoding} that was taken for {_TAKEN_FOR[codec]} and saved so ({lines_read} read back)"
    return "\n".join(read_back), encoding


def _decoded(data: bytes) -> tuple[str, str]:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding), "UTF-8 with a byte order mark" if "8" in encoding else "UTF-16"
    if (first := data[:400].find(0)) >= 0:  # A line end, a | or a Latin letter of two bytes.
        return data.decode("utf-16-le" if first % 2 else "utf-16-be"), "UTF-16"
    return data.decode("utf-8"), "UTF-8"


def _codec_of(text: str) -> str | None:
    """The encoding that the UTF-8 of a text's Bangla letters was taken for; None if it was not."""
    return next((codec for codec, mark in _MANGLED.items() if len(mark.findall(text)) > 1), None)


def is_mangled(text: str) -> bool:
    """Whether a text has Bangla letters whose UTF-8 was read in another encoding."""
    return _codec_of(text) is not None


def unmangled(text: str) -> str:
    """Read a text back whose UTF-8 was read in another encoding, as often as that was done.

    Where bytes are lost, it stays as it is.
    """
    with contextlib.suppress(UnicodeError):
        while (codec := _codec_of(text)) is not None:
            text = b"".join(_byte(letter, codec) for letter in text).decode("utf-8")
    return text


def _byte(letter: str, codec: str) -> bytes:
    try:
        return letter.encode(codec)
    except UnicodeEncodeError:
        if ord(letter) >= _ONE_BYTE:
            raise
        # Windows shows the five bytes that Windows-1252 lacks as the control characters of Latin-1.
        return bytes([ord(letter)])
