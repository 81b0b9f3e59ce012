"""Whole sessions that measure their voice: who is measured, what is kept, and that it never costs more."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import BY_TRAINER
from kernel_template.finish.export import voice_checkpoint
from kernel_template.host.protocol import SampleRules
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.report import Reporter
from kernel_template.host.sample_filter import SampleFilter
from kernel_template.scores.book import best_step, scores_before, set_name
from kernel_template.scores.held_out import Candidate, choose, list_candidates
from kernel_template.tools.process import ChildEnd, ChildPlan, StopCause
from kernel_template.train.checkpoints import CheckpointStore
from kernel_template.train.host_link import SessionBudget
from tests.fakes.clock import FakeClock
from tests.kernel.hosting import REAL_TRAINER, ForkServer, Toy, step_of
from tests.kernel.kit import Child, Log, paths_in, put, put_checkpoint, settings
from tests.kernel.sessions import HEAD, PROGRAMS, TRAINS, Played, stamp
from tests.kernel.test_session_chain import ON, second

# The host lists what is only evaluated on; these scripts have no Trainer.
LISTS = """
import pathlib
held_out = pathlib.Path(config["output_path"]).parents[1] / "temp" / "held_out.json"
held_out.write_text(json.dumps([{"path": f"/data/{n}.wav", "name": f"wavs/{n}.wav", "text": f"আমি ভাত খাই {n}।",
    "speaker": None} for n in range(3)]))
"""
# Measures each voice by its step: the more, the nearer, up to a step that the test names.
MEASURES = """
import json, pathlib, sys
plan = json.loads(pathlib.Path(sys.argv[1]).read_text())
print("a library greets")
for voice in plan["voices"]:
    folder = pathlib.Path(voice["folder"]); folder.mkdir(parents=True)
    (folder / "01.wav").write_bytes(b"RIFF"); (folder / "samples.json").write_text("{}")
    step = voice["global_step"]
    value = 2.0 if step is None else 9.0 - step if step <= PEAK else 3.0 + step
    print(json.dumps({"scored": {"of": voice["of"], "global_step": step, "checkpoint": voice["name"],
        "seconds": 1.0, "means": {"mel_distance": {"mean": value, "spread": 0.5, "count": 2}},
        "sentences": [{"file": "01.wav", "scores": {"mel_distance": value}, "error": None}],
        "missing": {"mos": "distillmos is not installed"}}}), flush=True)
"""


def programs(measures: str = MEASURES, peak: int = 99) -> dict[str, str]:
    """Programs that need no torch."""
    return {**PROGRAMS, "scores/program.py": measures.replace("PEAK", str(peak))}


def scored(**changes: Any) -> dict[str, Any]:
    """Settings of a session that measures within half of its time, so that a second of it is enough."""
    return {"enabled": True, "share": 0.5, "sentences": 2, **changes}


def timed(log: Log, **tools: Any) -> dict[str, Any]:
    """Tools by whose clock the training takes 200 s."""
    clock = FakeClock()
    log.reactions.append(("▶ Training", lambda: clock.sleep(200.0)))
    return {"clock": clock, **tools}


def play(root: Path, log: Log, script: str = HEAD + LISTS + TRAINS, **more: Any) -> Played:
    """A first session that measures its voice."""
    more = {"programs": programs(), "scores": scored(), "run": stamp(1), **more}
    return Played(root, log, script, tools=timed(log), **more)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The first session of a run, which no test changes."""
    root = tmp_path_factory.mktemp("one")
    return play(root, Log(), scores=scored(best_by="mel_distance"), programs=programs(peak=4))


def go_on(first: Played, root: Path, log: Log, **more: Any) -> Played:
    """The session after it."""
    more = {"programs": programs(peak=4), "scores": scored(best_by="mel_distance"), **more}
    return second(first, root, log, HEAD + LISTS + ON, tools=timed(log), **more)


