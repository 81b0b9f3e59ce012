"""Showing a transfer: a bar on a terminal, one line a file elsewhere, nothing for JSON."""

import threading
from typing import Self

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from orchestrator.cli import words
from orchestrator.transfer import Fetched, TransferListener


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
        click.echo(f"{file.path}  {words.size(file.size)}{'  unchanged' if file.unchanged else ''}")


class Bar(Silent):
    """A bar over all files, with the bytes received so far."""

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._received = 0
        self._progress = Progress(
            TextColumn("pulling"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("files, {task.fields[received]}"),
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("", total=None, received="0 B")
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def planned(self, count: int) -> None:
        """Set the bar's length."""
        self._progress.update(self._task, total=count)

    def received(self, size: int) -> None:
        """Count bytes."""
        with self._lock:
            self._received += size
            self._progress.update(self._task, received=words.size(self._received))

    def placed(self, file: Fetched) -> None:  # noqa: ARG002  # The bar counts files.
        """Move the bar on."""
        self._progress.advance(self._task)
