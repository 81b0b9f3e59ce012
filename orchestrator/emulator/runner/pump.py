"""Moves what a session prints into its log, line by line."""

import codecs
import select
from typing import IO

from orchestrator.emulator.service.logbook import Logbook

_PATIENCE_S = 0.25  # A line without its end is shown after this long: prompts, progress bars.
_LONGEST = 8192  # As is one longer than this many characters.


def pump(pipe: IO[bytes], stream: str, log: Logbook) -> None:
    """Read `pipe` (unbuffered) to its end and close it; lines become pieces, undecodable bytes U+FFFD."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    rest = ""
    with pipe:
        while True:
            if rest and not select.select([pipe], [], [], _PATIENCE_S)[0]:
                log.append(stream, rest)
                rest = ""
            chunk = pipe.read(65536)
            *lines, rest = (rest + decode(chunk, final=not chunk)).split("\n")
            for line in lines:
                log.append(stream, line + "\n")
            if rest and (not chunk or len(rest) >= _LONGEST):
                log.append(stream, rest)
                rest = ""
            if not chunk:
                return
