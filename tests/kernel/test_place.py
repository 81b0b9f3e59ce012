"""Sessions outside Kaggle: each start of the same kernel is the next session of its series."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import session_folder
from kernel_template.tools.package import PackagePrograms
from tests.kernel.kit import Log, mount_inputs, put, settings
from tests.kernel.sessions import HEAD, PROGRAMS, TRAINS, Played, package_with

ON = """
import re
last = max(int(number) for name in os.listdir(folder) for number in re.findall(r"_(\\d+).pth", name))
say("CONTINUES AFTER " + str(last))
say(" > EPOCH: 2/3"); step(last + 1, 1, 80.0)
say("  --> EVAL PERFORMANCE\\n     | > avg_loss_mel: 88.0 (+0.0)\\n")
save(last + 2)
"""
GOES_ON = (
    HEAD + "if args.continue_path:" + ON.replace("\n", "\n    ") + "\nelse:" + TRAINS.replace("\n", "\n    ")
)


class Series:
    """A series of sessions, and how each of them is started."""

    def __init__(self, tmp_path: Path, programs: PackagePrograms, script: str = GOES_ON) -> None:
        self.root, self.folder, self.programs = tmp_path / "root", tmp_path / "runs", programs
        mount_inputs(self.root / "input", script=script)

    def start(self, *, working: Path | None = None, **changes: Any) -> Played:
        """Start the kernel."""
        environment = {"PATH": "/usr/bin:/bin", "KGTTS_SERIES": str(self.folder)}
        if working is not None:
            environment["KGTTS_WORKING"] = str(working)
        run = {**settings()["run"], "kernel": "local/voice"}
        target = {"training": {"epochs": 9}, "run": run}
        tools = {"env": environment, "programs": self.programs, **changes.pop("tools", {})}
        return Played(self.root, Log(), "", tools=tools, **{**target, **changes})

    def state(self, number: int) -> dict[str, Any]:
        """The state.json of a session."""
        found: dict[str, Any] = json.loads((self.folder / session_folder(number) / "state.json").read_text())
        return found

    def end_with(self, number: int, **changes: Any) -> None:
        """Make it look as if a session had ended in another way."""
        state = {**self.state(number), **changes}
        put(self.folder / session_folder(number) / "state.json", json.dumps(state))


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> PackagePrograms:
    """The package with made-up programs."""
    return package_with(PROGRAMS, tmp_path_factory.mktemp("package"))


@pytest.fixture
def series(tmp_path: Path, programs: PackagePrograms) -> Series:
    """A series that is still empty."""
    return Series(tmp_path, programs)


def steps(state: dict[str, Any]) -> list[tuple[int, int, int, str]]:
    """Each session in a state's history: number, first and last step, and why it ended."""
    return [
        (item["session"], item["from_step"], item["to_step"], item["reason"]) for item in state["history"]
    ]


def test_each_start_is_the_next_session(series: Series) -> None:
    """The second goes on from the first in a folder of its own, with one history."""
    series.start()
    series.end_with(1, done=False)
    played = series.start()
    assert "CONTINUES AFTER 4" in played.log.text
    state = series.state(2)
    assert (state["run"]["session"], state["run"]["parent"]) == (2, "local/voice/1")
    assert steps(state) == [(1, 0, 4, "finished"), (2, 4, 6, "finished")]
    assert not (series.root / "working").exists()


def test_a_run_that_is_done_needs_no_session(series: Series) -> None:
    """Another start says so and makes no folder, until the settings ask for more."""
    series.start()
    series.end_with(1, epochs=2)
    played = series.start(training={"epochs": 2})
    assert (played.code, played.log.text) == (0, "✅ The run is done at step 4: all 2 epochs are trained.")
    assert len(list(series.folder.iterdir())) == 1
    assert "CONTINUES" in series.start(training={"epochs": 3}).log.text


def test_a_killed_session_is_continued_from_what_it_listed(series: Series) -> None:
    """It is in the history as killed, and its number is not used again."""
    series.start()
    state = series.state(1)
    state["history"][0]["reason"] = None
    series.end_with(1, done=False, status="running", history=state["history"])
    (series.folder / session_folder(2)).mkdir()  # It was killed before it saved anything.
    series.start()
    assert steps(series.state(3)) == [(1, 0, 4, "killed"), (3, 4, 6, "finished")]
    assert series.state(3)["run"]["parent"] == "local/voice/1"


