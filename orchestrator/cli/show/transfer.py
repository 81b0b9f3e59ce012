"""Show a download: bars on a terminal, elsewhere one line for each file, nothing for JSON."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Self

import click

from orchestrator.cli.show.console import is_dumb
from orchestrator.download import Fetched, Planned, TransferListener
from orchestrator.formatting import duration, size
from orchestrator.untrusted import file_name

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

_BIG = 8 << 20  # Bytes; from here on a file has a bar of its own.
_BARS = 8  # At most, so that they fit on a screen.
_LOOK_S = 0.1
_WINDOW_S = 5.0
_LONGEST_NAME = 28


class Silent(TransferListener):
    """Show nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Lines(Silent):
    """Print one line for each file that is complete."""

    def placed(self, file: Fetched) -> None:
        """Print the file's name and size."""
        click.echo(f"{file_name(file.path)}  {size(file.size)}{'  unchanged' if file.unchanged else ''}")


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
        """Count bytes that came."""
        self._total += count

    def __call__(self) -> float:
        """Give the rate; it is smooth if it is asked for several times a second."""
        now = self._clock()
        self._seen.append((now, self._total))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW_S:  # noqa: PLR2004  # First and last.
            self._seen.popleft()
        (then, before), (_, total) = self._seen[0], self._seen[-1]
        return (total - before) / (now - then) if now > then else 0.0


class _Share:
    """How far a file is, or all of them together."""

    def __init__(self, size: int, here: int) -> None:
        self.size, self.done, self.rate = size, here, Rate()

    @property
    def text(self) -> str:
        rate = self.rate()
        left = self.size - self.done
        wait = f"  {duration(left / rate)} left" if rate > 0 and left > 0 else ""
        return f"{size(self.done)} of {size(self.size)}  {size(rate)}/s{wait}"


class Bar(Silent):
    """Draw a bar for all bytes, and one for each big file that is being downloaded.

    Args:
        console: where it is drawn.
    """

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console  # noqa: PLC0415  # Only a terminal needs rich.
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415  # As above.

        self._lock = threading.Lock()
        self._files = self._placed = 0
        self._whole = _Share(0, 0)
        self._shares: dict[PurePosixPath, _Share] = {}
        self._bars: dict[PurePosixPath, TaskID] = {}
        self._looked = 0.0
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[text]}", markup=False),
            console=console or Console(),  # Rich's own may be older than NO_COLOR.
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
        """Add a file to the total; a big one gets a bar."""
        with self._lock:
            before = self._shares.get(file.path)
            if before is not None:  # It starts again.
                self._whole.size -= before.size
                self._whole.done -= before.done
            share = self._shares[file.path] = _Share(file.size or 0, file.here)
            self._whole.size += share.size
            self._whole.done += share.done
            if share.size >= _BIG and share.done < share.size and len(self._bars) < _BARS:
                self._bars[file.path] = self._bars.get(file.path) or self._progress.add_task(
                    _shortened(file.path), total=share.size, text=""
                )
        self._draw()

    def received(self, path: PurePosixPath, count: int) -> None:
        """Advance the bars."""
        with self._lock:
            for share in (self._whole, self._shares.get(path)):
                if share is not None:
                    share.done = min(share.size, share.done + count)
                    share.rate.add(count)
            now = time.monotonic()
            if now - self._looked < _LOOK_S:
                return
            self._looked = now
        self._draw()

    def placed(self, file: Fetched) -> None:
        """Remove a big file's bar."""
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
                share = self._shares[path]
                shown.append((bar, share, share.text if share.done < share.size else "checking"))
            for bar, share, text in shown:
                self._progress.update(bar, total=share.size or None, completed=share.done, text=text)


def bars_or_lines() -> Silent:
    """Give bars on a terminal that can draw them, else lines."""
    return Bar() if sys.stdout.isatty() and not is_dumb() else Lines()


class Occasional(Silent):
    """Show each transfer with bars or lines, and nothing before, between and after transfers."""

    def __init__(self) -> None:
        self._shown: Silent | None = None
        self._left = 0
        self._lock = threading.Lock()

    def __exit__(self, *_: object) -> None:
        self._close()

    def planned(self, files: Sequence[Planned]) -> None:
        """Begin to show."""
        self._close()
        with self._lock:
            if files:
                self._shown, self._left = bars_or_lines().__enter__(), len(files)
                self._shown.planned(files)

    def sized(self, file: Planned) -> None:
        """Pass it on."""
        if (shown := self._shown) is not None:
            shown.sized(file)

    def received(self, path: PurePosixPath, count: int) -> None:
        """Pass it on."""
        if (shown := self._shown) is not None:
            shown.received(path, count)

    def placed(self, file: Fetched) -> None:
        """Pass it on; with the last file, stop showing."""
        if (shown := self._shown) is not None:
            shown.placed(file)
        with self._lock:
            self._left -= 1
            is_over = self._left <= 0
        if is_over:
            self._close()

    def _close(self) -> None:
        with self._lock:
            shown, self._shown = self._shown, None
        if shown is not None:
            shown.__exit__(None, None, None)


def _shortened(path: PurePosixPath) -> str:
    name = file_name(path.name)
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
