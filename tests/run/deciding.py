"""Made-up runs as Kaggle shows them, and the decisions about them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.models import KernelRef, Quota, SessionState, SessionStatus, SessionSummary
from orchestrator.render.stamp import RunStamp
from orchestrator.run.decide import Circumstances, Decision, decide
from orchestrator.run.snapshot import There
from orchestrator.run.state import SessionResult
from orchestrator.run.view import RunView, SessionView
from orchestrator.settings import Settings
from tests.fakes.kaggle import OWNER
from tests.fakes.sessions import hours

BASE = KernelRef(OWNER, "bangla-tts")
NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
SATURDAY = datetime(2026, 11, 21, tzinfo=UTC)
Make = Callable[..., Settings]
KILLED = SessionState.ERROR


def session(number: int, state: SessionState, **fields: Any) -> SessionView:
    """Return a session as Kaggle shows it."""
    kernel = KernelRef(OWNER, f"bangla-tts-{'ba'[number % 2]}")
    stamp = RunStamp("run", number, None, "0" * 64, str(kernel), "0.1.0")
    return SessionView(kernel.at((number + 1) // 2), stamp, SessionStatus(state), **fields)


def result(number: int, *steps: int, **fields: Any) -> SessionResult:
    """Return what the session left, after sessions that reached `steps`."""
    line = SessionSummary(0, "asha/bangla-tts-a", 0, 0, 0, 0, "budget", 3600.0)
    pairs = zip((0, *steps), steps, strict=False)
    history = [
        replace(line, session=index, from_step=before, to_step=after, to_epoch=after // 100)
        for index, (before, after) in enumerate(pairs, 1)
    ]
    base = SessionResult(
        run="run",
        session=number,
        status="complete",
        reason="budget",
        message="",
        global_step=steps[-1],
        epoch=steps[-1] // 100,
        checkpoint="checkpoint.pth",
        sha256=None,
        done=False,
        done_reason=None,
        best_loss=None,
        seconds_per_epoch=600.0,
        seconds=3600.0,
        history=tuple(history),
        epochs=10,
        steps_per_epoch=100,
    )
    return base.model_copy(update=fields)


def ended(*steps: int, **fields: Any) -> RunView:
    """Return a run whose newest session ended well, after sessions that reached `steps`."""
    newest = session(len(steps), SessionState.COMPLETE, result=result(len(steps), *steps, **fields))
    return RunView(BASE, newest, newest)


def then(view: RunView | None, *states: SessionState, **fields: Any) -> RunView:
    """Return the run after further sessions of which nothing was kept."""
    number = 0 if view is None else view.newest.stamp.session
    newest = session(number + len(states), states[-1], **fields)
    return RunView(BASE, newest, None if view is None else view.resumable)


def decided(
    settings: Settings, view: RunView | None, *, quota: Quota | None = None, retry: bool = False
) -> Decision:
    """Return the decision with a fresh week, or with `quota`."""
    return decide(settings, BASE, view, Circumstances(NOW, There(quota or hours(30))), retry=retry)
