"""Whole sessions: real child processes, made-up trainings, and a clock that the test moves."""

import errno
import json
import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest

from kernel_template.checkpoints import Checkpoint
from kernel_template.files import sha256_of, write_atomic
from kernel_template.main import run
from kernel_template.process import ChildEnd, Cut
from kernel_template.session import TrainingFacts, judge_training
from tests.kernel.kit import MODEL, Capture, Clock, Log, make_tools, mount_inputs, probe_answer, put, settings

# What every made-up training begins with: Coqui's arguments, a run folder and whole checkpoints.
_HEAD = """
import argparse, json, os, sys, time, zipfile
parser = argparse.ArgumentParser()
parser.add_argument("--config_path"); parser.add_argument("--restore_path")
args, others = parser.parse_known_args()
config = json.load(open(args.config_path))
folder = os.path.join(config["output_path"], "bangla আ-November-22")
os.makedirs(folder)
json.dump(config, open(os.path.join(folder, "config.json"), "w"))
def say(text): print(text, file=sys.stderr, flush=True)
def save(step, kind="checkpoint"):
    name = os.path.join(folder, f"{kind}_{step}.pth")
    say(f" > {'CHECKPOINT' if kind == 'checkpoint' else 'BEST MODEL'} : {name}")
    with zipfile.ZipFile(name, "w") as archive: archive.writestr("data.pkl", "x" * step)
def step(number, epoch_step, loss):
    say(f"\\x1b[1m   --> TIME: now -- STEP: {epoch_step}/1 -- GLOBAL_STEP: {number}\\x1b[0m")
    say(f"     | > loss_mel: {loss}  ({loss})\\n")
say(" > Restoring from " + os.path.basename(args.restore_path) + " ...")
"""
_TRAINS = """
for epoch in range(2):
    say(f"\\x1b[4m\\x1b[1m > EPOCH: {epoch}/1\\x1b[0m")
    for number in range(2): step(2 * epoch + number, number, 100.0 - 10 * epoch)
    say(f"  --> EVAL PERFORMANCE\\n     | > avg_loss_mel: {90.0 - epoch} (+0.0)\\n")
    save(2 * epoch + 2, "best_model")
"""
_WAITS = """
say("> EPOCH: 0/1"); step(0, 0, 9.0)
try:
    say("READY")
    while True: time.sleep(0.02)
except KeyboardInterrupt:
    say(" > Keyboard interrupt detected."); save(1); sys.exit(130)
"""
_SPEAK = """
import argparse, json, pathlib, sys
parser = argparse.ArgumentParser()
for name in ("config", "checkpoint", "sentences", "out"): parser.add_argument("--" + name, type=pathlib.Path)
args = parser.parse_args()
print("a library greets")
for number, text in enumerate(json.loads(args.sentences.read_text()), 1):
    (args.out / f"{number:02d}.wav").write_bytes(b"RIFF")
    print(json.dumps({"sample": {"file": f"{number:02d}.wav", "text": text, "seconds": 1.5, "error": None}}))
"""
_PROGRAMS = {"speak.py": _SPEAK, "probe.py": ""}


