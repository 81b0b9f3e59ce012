"""The live page: its blocks arranged for a terminal of any size."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.control import Control
from rich.segment import ControlType, Segment
from rich.text import Text

from orchestrator.cli.show.console import ASCII, UNICODE
from orchestrator.cli.show.live_blocks import Block, Scene, blocks

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

_TALL = 32  # From here on blocks are set apart.
# What gives way first where the screen is low; the log fills what is left anyway.
_GIVES_WAY = ("log", "sessions", "warnings", "losses", "machine", "quota", "foot", "progress", "head")


class Page:
    """One drawing of the page, as high as its console; each row is wiped before it is written.

    Terminals differ on how wide some Bangla signs are: what is left of an earlier row would show otherwise.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        width, height = options.max_width, options.height or options.size.height
        signs = ASCII if options.ascii_only else UNICODE
        one_row = options.update(width=width, height=1, no_wrap=True, overflow="crop")
        rows = arrange(blocks(self._scene, width, signs), height)
        for index, row in enumerate(rows):
            if index:
                yield Segment.line()
            yield Control((ControlType.ERASE_IN_LINE, 2))
            lines = console.render_lines(row, one_row, pad=False)
            for segment in lines[0] if lines else ():
                # A terminal of another encoding shows what it can.
                text = segment.text.encode(console.encoding, "replace").decode(console.encoding)
                yield Segment(text, segment.style)


def arrange(parts: Sequence[Block], height: int) -> "list[RenderableType]":
    """The rows of all blocks that fit into `height`, in their order, the last block at the bottom."""
    kept = {part.name: len(part.rows) for part in parts}
    gaps = len(parts) - 2 if height >= _TALL else 0
    for least in ({part.name: min(part.least, len(part.rows)) for part in parts}, dict.fromkeys(kept, 0)):
        for name in _GIVES_WAY:
            over = sum(kept.values()) - (height - gaps)
            if over > 0 and name in kept:
                kept[name] -= min(over, kept[name] - least[name])
    rows: list[RenderableType] = []
    for index, part in enumerate(parts):
        count = kept[part.name]
        if index == len(parts) - 1:
            rows += [Text()] * (height - len(rows) - count)
        elif index and gaps:
            rows.append(Text())
        if count:
            rows += part.rows[-count:] if part.newest_last else part.rows[:count]
    return rows[:height]
