"""Torn, interleaved and binary lines cost what they said, are counted, and nothing else."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.metrics import MetricsTable, Row, continuous, find_warnings, make_reader, read_metrics
from orchestrator.metrics.export import csv_text, json_text
from orchestrator.metrics.reading import Format
from tests.metrics.writing import CURRENT, KEPT, Style, Writing, as_events, as_stored

RUBBISH = b"\x00\x93\xff\xfe| > loss\x00\xc3("


def written(style: Style = CURRENT) -> Writing:
    """A small training's log."""
    return Writing(style, epochs=2, steps=40, print_every=10)


@pytest.mark.parametrize("style", [CURRENT, KEPT], ids=["current", "kept"])
def test_rubbish_between_lines_costs_nothing(style: Style) -> None:
    """Binary lines are counted as lost, and every value is still read."""
    writing = written(style)
    lines = writing.text().encode().split(b"\n")
    for place in range(len(lines) - 2, 0, -9):
        lines.insert(place, RUBBISH)
    table = read_metrics([b"\n".join(lines)], kind="log")
    assert list(table) == writing.rows
    assert table.counters.lost_lines == lines.count(RUBBISH)


def test_a_torn_line_in_a_list_costs_its_value_alone() -> None:
    """A torn line costs its own value; the others of the list are read."""
    writing = written()
    lines = writing.text().split("\n")
    at = next(index for index, line in enumerate(lines) if "loss_mel: " in line)
    lines[at] = lines[at][: lines[at].index("(") + 4]
    table = read_metrics(["\n".join(lines).encode()])
    first = next(index for index, row in enumerate(writing.rows) if row.name == "loss_mel")
    assert list(table) == writing.rows[:first] + writing.rows[first + 1 :]
    assert table.counters.lost_lines == 1


def test_a_garbled_header_costs_its_list() -> None:
    """If a header is garbled, its values are lost instead of counted for another step."""
    writing = written()
    lines = writing.text().split("\n")
    places = [index for index, line in enumerate(lines) if "--> TIME" in line]
    lines[places[1]] = lines[places[1]][:40]
    table = read_metrics(["\n".join(lines).encode()])
    lost = [row for row in writing.rows if (row.split, row.step) == ("train", 10)]
    assert list(table) == [row for row in writing.rows if row not in lost]
    assert table.counters.lost_lines == 1 + len(lost)


@pytest.mark.parametrize("kind", ["log", "events", "stored"])
def test_a_torn_end_costs_the_last_line(kind: str) -> None:
    """Wherever a file ends, everything before the end is read and nothing is invented."""
    writing = written()
    text = writing.text()
    whole = {"log": text, "events": as_events(writing), "stored": as_stored(text)}[kind].encode()
    everything = list(read_metrics([whole], kind=kind))
    for cut in range(len(whole) - 1500, len(whole), 7):
        table = read_metrics([whole[:cut]], kind=kind)
        # An evaluation's step is known from what follows it: torn there, it is as good as not known.
        same = [row._replace(step=None) for row in everything]
        assert [row._replace(step=None) for row in table] == same[: len(table)]
        assert table.counters.lost_lines <= 1


def test_half_an_event_before_a_whole_one() -> None:
    """After half an event of a killed writer, the next event on the same line is read."""
    events = as_events(written()).split("\n")
    torn = events[0][:30] + events[1] + "\n" + events[2] + "trailing\n"
    table = read_metrics([torn.encode()], kind="events")
    assert {row.step for row in table} == {10, 20}
    assert table.counters.lost_lines == 2


def test_numbers_that_make_no_sense_are_passed_over() -> None:
    """Strings, booleans and huge integers are not values; a wrong step or time counts as unknown."""
    event = {
        "event": "progress",
        "t": -1,
        "epoch": True,
        "global_step": 10**30,
        "session": "1",
        "losses": {
            "a": 1,
            "b": "x",
            "c": True,
            "d": None,
            "e": 10**400,
            "=cmd()": 1.0,
            "\x1b[2J": 1.0,
            "<b>": 1.0,
            "": 1.0,
            "nan": float("nan"),
        },
    }
    text = json.dumps(event) + "\n" + json.dumps({**event, "losses": ["a"]}) + '\n[]\n"x"\n{"event": 3}\n'
    table = read_metrics([text.encode()], kind="events")
    place = (None, None, None, None, "train")
    assert [row[:-1] for row in table] == [(*place, "a"), (*place, "nan")]
    assert table.counters.lost_lines == 2