class Played:
    """One session that was run: its exit code and what it left."""

    def __init__(self, root: Path, log: Log, script: str, **more: Any) -> None:
        self.root, self.log = root, log
        programs = more.pop("programs", _PROGRAMS)
        tools = more.pop("tools", {})
        if script:
            mount_inputs(root / "input", script=script)
        self.code = run(settings(**more), programs, make_tools(root, log, **tools))

    @property
    def state(self) -> dict[str, Any]:
        """The content of state.json."""
        found: dict[str, Any] = json.loads((self.root / "working" / "state.json").read_text())
        return found

    @property
    def end(self) -> dict[str, Any]:
        """The `end` event."""
        (event,) = self.log.events("end")
        return event


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_session_from_start_to_end(root: Path, log: Log) -> None:
    """Stages in order, progress as events, all outputs in place, state and manifest true, exit code 0."""
    played = Played(root, log, _HEAD + _TRAINS)
    working = root / "working"
    assert played.code == 0
    stages = [event["name"] for event in log.events("stage") if event["state"] == "done"]
    names = ["environment", "inputs", "gpu", "install", "prepare", "train", "samples", "outputs"]
    assert stages == names
    assert [event["global_step"] for event in log.events("progress")] == [0, 1, 2, 3]
    assert [event["losses"]["avg_loss_mel"] for event in log.events("eval")] == [90.0, 89.0]
    assert [event["path"].rpartition("/")[2] for event in log.events("checkpoint")] == [
        "best_model_2.pth",
        "best_model_4.pth",
    ]
    state = played.state
    assert (state["status"], state["reason"], state["exit_code"]) == ("complete", "finished", 0)
    assert (state["global_step"], state["epoch"], state["epochs"]) == (4, 1, 2)
    assert state["checkpoint"] == state["best_model"] == "training/bangla আ-November-22/best_model_4.pth"
    assert state["losses"] == {"train": {"loss_mel": 90.0}, "eval": {"avg_loss_mel": 89.0}}
    assert state["run"] == settings()["run"]
    assert set(names) <= set(state["seconds"])
    assert state["started"] == "2026-11-22T07:31:00+00:00"
    for record in state["checkpoints"]:
        assert record["sha256"] == sha256_of(working / record["path"])
    assert "\x1b" not in (working / "train_log.txt").read_text()
    assert "loss_mel" in (working / "train_log.txt").read_text()
    assert json.loads((working / "config.json").read_text())["batch_size"] == 16
    assert (working / "validation_samples" / "step_4" / "01.wav").is_file()
    metrics = lines_of(working / "metrics.jsonl")
    assert metrics[-1] == {**played.end, "session": 1}
    assert "stage" not in {event["event"] for event in metrics}
    assert log.lines[-2] == "✅ Training completed successfully!"


def test_the_manifest_covers_every_output(root: Path, log: Log) -> None:
    """Sizes and hashes of all files but itself, with nothing temporary among them."""
    Played(root, log, _HEAD + _TRAINS)
    working = root / "working"
    entries = json.loads((working / "manifest.json").read_text())["files"]
    on_disk = {path.relative_to(working).as_posix() for path in working.rglob("*") if path.is_file()}
    assert {entry["path"] for entry in entries} == on_disk - {"manifest.json"}
    for entry in entries:
        path = working / entry["path"]
        assert (entry["size"], entry["sha256"]) == (path.stat().st_size, sha256_of(path))


def test_the_training_gets_one_card_and_no_token(root: Path, log: Log) -> None:
    """Its environment hides the other cards and Kaggle's variables; on the CPU all cards are hidden."""
    script = _HEAD + textwrap.dedent("""
        say(f"CARDS={os.environ['CUDA_VISIBLE_DEVICES']!r} TELEMETRY={os.environ['TRAINER_TELEMETRY']}")
        say("TOKENS=" + str([name for name in os.environ if name.startswith("KAGGLE_")]))
        save(1)
    """)
    Played(root, log, script)
    assert "CARDS='' TELEMETRY=0" in log.lines
    assert "TOKENS=[]" in log.lines


def test_on_a_gpu_the_first_card_trains(root: Path, log: Log) -> None:
    """With two T4 asked for and there, the training sees the first."""
    cards = "Tesla T4, 15360 MiB, 580\nTesla T4, 15360 MiB, 580\n"
    probe = probe_answer(cuda=True, devices=["Tesla T4", "Tesla T4"])
    capture = Capture({"nvidia-smi": type(probe)(0, cards), "probe.py": probe})
    script = _HEAD + "say('CARDS=' + os.environ['CUDA_VISIBLE_DEVICES']); save(1)"
    asked = {"accelerator": "NvidiaTeslaT4", "gpu_name": "T4", "gpus": 2}
    assert Played(root, log, script, tools={"capture": capture}, **asked).code == 0
    assert "CARDS=0" in log.lines
    assert "✓ CUDA available - Device count: 2" in log.lines


def test_no_gpu_stops_before_anything_is_installed(root: Path, log: Log) -> None:
    """The wrong machine ends the session in the gpu stage, with a state.json."""
    played = Played(root, log, _HEAD, accelerator="NvidiaTeslaT4", gpu_name="T4", gpus=2)
    assert played.code == 1
    assert played.end["reason"] == "no_gpu"
    assert "install" not in {event["name"] for event in log.events("stage")}
    assert played.state["status"] == "failed"


