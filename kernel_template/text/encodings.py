"""Decodes the files that people save texts in, also those whose Bangla a program has mangled.

A program such as Excel takes UTF-8 without a byte order mark for the encoding of Windows, and saves what it
then shows: আমি becomes à¦†à¦®à¦¿ (mohsinulkabir14/BanglaBook #1). Unless bytes were dropped, it can be read
back.
"""

import codecs
import re

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The first two of the three bytes of each Bangla letter, as Windows-1252 and Latin-1 show them.
_MANGLED = re.compile("à[¦§]")
_ONE_BYTE = 0x100


def decode(data: bytes) -> tuple[str, str]:
    """Return a file's text without a byte order mark, and the name of its encoding for people.

    Raises:
        UnicodeDecodeError: it is neither UTF-8 nor UTF-16.
    """
    text, encoding = _decoded(data)
    if not _MANGLED.search(text):
        return text, encoding
    lines = text.split("\n")
    read_back = [unmangled(line) for line in lines]
    count = sum(old != new for old, new in zip(lines, read_back, strict=True))
    if count:
        lines_read = "1 line" if count == 1 else f"{count} lines"
        encoding = f"{encoding} that was taken for Windows-1252 and saved so ({lines_read} read back)"
    return "\n".join(read_back), encoding


def _decoded(data: bytes) -> tuple[str, str]:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding), "UTF-8 with a byte order mark" if "8" in encoding else "UTF-16"
    if (first := data[:400].find(0)) >= 0:  # A line end, a | or a Latin letter of two bytes.
        return data.decode("utf-16-le" if first % 2 else "utf-16-be"), "UTF-16"
    return data.decode("utf-8"), "UTF-8"


def is_mangled(text: str) -> bool:
    """Whether a text has Bangla letters whose UTF-8 was read as Windows-1252."""
    return len(_MANGLED.findall(text)) > 1


def unmangled(text: str) -> str:
    """Read a text back whose UTF-8 was read as Windows-1252; return it as it is if bytes are lost."""
    if not is_mangled(text):
        return text
    try:
        # Windows shows the five bytes that Windows-1252 lacks as the control characters of Latin-1.
        data = b"".join(
            bytes([ord(letter)]) if ord(letter) < _ONE_BYTE else letter.encode("cp1252") for letter in text
        )
        return data.decode("utf-8")
    except UnicodeError:
        return text