def test_newest_recordings_and_base_are_measured(root: Path, log: Log) -> None:
    """The newest voice comes first, then recordings, base and older ones, as events, sounds and state."""
    played = play(root, log)
    assert played.code == 0
    events = log.events("scores")
    assert [(event["of"], event["global_step"]) for event in events] == [
        ("step", 4),
        ("recordings", None),
        ("base", 0),
        ("step", 2),
    ]
    assert events[0]["folder"] == "validation_samples/held_out/step_4"
    assert (root / "working" / events[0]["folder"] / "01.wav").is_file()
    assert events[0]["sentences"][0]["scores"] == {"mel_distance": 5.0}
    scores = played.state["scores"]
    assert (scores["state"], scores["why"], scores["best_by"]) == ("made", None, BY_TRAINER)
    assert [item["global_step"] for item in scores["steps"]] == [2, 4]
    assert scores["steps"][1]["means"]["mel_distance"]["mean"] == 5.0
    assert "sentences" not in scores["steps"][0]
    assert [item["file"] for item in scores["sentences"]] == ["01.wav", "02.wav"]
    assert "  step 4: mel distance 5 dB (± 0.5)" in log.lines
    assert "Not measured: mos, since distillmos is not installed." in log.lines
    metrics = [json.loads(line) for line in (root / "working" / "metrics.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "scores" for event in metrics) == 4


def test_a_later_session_measures_only_what_is_new(first: Played, root: Path, log: Log) -> None:
    """Base and recordings are measured once in a run; the state has the steps of all sessions."""
    played = go_on(first, root, log)
    assert [(event["of"], event["global_step"]) for event in log.events("scores")] == [("step", 6)]
    scores = played.state["scores"]
    assert [item["global_step"] for item in scores["steps"]] == [2, 4, 6]
    assert [scores["base"]["session"], scores["steps"][-1]["session"]] == [1, 2]
    assert scores["sentences"] == first.state["scores"]["sentences"]
    heard = root / "working" / "validation_samples" / "held_out"
    assert {place.name for place in heard.iterdir()} == {"recordings", "base", "step_2", "step_4", "step_6"}


def test_the_best_is_chosen_by_score_across_sessions(first: Played, root: Path, log: Log) -> None:
    """Step 4 stays the best although step 6 is newer, and the state names it for the export."""
    assert first.state["best_model"].endswith("/best_score_4.pth")
    assert first.state["scores"]["best"]["value"] == 5.0
    played = go_on(first, root, log)
    state = played.state
    assert state["best_model"].endswith("/best_score_4.pth")
    assert state["checkpoint"].endswith("/checkpoint_6.pth")
    assert state["scores"]["best"]["global_step"] == 4
    chosen = voice_checkpoint(CheckpointStore(paths_in(root)).whole())
    assert chosen is not None
    assert (chosen.path.name, chosen.by_score) == ("best_score_4.pth", True)
    listed = {item["path"].rpartition("/")[2] for item in state["checkpoints"]}
    assert listed == {"best_score_4.pth", "best_model_4.pth", "checkpoint_6.pth"}


def test_a_better_one_takes_its_place(first: Played, root: Path, log: Log) -> None:
    """With a nearer voice at step 6, that becomes the best and the older file goes."""
    played = go_on(first, root, log, programs=programs(peak=6))
    assert played.state["best_model"].endswith("/best_score_6.pth")
    (kept,) = (root / "working").rglob("best_score_*.pth")
    assert kept.name == "best_score_6.pth"
    assert "The best checkpoint by mel_distance is that of step 6 (3)." in log.lines


def test_the_best_stays_if_a_session_measures_nothing(first: Played, root: Path, log: Log) -> None:
    """A session whose scores fail keeps the best of the one before."""
    played = go_on(first, root, log, programs=programs("raise SystemExit('no torch')"))
    assert played.code == 0
    assert played.state["best_model"].endswith("/best_score_4.pth")
    assert played.state["scores"]["best"]["global_step"] == 4
    assert [item["global_step"] for item in played.state["scores"]["steps"]] == [2, 4]


def test_what_was_measured_outlives_a_failure(first: Played, root: Path, log: Log) -> None:
    """A session that fails, or is killed, keeps the scores of the sessions before it in its state.json."""
    played = second(first, root, log, HEAD + "raise RuntimeError('x')", scores=scored())
    assert played.code == 1
    scores = played.state["scores"]
    assert [item["global_step"] for item in scores["steps"]] == [2, 4]
    assert scores["base"]["means"] == first.state["scores"]["base"]["means"]
    assert (scores["state"], scores["why"]) == ("skipped", "the training has not ended")
    assert played.state["best_model"].endswith("/best_score_4.pth")


@REAL_TRAINER
def test_the_trainer_leaves_the_best_by_score_alone(fork_server: ForkServer, tmp_path: Path) -> None:
    """Neither the trainer's housekeeping nor the limit of the disk deletes the file that a score chose."""
    toy = Toy(fork_server, tmp_path, {"save_n_checkpoints": 1, "save_step": 2})
    toy.session(epochs=1)
    newest = toy.newest()
    assert newest is not None
    chosen = newest.with_name(f"best_score_{step_of(newest)}.pth")
    chosen.write_bytes(newest.read_bytes())
    limit = 4 * newest.stat().st_size + 400_000
    toy.session(epochs=4, control={"disk": {"folder": str(tmp_path), "limit_bytes": limit}})
    assert chosen.exists()
    assert not newest.exists()
    assert step_of(toy.newest() or newest) > step_of(chosen)


def test_back_to_the_trainers_choice(first: Played, root: Path, log: Log) -> None:
    """If the trainer chooses again, the file that was chosen by score goes."""
    played = go_on(first, root, log, scores=scored())
    assert not list((root / "working").rglob("best_score_*.pth"))
    assert played.state["scores"]["best"] is None


@pytest.mark.parametrize("program", ["raise SystemExit('no torch')", "import os; os.abort()", "x ="])
def test_a_failure_is_a_warning(root: Path, log: Log, program: str) -> None:
    """Whatever the program does, the session is complete, and the log says what failed."""
    played = play(root, log, programs=programs(program))
    assert (played.code, played.end["status"]) == (0, "complete")
    assert played.state["scores"]["state"] == "failed"
    (warning,) = log.events("warning")[:1]
    assert warning["message"].startswith("The voice was not measured: the program ended with exit code")


def test_a_program_that_prints_nonsense(root: Path, log: Log) -> None:
    """Records of another form are a failure, which is a warning."""
    played = play(root, log, programs=programs('print(\'{"scored": {"of": 7}}\')'))
    assert (played.code, played.state["scores"]["state"]) == (0, "failed")


def test_a_voice_that_was_cut_off_leaves_nothing(root: Path, log: Log) -> None:
    """If time ends while a voice speaks, its sounds are deleted, and what is left out is named."""

    def run(plan: ChildPlan, on_line: Any, _on_stop: Any = None) -> ChildEnd:
        if "kernel_template.scores.program" not in plan.command:
            return Child(lines=[])(plan, on_line)
        asked = json.loads(Path(plan.command[-1]).read_text())
        assert asked["limit_s"] == plan.limit_s
        newest = asked["voices"][0]
        put(Path(newest["folder"]) / "01.wav")
        put(Path(asked["voices"][1]["folder"]) / "01.wav")
        record = {"of": "step", "global_step": newest["global_step"], "checkpoint": "c", "seconds": 1.0}
        on_line(json.dumps({"scored": {**record, "means": {}, "sentences": [], "missing": {}}}), is_bar=False)
        return ChildEnd(-9, 9.0, StopCause.TIME_LIMIT, killed=True)

    paths = paths_in(root)
    put_checkpoint(paths.training / "v" / "checkpoint_4.pth")
    put(paths.training / "v" / "config.json", "{}")
    sample = {"path": "/a.wav", "name": "a.wav", "text": "আমি ভাত খাই।", "speaker": None}
    put(paths.held_out, json.dumps([sample]))
    played = Played(root, log, HEAD + TRAINS, scores=scored(), tools=timed(log, run=run))
    scores = played.state["scores"]
    assert (scores["state"], scores["recordings"]) == ("partly", None)
    assert scores["why"] == (
        "the recordings (no time is left); the base voice (no time is left); "
        "more than scores.share = 0.5 gives it more time"
    )
    assert [place.name for place in paths.scored.iterdir()] == ["step_4"]


def test_without_evaluation_samples_nothing_is_measured(root: Path, log: Log) -> None:
    """A script that holds nothing out is told so, and nothing is installed."""
    played = play(root, log, HEAD + TRAINS, scores=scored(packages=["Resemblyzer==0.1.4"]))
    assert played.state["scores"]["state"] == "skipped"
    assert "The voice is not measured: there are no recordings to measure it by" in log.text
    assert "Resemblyzer" not in log.text


def test_a_share_that_is_too_short(root: Path, log: Log) -> None:
    """With too little time the log says which setting would give more."""
    played = play(root, log, scores=scored(share=0.001))
    assert played.state["scores"]["state"] == "skipped"
    assert "(scores.share) are 0 s, too few." in log.text
    assert not log.events("scores")


def test_missing_packages_are_no_failure(root: Path, log: Log) -> None:
    """Without internet the packages are named with what to do, and the other measures come."""
    played = play(root, log, scores=scored(packages=["Resemblyzer==0.1.4"]), internet=False)
    assert played.state["scores"]["state"] == "made"
    assert "Resemblyzer==0.1.4 is not installed, and the session has no internet" in log.text
    assert not log.events("warning")


def test_packages_come_alone(root: Path, log: Log) -> None:
    """They are installed without what they depend on, so that nothing of the image changes."""
    asked: list[list[str]] = []

    def run(plan: ChildPlan, on_line: Any, _on_stop: Any = None) -> ChildEnd:
        asked.append(list(plan.command))
        return Child()(plan, on_line)

    paths = paths_in(root)
    put_checkpoint(paths.training / "v" / "checkpoint_4.pth")
    put(paths.training / "v" / "config.json", "{}")
    put(paths.held_out, json.dumps([{"path": "a", "name": "a", "text": "আমি", "speaker": None}]))
    more = {"scores": scored(packages=["kgtts-nothing==1"]), "tools": timed(log, run=run)}
    Played(root, log, HEAD + TRAINS, **more)
    (pip,) = [command for command in asked if "kgtts-nothing==1" in command]
    assert "--no-deps" in pip


def test_scores_off(root: Path, log: Log) -> None:
    """With scores.enabled = false there is no stage, and nothing is held out."""
    played = play(root, log, scores=scored(enabled=False))
    assert played.state["scores"] is None
    assert "Scores" not in log.text


@pytest.mark.parametrize(
    ("total", "elapsed", "left"),
    [(36_000, 3600.0, 73.0), (36_000, 35_500.0, 200.0), (1000, 975.0, 0.0), (None, 490.0, 10.0)],
)
def test_the_share_is_kept(total: int | None, elapsed: float, left: float) -> None:
    """Scores get their share of what the session has taken, and nothing of what the export needs."""
    asked = settings(session_budget_s=total, scores={"enabled": True, "share": 0.02})
    budget = SessionBudget(asked, lambda: elapsed)
    assert budget.scores_left() == pytest.approx(left, abs=1.0)
    if total is not None:
        assert budget.reserve == pytest.approx(budget.finish_s + min(240, 0.02 * total))
        off = settings(session_budget_s=total)
        assert SessionBudget(off, lambda: elapsed).reserve == budget.finish_s
    else:
        assert budget.reserve == 0.0


def sample(name: str, text: str = "", **more: Any) -> dict[str, Any]:
    """A sample as Coqui has it."""
    text = text or f"এই বাক্য {name} নামে আছে।"
    return {"audio_file": f"/d/wavs/{name}.wav", "text": text, "root_path": "/d", **more}


def test_only_what_is_not_trained_on_is_held_out() -> None:
    """Recordings and texts that are trained on too are left out, and so is one speaker's name."""
    train = [sample("a"), sample("b", "একই কথা")]
    listed = list_candidates(train, [sample("a"), sample("c", "একই কথা"), sample("d"), 7, sample("e", " ")])
    assert [item["name"] for item in listed] == ["wavs/d.wav"]
    assert listed[0]["speaker"] is None
    several = [sample("d", speaker_name="x"), sample("e", speaker_name="y")]
    assert [item["speaker"] for item in list_candidates([], several)] == ["x", "y"]


def test_all_sessions_speak_the_same_sentences() -> None:
    """The choice does not depend on the split's order; what is gone is replaced under another name."""
    candidates = [Candidate(f"/d/{n}.wav", f"{n}.wav", f"এটা বাক্য নম্বর {n}।", None) for n in range(9)]
    chosen, sounds = choose(candidates, 4)
    assert choose(candidates[::-1], 4) == (chosen, sounds)
    assert [item["file"] for item in chosen] == ["01.wav", "02.wav", "03.wav", "04.wav"]
    assert sounds == [f"/d/{item['recording']}" for item in chosen]
    left = [item for item in candidates if item.name != chosen[1]["recording"]]
    again, _ = choose(left, 4, chosen)
    assert again[:3] == [chosen[0], chosen[2], chosen[3]]
    assert again[3]["file"] == "05.wav"
    assert set_name(again) != set_name(chosen)
    assert choose([], 4, chosen) == ([], [])


def test_values_of_other_sentences_do_not_compare() -> None:
    """Only steps that are there, of the same sentences and of all of them, can be the best."""

    def step(number: int, value: float, *, of: str = "s", count: int = 8) -> Any:
        return {"global_step": number, "set": of, "means": {"mos": {"mean": value, "count": count}}}

    steps = [
        step(1, 3.0),
        step(2, 4.9, of="t"),
        step(3, 4.8, count=1),
        step(4, 4.7),
        step(5, 3.5),
        step(6, 3.5),
    ]
    assert best_step(steps, "mos", "s", [1, 2, 3, 5, 6]) == (6, 3.5)
    assert best_step(steps, "mos", "s", []) is None
    assert best_step(steps, BY_TRAINER, "s", [1]) is None
    assert best_step(steps, "cer", "s", [1]) is None


@pytest.mark.parametrize(
    "hostile",
    [
        [],
        {"steps": 7, "sentences": {}, "base": [], "recordings": "x"},
        {"steps": [7, {}, {"of": "step", "global_step": "4", "session": 1}, {"of": "x"}]},
        {"steps": [{"of": "step", "global_step": None, "session": 1}]},
        {
            "sentences": [
                {"file": "../x.wav", "text": "a", "recording": "b", "speaker": None},
                {"file": "01.wav"},
            ]
        },
        {"sentences": [{"file": "01.wav", "text": "a" * 9999, "recording": "b", "speaker": None}]},
    ],
)
def test_a_parent_may_say_anything(hostile: Any) -> None:
    """What the parent's state.json has of another form is left out."""
    read = scores_before(hostile, 9)
    assert read is None or not (read["steps"] or read["sentences"] or read["base"] or read["recordings"])


def test_numbers_of_a_parent_are_finite() -> None:
    """NaN, huge and missing numbers are dropped, and steps after the resumed one too."""
    base = {"of": "step", "session": 1, "set": "s", "missing": {"mos": "why", "x": 1}}
    means = {
        "mos": {"mean": math.nan, "spread": 0, "count": 1},
        "rate": {"mean": 9.5, "spread": None, "count": 2},
        "silence": {"mean": 0.1, "count": 10**9},
        "other": {"mean": 1, "count": 1},
    }
    read = scores_before({"steps": [{**base, "global_step": step, "means": means} for step in (5, 15)]}, 9)
    assert read is not None
    (only,) = read["steps"]
    assert only["means"] == {"rate": {"mean": 9.5, "spread": 0.0, "count": 2}}
    assert only["missing"] == {"mos": "why"}


def test_the_host_lists_what_is_held_out(tmp_path: Path) -> None:
    """Rank 0 writes the list, whatever is asked about bad samples."""
    place = tmp_path / "held_out.json"
    rules = SampleRules(held_out=str(place))
    reporter = Reporter(tmp_path / "report.json", lambda _text: None)
    given = {"train_samples": [sample("a")], "eval_samples": [sample("b")]}
    assert SampleFilter(rules, Rendezvous(), reporter).apply(None, given) == given
    assert [item["name"] for item in json.loads(place.read_text())] == ["wavs/b.wav"]