def test_the_highest_step_is_continued_from(series: Series) -> None:
    """A later session that failed at once does not set the run back."""
    series.start()
    series.end_with(1, done=False)
    assert series.start(model={"checkpoint": "nothing.pth"}).code == 1
    series.start()
    assert steps(series.state(3)) == [
        (1, 0, 4, "finished"),
        (2, 4, 4, "missing_input"),
        (3, 4, 6, "finished"),
    ]


def test_a_damaged_session_is_passed_over(series: Series) -> None:
    """If no checkpoint of the newest is whole, the one before it is continued, with a warning."""
    series.start()
    series.end_with(1, done=False)
    series.start()
    series.end_with(2, done=False)
    for checkpoint in (series.folder / session_folder(2)).rglob("*.pth"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1] + b"x")
    played = series.start()
    assert "CONTINUES AFTER 4" in played.log.text
    assert any(
        "An earlier session is continued" in event["message"] for event in played.log.events("warning")
    )
    assert [item[0] for item in steps(series.state(3))] == [1, 2, 3]


def test_nothing_begins_anew_while_a_damaged_session_is_all_there_is(series: Series) -> None:
    """A series whose checkpoints are all damaged is not continued from the base voice."""
    series.start()
    series.end_with(1, done=False)
    for checkpoint in (series.folder / session_folder(1)).rglob("*.pth"):
        checkpoint.write_bytes(b"")
    played = series.start()
    assert (played.code, played.log.events("end")[0]["reason"]) == (1, "wrong_parent")


def test_a_session_from_kaggle_is_continued(series: Series) -> None:
    """Its parent is the kernel version that the folder was brought from."""
    series.start()
    state = series.state(1)
    state["run"]["kernel"] = state["history"][0]["kernel"] = "owner/voice-a"
    series.end_with(1, done=False, run=state["run"], history=state["history"])
    put(series.folder / session_folder(1) / ".kgtts-complete", "owner/voice-a/7 4 3f9c\n")
    series.start()
    assert series.state(2)["run"]["parent"] == "owner/voice-a/7"
    assert [item["kernel"] for item in series.state(2)["history"]] == ["owner/voice-a", "local/voice"]


def test_other_settings_are_refused(series: Series) -> None:
    """A series that was begun with other settings is not continued with these."""
    series.start()
    run = {**settings()["run"], "kernel": "local/voice", "fingerprint": "1" * 64}
    played = series.start(run=run)
    assert played.code == 1
    assert "other settings" in played.log.text
    assert not (series.folder / session_folder(2)).exists()


def test_another_runs_sessions_are_left_alone(series: Series) -> None:
    """They are named, and not continued."""
    series.start()
    series.start(run={**settings()["run"], "kernel": "local/voice", "id": "abcd"})
    assert steps(series.state(2)) == [(2, 0, 4, "finished")]


def test_the_series_has_a_budget(series: Series) -> None:
    """A session gets what the sessions before it under the same kernel have left; then none begins."""
    series.start()
    state = series.state(1)
    state["history"][0]["seconds"] = 5000.0
    series.end_with(1, done=False, history=state["history"])
    played = series.start(series_budget_s=9000)
    (event,) = [event for event in played.log.events("session") if "stops_by_s" in event]
    assert event["stops_by_s"] == 9000 - 5000 - 30
    series.end_with(2, done=False)
    played = series.start(series_budget_s=5000)
    assert (played.code, "has had its 1 h 23 min" in played.log.text) == (0, True)


def test_what_is_saved_is_copied_to_the_series(series: Series, tmp_path: Path) -> None:
    """A session that works elsewhere leaves the same in the series, and the next one goes on from there."""
    series.start(working=tmp_path / "disk")
    working, copy = tmp_path / "disk" / session_folder(1), series.folder / session_folder(1)
    files = {path.relative_to(working) for path in working.rglob("*") if path.is_file()}
    assert files == {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()}
    assert all((working / path).read_bytes() == (copy / path).read_bytes() for path in files)
    series.end_with(1, done=False)
    shutil.rmtree(tmp_path / "disk")  # The machine is gone.
    assert "CONTINUES AFTER 4" in series.start(working=tmp_path / "disk").log.text


