"""Sessions of a run that were trained outside Kaggle, as they lie in a machine's results."""

import hashlib
import json
from pathlib import Path
from typing import Any

from kernel_template.contract import session_folder
from orchestrator.models import KernelRef
from orchestrator.render.stamp import read_stamp
from orchestrator.results import Results
from tests.fakes.kaggle import EPOCH_STEPS
from tests.run.conftest import Play

FOLDER = "training/run-November-27"


def train_here(
    play: Play, step: int, after: str, *, number: int | None = None, run_id: str | None = None, **changes: Any
) -> Path:
    """Write a session that continued from the version `after` and saved `step`; returns its folder.

    Args:
        play: the run; its results are in `pull.to`.
        step: the step of its checkpoint.
        after: `owner/slug/version` on Kaggle, or `local/slug/number` here.
        number: its number; by default the one after its parent's.
        run_id: the run of a parent that was trained here; by default the one whose folder is the slug's.
        changes: fields of state.json that are others; `kernel` is the session's.
    """
    results = Results(Path(play.settings.pull.to))
    parent = KernelRef.parse(after)
    if parent.is_elsewhere:
        assert parent.version is not None
        series = results.to / parent.slug if run_id is None else results.of_run(parent.slug, run_id)
        state = json.loads((series / session_folder(parent.version) / "state.json").read_bytes())
        run, history = state["run"], state["history"]
    else:
        version = play.kaggle.version(after)
        stamp = read_stamp(version.source)
        assert stamp is not None
        left = version.outputs.get("state.json")
        run, history = stamp.to_dict(), [] if left is None else json.loads(left)["history"]
    kernel = changes.pop("kernel", f"local/{play.settings.kernel.slug}")
    number = number or run["session"] + 1
    before = history[-1]["to_step"] if history else 0
    own = {
        "session": number,
        "kernel": kernel,
        "from_step": before,
        "to_step": step,
        "from_epoch": before // EPOCH_STEPS,
        "to_epoch": step // EPOCH_STEPS,
        "reason": "interrupted",
        "seconds": 7200.0,
    }
    name, weights = f"{FOLDER}/checkpoint_{step}.pth", f"weights {step} here".encode()
    listed = {
        "path": name,
        "global_step": step,
        "size": len(weights),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    state = {
        "schema": 1,
        "run": {**run, "session": number, "parent": after, "kernel": kernel},
        "status": "complete",
        "reason": "budget",
        "message": "",
        "global_step": step,
        "epoch": step // EPOCH_STEPS,
        "epochs": 10,
        "checkpoint": name,
        "checkpoints": [listed],
        "seconds": {"total": 7200.0},
        "seconds_per_epoch": 5.0,
        "steps_per_epoch": EPOCH_STEPS,
        "history": [*history, own],
        "done": False,
        **changes,
    }
    folder = results.of_session(play.settings.kernel.slug, run["id"], number).path
    (folder / FOLDER).mkdir(parents=True)
    (folder / name).write_bytes(weights)
    (folder / FOLDER / "config.json").write_bytes(b"{}")
    (folder / "train_log.txt").write_bytes(b"a line\n")
    (folder / "metrics.jsonl").write_bytes(b"{}\n")
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    return folder