def test_a_missing_input_is_the_last_thing_said(root: Path, log: Log) -> None:
    """A mount without model_file.pth ends the session at once."""
    mount_inputs(root / "input")
    (root / "input" / "models" / MODEL / "model" / "model_file.pth").unlink()
    played = Played(root, log, "")
    assert (played.code, played.end["reason"]) == (1, "missing_input")
    assert log.lines[-1].startswith("❌ The inputs are not complete.")
    assert "model/model_file.pth" in log.lines[-1]


def test_a_corrupt_configuration_ends_the_session(root: Path, log: Log) -> None:
    """Nothing is trained with a damaged config.json."""
    mount_inputs(root / "input")
    put(root / "input" / "models" / MODEL / "model" / "config.json", '{"model": "vits", "au')
    played = Played(root, log, "")
    assert (played.code, played.end["reason"]) == (1, "bad_config")
    assert "is damaged" in log.lines[-1]


def test_a_training_that_raises(root: Path, log: Log) -> None:
    """The exception is the last thing said, the session fails, no samples are tried."""
    played = Played(root, log, _HEAD + "raise ValueError('আমি is not in the vocabulary')")
    assert (played.code, played.end["reason"]) == (1, "training_failed")
    assert log.lines[-1] == "❌ The training failed: ValueError: আমি is not in the vocabulary."
    assert played.state["checkpoint"] is None
    assert "samples" not in {event["name"] for event in log.events("stage")}


def test_a_training_that_leaves_nothing(root: Path, log: Log) -> None:
    """Exit code 0 without any weights is no success; weights under another name are one."""
    played = Played(root, log, _HEAD)
    assert (played.code, played.end["reason"]) == (1, "training_failed")
    assert "left no checkpoint" in log.lines[-1]


def test_weights_under_another_name_count(root: Path, log: Log) -> None:
    """A script that saves in its own way has a result, without a step."""
    played = Played(root, log, _HEAD + "open(os.path.join(folder, 'final.pth'), 'wb').write(b'x')")
    assert (played.code, played.state["global_step"]) == (0, None)


def test_the_time_limit_with_a_checkpoint_is_a_success(root: Path, log: Log, clock: Clock) -> None:
    """At the limit the training saves, the guide's words come with the real number, the exit code is 0."""
    log.reactions.append(("READY", lambda: clock.advance(5401)))
    played = Played(root, log, _HEAD + _WAITS, training={"time_limit_s": 5400}, tools={"clock": clock})
    assert (played.code, played.end["reason"], played.end["status"]) == (0, "time_limit", "complete")
    assert "⚠ Training timeout (90 minutes) - process terminated" in log.lines
    assert played.state["global_step"] == 1
    assert (root / "working" / "validation_samples" / "step_1" / "samples.json").is_file()


def test_the_time_limit_without_a_checkpoint_is_a_failure(root: Path, log: Log, clock: Clock) -> None:
    """A session that saved nothing has no result."""
    log.reactions.append(("READY", lambda: clock.advance(99999)))
    script = _HEAD + _WAITS.replace("save(1); ", "")
    played = Played(root, log, script, tools={"clock": clock})
    assert (played.code, played.end["reason"]) == (1, "time_limit")
    assert "no checkpoint was saved" in log.lines[-1]


def test_a_training_that_ignores_the_limit_is_killed(root: Path, log: Log, clock: Clock) -> None:
    """After the grace it is killed; what it saved before still counts."""
    log.reactions.append(("READY", lambda: clock.advance(99999)))
    log.reactions.append(("IGNORED", lambda: clock.advance(31)))
    script = _HEAD + textwrap.dedent("""
        import signal
        signal.signal(signal.SIGINT, lambda *_: say("IGNORED"))
        save(3); say("READY")
        while True: time.sleep(0.02)
    """)
    played = Played(root, log, script, tools={"clock": clock})
    assert (played.code, played.end["reason"]) == (0, "time_limit")
    assert "was killed" in log.text
    assert log.text.count("IGNORED") == 1
    assert played.state["global_step"] == 3


