"""The forecast of a run: when it will be done at this pace and quota; and its eval loss so far."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from orchestrator.errors import KgttsError, LocalError
from orchestrator.metrics import MetricsTable, Verdict, eval_loss, judge, read_run, read_scores
from orchestrator.models import Quota, SessionSummary
from orchestrator.results import Results
from orchestrator.run.context import RunContext
from orchestrator.run.decide import Circumstances, Decision, decide
from orchestrator.run.elsewhere import sessions_here
from orchestrator.run.forecast import Forecast, forecast, terms_of, work_left
from orchestrator.run.look import Pass, base_kernel, look
from orchestrator.run.reading import look_closer
from orchestrator.run.snapshot import Snapshot, value_of
from orchestrator.run.status import SessionReport
from orchestrator.run.view import RunView, SessionView
from orchestrator.settings import Settings, inherited, with_overrides

_LARGEST_LOSS = 1e30  # Beyond, and for infinity and NaN, it is not a loss.


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation: its session, its step and the loss that is watched."""

    session: int
    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known about the rest of a run; a part is None or empty if it is not known.

    Attributes:
        epochs: the target, `training.epochs`.
        quota: the week's GPU hours, if the run needs any.
        forecast: what is still to come.
        curve: the eval loss of the sessions that were pulled.
        decision: what the run needs next.
        verdict: what those sessions' measurements say about the voice.
        elsewhere: the run's newest session, if it ran outside Kaggle and this machine has it.
        history: the run's sessions, oldest first, if that one is the newest.
    """

    epochs: int
    quota: Quota | None = None
    forecast: Forecast | None = None
    curve: tuple[Evaluation, ...] = ()
    decision: Decision | None = None
    verdict: Verdict | None = None
    elsewhere: SessionView | None = None
    history: Sequence[SessionSummary] = ()


def look_ahead(settings: Settings, done: Pass, now: datetime) -> Outlook:
    """The outlook after a pass; it makes no call."""
    settings = done.settings or settings
    quota, work = value_of(done.quota), None if done.state.is_over else work_left(settings, done.view)
    start = done.decision.start
    if quota is not None and done.pushed is not None and start is not None:
        quota = replace(quota, reserved=quota.reserved + start.budget)  # It was read before the push.
    ahead = None
    if work is not None:
        ahead = forecast(work, terms_of(settings, quota), now, running_since=_running_since(done, now))
    table = _pulled_by(settings, done)
    verdict = _verdict(table, done)
    outlook = Outlook(
        settings.training.epochs, quota, ahead, tuple(evaluations(table)), done.decision, verdict
    )
    if done.view is None or done.pushed is not None or not done.view.newest.ref.is_elsewhere:
        return outlook
    return replace(outlook, elsewhere=done.view.newest, history=done.view.history)


def verdict_after(settings: Settings, done: Pass) -> Verdict | None:
    """The verdict on a pass's run, by its pulled sessions; None if they measured nothing."""
    return _verdict(_pulled_by(settings, done), done)


def _pulled_by(settings: Settings, done: Pass) -> MetricsTable:
    if done.view is None:
        return MetricsTable()
    return read_pulled(Results(Path(settings.pull.to)).of_run(settings.kernel.slug, done.view.run_id))


def read_pulled(folder: Path) -> MetricsTable:
    """What all sessions below `folder` measured; an empty table if nothing was pulled."""
    try:
        return read_run(folder, logs=False)
    except LocalError:
        return MetricsTable()  # A curve is a convenience; the pass itself has succeeded.


def _verdict(table: MetricsTable, done: Pass) -> Verdict | None:
    history = () if done.view is None else done.view.history
    return verdict_of(table, history, is_over=done.state.is_over)


def verdict_of(table: MetricsTable, history: Sequence[SessionSummary], *, is_over: bool) -> Verdict | None:
    """The verdict on a run by what its sessions measured; None if they measured nothing.

    Args:
        table: what they measured.
        history: the sessions, for their times.
        is_over: whether the run needs no further session.
    """
    scores = read_scores(table)
    if eval_loss(table) is None and not scores.steps:
        return None
    seconds = {item.session: item.seconds for item in history}
    return judge(table, scores, session_seconds=seconds, is_over=is_over)


def evaluations(table: MetricsTable) -> Iterator[Evaluation]:
    """The evaluations in order of steps, without those that are no number."""
    series = eval_loss(table)
    if series is None:
        return
    for session, step, loss in zip(series.sessions, series.steps, series.values, strict=True):
        if session >= 0 and step >= 0 and abs(loss) < _LARGEST_LOSS:
            yield Evaluation(session, step, loss)


def _running_since(done: Pass, now: datetime) -> datetime | None:
    if done.pushed is not None:
        return now
    if done.view is None or not done.view.is_alive:
        return None
    return done.view.newest.started or now


def outlook_of(
    context: RunContext, report: SessionReport, load_settings: Callable[[], Settings], snapshot: Snapshot
) -> Outlook | None:
    """Look ahead from a session that was reported; None if the settings at hand are about another run.

    The session is what was asked for, and this is a courtesy: what cannot be read is left out.

    Args:
        context: Kaggle, the ledger and the clock.
        report: the session.
        load_settings: gives the settings at hand; only called for a session of kgtts.
        snapshot: what of Kaggle was already seen.
    """
    if report.stamp is None:
        return None
    session = SessionView(report.target.ref, report.stamp, report.status, report.started)
    try:
        settings = load_settings().with_owner(context.kaggle.username)
        if session.ref.kernel not in base_kernel(settings).siblings:
            return None
        done = _over(context, snapshot, session, settings) or look(settings, context, snapshot=snapshot)
        return look_ahead(settings, done, context.clock.now())
    except KgttsError:
        return None


def _over(context: RunContext, snapshot: Snapshot, session: SessionView, settings: Settings) -> Pass | None:
    """A look at a run that is over by this session's own word: nothing more needs to be read.

    None if it is not, or was trained further outside Kaggle.
    """
    results, stamp = Results(Path(settings.pull.to)), session.stamp
    if sessions_here(results, base_kernel(settings).slug, stamp.id, stamp.fingerprint).sessions:
        return None
    if not session.status.state.is_terminal:
        return None
    session, notes = look_closer(snapshot, session)
    if session.result is None or not session.result.done:
        return None
    taken = tuple(inherited(session.stamp.overrides, ()))
    settings = with_overrides(settings, taken).with_owner(context.kaggle.username)
    base = base_kernel(settings)
    view = RunView(base, session, session if session.is_mountable else None, notes=notes)
    decision = decide(settings, base, view, Circumstances(context.clock.now()))
    return Pass(decision, view, settings=settings) if decision.state.is_over else None
