"""What a pass shows besides itself: the week's quota, when the run will be done, and its curve."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import formatting
from orchestrator.errors import KgttsError
from orchestrator.results import Results

if TYPE_CHECKING:
    from orchestrator.models import KernelRef, Quota
    from orchestrator.run.curve import Evaluation
    from orchestrator.run.decide import Decision
    from orchestrator.run.forecast import Forecast
    from orchestrator.run.passes import Pass
    from orchestrator.run.progress import Progress
    from orchestrator.run.workbench import Workbench
    from orchestrator.settings import Settings


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of a run's rest; each part is None or empty where it is not known.

    Attributes:
        epochs: the target, `training.epochs`.
        decision: what the run needs next.
    """

    epochs: int
    quota: "Quota | None" = None
    forecast: "Forecast | None" = None
    curve: "tuple[Evaluation, ...]" = ()
    decision: "Decision | None" = None


def look_ahead(bench: "Workbench", settings: "Settings", done: "Pass") -> Outlook:
    """The outlook after a pass; a quota that cannot be read just now is left out."""
    from orchestrator.ports import SystemClock  # noqa: PLC0415  # As above.
    from orchestrator.run.curve import read_curve  # noqa: PLC0415  # Start-up.
    from orchestrator.run.forecast import forecast, terms_of, work_left  # noqa: PLC0415  # As above.

    quota = None
    if settings.accelerator.has_gpu:
        try:
            quota = bench.kaggle.quota()
        except KgttsError:
            quota = None  # The pass itself has succeeded.
    work = None if done.state.is_over else work_left(settings, done.view)
    now = SystemClock().now()
    return Outlook(
        settings.training.epochs,
        quota,
        None
        if work is None
        else forecast(work, terms_of(settings, quota), now, running_since=_running_since(done, now)),
        () if done.view is None else tuple(read_curve(_results(settings, done.view.run_id))),
        done.decision,
    )


def of_kernel(bench: "Workbench", kernel: "KernelRef") -> Outlook | None:
    """The outlook of the run that `kernel` is a part of; None where kgtts.toml is about another run."""
    from orchestrator.cli.context import load  # noqa: PLC0415  # As above.
    from orchestrator.ports import SystemClock  # noqa: PLC0415  # As above.
    from orchestrator.run.passes import base_kernel, look  # noqa: PLC0415  # Slow to import.
    from orchestrator.run.push import Service  # noqa: PLC0415  # As above.

    try:
        settings = load(None, ()).settings.with_owner(bench.kaggle.username)
        if kernel.kernel not in base_kernel(settings).siblings:
            return None
        return look_ahead(bench, settings, look(settings, Service(bench.kaggle, bench.ledger, SystemClock())))
    except KgttsError:
        return None  # What was asked for is the session; what comes after it is a courtesy.


def _results(settings: "Settings", run_id: str) -> Path:
    return Results(Path(settings.pull.to)).of_run(settings.kernel.slug, run_id)


def _running_since(done: "Pass", now: Any) -> Any:
    if done.launched is not None:
        return now
    if done.view is None or done.view.newest.status.state.is_terminal:
        return None
    return done.view.newest.started or now


def in_words(ahead: "Forecast") -> str:
    """A forecast as a sentence without a full stop."""
    epochs = f"{ahead.epochs:,.5g} epoch{'' if ahead.epochs == 1 else 's'}"
    sessions = formatting.counted(ahead.sessions, "session")
    when = (
        f"done about {formatting.moment(ahead.done_at)} at this pace and quota"
        if ahead.done_at is not None
        else "when it will be done cannot be said with this quota"
    )
    return f"{epochs} in {sessions}, {formatting.hours(ahead.gpu_time)}; {when}"


def what_next(outlook: Outlook | None, progress: "Progress") -> str | None:
    """What becomes of the run after a session of it that has ended well; None where nothing does.

    Args:
        outlook: the run's, where kgtts.toml is about it.
        progress: the session's, whose own last word has to do elsewhere.
    """
    from orchestrator.cli.show.live_outlook import goes_on  # noqa: PLC0415  # Start-up.
    from orchestrator.run.decide import RunState  # noqa: PLC0415  # Slow to import.

    decision = None if outlook is None else outlook.decision
    if decision is None:
        return "goes on: `kgtts watch` starts its next session" if goes_on(progress) else None
    if decision.state is RunState.READY:
        return f"goes on: {decision.reason} `kgtts watch` starts it, and so does the next `kgtts sync`."
    if decision.state is RunState.RUNNING:
        return f"goes on already: {decision.reason} `kgtts watch` follows it."
    return f"{decision.state}: {decision.reason}"


def as_dict(outlook: Outlook | None) -> dict[str, Any]:
    """The outlook for programs; times are seconds."""
    quota, ahead = (None, None) if outlook is None else (outlook.quota, outlook.forecast)
    return {
        "quota": None
        if quota is None
        else {
            "left_s": quota.left.total_seconds(),
            "allowed_s": quota.allowed.total_seconds(),
            "refreshes_at": quota.refreshes_at,
        },
        "forecast": None
        if ahead is None
        else {
            "epochs": ahead.epochs,
            "sessions": ahead.sessions,
            "gpu_s": ahead.gpu_time.total_seconds(),
            "done_at": ahead.done_at,
        },
    }