def test_a_stop_of_the_kernel_saves_and_fails(root: Path, log: Log) -> None:
    """SIGTERM to the kernel lets the training save; the session is interrupted with exit code 130."""
    log.reactions.append(("READY", lambda: signal.raise_signal(signal.SIGTERM)))
    before = signal.getsignal(signal.SIGTERM)
    played = Played(root, log, _HEAD + _WAITS)
    assert (played.code, played.end["reason"]) == (130, "interrupted")
    assert played.state["global_step"] == 1
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_stop_before_the_training(root: Path, log: Log) -> None:
    """A session that is told to stop while it prepares does not begin to train."""
    log.reactions.append(("▶ Coqui TTS", lambda: signal.raise_signal(signal.SIGINT)))
    played = Played(root, log, _HEAD + _WAITS)
    assert (played.code, played.end["reason"]) == (130, "interrupted")
    assert "Launching" not in log.text


def test_a_truncated_checkpoint_is_not_the_newest(root: Path, log: Log) -> None:
    """What a kill in the middle of a save left is named and passed over."""
    cut = "save(2); open(os.path.join(folder, 'checkpoint_9.pth'), 'wb').write(b'PK' + b'x' * 500)"
    played = Played(root, log, _HEAD + cut)
    assert played.state["global_step"] == 2
    assert [record["global_step"] for record in played.state["checkpoints"]] == [2]
    assert "checkpoint_9.pth is truncated" in log.text


def test_a_full_disk_in_the_training(root: Path, log: Log) -> None:
    """The reason is the disk, the half checkpoint goes to make room, state.json is written."""
    cut = textwrap.dedent("""
        save(2); open(os.path.join(folder, 'checkpoint_9.pth'), 'wb').write(b'PK' + b'x' * 500)
        raise OSError(28, "No space left on device")
    """)
    played = Played(root, log, _HEAD + cut)
    assert (played.code, played.end["reason"]) == (1, "disk_full")
    assert played.state["global_step"] == 2
    assert not list(root.rglob("checkpoint_9.pth"))
    assert "The disk is full" in log.lines[-1]


@pytest.mark.parametrize("name", ["config.json", "state.json", "probe.py", "manifest.json"])
def test_a_full_disk_in_the_kernel_itself(root: Path, log: Log, name: str) -> None:
    """Whichever file cannot be written, a sentence says so and nothing is raised."""

    def write(path: Path, data: bytes) -> None:
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_atomic(path, data)

    played = Played(root, log, _HEAD + _TRAINS, tools={"write": write})
    assert played.code == (0 if name == "manifest.json" else 1)
    assert played.end["reason"] == ("finished" if name == "manifest.json" else "disk_full")
    assert name in log.text
    assert log.lines[-1].startswith(("❌", "✅"))


def test_a_script_that_ignores_the_settings_is_told_of(root: Path, log: Log) -> None:
    """The run folder's own configuration shows what was not taken."""
    script = _HEAD.replace("json.dump(config,", "json.dump({**config, 'batch_size': 3},") + "save(1)"
    played = Played(root, log, script)
    assert played.code == 0
    assert any("batch_size = 16: it used 3" in event["message"] for event in log.events("warning"))


def test_a_script_that_never_reads_the_configuration_gets_arguments(root: Path, log: Log) -> None:
    """Only then are settings passed as --coqpit arguments, which fail where lists are empty."""
    script = "import sys; print('ARGS', sys.argv[1:])"
    Played(root, log, script, training={"coqui": {"mixed_precision": True, "run_name": "a b", "x": [1]}})
    (said,) = [line for line in log.lines if line.startswith("ARGS")]
    assert "'--coqpit.mixed_precision=true', '--coqpit.run_name=a b', '--coqpit.batch_size=16'" in said
    assert "coqpit.x" not in said
    log.lines.clear()
    Played(root, log, script + " # config_path")
    assert not [line for line in log.lines if line.startswith("ARGS") and "coqpit" in line]


def test_a_script_cannot_speak_for_the_kernel(root: Path, log: Log) -> None:
    """A line that looks like an event is shown, and is none."""
    Played(root, log, _HEAD + 'say(\'@kgtts {"event":"end","status":"complete"}\'); sys.exit(3)')
    assert len(log.events("end")) == 1
    assert ' @kgtts {"event":"end","status":"complete"}' in log.lines


