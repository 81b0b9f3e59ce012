"""What editors, notebooks and terminals make of a trainer's log when somebody saves it."""

import html
import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping

from tests.metrics.writing import as_stored

_COLOUR = re.compile(r"\x1b(\[[\d;]*m)")


def _plain(text: str) -> str:
    """The text as it is copied from a notebook's page: without colours and indentation."""
    return "".join(f"{line.strip()}\n" for line in _COLOUR.sub("", text).split("\n"))


def _stripped(text: str) -> str:
    """The text without escape characters and indentation; the rest of each colour is left."""
    return "".join(f"{line.strip()}\n" for line in text.replace("\x1b", "").split("\n"))


def _page(text: str) -> str:
    """The text as a notebook's web page has it."""
    coloured = re.sub(
        r"\x1b\[(\d+)m", r'<span class="ansi-\1">', html.escape(text).replace("\x1b[0m", "</span>")
    )
    return f"<!DOCTYPE html>\n<html><body><div><pre>{coloured}</pre></div></body></html>\n"


def _notebook(text: str) -> str:
    """The text in a notebook's file, in two pieces."""
    lines = text.splitlines(keepends=True)
    half = next(at for at in range(len(lines) // 2, len(lines)) if "EPOCH" in lines[at])
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": lines[:half]},
        {"output_type": "display_data", "data": {"text/plain": "x"}},
        {"output_type": "stream", "name": "stdout", "text": "".join(lines[half:])},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Training"]},
        {"cell_type": "code", "source": "!python train.py", "outputs": outputs},
    ]
    return json.dumps({"metadata": {}, "nbformat": 4, "cells": cells}, indent=1)


def _word(text: str) -> bytes:
    """The text as a Word document, a paragraph for each line."""
    body = "".join(
        f'<w:p w:rsidR="00"><w:r><w:t xml:space="preserve">{html.escape(line)}</w:t></w:r></w:p>'
        for line in _stripped(text).split("\n")
    )
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", f'<?xml version="1.0"?>\n<w:document><w:body>{body}</w:body>')
    return memory.getvalue()


def _libreoffice(text: str) -> bytes:
    """The text as a document of LibreOffice, where several spaces are an element of their own."""
    paragraphs = (
        re.sub(r"^ +| {2,}", lambda spaces: f'<text:s text:c="{len(spaces[0])}"/>', html.escape(line))
        for line in _stripped(text).split("\n")
    )
    body = "".join(f'<text:p text:style-name="P1">{line}</text:p>' for line in paragraphs)
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr("content.xml", f'<?xml version="1.0"?>\n<office:text>{body}</office:text>')
    return memory.getvalue()


def _rtf(text: str) -> bytes:
    """The text as TextEdit saves it: a backslash at each line's end, letters beyond ASCII by number."""
    escaped = re.sub(r"([\\{}])", r"\\\1", _stripped(text).replace("'", "\u2019"))
    body = "".join(item if item.isascii() else f"\\uc0\\u{ord(item)} " for item in escaped)
    head = (
        r"{\rtf1\ansi\ansicpg1252\cocoartf2761" + "\n" + r"{\fonttbl\f0\fswiss Helvetica;}"
        "\n" + r"{\colortbl;\red255\green255\blue255;}" + "\n" + r"{\*\expandedcolortbl;;}" + "\n"
    )
    return (head + r"\f0\fs24 \cf0 " + body.replace("\n", "\\\n") + "}").encode("ascii")


def _word_text(text: str) -> str:
    """The text that Word saves: its dashes, arrows and quotes, non-breaking spaces, Windows line ends."""
    plain = _stripped(text).replace("-->", "\u2013>").replace(" -- ", " \u2013 ").replace("'", "\u2019")
    return plain.replace("  ", "\u00a0 ").replace("(-", "(\u2212").replace("\n", "\r\n")


def _windows_text(text: str) -> bytes:
    plain = _plain(text).replace("'", "\u2019").replace("  ", "\u00a0 ").replace("\n", "\r\n")
    return plain.encode("cp1252", "replace")


def _markdown(text: str) -> str:
    """The text with all of Markdown's characters escaped, as converters from Word write it."""
    lines = re.sub(r"([\\`*_{}\[\]<>()#+|])", r"\\\1", _stripped(text)).split("\n")
    return "\n\n".join(f"{line}\\" if line else line for line in lines)


def _quoted(text: str) -> str:
    """The text as a quotation of Markdown, in a block of code."""
    return "".join(f"> {line}\n" for line in ("```", *_stripped(text).split("\n"), "```"))


def _joined(text: str) -> str:
    """The text as a page shows Markdown that is not in a block of code: one line for each paragraph."""
    paragraphs = re.split(r"\n{2,}", "\n".join(line.strip() for line in _stripped(text).split("\n")))
    return "\n\n".join(part.replace("\n", " ") for part in paragraphs)


def _formatted(text: str) -> str:
    """Kaggle's JSON log, formatted by an editor."""
    return json.dumps(json.loads(as_stored(text)), indent=2)


WAYS: Mapping[str, Callable[[str], bytes]] = {
    "as the trainer wrote it": lambda text: text.encode(),
    "a notebook's page": lambda text: _plain(text).encode(),
    "blank lines between": lambda text: _plain(text).replace("\n", "\n\n").encode(),
    "escape characters stripped": lambda text: _stripped(text).encode(),
    "escape characters shown as ^[": lambda text: text.replace("\x1b", "^[").encode(),
    "escape characters written out": lambda text: text.replace("\x1b", "\\u001b").encode(),
    "Kaggle's JSON": lambda text: as_stored(text).encode(),
    "Kaggle's JSON, formatted": lambda text: _formatted(text).encode(),
    "Kaggle's JSON, escapes stripped": lambda text: as_stored(text.replace("\x1b", "")).encode(),
    "a notebook's file": lambda text: _notebook(text).encode(),
    "a web page": lambda text: _page(text).encode(),
    "Word": _word,
    "LibreOffice": _libreoffice,
    "RTF": _rtf,
    "Word's text in UTF-16": lambda text: b"\xff\xfe" + _word_text(text).encode("utf-16-le"),
    "Word's text in Windows-1252": _windows_text,
    "Markdown": lambda text: _markdown(text).encode(),
    "Markdown, quoted": lambda text: _quoted(text).encode(),
    "Markdown, shown": lambda text: _joined(text).encode(),
    "carriage returns": lambda text: text.replace("\n", "\r").encode(),
    "Windows line ends": lambda text: text.replace("\n", "\r\n").encode(),
    "UTF-16, big-endian": lambda text: text.encode("utf-16-be"),
    "UTF-8 with a mark": lambda text: _plain(text).encode("utf-8-sig"),
}
