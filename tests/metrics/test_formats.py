"""Every format gives back exactly the values that were written."""

import io
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.metrics import MetricsTable, Row, continuous, read_metrics
from orchestrator.metrics.reading import Format, recognise
from tests.metrics.writing import CURRENT, KEPT, Style, Writing, as_events, as_stored


def rows(table: MetricsTable) -> list[Row]:
    """All rows of a table."""
    return list(table)


def pieces(text: str, size: int) -> list[bytes]:
    """The text's bytes in pieces."""
    data = text.encode()
    return [data[place : place + size] for place in range(0, len(data), size)]


@pytest.mark.parametrize(
    ("style", "first"),
    [
        (CURRENT, 0),
        (KEPT, 877_001),
        (Style(less_one=True, coloured=False), 0),
        (Style(less_one=False, coloured=True), 0),
    ],
    ids=["current", "kept", "current, kept", "older, coloured"],
)
def test_fifty_epochs_come_back_exactly(style: Style, first: int) -> None:
    """Reading a log of 50 epochs gives every time, epoch, step, name and value, and the best models."""
    writing = Writing(style, first=first)
    table = read_metrics([writing.text().encode()])
    assert rows(table) == writing.rows
    assert table.best_steps() == [first + 630 * (epoch + 1) for epoch in range(0, 50, 7)]
    assert (table.counters.lost_lines, table.counters.repeated) == (0, 0)
    assert continuous(table) is table
    assert len(table.of("loss_mel", "train")) > 50 * 25


def test_every_step_can_be_printed() -> None:
    """A log with every step and a short epoch is read exactly."""
    writing = Writing(CURRENT, epochs=3, steps=7, print_every=1)
    assert rows(read_metrics([writing.text().encode()])) == writing.rows


def test_events_come_back_exactly() -> None:
    """`metrics.jsonl` gives the same rows as the log of the same training."""
    writing = Writing(CURRENT, epochs=5)
    text = as_events(writing)
    assert rows(read_metrics([text.encode()])) == writing.rows


def test_a_stored_log_comes_back_exactly() -> None:
    """Kaggle's JSON log gives the same rows, with times since the session's start."""
    writing = Writing(KEPT, epochs=5)
    table = read_metrics([as_stored(writing.text()).encode()])
    later = [row._replace(time=(row.time or 0.0) + 200.0) for row in writing.rows]
    assert rows(table) == later
    assert table.counters.lost_lines == 0


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("kind", ["log", "events", "stored"])
def test_where_a_source_is_cut_makes_no_difference(kind: str, size: int) -> None:
    """The result does not depend on where the bytes are split."""
    writing = Writing(CURRENT, epochs=2, steps=30, print_every=10)
    text = writing.text()
    whole = {"log": text, "events": as_events(writing), "stored": as_stored(text)}[kind]
    at_once, cut = read_metrics([whole.encode()]), read_metrics(pieces(whole, size))
    assert rows(cut) == rows(at_once)
    assert cut.counters == at_once.counters


def test_a_list_that_is_interrupted_is_read_all_the_same() -> None:
    """A list with other lines in between gives the same values as one that is read as a whole."""
    writing = Writing(KEPT, epochs=4, steps=100, print_every=5)
    text = writing.text()
    spaced = text.replace("\n", "\n\n")  # Notebooks that were copied from a page.
    carried = text.replace("\n", "\r\n")
    for variant in (text, spaced, carried):
        assert rows(read_metrics([variant.encode()])) == writing.rows


def test_a_bar_may_stand_before_a_line() -> None:
    """A header is found after a progress bar on the same line."""
    text = "> EPOCH: 0/1\n 3%| | 1/30 [00:01]--> TIME: 2026-11-22 07:31:47 -- STEP: 1/30 -- GLOBAL_STEP: 1\n"
    table = read_metrics([(text + " 5%|#|| > loss: 1.5 (2.5)\n").encode()])
    assert [(row.step, row.name, row.value) for row in table] == [(1, "loss", 2.5)]


def test_an_epoch_has_averages_and_a_time() -> None:
    """The means and the duration of an epoch are placed at its end."""
    text = (
        "> EPOCH: 0/4\n--> TRAIN PERFORMACE -- EPOCH TIME: 12.34 sec -- GLOBAL_STEP: 8\n"
        "     | > avg_loss: 3.5\n\n  --> EVAL PERFORMANCE\n     | > avg_loss: 3.0 (+0.0)\n\n"
    )
    found = {(row.split, row.name): (row.step, row.value) for row in read_metrics([text.encode()])}
    assert found["system", "epoch_seconds"] == (8, 12.34)
    assert found["train", "avg_loss"] == (8, 3.5)
    assert found["eval", "avg_loss"][1] == 3.0


def test_resources_become_rows_of_the_machine() -> None:
    """Numbers of nested lists get names with their indices; other values are left out."""
    event = (
        '{"event":"resources","t":60.5,"session":2,"gpus":[{"utilisation":97,"memory_used_mb":15000.5}],'
        '"disk_used_bytes":5,"goodput":null,"note":"x"}\n'
    )
    table = read_metrics([event.encode()], kind="events")
    assert rows(table) == [
        Row(60.5, 2, None, None, "system", "gpus_0_utilisation", 97.0),
        Row(60.5, 2, None, None, "system", "gpus_0_memory_used_mb", 15000.5),
        Row(60.5, 2, None, None, "system", "disk_used_bytes", 5.0),
    ]
    last = table.last("resources")
    assert last is not None
    assert last.data["disk_used_bytes"] == 5


def test_the_format_is_told_from_the_beginning() -> None:
    """The format is recognised even if the first line is garbled."""
    writing = Writing(CURRENT, epochs=1, steps=5, print_every=1)
    text = writing.text()
    assert recognise(text.encode()) is Format.LOG
    assert recognise(b"\x00\xff\n" + as_events(writing).encode()) is Format.EVENTS
    assert recognise(as_stored(text).encode()) is Format.STORED
    assert recognise(b"") is Format.LOG
    assert recognise(b'{"event": "startup"}\n' + text.encode()) is Format.LOG  # Of another program.


def test_files_and_open_files_can_be_read(tmp_path: Path) -> None:
    """A path and an open file are read alike; a folder and a missing file are errors."""
    writing = Writing(CURRENT, epochs=1, steps=5, print_every=1)
    data = writing.text().encode()
    (tmp_path / "log").write_bytes(data)
    assert rows(read_metrics(tmp_path / "log")) == rows(read_metrics(io.BytesIO(data))) == writing.rows
    for wrong in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=r"is a folder|does not exist"):
            read_metrics(wrong)
