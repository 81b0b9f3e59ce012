"""How sessions end: errors, time limits, stops and full disks, on a clock that the test advances."""

import errno
import signal
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from kernel_template.contract import EndReason
from kernel_template.host.protocol import HostReport
from kernel_template.tools.files import write_atomic
from kernel_template.tools.process import ChildEnd, StopCause
from kernel_template.train.checkpoints import Checkpoint
from kernel_template.train.outcome import TrainingResult, training_outcome
from tests.fakes.clock import FakeClock
from tests.kernel.kit import Log
from tests.kernel.sessions import HEAD, TRAINS, WAITS, Played


def test_a_training_that_raises(root: Path, log: Log) -> None:
    """The session fails with the exception as its last message, and nothing is spoken."""
    played = Played(root, log, HEAD + "raise ValueError('আমি is not in the vocabulary')")
    assert (played.code, played.end["reason"]) == (1, "training_failed")
    assert log.lines[-1] == "❌ The training failed: ValueError: আমি is not in the vocabulary."
    assert played.state["checkpoint"] is None
    assert "samples" not in {event["name"] for event in log.events("stage")}


def test_a_training_that_leaves_nothing(root: Path, log: Log) -> None:
    """Exit code 0 without a checkpoint is a failure."""
    played = Played(root, log, HEAD)
    assert (played.code, played.end["reason"]) == (1, "training_failed")
    assert "left no checkpoint" in log.lines[-1]


@pytest.mark.parametrize("newest", [None, Checkpoint(Path("checkpoint_7.pth"), 7, best=False)])
def test_a_failure_that_the_script_hides(newest: Checkpoint | None) -> None:
    """A script that goes on after its training failed has not finished it, whatever its exit code."""
    tail = ["Traceback (most recent call last):", "ValueError: it broke"]
    heard = HostReport(failed=newest is not None)
    outcome = training_outcome(TrainingResult(ChildEnd(0, 3.0), tail, newest, 0, 16, None, heard))
    assert (outcome.reason, outcome.complete) == (EndReason.TRAINING_FAILED, False)
    assert outcome.message == "The training failed: ValueError: it broke."
    again = replace(
        TrainingResult(ChildEnd(0, 3.0), tail, newest, 1, 16, None), host=HostReport(finished=True)
    )
    assert training_outcome(again).complete


def test_weights_under_another_name_count(root: Path, log: Log) -> None:
    """A script that saves under other names succeeds, without a step."""
    played = Played(root, log, HEAD + "open(os.path.join(folder, 'final.pth'), 'wb').write(b'x')")
    assert (played.code, played.state["global_step"]) == (0, None)


def test_the_time_limit_with_a_checkpoint_is_a_success(root: Path, log: Log, clock: FakeClock) -> None:
    """At the limit the training saves, the guide's message names the limit, and the exit code is 0."""
    log.reactions.append(("READY", lambda: clock.advance(5401)))
    played = Played(root, log, HEAD + WAITS, training={"time_limit_s": 5400}, tools={"clock": clock})
    assert (played.code, played.end["reason"], played.end["status"]) == (0, "time_limit", "complete")
    assert "⚠ Training timeout (90 minutes) - process terminated" in log.lines
    assert played.state["global_step"] == 1
    assert (root / "working" / "validation_samples" / "step_1" / "samples.json").is_file()


def test_the_time_limit_without_a_checkpoint_is_a_failure(root: Path, log: Log, clock: FakeClock) -> None:
    """A session that saved nothing fails."""
    log.reactions.append(("READY", lambda: clock.advance(99999)))
    script = HEAD + WAITS.replace("save(1); ", "")
    played = Played(root, log, script, tools={"clock": clock})
    assert (played.code, played.end["reason"]) == (1, "time_limit")
    assert "before the first checkpoint was saved" in log.lines[-1]


