"""A run of several sessions is one series, whatever each of them left."""

import json
import os
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.metrics import (
    Kind,
    MetricsTable,
    Moment,
    SessionStart,
    continuous,
    find_warnings,
    read_metrics,
    read_run,
)
from orchestrator.results import Results, newest_run, pulled_sessions


def progress(session: int, step: int, value: float | None = None, **more: object) -> str:
    """A step's line in `metrics.jsonl`; its value shows which session wrote it."""
    losses = {"loss": session + step / 1000 if value is None else value}
    place = {"t": float(step), "epoch": step // 100, "global_step": step, "session": session}
    return json.dumps({"event": "progress", **place, "losses": losses, **more})


def evaluation(session: int, step: int, value: float = 1.0) -> str:
    """An evaluation's line."""
    place = {"t": float(step), "epoch": step // 100 - 1, "global_step": step, "session": session}
    return json.dumps({"event": "eval", **place, "losses": {"avg_loss": value}})


def table_of(*lines: str) -> MetricsTable:
    """The series of these events."""
    return continuous(read_metrics(["\n".join([*lines, ""]).encode()], kind="events"))


def steps(table: MetricsTable, name: str = "loss", split: str = "train") -> list[tuple[int, int]]:
    """Session and step of each value."""
    found = table.of(name, split)  # type: ignore[arg-type]  # A split, in a test.
    return list(zip(found.sessions, found.steps, strict=True))


def test_what_a_session_did_again_counts_as_the_later_one_did_it() -> None:
    """Steps after a checkpoint that a later session repeats count as that session measured them."""
    table = table_of(
        *(progress(1, step) for step in (0, 25, 50, 75, 100)),
        evaluation(1, 100, 9.0),
        '{"event":"checkpoint","global_step":100,"best":true,"session":1}',
        progress(2, 50),
        progress(2, 75),
        evaluation(2, 110),
        progress(2, 125),
    )
    assert steps(table) == [(1, 0), (1, 25), (2, 50), (2, 75), (2, 125)]
    assert steps(table, "avg_loss", "eval") == [(2, 110)]
    assert table.session_starts() == [SessionStart(1, 0, 0), SessionStart(2, 50, 0)]
    assert (table.best_steps(), table.counters.repeated) == ([], 4)


def test_an_evaluation_at_a_border_stays() -> None:
    """The evaluation at a session's end has the next session's first step, but is not repeated by it."""
    table = table_of(
        progress(1, 75), evaluation(1, 100), '{"event":"epoch","seconds":9.5,"session":1}', progress(2, 100)
    )
    assert steps(table, "avg_loss", "eval") == [(1, 100)]
    assert steps(table, "epoch_seconds", "system") == [(1, 100)]


def test_a_garbled_step_is_left_out_alone() -> None:
    """A single step that jumps back or ahead is left out, and is not a restart."""
    good = [progress(1, step) for step in range(0, 200, 25)]
    for wrong in (3, 99_999):
        table = table_of(*good[:4], progress(1, wrong), *good[4:])
        assert [step for _, step in steps(table)] == list(range(0, 200, 25))
        assert table.counters.repeated == 1


def test_a_restart_within_a_session() -> None:
    """A training that goes back to a checkpoint within a session repeats its steps."""
    table = table_of(*(progress(1, step) for step in (0, 10, 20, 30, 15, 25, 35)))
    assert [step for _, step in steps(table)] == [0, 10, 15, 25, 35]


def test_two_halves_of_a_step_are_one_step() -> None:
    """Its losses can come in two lines with different names; neither repeats the other."""
    other = json.dumps(
        {"event": "progress", "t": 50.0, "global_step": 50, "session": 1, "losses": {"other": 3.0}}
    )
    table = table_of(progress(1, 25), progress(1, 50), other, progress(1, 75))
    assert steps(table) == [(1, 25), (1, 50), (1, 75)]
    assert steps(table, "other") == [(1, 50)]
    assert table.counters.repeated == 0


def test_a_late_line_of_an_earlier_session_undoes_nothing() -> None:
    """Only a later session can do steps again."""
    table = table_of(progress(2, 50), progress(2, 75), progress(1, 60), progress(2, 100))
    assert steps(table) == [(2, 50), (2, 75), (2, 100)]


def test_the_seconds_of_an_epoch_that_is_trained_again_go_with_it() -> None:
    """What the machine did in steps that do not count does not count either."""

    def ended(session: int, seconds: float) -> str:
        return json.dumps({"event": "epoch", "seconds": seconds, "session": session})

    table = table_of(
        *(progress(1, 75), evaluation(1, 100), ended(1, 9.5)),
        *(progress(2, 50), progress(2, 75), evaluation(2, 100), ended(2, 8.5), progress(2, 125)),
    )
    assert list(table.of("epoch_seconds", "system").values) == [8.5]


LOG = """
> Training Environment:
> EPOCH: 0/2
--> TIME: 2026-11-22 07:31:47 -- STEP: 0/100 -- GLOBAL_STEP: 0
| > loss: 1.0 (1.0)
--> TIME: 2026-11-22 07:32:47 -- STEP: 50/100 -- GLOBAL_STEP: 50
| > loss: nan (nan)
| > other: 2.0 (3.0)
--> EVAL PERFORMANCE
| > avg_loss: 5.0 (+0)
> EPOCH: 1/2
--> TIME: 2026-11-22 07:33:47 -- STEP: 0/100 -- GLOBAL_STEP: 100
| > loss: 1.0 (7.0)
> BEST MODEL : a/best_model_100.pth
> Training Environment:
> EPOCH: 1/2
--> TIME: 2026-11-22 09:00:00 -- STEP: 50/100 -- GLOBAL_STEP: 150
| > loss: 1.0 (8.0)
"""


def session(folder: Path, number: int, *lines: str, run: str = "abc123", log: str = "", age: int = 0) -> Path:
    """A pulled session's folder."""
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"run": {"id": run, "session": number}}))
    if lines:
        (folder / "metrics.jsonl").write_text("\n".join([*lines, ""]))
    if log:
        place = folder / "training" / "vits-1" / "trainer_0_log.txt"
        place.parent.mkdir(parents=True)
        place.write_text(log)
    for path in folder.iterdir():
        os.utime(path, (1e9 - age, 1e9 - age))
    return folder


