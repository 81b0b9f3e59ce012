"""The real kernel checks what it finds in its mount: damaged, older or another run's.

The emulator's stored outputs are tampered with between sessions; the rest is `kgtts` and the emulator.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.errors import ExitCode
from tests.cli.conftest import wait_for_end
from tests.cli.voice import SETTINGS, TRAIN, make_python, provide_inputs
from tests.fakes.clock import FakeClock
from tests.support import KEY, USER, Cli

pytestmark = pytest.mark.posix

REF = f"{USER}/bangla-tts"
QUEUE_S = 60.0  # By the emulator's clock: a pushed session starts when the test says so.
# Saves after each epoch of two steps; a session trains as many epochs as it is asked for.
SAVES_EACH_EPOCH = TRAIN.rpartition("save(")[0].replace(
    "    # The epoch is over.\n", '    save(f"checkpoint_{total}.pth")\n'
)


@dataclass(frozen=True, slots=True)
class Run:
    """A run on the emulator, where sessions wait in the queue, and the folders of their outputs."""

    emulator: Emulator
    clock: FakeClock
    kgtts: Cli

    def sync(self, epochs: int, code: ExitCode = ExitCode.DONE) -> dict[str, Any]:
        """Make one pass with that target and exit code; returns what it tells programs and people."""
        result = self.kgtts("sync", "--no-pull", "--json", "--set", f"training.epochs={epochs}")
        assert result.code == code, result.said
        return {**result.json, "said": result.err}

    def play(self, version: str) -> None:
        """Let the queued session of `version` run to its end."""
        self.clock.advance(QUEUE_S)
        wait_for_end(self.emulator, version.split("/")[1])

    def session(self, epochs: int) -> dict[str, Any]:
        """Play a whole session to that epoch; returns what the pass that pushed it said."""
        told = self.sync(epochs)
        assert told["pushed"], told
        self.play(told["kernel"])
        return told

    def outputs(self, version: str) -> Path:
        """Return where the outputs of a version are stored: a mount shows this folder."""
        owner, slug, number = version.split("/")
        kernel = self.emulator.backend.kernels.get(owner, slug)
        return self.emulator.backend.kernels.paths(kernel, int(number)).output

    def checkpoint(self, version: str, step: int) -> Path:
        """Return a checkpoint as it is stored."""
        (found,) = self.outputs(version).glob(f"training/*/checkpoint_{step}.pth")
        return found

    def replace_outputs(self, version: str, by: str) -> None:
        """Let a mount give the outputs of another version."""
        shutil.rmtree(self.outputs(version))
        shutil.copytree(self.outputs(by), self.outputs(version))

    def log(self, version: str) -> str:
        """Return what the session printed, as `kgtts logs` shows it."""
        return self.kgtts("logs", version).out

    def refusal(self, version: str, epochs: int) -> str:
        """Return why the session of `version` failed: the next pass exits with 5, and pushes nothing."""
        told = self.sync(epochs, ExitCode.RUN_FAILED)
        assert (told["state"], told["pushed"], told["kernel"]) == ("failed", False, version)
        assert told["reason"] in told["said"]
        assert f"kgtts logs {version}" in told["said"]
        state = json.loads((self.outputs(version) / "state.json").read_text(encoding="utf-8"))
        assert (state["reason"], state["checkpoint"]) == ("wrong_parent", None)
        log = self.log(version)
        assert "Found: " in log
        assert "EPOCH" not in log
        return str(told["reason"])


@contextmanager
def account(cli: Cli, script: str, **options: Any) -> Iterator[Run]:
    """An account with inputs and a kgtts.toml in the working folder, whose sessions have a made-up Coqui.

    Args:
        cli: runs `kgtts`.
        script: the training.
        options: further ones of the emulator.
    """
    root = Path("kaggle").resolve()
    provide_inputs(root, script)
    python = Path("python").resolve()
    python.mkdir()
    made = EmulatorOptions(
        sandbox="relocate", standins=False, queue_delay_s=QUEUE_S, python=make_python(python), **options
    )
    clock = FakeClock(datetime.now(UTC))
    Path("kgtts.toml").write_text(SETTINGS, encoding="utf-8")
    with (
        Emulator(root, options=made, credentials=(USER, KEY), clock=clock) as emulator,
        pytest.MonkeyPatch.context() as environ,
    ):
        for name, value in (
            ("KGTTS_KAGGLE_URL", emulator.url),
            ("KAGGLE_USERNAME", USER),
            ("KAGGLE_KEY", KEY),
        ):
            environ.setenv(name, value)
        yield Run(emulator, clock, cli)


@pytest.fixture
def run(cli: Cli, workplace: Path) -> Iterator[Run]:
    """An account whose training saves after each epoch."""
    with account(cli, SAVES_EACH_EPOCH) as made:
        yield made


def truncate(path: Path) -> None:
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file; its size and both ends stay the same."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (truncate, r"checkpoint_4\.pth is damaged \(\d+ B instead of \d+ B\)"),
        (flip, r"checkpoint_4\.pth is damaged \(its SHA-256 differs from the one in state\.json\)"),
    ],
)
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    run: Run, harm: Callable[[Path], None], words: str
) -> None:
    """The log says so, the steps are the older one's, and the run reaches its end."""
    first = run.session(epochs=2)
    harm(run.checkpoint(first["kernel"], 4))
    second = run.session(epochs=3)
    assert second["kernel"] == f"{REF}-b/1"
    log = run.log(second["kernel"])
    assert re.search(words + r"; the training continues from checkpoint_2\.pth instead\.", log)
    assert f"Continuing from checkpoint_2.pth of session 1 ({REF}-a)" in log
    done = run.sync(epochs=3)
    assert (done["state"], done["global_step"]) == ("done", 6)
    assert [(item["from_step"], item["to_step"]) for item in done["history"]] == [(0, 4), (2, 6)]