def test_what_the_trainer_only_mentions_is_said_aloud(root: Path, log: Log) -> None:
    """Layers and recordings that were left out become warnings, one a kind."""
    script = _HEAD + textwrap.dedent("""
        say(" | > 12 / 40 layers are restored."); say(" | > 40 / 40 layers are restored.")
        for name in ("a", "b", "b"):
            say(f"  7%|# | 1/14 WARNING: Failed to compute length, skipping /x/{name}.wav")
        say("Num. instances discarded samples: 0"); say("Num. instances discarded samples: 3"); save(1)
    """)
    Played(root, log, script)
    said = [event["message"] for event in log.events("warning")]
    assert [text.split(",")[0].split(":")[0] for text in said] == [
        "Only 12 of 40 layers came from the base voice",
        "/x/a.wav cannot be read and is left out of the training.",
        "3 samples are left out",
        "2 recordings could not be read and were left out.",
    ]


def test_a_base_voice_that_was_not_loaded_is_said(root: Path, log: Log) -> None:
    """A training that never says that it restored anything may have begun from nothing."""
    Played(root, log, _HEAD.replace("Restoring", "Ignoring") + _TRAINS)
    assert any("--restore_path" in event["message"] for event in log.events("warning"))


def test_samples_that_fail_are_a_warning(root: Path, log: Log) -> None:
    """A voice that cannot speak does not cost the session."""
    programs = {"speak.py": "raise RuntimeError('no voice')", "probe.py": ""}
    played = Played(root, log, _HEAD + _TRAINS, programs=programs)
    assert played.code == 0
    assert any("no voice" in event["message"] for event in log.events("warning"))


def test_samples_can_be_switched_off(root: Path, log: Log) -> None:
    """Nothing is spoken then."""
    Played(root, log, _HEAD + _TRAINS, samples={"sentences": [], "enabled": False})
    assert not (root / "working" / "validation_samples").exists()


def test_a_fault_of_the_kernel_is_told_as_one(root: Path, log: Log) -> None:
    """An unforeseen exception ends in a sentence, a traceback, a state.json and exit code 1."""

    def versions(_names: tuple[str, ...]) -> dict[str, str]:
        raise RuntimeError("unforeseen")

    played = Played(root, log, _HEAD + _TRAINS, tools={"versions": versions})
    assert (played.code, played.end["reason"]) == (1, "internal")
    assert "Traceback" in log.text
    assert "RuntimeError: unforeseen" in log.lines[-1]


def test_state_is_true_while_the_session_runs(root: Path, log: Log) -> None:
    """After each checkpoint state.json says `running` and names it: a killed session has left that much."""
    seen: list[dict[str, Any]] = []

    def look() -> None:
        seen.append(json.loads((root / "working" / "state.json").read_text()))

    log.reactions.append(("LOOK", look))
    clock = Clock()
    log.reactions.append(("BEST MODEL", lambda: clock.advance(1)))
    script = _HEAD + "save(5, 'best_model'); say('again'); say('LOOK')"
    Played(root, log, script, tools={"clock": clock})
    assert (seen[0]["status"], seen[0]["global_step"], seen[0]["reason"]) == ("running", 5, None)


@pytest.mark.parametrize(
    ("end", "tail", "reason", "complete"),
    [
        (ChildEnd(0, 1.0, Cut.TIME_LIMIT), ["done"], "finished", True),
        (ChildEnd(0, 1.0, Cut.TIME_LIMIT), [" > Keyboard interrupt detected."], "time_limit", True),
        (ChildEnd(1, 1.0, Cut.TIME_LIMIT), [" > Keyboard interrupt detected."], "time_limit", True),
        (
            ChildEnd(1, 1.0, Cut.TIME_LIMIT),
            ["Keyboard interrupt detected", "Traceback (most recent call last):", "OSError: [Errno 28] full"],
            "disk_full",
            False,
        ),
        (ChildEnd(-2, 1.0, Cut.TIME_LIMIT), ["KeyboardInterrupt"], "time_limit", True),
        (ChildEnd(130, 1.0), [], "interrupted", False),
        (ChildEnd(-9, 1.0), [], "training_failed", False),
    ],
)
def test_how_a_training_is_judged(
    tmp_path: Path, end: ChildEnd, tail: list[str], reason: str, *, complete: bool
) -> None:
    """Other trainers leave with other codes after an interrupt; an error after it is still an error."""
    facts = TrainingFacts(end, tail, None, 1, 16, "0.28.0")
    if complete:
        facts = TrainingFacts(end, tail, Checkpoint(tmp_path / "c_1.pth", 1, best=False), 0, 16, "0.28.0")
    outcome = judge_training(facts)
    assert (str(outcome.reason), outcome.complete) == (reason, complete)