def test_sessions_make_one_series(tmp_path: Path) -> None:
    """The newest file has earlier sessions as well; a session that it lacks comes from its own folder."""
    session(tmp_path / "session-01", 1, progress(1, 0), progress(1, 25), progress(1, 50))
    session(tmp_path / "session-02", 2, progress(2, 50), progress(2, 75), progress(2, 100))
    # Goes on from step 75 of session 2; session 1 is not in its file.
    session(tmp_path / "session-03", 3, progress(2, 50), progress(3, 75), progress(3, 100))
    # Was killed: it tells no run, and is none of its own.
    (tmp_path / "session-03" / "state.json").unlink()
    table = read_run(tmp_path)
    assert steps(table) == [(1, 0), (1, 25), (2, 50), (3, 75), (3, 100)]
    assert table.counters.lost_lines == 0


def test_the_trainers_log_fills_what_events_lack(tmp_path: Path) -> None:
    """NaN and lost events come from the trainer's log, with the right sessions and times."""
    events = [
        progress(1, 0, 1.0, t=205.0),
        '{"event":"progress","t":265.0,"epoch":0,"global_step":50,"session":1,"losses":{"other":3.0}}',
        evaluation(1, 100, 5.0),
        progress(2, 150, 8.0),
    ]
    session(tmp_path / "session-02", 2, *events, log=LOG)
    table = read_run(tmp_path)
    assert steps(table) == [(1, 0), (1, 50), (1, 100), (2, 150)]
    assert list(table.of("loss", "train").times) == [205.0, 265.0, 325.0, 150.0]
    assert list(table.of("other", "train").values) == [3.0]
    assert list(table.of("avg_loss", "eval").values) == [5.0]
    assert table.best_steps() == [100]
    assert [finding.step for finding in find_warnings(table)] == [50]
    assert steps(read_run(tmp_path, logs=False)) == [(1, 0), (2, 150)]


def test_times_of_the_log_are_put_after_the_sessions_start(tmp_path: Path) -> None:
    """The log's clock is set by a step that both have; nothing comes before the session's start."""
    session(tmp_path / "session-01", 1, progress(1, 50, t=10.0), log=LOG.partition("> EPOCH: 1/2")[0])
    assert list(read_run(tmp_path).of("loss", "train").times) == [0.0, 10.0]


def test_an_evaluation_of_the_log_belongs_to_the_session_that_made_it(tmp_path: Path) -> None:
    """It carries the step that the next session begins with."""
    session(tmp_path / "session-02", 2, progress(1, 0), progress(2, 100), log=LOG)
    assert steps(read_run(tmp_path), "avg_loss", "eval") == [(1, 100)]


