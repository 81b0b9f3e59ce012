"""What people see of a transfer: bars with rate and time left, or one line for each file."""

import io
import re
from pathlib import PurePosixPath

import pytest
from rich.console import Console

from orchestrator.cli.show.transfer import Bar, Lines, Rate
from orchestrator.download import Fetched, Planned

BIG, SMALL = PurePosixPath("run/a-very-long-name-of-a-checkpoint_100.pth"), PurePosixPath("state.json")


def shown(bar: Bar, out: io.StringIO) -> str:
    """Return what a terminal shows now, without colours."""
    out.truncate(0)
    out.seek(0)
    bar._progress.refresh()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())


def test_bars_show_the_whole_and_each_big_file() -> None:
    """Bytes, files and rate are shown; a restarted file counts once; a file in place has no bar."""
    out = io.StringIO()
    with Bar(Console(file=out, force_terminal=True, width=120)) as bar:
        bar.planned([Planned(BIG), Planned(SMALL)])
        bar.sized(Planned(BIG, 100_000_000, 40_000_000))
        bar.sized(Planned(SMALL, 2000))
        bar.received(SMALL, 2000)
        bar.placed(Fetched(SMALL, 2000, unchanged=False))
        text = shown(bar, out)
        assert "1 of 2 files  40.0 MB of 100.0 MB" in text
        assert "…y-long-name-of-a-checkpoint_100.pth"[-26:] in text
        bar.sized(Planned(BIG, 100_000_000, 0))
        assert "1 of 2 files  2.0 kB of 100.0 MB" in shown(bar, out)
        bar.received(BIG, 100_000_000)
        bar.placed(Fetched(BIG, 100_000_000, unchanged=False))
        text = shown(bar, out)
        assert "2 of 2 files  100.0 MB of 100.0 MB" in text
        assert "checkpoint" not in text


def test_names_are_shown_as_they_are() -> None:
    """Square brackets in a file's name are not markup."""
    out = io.StringIO()
    with Bar(Console(file=out, force_terminal=True, width=120)) as bar:
        bar.sized(Planned(PurePosixPath("[red]x.pth"), 100_000_000))
        assert "[red]x.pth" in shown(bar, out)


def test_without_a_terminal_each_file_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line has the name, the size, and whether the file was here."""
    with Lines() as lines:
        lines.received(BIG, 5)
        lines.placed(Fetched(SMALL, 2000, unchanged=False))
        lines.placed(Fetched(BIG, 5, unchanged=True))
    assert capsys.readouterr().out == f"state.json  2.0 kB\n{BIG}  5 B  unchanged\n"


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """Older bytes do not count."""
    now = [0.0]
    rate = Rate(lambda: now[0])
    rate.add(1000)
    for second in range(1, 20):
        now[0] = float(second)
        rate.add(10)
        seen = rate()
    assert seen == 10
    now[0] += 100
    assert rate() < 1
