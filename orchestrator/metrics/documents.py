"""Read the text of the documents in which people keep logs: Word, LibreOffice, RTF, and Jupyter notebooks."""

import html
import io
import json
import re
import zipfile
import zlib

MOST_BYTES = 256 * 1024 * 1024  # Of a document that has to be read as a whole.
_DOCUMENTS = ("word/document.xml", "content.xml")  # Of Word, and of LibreOffice.
_TAB = re.compile(rb"<(?:w|text):tab\b[^>]*>")
_PARAGRAPH = re.compile(rb"<(?:w:br|w:cr|text:line-break)\b[^>]*>|</(?:w:p|text:p|text:h)>")
_SPACES_XML = re.compile(rb'<text:s\b(?:[^>]*text:c="(\d{1,4})")?[^>]*>')
_MOST_SPACES = 200
_ZIP = b"PK\x03\x04"
_RTF = b"{\\rtf"
_RTF_TOKEN = re.compile(
    rb"\\'(?P<byte>[0-9a-fA-F]{2})|\\u(?P<code>-?\d{1,6}) ?|\\(?P<word>uc\d|[a-zA-Z]{1,32})-?\d{0,10} ?"
    rb"|\\(?P<sign>[^a-zA-Z])|(?P<open>\{)|(?P<close>\})|(?P<text>[^\\{}\r\n]+)"
)
_RTF_ENDS = {
    b"par": b"\n",
    b"line": b"\n",
    b"tab": b"\t",
    b"emdash": b"\xe2\x80\x94",
    b"endash": b"\xe2\x80\x93",
}
_RTF_SIGNS = {b"\n": b"\n", b"\r": b"\n", b"~": b" ", b"_": b"-"}
_RTF_NO_TEXT = frozenset({b"fonttbl", b"colortbl", b"stylesheet", b"info", b"pict", b"header", b"footer"})


def is_document(sample: bytes) -> bool:
    """Whether a file that begins so may be one of these documents."""
    return sample.startswith((_ZIP, _RTF)) or _is_notebook(sample)


def document_text(whole: bytes) -> bytes | None:
    """The text of a document in UTF-8; None if it is none."""
    if whole.startswith(_ZIP):
        return _office_text(whole)
    return _rtf_text(whole) if whole.startswith(_RTF) else _notebook_text(whole)


def _rtf_text(whole: bytes) -> bytes:
    """The text of an RTF document, as macOS and Windows write it: a line for each paragraph."""
    found: list[bytes] = []
    groups, silent = [False], False
    stand_ins, skip = 1, False  # After a character by number may come one for programs that do not know it.
    for token in _RTF_TOKEN.finditer(whole):
        kind = token.lastgroup or ""
        value = token[kind]
        if kind == "open":
            groups.append(silent)
        elif kind == "close":
            silent = groups.pop() if len(groups) > 1 else silent
        elif (kind, value) == ("sign", b"*") or (kind == "word" and value in _RTF_NO_TEXT):
            silent = True
        elif not silent:
            if value.startswith(b"uc") and kind == "word":
                stand_ins = int(value[2:] or 1)
            piece = _rtf_piece(kind, value)
            found.append(b"" if skip and kind == "byte" else piece[skip and kind == "text" :])
            skip = bool(stand_ins) and kind == "code"
    return b"".join(found)


def _rtf_piece(kind: str, value: bytes) -> bytes:
    """The text that a token of RTF stands for."""
    if kind == "text":
        return value
    if kind == "byte":
        return bytes([int(value, 16)]).decode("cp1252", "replace").encode()
    if kind == "code":
        return chr(int(value) % 0x10000).encode("utf-8", "replace")
    return _RTF_SIGNS.get(value, value) if kind == "sign" else _RTF_ENDS.get(value, b"")


def _office_text(whole: bytes) -> bytes | None:
    """The text of a document of Word or LibreOffice, a line for each paragraph; None if it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            name = next(name for name in _DOCUMENTS if name in archive.namelist())
            if archive.getinfo(name).file_size > MOST_BYTES:
                return None
            xml = archive.read(name)
    except (zipfile.BadZipFile, StopIteration, OSError, RuntimeError, EOFError, zlib.error):
        return None
    xml = _TAB.sub(b"\t", _SPACES_XML.sub(_spaces, xml.replace(b"\n", b"")))
    text = re.sub(rb"<[^>]*>", b"", _PARAGRAPH.sub(b"\n", xml))
    return html.unescape(text.decode("utf-8", "replace")).encode("utf-8", "replace")


def _spaces(match: re.Match[bytes]) -> bytes:
    return b" " * min(int(match[1] or 1), _MOST_SPACES)


def _is_notebook(sample: bytes) -> bool:
    return sample.lstrip()[:1] == b"{" and b'"cells"' in sample and b'"cell_type"' in sample


def _notebook_text(whole: bytes) -> bytes | None:
    """What the cells of a Jupyter notebook printed, in their order; None if it is not a notebook."""
    try:
        cells = json.loads(whole)["cells"]
        printed = [
            text if isinstance(text, str) else "".join(text)
            for cell in cells
            for output in cell.get("outputs") or ()
            if (text := output.get("text")) is not None
        ]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    return "\n".join(printed).encode("utf-8", "replace")
