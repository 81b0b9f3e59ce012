"""Whole sessions with real child processes and made-up trainings."""

import json
import textwrap
from pathlib import Path
from typing import Any

from kernel_template.tools.files import sha256_of
from tests.fakes.clock import FakeClock
from tests.kernel.kit import MODEL, Capture, Log, mount_inputs, probe_answer, put, settings
from tests.kernel.sessions import HEAD, PROGRAMS, TRAINS, Played


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_session_from_start_to_end(root: Path, log: Log) -> None:
    """Stages are in order, progress is reported, all outputs are there, and the exit code is 0."""
    played = Played(root, log, HEAD + TRAINS)
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
    """It has sizes and hashes of all files except itself, and no temporary files."""
    Played(root, log, HEAD + TRAINS)
    working = root / "working"
    entries = json.loads((working / "manifest.json").read_text())["files"]
    on_disk = {path.relative_to(working).as_posix() for path in working.rglob("*") if path.is_file()}
    assert {entry["path"] for entry in entries} == on_disk - {"manifest.json"}
    for entry in entries:
        path = working / entry["path"]
        assert (entry["size"], entry["sha256"]) == (path.stat().st_size, sha256_of(path))


def test_the_training_gets_one_card_and_no_token(root: Path, log: Log) -> None:
    """Other GPUs and Kaggle's variables are hidden from the training; on the CPU all GPUs are."""
    script = HEAD + textwrap.dedent("""
        say(f"CARDS={os.environ['CUDA_VISIBLE_DEVICES']!r} TELEMETRY={os.environ['TRAINER_TELEMETRY']}")
        say("TOKENS=" + str([name for name in os.environ if name.startswith("KAGGLE_")]))
        save(1)
    """)
    Played(root, log, script)
    assert "CARDS='' TELEMETRY=0" in log.lines
    assert "TOKENS=[]" in log.lines


def two_cards() -> Capture:
    """A machine with two T4 GPUs."""
    cards = "Tesla T4, 15360 MiB, 580\nTesla T4, 15360 MiB, 580\n"
    probe = probe_answer(cuda=True, devices=["Tesla T4", "Tesla T4"])
    return Capture({"nvidia-smi": type(probe)(0, cards), "start.probe_program": probe})


def test_on_a_gpu_the_first_card_trains(root: Path, log: Log) -> None:
    """With two T4s and one process, the training sees the first GPU."""
    script = HEAD + "say('CARDS=' + os.environ['CUDA_VISIBLE_DEVICES']); save(1)"
    asked = {"accelerator": "NvidiaTeslaT4", "gpu_name": "T4", "gpus": 2}
    assert Played(root, log, script, tools={"capture": two_cards()}, **asked).code == 0
    assert "CARDS=0" in log.lines
    assert "✓ CUDA available - Device count: 2" in log.lines


def test_a_script_without_coquis_trainer_trains_on_one_of_two(root: Path, log: Log) -> None:
    """Without Coqui's Trainer no second rank starts, and the log says that a GPU is idle."""
    script = HEAD + TRAINS + "say('CARDS=' + os.environ['CUDA_VISIBLE_DEVICES'])"
    asked = {"accelerator": "NvidiaTeslaT4", "gpu_name": "T4", "gpus": 2, "speed": {"gpus": "all"}}
    played = Played(root, log, script, tools={"capture": two_cards()}, **asked)
    assert (played.code, played.end["reason"]) == (0, "finished")
    assert log.lines.count("CARDS=0") == 1
    (warning,) = log.events("warning")
    assert warning["message"] == (
        "The script does not train with Coqui's Trainer, so only one process on one GPU trained."
    )


def test_no_gpu_stops_before_anything_is_installed(root: Path, log: Log) -> None:
    """A machine without the GPU ends the session in the GPU stage, with a state.json."""
    played = Played(root, log, HEAD, accelerator="NvidiaTeslaT4", gpu_name="T4", gpus=2)
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
    assert log.lines[-1].startswith("❌ Inputs are missing or damaged.")
    assert "model/model_file.pth" in log.lines[-1]


def test_a_corrupt_configuration_ends_the_session(root: Path, log: Log) -> None:
    """Nothing is trained with a damaged config.json."""
    mount_inputs(root / "input")
    put(root / "input" / "models" / MODEL / "model" / "config.json", '{"model": "vits", "au')
    played = Played(root, log, "")
    assert (played.code, played.end["reason"]) == (1, "bad_config")
    assert "is damaged" in log.lines[-1]


