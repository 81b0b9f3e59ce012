"""A session that was trained here goes on on the emulator, over the wire and with the real kernel."""

import hashlib
import json
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


def train_here(epochs: int) -> Path:
    """Have session 2 lie in the results, as if it had trained from session 1's end to this epoch."""
    first, folder = Path("runs", SLUG, "session-01"), Path("runs", SLUG, "session-02")
    shutil.copytree(first, folder, ignore=shutil.ignore_patterns(".kgtts-*", "manifest.json"))
    state = json.loads((folder / "state.json").read_bytes())
    before, step = state["global_step"], 2 * epochs
    newest = folder / state["checkpoint"]
    place = newest.rename(newest.with_name(f"checkpoint_{step}.pth"))
    content = place.read_bytes()
    listed = {
        "path": place.relative_to(folder).as_posix(),
        "global_step": step,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    here = {"session": 2, "kernel": f"local/{SLUG}"}
    own = {**state["history"][-1], **here, "from_step": before, "to_step": step}
    run = {**state["run"], **here, "parent": f"{REF}-a/1"}
    state |= {
        "run": run,
        "global_step": step,
        "epoch": epochs,
        "checkpoint": listed["path"],
        "checkpoints": [listed],
        "best_model": None,
        "history": [*state["history"], {**own, "from_epoch": before // 2, "to_epoch": epochs}],
        "reason": "budget",
        "done": False,
        "done_reason": None,
    }
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    return folder


def test_one_series_of_kaggle_here_and_kaggle(run: Run) -> None:
    """No step is trained twice, the history has all three sessions, and commands show where each ran."""
    first = run.session(epochs=1)
    assert run.kgtts("pull", SLUG, "--include", "*").code == ExitCode.DONE
    train_here(epochs=3)
    status = run.kgtts("status")
    assert "session 2 ran on this machine, up to step 6" in status.out
    assert "step 2 to 6" in status.out
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
