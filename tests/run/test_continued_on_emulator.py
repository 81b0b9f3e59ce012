"""A run that is begun on the emulator, continued by `kgtts train` and finished on the emulator."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import ExitCode
from tests.run.test_mounts import REF, SAVES_EACH_EPOCH, Run, account
from tests.support import USER, Cli

pytestmark = pytest.mark.posix

SLUG = "bangla-tts"


@pytest.fixture
def run(cli: Cli, workplace: Path) -> Iterator[Run]:
    """An account whose training saves after each epoch of two steps."""
    with account(cli, SAVES_EACH_EPOCH) as made:
        yield made


def test_one_series_of_kaggle_here_and_kaggle(run: Run) -> None:
    """No step is trained twice, the history has all three sessions, and commands show where each ran."""
    first = run.session(epochs=1)
    python = str(Path("python", "python").resolve())  # That of the emulator's sessions.
    trained = run.kgtts("train", "--python", python, "--set", "training.epochs=3")
    assert trained.code == ExitCode.DONE, trained.said
    status = run.kgtts("status")
    assert "session 2 ran on this machine, up to step 6" in status.out
    assert "step 2 to 6" in status.out
    listed = [(item["kernel"], item["session"], item["steps"]) for item in run.kgtts("list", "--json").json]
    assert listed == [(f"local/{SLUG}", 2, "2-6"), (f"{REF}-a", 1, "0-2")]
    assert "is not on Kaggle: its sessions run on this machine" in run.kgtts("pull", f"local/{SLUG}/2").err
    third = run.session(epochs=5)
    assert (third["run"], third["session"], third["kernel"]) == (first["run"], 3, f"{REF}-b/1")
    assert "What session 2 saved on this machine is handed over as a dataset first." in third["reason"]
    log = run.log(third["kernel"])
    assert f"datasets/{USER}/{SLUG}-kept/state.json (the session before)" in log
    assert f"Continuing from checkpoint_6.pth of session 2 (local/{SLUG})" in log
    shutil.rmtree("runs")
    done = run.sync(epochs=5)
    assert (done["state"], done["global_step"], done["run"]) == ("done", 10, first["run"])
    assert [(item["kernel"], item["from_step"], item["to_step"]) for item in done["history"]] == [
        (f"{REF}-a", 0, 2),
        (f"local/{SLUG}", 2, 6),
        (f"{REF}-b", 6, 10),
    ]
    assert "this machine" in run.kgtts("status").out
