"""Plays two sessions of each shape, with the real kernel, Coqui's Trainer and the demo's small voice."""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import FIND_SCRIPT
from kernel_template.main import run
from kernel_template.tools.package import PackagePrograms
from orchestrator.emulator.demo import inputs
from orchestrator.emulator.runner.standins import standin_path
from tests.corpus.shapes import TRAINS, Shape
from tests.kernel.hosting import Forked, ForkServer
from tests.kernel.kit import Log, make_tools, put, settings
from tests.kernel.sessions import resume_of, stamp

_FIRST, _SECOND = 4, 9  # Steps at which the sessions end: one within an epoch, one in the next.


@dataclass(frozen=True, slots=True)
class Result:
    """How a shape ended: the ends of its sessions, and what is wrong with them."""

    shape: str
    ranks: int
    first: str
    second: str
    fault: str | None

    @property
    def row(self) -> str:
        """A line of the table."""
        outcome = "as it should" if self.fault is None else f"WRONG: {self.fault}"
        return f"| {self.shape} | {self.ranks} | {self.first} | {self.second} | {outcome} |"


HEADER = "| shape | ranks | first session | second session | outcome |\n|---|---|---|---|---|"


class Corpus:
    """Runs shapes in folders below one.

    Args:
        folder: where sessions are played; what trained is deleted.
        cache: keeps the demo's voice, and numba's code.
        server: has imported what Coqui needs.
    """

    def __init__(self, folder: Path, cache: Path, server: ForkServer) -> None:
        self._server = server
        self._folder = folder
        self._cache = cache
        self._demo = inputs.provide_demo_inputs(folder / "demo", "owner", cache=cache)

    def play(self, shape: Shape, ranks: int) -> Result:
        """Play a shape's sessions; the second only if the first must train."""
        folder = self._folder / f"{shape.name}-{ranks}"
        log = Log()
        state = self._session(folder / "one", shape, ranks, log, 1, None)
        first = _end(state)
        fault = None
        if shape.says and shape.says not in log.text:
            fault = f"the log does not say {shape.says!r}"
        if shape.ends != TRAINS:
            if state["status"] != "failed" or shape.ends not in str(state["message"]):
                fault = f"it does not end with {shape.ends!r}: {state['message']}"
            return self._done(folder, log, Result(shape.name, ranks, first, "–", fault))
        if (state["reason"], state["global_step"]) != ("until_step", _FIRST):
            fault = str(state["message"])
            return self._done(folder, log, Result(shape.name, ranks, first, "–", fault))
        log = Log()
        state = self._session(folder / "two", shape, ranks, log, 2, (folder / "one", state))
        if (state["reason"], state["global_step"]) != ("until_step", _SECOND):
            fault = str(state["message"])
        elif ranks > 1 and "2 processes train together" not in log.text:
            fault = "one process trained alone"
        return self._done(folder, log, Result(shape.name, ranks, first, _end(state), fault))

    def _done(self, folder: Path, log: Log, result: Result) -> Result:
        """Delete what was trained, or keep the log of what went wrong."""
        if result.fault is not None:
            put(self._folder / f"{folder.name}.log", log.text)
        shutil.rmtree(folder)
        return result

    def _session(  # noqa: PLR0913, PLR0917 - what makes up a session.
        self,
        root: Path,
        shape: Shape,
        ranks: int,
        log: Log,
        number: int,
        parent: tuple[Path, dict[str, Any]] | None,
    ) -> dict[str, Any]:
        """Play one session. Returns its state.json."""
        dataset, model = (
            root / "input/datasets/owner/datahrbnn",
            root / "input/models" / self._demo.model_source,
        )
        shutil.copytree(self._demo.dataset, dataset)
        shutil.copytree(self._demo.model, model)
        if shape.script is not None:
            put(dataset / "MyTTSDataset" / "train_tts.py", shape.script.replace("@ROOT@", str(root)))
        if shape.change is not None:
            shape.change(dataset / "MyTTSDataset", model / "model")
        resume = None
        if parent is not None:
            shutil.copytree(parent[0] / "working", root / "input/notebooks/owner/voice-a", symlinks=True)
            resume = resume_of(parent[1])
        asked = settings(
            run=stamp(number),
            resume=resume,
            dataset={"script": FIND_SCRIPT},
            model={"source": self._demo.model_source},
            training={
                "batch_size": 2,
                "epochs": 20,
                "until_step": _FIRST if number == 1 else _SECOND,
                "time_limit_s": 300,
            },
            data={"bad_samples": "skip"},
            speed={"length_buckets": 0},
            samples={"sentences": [], "enabled": False},
        )
        tools = make_tools(
            root,
            log,
            env=self._environment(ranks),
            programs=PackagePrograms(),
            run=Forked(self._server),
        )
        run(asked, tools)
        found: dict[str, Any] = json.loads((root / "working" / "state.json").read_text(encoding="utf-8"))
        return found

    def _environment(self, ranks: int) -> dict[str, str]:
        path = filter(
            None, (str(standin_path(sys.executable, cache=self._cache) or ""), os.environ.get("PYTHONPATH"))
        )
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "KGTTS_CPU_RANKS": str(ranks),
            "NUMBA_CACHE_DIR": str(self._cache / "numba"),
            "OMP_NUM_THREADS": "1",
        }


def _end(state: dict[str, Any]) -> str:
    return f"{state['reason']} at step {state['global_step'] or 0}"
