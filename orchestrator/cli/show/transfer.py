"""Showing a transfer: bars on a terminal, one line a file elsewhere, nothing for JSON."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Self

import click

from orchestrator.download import Fetched, Planned, TransferListener
from orchestrator.formatting import duration, size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

_BIG = 8 << 20  # A bar of its own from here on.
_BARS = 8  # At most, so that they fit on a screen.
_LOOK_S = 0.1
_WINDOW_S = 5.0
_LONGEST_NAME = 28


class Silent(TransferListener):
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Lines(Silent):
    """One line for each file that is in place."""

    def placed(self, file: Fetched) -> None:
        """Say that a file is here."""
        click.echo(f"{file.path}  {size(file.size)}{'  unchanged' if file.unchanged else ''}")


class Rate:
    """Bytes a second over the last few seconds.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._total = 0

    def add(self, count: int) -> None:
        """So many bytes came."""
        self._total += count

    def __call__(self) -> float:
        """The rate; looked at several times a second, it is smooth."""
        now = self._clock()
        self._seen.append((now, self._total))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW_S:  # noqa: PLR2004  # First and last.
            self._seen.popleft()
        (then, before), (_, total) = self._seen[0], self._seen[-1]
        return (total - before) / (now - then) if now > then else 0.0


class _Way:
    """How far a file, or the whole, is."""

    def __init__(self, size: int, here: int) -> None:
        self.size, self.done, self.rate = size, here, Rate()

    @property
    def text(self) -> str:
        rate = self.rate()
        left = self.size - self.done
        wait = f"  {duration(left / rate)} left" if rate > 0 and left > 0 else ""
        return f"{size(self.done)} of {size(self.size)}  {size(rate)}/s{wait}"


class Bar(Silent):
    """A bar over all bytes, and one for each big file that is on its way.

    Args:
        console: where it is drawn.
    """

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415  # Only a terminal needs it.

        self._lock = threading.Lock()
        self._files = self._placed = 0
        self._whole = _Way(0, 0)
        self._ways: dict[PurePosixPath, _Way] = {}
        self._bars: dict[PurePosixPath, TaskID] = {}
        self._looked = 0.0
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("pulling", total=None, text="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def planned(self, files: Sequence[Planned]) -> None:
        """Count the files."""
        self._files = len(files)

    def sized(self, file: Planned) -> None:
        """Add a file to the whole; a big one gets a bar."""
        with self._lock:
            before = self._ways.get(file.path)
            if before is not None:  # It begins anew.
                self._whole.size -= before.size
                self._whole.done -= before.done
            way = self._ways[file.path] = _Way(file.size or 0, file.here)
            self._whole.size += way.size
            self._whole.done += way.done
            if way.size >= _BIG and way.done < way.size and len(self._bars) < _BARS:
                self._bars[file.path] = self._bars.get(file.path) or self._progress.add_task(
                    _shortened(file.path), total=way.size, text=""
                )
        self._draw()

    def received(self, path: PurePosixPath, count: int) -> None:
        """Move the bars on."""
        with self._lock:
            for way in (self._whole, self._ways.get(path)):
                if way is not None:
                    way.done = min(way.size, way.done + count)
                    way.rate.add(count)
            now = time.monotonic()
            if now - self._looked < _LOOK_S:
                return
            self._looked = now
        self._draw()

    def placed(self, file: Fetched) -> None:
        """Take a big file's bar away."""
        with self._lock:
            self._placed += 1
            bar = self._bars.pop(file.path, None)
        if bar is not None:
            self._progress.remove_task(bar)
        self._draw()

    def _draw(self) -> None:
        with self._lock:
            files = f"{self._placed} of {self._files} files  {self._whole.text}"
            shown = [(self._task, self._whole, files)]
            for path, bar in self._bars.items():
                way = self._ways[path]
                shown.append((bar, way, way.text if way.done < way.size else "checking"))
            for bar, way, text in shown:
                self._progress.update(bar, total=way.size or None, completed=way.done, text=text)


def _shortened(path: PurePosixPath) -> str:
    name = path.name
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