def test_a_script_that_ignores_the_settings_is_told_of(root: Path, log: Log) -> None:
    """A warning says which settings the run folder's configuration does not have."""
    script = HEAD.replace("json.dump(config,", "json.dump({**config, 'batch_size': 3},") + "save(1)"
    played = Played(root, log, script)
    assert played.code == 0
    assert any("batch_size = 16, but 3" in event["message"] for event in log.events("warning"))


def test_a_script_that_never_reads_the_configuration_gets_arguments(root: Path, log: Log) -> None:
    """Only such a script gets --coqpit arguments, which fail for empty lists."""
    script = "import sys; print('ARGS', sys.argv[1:])"
    Played(root, log, script, training={"coqui": {"mixed_precision": True, "run_name": "a b", "x": [1]}})
    (said,) = [line for line in log.lines if line.startswith("ARGS")]
    assert "'--coqpit.mixed_precision=true', '--coqpit.run_name=a b', '--coqpit.batch_size=16'" in said
    assert "coqpit.x" not in said
    log.lines.clear()
    Played(root, log, script + " # config_path")
    assert not [line for line in log.lines if line.startswith("ARGS") and "coqpit" in line]


def test_a_script_cannot_speak_for_the_kernel(root: Path, log: Log) -> None:
    """A line that looks like an event is printed, but is not one."""
    Played(root, log, HEAD + 'say(\'@kgtts {"event":"end","status":"complete"}\'); sys.exit(3)')
    assert len(log.events("end")) == 1
    assert ' @kgtts {"event":"end","status":"complete"}' in log.lines


def test_what_the_trainer_only_mentions_is_said_aloud(root: Path, log: Log) -> None:
    """Layers and recordings that were left out become one warning of each kind."""
    script = HEAD + textwrap.dedent("""
        say(" | > 12 / 40 layers are restored."); say(" | > 40 / 40 layers are restored.")
        for name in ("a", "b", "b"):
            say(f"  7%|# | 1/14 WARNING: Failed to compute length, skipping /x/{name}.wav")
        say("Num. instances discarded samples: 0"); say("Num. instances discarded samples: 3"); save(1)
    """)
    Played(root, log, script)
    said = [event["message"] for event in log.events("warning")]
    assert [text.split(",")[0].split(":")[0] for text in said] == [
        "Only 12 of 40 layers could be loaded from the base voice",
        "/x/a.wav cannot be read; the training goes on without it.",
        "3 samples are not used",
        "2 recordings could not be read and were not used.",
    ]


def test_a_base_voice_that_was_not_loaded_is_said(root: Path, log: Log) -> None:
    """If the training does not print that it restored a model, a warning says so."""
    Played(root, log, HEAD.replace("Restoring", "Ignoring") + TRAINS)
    assert any("--restore_path" in event["message"] for event in log.events("warning"))


def test_samples_that_fail_are_a_warning(root: Path, log: Log) -> None:
    """A voice that cannot speak does not fail the session."""
    programs = {**PROGRAMS, "finish/speak_program.py": "raise RuntimeError('no voice')"}
    played = Played(root, log, HEAD + TRAINS, programs=programs)
    assert played.code == 0
    assert any("no voice" in event["message"] for event in log.events("warning"))


def test_samples_can_be_switched_off(root: Path, log: Log) -> None:
    """With `samples.enabled = false` nothing is spoken."""
    Played(root, log, HEAD + TRAINS, samples={"sentences": [], "enabled": False})
    assert not (root / "working" / "validation_samples").exists()


def test_a_fault_of_the_kernel_is_told_as_one(root: Path, log: Log) -> None:
    """An unexpected exception ends with a message, a traceback, a state.json and exit code 1."""

    def versions(_names: tuple[str, ...]) -> dict[str, str]:
        raise RuntimeError("unforeseen")

    played = Played(root, log, HEAD + TRAINS, tools={"versions": versions})
    assert (played.code, played.end["reason"]) == (1, "internal")
    assert "Traceback" in log.text
    assert "RuntimeError: unforeseen" in log.lines[-1]


def test_state_is_true_while_the_session_runs(root: Path, log: Log) -> None:
    """After each checkpoint state.json says `running` and names it, in case the session is killed."""
    seen: list[dict[str, Any]] = []

    def look() -> None:
        seen.append(json.loads((root / "working" / "state.json").read_text()))

    log.reactions.append(("LOOK", look))
    clock = FakeClock()
    log.reactions.append(("BEST MODEL", lambda: clock.advance(1)))
    script = HEAD + "save(5, 'best_model'); say('again'); say('LOOK')"
    Played(root, log, script, tools={"clock": clock})
    assert (seen[0]["status"], seen[0]["global_step"], seen[0]["reason"]) == ("running", 5, None)
