"""Cuts the output of a child process into plain lines."""

import codecs
import re

# Control sequences (colours, cursor moves), titles, and the remaining two-character escapes.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
# The rest of binary output would garble a terminal. Tabs stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_MAX_LINE = 32 * 1024  # Characters; a longer line, such as binary output, is cut into pieces.


def plain_text(text: str) -> str:
    """Remove colours, cursor moves and control characters."""
    return _CONTROL.sub("", _ANSI.sub("", text))


class LineSplitter:
    """Cuts bytes into lines, at newlines and at the carriage returns of progress bars."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, chunk: bytes, *, final: bool = False) -> list[tuple[str, bool]]:
        """Take bytes. Returns the lines that are complete, each with whether a carriage return ended it."""
        text = self._rest + self._decoder.decode(chunk, final)
        lines: list[tuple[str, bool]] = []
        start = 0
        for match in re.finditer(r"\r*\n|\r+(?!\n)", text):
            # A carriage return at the end may be the first half of "\r\n".
            if match.end() == len(text) and not match.group().endswith("\n") and not final:
                break
            lines.append((text[start : match.start()], not match.group().endswith("\n")))
            start = match.end()
        self._rest = text[start:]
        while len(self._rest) > _MAX_LINE:
            lines.append((self._rest[:_MAX_LINE], False))
            self._rest = self._rest[_MAX_LINE:]
        if final and self._rest:
            lines.append((self._rest, False))
            self._rest = ""
        return [(plain_text(line), is_bar) for line, is_bar in lines]