def test_a_checkpoint_that_both_tell_of_is_one(tmp_path: Path) -> None:
    """The kernel's event and the trainer's line are about the same file."""
    event = '{"event":"checkpoint","global_step":100,"best":true,"session":1}'
    session(tmp_path / "session-01", 1, progress(1, 0), progress(1, 100), event, log=LOG)
    saved = [item.step for item in read_run(tmp_path).events if item.kind == "checkpoint"]
    assert saved == [100]


def test_what_each_file_repeats_is_counted_over_the_run(tmp_path: Path) -> None:
    """A restart within a session shows in the count of the whole series."""
    restarted = [progress(1, step) for step in (0, 10, 20, 30, 15, 25, 35)]
    session(tmp_path / "session-01", 1, *restarted, log="> Training Environment:\n")
    assert read_run(tmp_path).counters.repeated == 2


def test_a_log_alone_is_a_run_too(tmp_path: Path) -> None:
    """The last part of a log is the session of its folder, and earlier parts count backwards from it."""
    session(tmp_path / "session-04", 4, log=LOG)
    table = read_run(tmp_path)
    assert steps(table)[::2] == [(3, 0), (3, 100)]
    assert steps(table)[-1] == (4, 150)
    assert steps(table, "avg_loss", "eval") == [(3, 100)]


def test_a_run_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    """A run is found without a name, by the start of its id, and by either kernel and version."""
    session(tmp_path / "voice" / "session-01", 1, progress(1, 0), age=50)
    session(tmp_path / "voice" / "session-02", 2, progress(2, 25), age=40)
    session(tmp_path / "voice" / "def456" / "session-01", 1, progress(1, 0), run="def456", age=10)
    session(tmp_path / "voice-b" / "v3", 3, progress(3, 50), age=30)
    session(tmp_path / "other" / "v1", 1, progress(1, 0), run="abd", age=0)

    def numbers(text: str | None) -> list[int | None]:
        return [item.number for item in Results(tmp_path).find(text, "voice")]

    assert numbers("abc") == [1, 2, 3]
    assert numbers(None) == [1]
    assert numbers("asha/voice-a") == [1]
    assert numbers("asha/voice-b/3") == numbers("asha/voice-b/v3") == [3]
    assert numbers("https://www.kaggle.com/code/asha/voice-b") == numbers("asha/voice-b") == [1]
    mark = tmp_path / "voice" / "session-02" / ".kgtts-complete"
    mark.write_text("asha/voice-b/7 25 abc123\n")
    os.utime(mark, (1e9 - 40, 1e9 - 40))
    assert numbers("asha/voice-b/7") == [2]
    assert [item.run for item in Results(tmp_path).find("asha/other", "voice")] == ["abd"]
    assert [item.run for item in newest_run(pulled_sessions(tmp_path / "voice"))] == ["def456"]
    for text, words in (
        ("ab", "several runs"),
        ("zzz", "kgtts pull zzz"),
        ("asha/none", "kgtts pull"),
        ("a.b", "is not the name of a run"),
    ):
        with pytest.raises(UsageError) as error:
            Results(tmp_path).find(text, "voice")
        assert words in f"{error.value.message} {error.value.hint}"


def test_folders_that_hold_nothing_are_no_sessions(tmp_path: Path) -> None:
    """Empty folders, files instead of folders, a damaged state.json and a missing folder give no sessions."""
    (tmp_path / "session-01").mkdir()
    (tmp_path / "session-02").write_text("")
    (tmp_path / "v3").mkdir()
    (tmp_path / "v3" / "state.json").write_bytes(b"\xff[")
    assert [(item.number, item.run) for item in pulled_sessions(tmp_path)] == [(None, None)]
    assert not len(read_run(tmp_path))
    assert pulled_sessions(tmp_path / "nowhere") == []
    assert not len(read_run(tmp_path / "nowhere"))


def test_a_table_of_moments() -> None:
    """Unknown values stay unknown, and a moment without values is not stored."""
    table = MetricsTable()
    table.add(Moment(Kind.EVAL, None, None, None, None), ("a", "b"), [1.0, 2.0])
    table.add(Moment(Kind.STEP, 1.0, 2, 3, 4), (), [])
    assert [tuple(row) for row in table] == [
        (None, None, None, None, "eval", "a", 1.0),
        (None, None, None, None, "eval", "b", 2.0),
    ]
    assert (len(table), table.moment_count, table.session_starts(), table.last("end")) == (2, 1, [], None)
    assert len(table.of("nothing", "train")) == 0
