"""`kgtts metrics`: a pulled run or a log, as a summary, CSV or JSON, and nothing asked of Kaggle."""

import csv
import io
import json
import math
import os
import sys
import threading
from pathlib import Path

import pytest

from tests.metrics.writing import CURRENT, KEPT, Writing, as_events
from tests.support import Cli


@pytest.fixture
def run(workplace: Path) -> Writing:
    """A run with one pulled session."""
    writing = Writing(CURRENT, epochs=3, steps=40, print_every=10)
    folder = workplace / "runs" / "bangla-tts" / "session-01"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(as_events(writing))
    (folder / "state.json").write_text(json.dumps({"run": {"id": "abc123", "session": 1}}))
    return writing


def test_a_run_is_summed_up(cli: Cli, run: Writing) -> None:
    """`metrics` shows first, last and lowest values, by default of the newest run of the settings' kernel."""
    for name in ((), ("abc",), ("asha/bangla-tts",)):
        result = cli("metrics", *name)
        assert (result.code, result.err) == (0, "")
        assert f"{len(run.rows)} values up to step 120, in 1 session" in result.out
    mel = [row.value for row in run.rows if row.name == "avg_loss_mel"]
    line = next(line for line in result.out.splitlines() if line.startswith("avg_loss_mel"))
    assert line.split()[:6] == [
        "avg_loss_mel",
        "eval",
        "3",
        *(f"{value:.5g}" for value in (mel[0], mel[-1], min(mel))),
    ]


def test_csv_holds_every_value_exactly(cli: Cli, run: Writing) -> None:
    """The CSV has a header and one line per value."""
    read = list(csv.reader(io.StringIO(cli("metrics", "--csv").out)))
    assert read[0] == ["time", "session", "epoch", "step", "split", "name", "value"]
    assert read[1:] == [[str(column) for column in row] for row in run.rows]


def test_json_is_strict(cli: Cli, workplace: Path) -> None:
    """A value that is not a number is null, and a warning says where it is."""
    log = "--> TIME: 2026-11-22 07:31:47 -- STEP: 0/3 -- GLOBAL_STEP: 7\n| > loss_mel: nan (nan)\n"
    (workplace / "log.txt").write_text(log)
    document = json.loads(cli("metrics", "--json", "log.txt").out, parse_constant=pytest.fail)
    assert document["rows"] == [[0.0, 1, None, 7, "train", "loss_mel", None]]
    assert document["columns"][-1] == "value"
    assert document["warnings"][0]["step"] == 7
    assert (document["source"], document["lines"], document["lost_lines"]) == ("log.txt", 2, 0)


def test_a_log_may_come_through_a_pipe(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`metrics -` reads a notebook's log from standard input."""
    writing = Writing(KEPT, epochs=1, steps=20, print_every=10)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(writing.text().encode() + b"\x00\n")))
    result = cli("metrics", "-")
    assert result.code == 0
    assert "standard input" in result.out
    assert "1 of " in result.out
    assert "which could not be read" in result.out


def test_warnings_are_shown_and_cannot_steer_a_terminal(cli: Cli, workplace: Path) -> None:
    """Words of the kernel lose their terminal escapes."""
    events = [
        {"event": "progress", "global_step": 1, "session": 1, "losses": {"loss": math.pi}},
        {"event": "warning", "message": "\x1b[2Jsilent\nrecording", "session": 1},
    ]
    place = workplace / "metrics.jsonl"
    place.write_text("".join(json.dumps(event) + "\n" for event in events))
    result = cli("metrics", place)
    assert "⚠ silent recording" in result.out
    assert "\x1b[2J" not in result.out


def test_json_can_be_written_whatever_a_kernel_said(cli: Cli, workplace: Path) -> None:
    """Half a character, which JSON can spell but UTF-8 cannot hold, does no harm."""
    events = (
        '{"event":"progress","global_step":1,"losses":{"loss":1.5}}',
        '{"event":"warning","message":"\\ud800"}\n',
    )
    (workplace / "metrics.jsonl").write_text("\n".join(events))
    assert cli("metrics", "metrics.jsonl", "--json").json["warnings"][0]["message"] == "?"


@pytest.mark.posix  # A named pipe.
def test_a_log_may_be_what_a_shell_makes_of_a_command(cli: Cli, workplace: Path) -> None:
    """The log may be a pipe, such as a shell's `<(zcat log.gz)`."""
    os.mkfifo(workplace / "pipe")
    text = Writing(KEPT, epochs=1, steps=20, print_every=10).text()
    writer = threading.Thread(target=(workplace / "pipe").write_text, args=(text,))
    writer.start()
    result = cli("metrics", "pipe")
    writer.join()
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "words", "hint"),
    [
        ([], "No run has been downloaded to runs yet.", "kgtts pull"),
        (["abc"], "Nothing of abc", "kgtts pull abc"),
        (["asha/voice/3"], "Nothing of asha/voice/3", "kgtts pull asha/voice/3"),
        (["log.txt"], "no file or folder here has that name", "kgtts list"),
        (["logs/trainer_0_log.txt"], "no file or folder here has that name", "kgtts list"),
        (["empty.log"], "contains no measurements", "first steps"),
        (["log.gz"], "1 of its 1 lines could not be read", "first steps"),
        (["."], "contains no measurements", "first steps"),
        (["--csv", "--json"], "two formats", ""),
    ],
    ids=" ".join,
)
def test_nothing_to_show_is_a_sentence(
    cli: Cli, workplace: Path, arguments: list[str], words: str, hint: str
) -> None:
    """The error names what is missing and the command that downloads it."""
    (workplace / "empty.log").write_text("nothing\n")
    (workplace / "log.gz").write_bytes(b"\x1f\x8b\x08\x00")
    result = cli("metrics", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.err
    assert hint in result.err
