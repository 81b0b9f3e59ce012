"""A program, started by `test_kills.py`: runs kgtts in processes that kill themselves at a chosen point.

It imports everything once and then forks a child for each line of JSON on standard input, so that a kill
costs no start-up. A point is where something can be half done: before a file is opened for writing, renamed
or removed, before a statement of SQL, before a request leaves, and when Kaggle has answered.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests
import stamina

from orchestrator.download import TransferListener
from orchestrator.kaggle import connect
from orchestrator.kaggle.client import KaggleClient
from orchestrator.models import KernelPush, KernelRef, Pushed
from orchestrator.render.kernel import render_kernel
from orchestrator.render.stamp import read_stamp
from orchestrator.results import Results
from orchestrator.run.collect import collect
from orchestrator.run.context import RunContext, Target
from orchestrator.run.ledger import Ledger
from orchestrator.run.look import Asked
from orchestrator.run.passes import Collecting, make_pass
from orchestrator.run.push import make_stamp
from orchestrator.run.state import SessionResult
from orchestrator.settings import load_settings
from tests.fakes.clock import HastyClock
from tests.run.conftest import shared_kernel

_ALWAYS = {"os.rename", "os.remove", "os.mkdir", "sqlite3.connect", "socket.connect", "http.client.send"}
_SCRIPT = """
import json, hashlib, os, pathlib
out = pathlib.Path(os.environ["KGTTS_KAGGLE_ROOT"], "working")
(out / "training").mkdir()
files = {f"training/part_{n}.pth": bytes([n]) * 200_000 for n in range(2)} | {"config.json": b"{}"}
for name, data in files.items():
    (out / name).write_bytes(data)
history = [{"session": STAMP["session"], "kernel": STAMP["kernel"], "from_step": 0, "to_step": 10}]
state = {"schema": 1, "run": STAMP, "status": "complete", "reason": "budget", "global_step": 10, "epoch": 1}
(out / "state.json").write_text(json.dumps({**state, "history": history}))
"""
# As Kaggle does it: without a word, after a checkpoint.
_KILLED = """
name = "training/checkpoint_10.pth"
(out / name).write_bytes(b"weights" * 50_000)
digest = hashlib.sha256((out / name).read_bytes()).hexdigest()
listed = [{"path": name, "global_step": 10, "size": 350_000, "sha256": digest}]
state |= {"status": "running", "checkpoint": name, "checkpoints": listed, "history": history}
(out / "state.json").write_text(json.dumps(state))
os.kill(os.getpid(), 9)
"""


class Points:
    """Counts points, and ends the process at one of them; with 0 it lives."""

    def __init__(self, kill_at: int, log: Path) -> None:
        self._kill_at = kill_at
        self._log = log
        self._names: list[str] = []

    def pass_by(self, name: str) -> None:
        """Count another point."""
        self._names.append(name)
        if len(self._names) == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """A hook for `sys.addaudithook`; it cannot be removed, so it needs a process of its own."""
        if event in _ALWAYS or (event == "open" and _is_writing(arguments)):
            self.pass_by(event)

    def save(self) -> None:
        """Write which points there were."""
        if not self._kill_at:
            names, self._names = self._names, []
            self._log.write_text(json.dumps(names), encoding="utf-8")


def _is_writing(arguments: tuple[Any, ...]) -> bool:
    mode, flags = arguments[1], arguments[2]
    return bool(set("wax+") & set(mode)) if isinstance(mode, str) else bool(flags & (os.O_WRONLY | os.O_RDWR))


class Answered(requests.adapters.HTTPAdapter):
    """Adds a point after each answer: Kaggle did what was asked, and nobody has read the answer."""

    def __init__(self, points: Points) -> None:
        super().__init__()
        self._points = points

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Send, then count a point."""
        sender: Any = super().send
        response = sender(request, *args, **kwargs)
        self._points.pass_by("answered")
        return response


class ShortKernels(KaggleClient):
    """The real client, which pushes a kernel that does almost nothing, with the real stamp."""

    killed = False

    def push(self, push: KernelPush) -> Pushed:
        """Push the stamp and the short script."""
        stamp = read_stamp(push.source)
        assert stamp is not None
        source = f"{stamp.comment}\nSTAMP = {stamp.to_dict()!r}\n{_SCRIPT}{_KILLED if self.killed else ''}"
        return super().push(replace(push, source=source))


class KilledKernels(ShortKernels):
    """As `ShortKernels`, but its session is killed after it saved."""

    killed = True


def act(order: dict[str, Any], points: Points) -> None:
    """Make one pass as `kgtts push` and `kgtts sync` do, or a pull."""
    home = Path(order["home"])
    # Without internet a hand-over takes the dataset, the way with the most points.
    overrides = ('kernel.accelerator="none"', "kernel.internet=false", f'kernel.slug="{order["slug"]}"')
    settings = load_settings(None, overrides, environ={}, cwd=home).settings
    client = connect({"KGTTS_KAGGLE_URL": order["url"]}, home=home, login=(order["username"], order["key"]))
    client.__class__ = KilledKernels if order["command"] == "push-killed" else ShortKernels
    client._http._session.mount("http://", Answered(points))
    sys.addaudithook(points.audit)
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(home / "ledger.db", client.service))
        ledger._db.set_trace_callback(lambda statement: points.pass_by(f"sql {statement.split()[0]}"))
        if order["command"] == "pull":
            target = Target(KernelRef.parse(order["kernel"]), None)
            context = RunContext(client, ledger, HastyClock())
            collect(context, target, home / "pulled", _all, TransferListener())
        else:
            collecting = Collecting(Results(home / "runs"), _all, TransferListener())
            make_pass(
                settings,
                RunContext(client, ledger, HastyClock(), home, templates=shared_kernel()),
                Asked(retry=order["command"].startswith("push")),
                collecting=collecting if order["command"] == "sync" else None,
            )
    points.save()


def _all(names: Sequence[str]) -> Sequence[str]:
    return names


def _warm_up() -> None:
    """Do what a process does once, so that no child has to: imports, compiled templates, checks of types."""
    settings = load_settings(None, (), environ={}, cwd=Path("/")).settings.with_owner("anybody")
    first = KernelRef("anybody", "kernel").next_after(None)
    render_kernel(settings, make_stamp(settings, first, run_id="anything"), templates=shared_kernel())
    SessionResult.model_rebuild()


def main() -> None:
    """Fork a child for each order, and report how it ended."""
    _warm_up()
    gc.freeze()  # No collection of a child visits, and so copies, what is here.
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with stamina.set_testing(True, attempts=2):
                    act(order, Points(order["kill_at"], Path(order["home"], "points.json")))
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
