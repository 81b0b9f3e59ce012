"""`kgtts report` and `kgtts compare`."""

import json
import os
import sys
from pathlib import Path

import pytest

from orchestrator.errors import ExitCode
from tests.report.making import Made, write_data_set
from tests.support import Cli

RUNS = Path("runs") / "bangla-tts"


def test_the_newest_run_is_reported(cli: Cli, workplace: Path) -> None:
    """The report is written beside the sessions; a run can be named by id or folder."""
    Made(run="3f9c1a7be204", sessions=2, epochs=2).write(workplace / RUNS)
    result = cli("report")
    assert (result.code, result.err) == (0, "")
    page = (workplace / RUNS / "report.html").read_text(encoding="utf-8")
    assert result.out.startswith(f"{RUNS / 'report.html'}  (")
    assert "3f9c1a7be204" in page
    for name in ("3f9c", str(RUNS), str(RUNS / "session-02")):
        assert cli("report", name, "--out", "mine.html").code == 0
        assert "3f9c1a7be204" in (workplace / "mine.html").read_text(encoding="utf-8")


def test_recordings_come_from_a_folder(cli: Cli, workplace: Path) -> None:
    """`--recordings` plays the recordings of a local dataset."""
    Made(sessions=1, epochs=1).write(workplace / RUNS)
    write_data_set(workplace / "data", ("অন্য বাক্য।",))
    assert cli("report", "--recordings", "data").code == 0
    assert "Recordings of the speaker" in (workplace / RUNS / "report.html").read_text(encoding="utf-8")


def test_a_folder_without_recordings_is_an_error(cli: Cli, workplace: Path) -> None:
    """A folder without metadata.csv or without its WAV files is an error."""
    Made(sessions=1, epochs=1).write(workplace / RUNS)
    data = write_data_set(workplace / "data", ("অন্য বাক্য।",))
    for folder in (data / "wavs", data):
        result = cli("report", "--recordings", folder)
        assert (result.code, "There are no recordings" in result.err) == (ExitCode.USAGE, True)
        (data / "wavs" / "bn_0001.wav").unlink(missing_ok=True)


def test_warnings_are_counted(cli: Cli, workplace: Path) -> None:
    """The number of warnings is printed."""
    Made(sessions=1, epochs=1).write(workplace / RUNS)
    with (workplace / RUNS / "session-01" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"event": "warning", "message": "A card is hot.", "session": 1}) + "\n")
    assert "The page has 1 warning." in cli("report").out


def test_two_runs_are_compared(cli: Cli, workplace: Path) -> None:
    """Two runs are compared, by id or folder."""
    Made(run="aaaa1111", sessions=1, epochs=1).write(workplace / RUNS)
    Made(run="bbbb2222", sessions=1, epochs=1).write(workplace / "elsewhere")
    result = cli("compare", "aaaa", "elsewhere")
    assert (result.code, result.err) == (0, "")
    page = (workplace / "compare.html").read_text(encoding="utf-8")
    assert "aaaa1111" in page
    assert "bbbb2222" in page


def test_without_plotly_the_error_names_the_extra(
    cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without plotly, the error names the extra to install, and nothing is written."""
    Made(sessions=1, epochs=1).write(workplace / RUNS)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    result = cli("report")
    assert result.code == ExitCode.LOCAL
    assert 'pip install "kgtts[report]"' in result.err
    assert not (workplace / RUNS / "report.html").exists()


def test_what_is_not_there_is_an_error(cli: Cli, workplace: Path) -> None:
    """A run that was not pulled, an empty folder and an unwritable path are errors."""
    (workplace / "empty").mkdir()
    assert cli("report").code == ExitCode.USAGE
    assert cli("report", "empty").code == ExitCode.USAGE
    Made(sessions=1, epochs=1).write(workplace / RUNS)
    (workplace / "file").write_text("")
    assert cli("report", "--out", "file/report.html").code == ExitCode.LOCAL


def test_errors_name_the_next_step(cli: Cli, workplace: Path) -> None:
    """Wrong arguments get a hint: a log file, a mistyped path, a folder in the way."""
    Made(sessions=1, epochs=1).write(workplace / RUNS)
    log = RUNS / "session-01" / "metrics.jsonl"
    result = cli("report", log)
    assert (result.code, f"kgtts metrics {log}" in result.err) == (ExitCode.USAGE, True)
    result = cli("report", "runs/bangla-tts/sesion-01")
    assert result.code == ExitCode.USAGE
    assert "no file or folder here has that name" in result.err
    assert "kgtts list" in result.err
    (workplace / RUNS / "report.html").mkdir()
    result = cli("report")
    assert (result.code, "--out FILE" in result.err) == (ExitCode.LOCAL, True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders.")
def test_a_pipe_is_not_replaced(cli: Cli, workplace: Path) -> None:
    """Root could otherwise replace /dev/null by a report."""
    Made(sessions=1, epochs=1).write(workplace / RUNS)
    os.mkfifo(workplace / "pipe")
    result = cli("report", "--out", "pipe")
    assert (result.code, "a device or a pipe" in result.err) == (ExitCode.USAGE, True)
    assert (workplace / "pipe").is_fifo()