def test_a_line_without_an_end_is_dropped() -> None:
    """A line longer than the limit is dropped, so that memory stays bounded."""
    writing = written()
    text = writing.text().encode()
    for kind in Format:
        table = read_metrics([text, *[b"\xff" * 1_000_000] * 6, b"\n", text], kind=kind)
        assert table.counters.lost_lines >= (0 if kind is Format.STORED else 1)
    table = read_metrics([text, *[b"x" * 1_000_000] * 6, b"\n"], kind="log")
    assert list(table) == writing.rows


_TORN = st.sampled_from(
    [
        b"> EPOCH: 0/1\n",
        b"\x1b[1m   --> TIME: 2026-11-22 07:31:47 -- STEP: 1/3 -- GLOBAL_STEP: 7\x1b[0m\n",
        b"--> TIME: 9999-99-99 99:99:99 -- STEP: 1/3 -- GLOBAL_STEP: 99999999999999999999\n",
        b"--> TIME: 2026-11-22 07:31:47 -- STEP: 0/3 -- GLOBAL_STEP: 3\n",
        b"| > loss_mel: 1e999 (nan)\n",
        b"     | > loss_disc: 1.5  (2.5)\n",
        b"| > loss: tensor( (\n",
        b"--> EVAL PERFORMANCE\n",
        b"--> TRAIN PERFORMACE -- EPOCH TIME: 1.5 sec -- GLOBAL_STEP: 5\n",
        b" > BEST MODEL : a/best_model_6.pth\n",
        b" > Training Environment:\n",
        b'@kgtts {"event":"eval","global_step":6,"epoch":0,"losses":{"avg_loss":1}}\n',
        b'{"event":"progress","t":1,"session":2,"global_step":4,"losses":{"loss":1.5}}\n',
        b'{"event":"epoch","losses":{"avg_loss":[]},"seconds":{}}\n',
        b'{"event":"resources","gpus":[[[[[[1]]]]]],"x":{"y":{}}}\n',
        b'{"event":"checkpoint","global_step":4,"best":true}\n',
        b'{"stream_name":"stdout","time":1e5,"data":"> EPOCH: 1/2\\n| > x: 1 (1)\\n"}\n',
        b'[{"stream_name":',
        b"\x1b[",
        b"\r",
        b"\n",
    ]
)


def use(table: MetricsTable) -> None:
    """Do everything with a table that the commands do."""
    series = continuous(table)
    assert len(list(series)) == len(series) <= len(table)
    assert sum(map(len, series.series().values())) == len(series)
    series.session_starts()
    series.best_steps()
    find_warnings(series)
    assert "".join(csv_text(series)).count("\n") == len(series) + 1
    assert len(json.loads("".join(json_text(series, {})))["rows"]) == len(series)


@given(st.sampled_from(Format), st.lists(st.one_of(_TORN, st.binary(max_size=40)), max_size=40))
def test_garbage_never_raises(kind: Format, pieces: list[bytes]) -> None:
    """Any bytes, split anywhere, give a table that can be used."""
    use(read_metrics(pieces, kind=kind))
    reader = make_reader(kind)
    for piece in pieces:
        reader.feed(piece)
    reader.finish()


@given(st.randoms(use_true_random=False), st.sampled_from(["log", "events", "stored"]))
def test_damage_never_raises_nor_invents(chance: random.Random, kind: str) -> None:
    """Overwritten, missing and swapped bytes give a table whose steps never decrease."""
    writing = Writing(CURRENT, epochs=2, steps=6, print_every=2)
    text = writing.text()
    data = bytearray({"log": text, "events": as_events(writing), "stored": as_stored(text)}[kind].encode())
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data))
        data[at : at + chance.randint(0, 30)] = chance.randbytes(chance.randint(0, 30))
    table = continuous(read_metrics([bytes(data)], kind=kind))
    use(table)
    for (name, split), series in table.series().items():
        if split != "system" and min(series.steps, default=0) >= 0:
            assert list(series.steps) == sorted({*series.steps}), name


def test_rows_hold_what_they_say() -> None:
    """A row's columns are those that other programs rely on."""
    assert Row._fields == ("time", "session", "epoch", "step", "split", "name", "value")
