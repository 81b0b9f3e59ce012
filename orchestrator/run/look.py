"""Look at a run as Kaggle shows it, and decide what it needs; twice, if something follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ServiceError
from orchestrator.models import KernelRef, Quota
from orchestrator.results import Results
from orchestrator.run.collect import Collected
from orchestrator.run.context import RunContext
from orchestrator.run.decide import Circumstances, Decision, RunState, decide
from orchestrator.run.elsewhere import begun_here, with_sessions_here
from orchestrator.run.push import PushedSession
from orchestrator.run.reading import read_run
from orchestrator.run.snapshot import Seen, Snapshot
from orchestrator.run.view import RunView
from orchestrator.settings import Settings, find_changes, fingerprint, inherited, override_key, with_overrides

_MOST_LOOKS = 3  # Further looks at a run whose answers contradict each other.
_SETTLING_S = 5.0  # Between two looks at a session that ended without a word of its own.
# What needs no second look: nothing follows from it, or the session's own state.json says it.
_HARMLESS = frozenset({RunState.RUNNING, RunState.WAITING, RunState.DONE})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks of a pass, besides the settings.

    Attributes:
        retry: continue a run that failed or stalled; if it never saved anything and its settings have changed
            since, another run is begun.
        new: begin another run, unless the present one has a session that is alive.
        overwrite: push also on top of a version that kgtts did not push.
        from_here: go on from a session that was trained here, although the run went on without it on Kaggle.
        continues: the run was seen before: if nothing is shown of it any more, no other is begun.
        overrides: what of the settings comes from `--set`, as `KEY=VALUE`. A push stamps it, and later passes
            take it from there.
    """

    retry: bool = False
    new: bool = False
    overwrite: bool = False
    from_here: bool = False
    continues: bool = False
    overrides: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass saw and did.

    Attributes:
        decision: what the run is and needs.
        view: the run as Kaggle showed it; None if nothing was pushed yet, or another run was begun.
        quota: the week's GPU hours as they were seen; None if the run needs none.
        pushed: the session that was pushed.
        collected: what was brought here.
        notes: what a person should know about the pass.
        settings: those that the run goes by: with what `--set` gave at its pushes.
    """

    decision: Decision
    view: RunView | None
    quota: Seen[Quota] | None = None
    pushed: PushedSession | None = None
    collected: Collected | None = None
    notes: Sequence[str] = ()
    settings: Settings | None = None

    @property
    def warnings(self) -> Sequence[str]:
        """What a person should know about the run, the pass and its push."""
        seen = () if self.view is None else self.view.notes
        return (*seen, *self.notes, *(self.pushed.warnings if self.pushed is not None else ()))

    @property
    def state(self) -> RunState:
        """The run's state after the pass."""
        return RunState.RUNNING if self.pushed is not None else self.decision.state


def base_kernel(settings: Settings) -> KernelRef:
    """The kernel that the settings name; its siblings are pushed."""
    return KernelRef(settings.kernel.owner, settings.kernel.slug)


def look(
    settings: Settings,
    context: RunContext,
    asked: Asked = Asked(),
    *,
    snapshot: Snapshot | None = None,
    quota: Seen[Quota] | None = None,
) -> Pass:
    """See what a run is and needs, on Kaggle and in this machine's results, and change nothing.

    The quota is read first, so that nothing lies between the look at the kernels and a first push.

    Args:
        settings: settings that went through `with_owner`.
        context: Kaggle, the ledger and the clock.
        asked: `retry`, `from_here` and `overrides` of it.
        snapshot: what was already seen.
        quota: the week's GPU hours, if they were just read.

    Raises:
        SettingsError: what `--set` gave at a push of the run is no setting any more.
        UsageError: a person asks to go on from a session here, and that cannot be.
        ServiceError: Kaggle could not be read, or does not say.
    """
    snapshot = snapshot or context.snapshot()
    if quota is None and settings.accelerator.has_gpu:
        quota = snapshot.quota()
    results, base = Results(Path(settings.pull.to)), base_kernel(settings)
    view = read_run(snapshot, base)
    if view is None:
        view = begun_here(snapshot, base, results, fingerprint(settings))
    else:
        view = with_sessions_here(snapshot, view, results, insists=asked.from_here)
    notes: Sequence[str] = ()
    if view is not None:
        settings = _of_the_run(settings, context, view, asked.overrides)
        notes = _changed(settings, view, asked.overrides)
    quota = (quota or snapshot.quota()) if settings.accelerator.has_gpu else None
    decision = decided(settings, context, view, quota, retry=asked.retry)
    return Pass(decision, view, quota, notes=notes, settings=settings)


def _of_the_run(settings: Settings, context: RunContext, view: RunView, overrides: Sequence[str]) -> Settings:
    """The settings with what `--set` gave at a push of the run, unless `overrides` say otherwise now."""
    stamped = view.newest.stamp.overrides
    return with_overrides(settings, tuple(inherited(stamped, overrides))).with_owner(context.kaggle.username)


def _changed(settings: Settings, view: RunView, overrides: Sequence[str]) -> Sequence[str]:
    """What was changed while a session runs, and what will come of it; empty if none runs."""
    stamp = view.newest.stamp
    if not view.is_alive or not stamp.values or view.newest.ref.is_elsewhere:
        return ()
    own = frozenset(map(override_key, overrides))
    return [
        f"Changed since session {stamp.session} was pushed: {change}; {change.effect}."
        + (" It is only in --set, so give that again when the session is due." if change.key in own else "")
        for change in find_changes(stamp.values, settings)
    ]


def look_twice(settings: Settings, context: RunContext, asked: Asked) -> Pass:
    """A look whose decision a second one confirms, if something follows from it.

    Raises:
        ServiceError: several looks in a row contradict each other, or Kaggle does not say.
    """
    seen = look(settings, context, asked)
    strangers = set[KernelRef]()
    for _ in range(_MOST_LOOKS):
        strangers.update(() if seen.view is None else seen.view.strangers)
        if not asked.new and seen.decision.start is None and seen.state in _HARMLESS:
            return seen
        if seen.view is not None and not seen.view.is_alive and seen.view.newest.result is None:
            # Kaggle alone says that it has ended, and has taken that back a moment later.
            context.clock.sleep(_SETTLING_S)
        again = look(settings, context, asked, quota=seen.quota)
        # A version that one look shows as a stranger's is not overwritten because another does not.
        if _same(seen, again) and (again.view is None or strangers <= {*again.view.strangers}):
            return again
        seen = again
    raise ServiceError(
        f"Kaggle's answers about {base_kernel(settings)} contradict each other, so nothing was changed.",
        hint="try again in a minute; `kgtts watch` does so by itself",
    )


def _same(one: Pass, other: Pass) -> bool:
    """Whether two looks show the same run, and the same thing to do."""

    def essence(seen: Pass) -> object:
        start, view = seen.decision.start, seen.view
        parent = None if start is None else start.parent
        return (
            seen.state,
            None if start is None else (start.session, start.kernel, start.needs_handover),
            None if parent is None else (parent.ref, parent.step, parent.dataset),
            None if view is None else (view.newest.ref, view.newest.stamp, view.newest.status, view.heads),
            None if view is None or view.stranded is None else (view.stranded.ref, view.stranded.step),
        )

    return essence(one) == essence(other)


def decided(
    settings: Settings,
    context: RunContext,
    view: RunView | None,
    quota: Seen[Quota] | None,
    *,
    retry: bool = False,
) -> Decision:
    """What a run needs next, at this moment."""
    return decide(
        settings, base_kernel(settings), view, Circumstances(context.clock.now(), quota), retry=retry
    )