def test_checkpoints_that_are_all_damaged_end_the_run(run: Run) -> None:
    """The error names each with its fault; nothing starts again from the base voice unasked."""
    first = run.session(epochs=2)
    flip(run.checkpoint(first["kernel"], 4))
    truncate(run.checkpoint(first["kernel"], 2))
    second = run.session(epochs=3)
    reason = run.refusal(second["kernel"], epochs=3)
    assert reason.startswith(
        f"Session 2 failed: This session must continue run {first['run']} after session 1 "
        f"({REF}-a version 1, step 4), but no checkpoint in "
    )
    assert "is whole: checkpoint_4.pth is damaged (its SHA-256" in reason
    assert "; checkpoint_2.pth is damaged (" in reason


def test_an_older_mount_is_refused_with_both_steps(run: Run) -> None:
    """The mount changes to an older version after the push; the run fails, and continues when told to."""
    first, second = run.session(epochs=1), run.session(epochs=2)
    third = run.sync(epochs=3)
    run.replace_outputs(second["kernel"], by=first["kernel"])
    run.play(third["kernel"])
    reason = run.refusal(third["kernel"], epochs=3)
    assert f"must continue run {first['run']} after session 2 ({REF}-b version 1, step 4), but " in reason
    assert reason.endswith("is the output of an older version, session 1 of the same run, at step 2.")
    pushed = run.kgtts("push", "--json", "--set", "training.epochs=3")
    assert pushed.code == ExitCode.DONE, pushed.said
    run.play(f"{REF}-b/2")
    done = run.sync(epochs=3)
    assert (done["state"], done["session"], done["global_step"]) == ("done", 4, 6)
    assert f"Continuing from checkpoint_2.pth of session 1 ({REF}-a)" in run.log(f"{REF}-b/2")


def test_the_mount_of_another_run_is_refused_with_both_runs(run: Run) -> None:
    """After the push, the mount changes to the run before this one."""
    other = run.session(epochs=1)
    assert run.kgtts("push", "--new", "--set", "training.epochs=1").code == ExitCode.DONE
    run.play(f"{REF}-a/2")
    second = run.sync(epochs=2)
    assert second["run"] != other["run"]
    run.replace_outputs(f"{REF}-a/2", by=other["kernel"])
    run.play(second["kernel"])
    reason = run.refusal(second["kernel"], epochs=2)
    assert f"must continue run {second['run']} after session 1 ({REF}-a version 2, step 2), but " in reason
    assert reason.endswith(f"is the output of run {other['run']}.")