def test_a_training_that_ignores_the_limit_is_killed(root: Path, log: Log, clock: FakeClock) -> None:
    """It is killed after the grace; earlier checkpoints count."""
    log.reactions.append(("READY", lambda: clock.advance(99999)))
    log.reactions.append(("IGNORED", lambda: clock.advance(31)))
    script = HEAD + textwrap.dedent("""
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
    """After SIGTERM the training saves, and the session ends as interrupted with exit code 130."""
    log.reactions.append(("READY", lambda: signal.raise_signal(signal.SIGTERM)))
    before = signal.getsignal(signal.SIGTERM)
    played = Played(root, log, HEAD + WAITS)
    assert (played.code, played.end["reason"]) == (130, "interrupted")
    assert played.state["global_step"] == 1
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_stop_before_the_training(root: Path, log: Log) -> None:
    """A session that is told to stop during its preparation does not train."""
    log.reactions.append(("▶ Coqui TTS", lambda: signal.raise_signal(signal.SIGINT)))
    played = Played(root, log, HEAD + WAITS)
    assert (played.code, played.end["reason"]) == (130, "interrupted")
    assert "Launching" not in log.text


def test_a_truncated_checkpoint_is_not_the_newest(root: Path, log: Log) -> None:
    """A checkpoint that a kill truncated is named and skipped."""
    cut = "save(2); open(os.path.join(folder, 'checkpoint_9.pth'), 'wb').write(b'PK' + b'x' * 500)"
    played = Played(root, log, HEAD + cut)
    assert played.state["global_step"] == 2
    assert [record["global_step"] for record in played.state["checkpoints"]] == [2]
    assert "checkpoint_9.pth is truncated" in log.text


def test_a_full_disk_in_the_training(root: Path, log: Log) -> None:
    """The reason is the disk, the partial checkpoint is deleted, and state.json is written."""
    cut = textwrap.dedent("""
        save(2); open(os.path.join(folder, 'checkpoint_9.pth'), 'wb').write(b'PK' + b'x' * 500)
        raise OSError(28, "No space left on device")
    """)
    played = Played(root, log, HEAD + cut)
    assert (played.code, played.end["reason"]) == (1, "disk_full")
    assert played.state["global_step"] == 2
    assert not list(root.rglob("checkpoint_9.pth"))
    assert "The disk is full" in log.lines[-1]


@pytest.mark.parametrize("name", ["config.json", "state.json", "CONTROL.json", "manifest.json"])
def test_a_full_disk_in_the_kernel_itself(root: Path, log: Log, name: str) -> None:
    """Whichever file cannot be written, a message says so and nothing is raised."""

    def write(path: Path, data: bytes) -> None:
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_atomic(path, data)

    played = Played(root, log, HEAD + TRAINS, tools={"write": write})
    assert played.code == (0 if name == "manifest.json" else 1)
    assert played.end["reason"] == ("finished" if name == "manifest.json" else "disk_full")
    assert name in log.text
    assert log.lines[-1].startswith(("❌", "✅"))


@pytest.mark.parametrize(
    ("end", "tail", "reason", "complete"),
    [
        (ChildEnd(0, 1.0, StopCause.TIME_LIMIT), ["done"], "finished", True),
        (ChildEnd(0, 1.0, StopCause.TIME_LIMIT), [" > Keyboard interrupt detected."], "time_limit", True),
        (ChildEnd(1, 1.0, StopCause.TIME_LIMIT), [" > Keyboard interrupt detected."], "time_limit", True),
        (
            ChildEnd(1, 1.0, StopCause.TIME_LIMIT),
            ["Keyboard interrupt detected", "Traceback (most recent call last):", "OSError: [Errno 28] full"],
            "disk_full",
            False,
        ),
        (ChildEnd(-2, 1.0, StopCause.TIME_LIMIT), ["KeyboardInterrupt"], "time_limit", True),
        (ChildEnd(130, 1.0), [], "interrupted", False),
        (ChildEnd(-9, 1.0), [], "training_failed", False),
    ],
)
def test_how_a_training_is_judged(
    tmp_path: Path, end: ChildEnd, tail: list[str], reason: str, *, complete: bool
) -> None:
    """Other trainers exit with other codes after SIGINT; an error after it is still an error."""
    facts = TrainingResult(end, tail, None, 1, 16, "0.28.0")
    if complete:
        facts = TrainingResult(end, tail, Checkpoint(tmp_path / "c_1.pth", 1, best=False), 0, 16, "0.28.0")
    outcome = training_outcome(facts)
    assert (str(outcome.reason), outcome.complete) == (reason, complete)