def test_checkpoints_are_copied_while_it_trains(series: Series, tmp_path: Path) -> None:
    """A session that is killed in the middle has its newest checkpoint in the series, listed and whole."""
    copy = series.folder / session_folder(1) / "state.json"
    waits = f"""
copy = {str(copy)!r}
for _ in range(500):
    say("waiting")
    if os.path.exists(copy) and json.load(open(copy))["global_step"] == 4: break
    time.sleep(0.01)
os.system(f"cp -r {{os.path.dirname(copy)}} {str(tmp_path / "as-it-was")!r}")
"""
    mount_inputs(series.root / "input", script=HEAD + TRAINS + waits)
    ticks = itertools.count()
    series.start(working=tmp_path / "disk", tools={"clock": lambda: float(next(ticks))})
    shutil.rmtree(series.folder)
    series.folder.mkdir()
    (tmp_path / "as-it-was").rename(series.folder / session_folder(1))
    assert series.state(1)["status"] == "running"
    mount_inputs(series.root / "input", script=GOES_ON)
    assert "CONTINUES AFTER 4" in series.start(working=tmp_path / "disk").log.text


def test_copies_that_fail_fail_the_session(series: Series, tmp_path: Path) -> None:
    """It does not end as if what it left were safe."""
    script = (
        HEAD
        + TRAINS
        + f"\nimport shutil\nshutil.rmtree({str(series.folder)!r})\nopen({str(series.folder)!r}, 'w')"
    )
    mount_inputs(series.root / "input", script=script)
    played = series.start(working=tmp_path / "disk")
    assert played.code == 1
    assert "could not be copied" in played.log.lines[-1]


@pytest.mark.parametrize("content", [b"", b'{"schema": 9}', b"[" * 100_000])
def test_nothing_begins_anew_beside_a_damaged_state(series: Series, content: bytes) -> None:
    """A run whose state.json is damaged is not trained from the base voice again as if that were well."""
    place = put(series.folder / session_folder(1) / "state.json", content)
    played = series.start()
    assert played.code == 1
    assert f"{place} " in played.log.text
    assert "does not begin anew by itself" in played.log.text
    assert not (series.folder / session_folder(2)).exists()


@pytest.mark.parametrize(
    "listed",
    [7, [None, 1, []], [{"path": "a/../checkpoint_4.pth"}]],
)
def test_a_step_without_a_checkpoint_is_told(series: Series, listed: object) -> None:
    """A state.json that says more than it lists neither begins the run anew nor goes back in silence."""
    series.start()
    series.end_with(1, done=False)
    shutil.copytree(series.folder / session_folder(1), series.folder / session_folder(2))
    state = series.state(2)
    if isinstance(listed, list):
        listed = [{**state["checkpoints"][0], **item} if isinstance(item, dict) else item for item in listed]
    series.end_with(2, global_step=9, checkpoints=listed, run={**state["run"], "session": 2})
    played = series.start()
    assert "CONTINUES AFTER 4" in played.log.text
    assert "lists no checkpoint of its step 9, so session 2 is not" in played.log.text
    shutil.rmtree(series.folder / session_folder(1))
    shutil.rmtree(series.folder / session_folder(3))
    played = series.start()
    assert (played.code, "does not begin anew" in played.log.text) == (1, True)


def test_odd_names_among_the_sessions(series: Series, tmp_path: Path) -> None:
    """Files and links that are named as sessions are not in the way; after the last number none is left."""
    series.start()
    series.end_with(1, done=False)
    put(series.folder / session_folder(2), b"")
    (series.folder / session_folder(3)).symlink_to(tmp_path / "nowhere")
    (series.folder / "session-٩").mkdir()
    assert "CONTINUES AFTER 4" in series.start().log.text
    assert series.state(4)["run"]["parent"] == "local/voice/1"
    (series.folder / "session-999999999").mkdir()
    series.end_with(4, done=False)
    played = series.start()
    assert (played.code, "no number is left" in played.log.text) == (1, True)


@pytest.mark.parametrize("mark", ["local/voice/" + "9" * 5000, "local/voice/\x1b[2J"])
def test_hostile_marks_and_names(series: Series, mark: str) -> None:
    """What a bucket says of a session's kernel reaches no log as it is, and stops nothing."""
    series.start()
    state = series.state(1)
    put(series.folder / session_folder(1) / ".kgtts-complete", mark)
    series.end_with(1, done=False)
    assert "CONTINUES AFTER 4" in series.start().log.text
    assert series.state(2)["run"]["parent"] == "local/voice/1"
    series.end_with(1, done=False, run={**state["run"], "kernel": "\x1b[2J\ud800"})
    shutil.rmtree(series.folder / session_folder(2))
    played = series.start()
    assert "\x1b" not in played.log.text
    assert series.state(2)["run"]["parent"] == "unknown"
