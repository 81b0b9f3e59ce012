"""One pass over a run: observe it on Kaggle, decide, push the next session where it is time, collect.

A pass takes seconds, needs nothing from an earlier one, and does nothing twice: whatever it was killed in the
middle of, the next one sees on Kaggle.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.campaign import Campaign, Collected, Target
from orchestrator.chain.decisions import Circumstances, Decision, RunState, Start, decide
from orchestrator.chain.view import RunView, SessionView, observe
from orchestrator.config import Settings, fingerprint
from orchestrator.errors import NotFoundError, RefusedError, UsageError
from orchestrator.launch import Launch, Service, launch_session, make_stamp, new_run_id
from orchestrator.models import KernelRef
from orchestrator.render import Resume, read_stamp
from orchestrator.transfer import TransferListener

# Kaggle's words for "not now" (kaggle-api issue threads): waiting helps, so they are no failure of the run.
_NOT_NOW = ("session count", "quota")


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass saw and did."""

    decision: Decision
    view: RunView | None
    launched: Launch | None = None
    collected: Collected | None = None

    @property
    def state(self) -> RunState:
        """The run's state after the pass."""
        return RunState.RUNNING if self.launched is not None else self.decision.state


@dataclass(frozen=True, slots=True)
class Collecting:
    """Where a pass puts the results of an ended session, and which it takes."""

    folder: Path
    choose: Callable[[Sequence[str]], Sequence[str]]
    listener: TransferListener


def base_kernel(settings: Settings) -> KernelRef:
    """The kernel that the settings name; its siblings are pushed."""
    return KernelRef(settings.kernel.owner, settings.kernel.slug)


def look(settings: Settings, service: Service) -> Pass:
    """See what a run is and needs, and change nothing; `settings` went through `with_owner`."""
    view = observe(service.kaggle, base_kernel(settings))
    needs_quota = settings.accelerator.has_gpu and (view is None or view.newest.status.state.is_terminal)
    quota = service.kaggle.quota() if needs_quota else None
    around = Circumstances(service.clock.now(), quota)
    return Pass(decide(settings, base_kernel(settings), view, around), view)


def sync(
    settings: Settings,
    service: Service,
    *,
    collecting: Collecting | None = None,
    new: bool = False,
    lock: AbstractContextManager[object] | None = None,
) -> Pass:
    """Make one pass.

    Args:
        settings: the settings; the owner is filled in where it is missing.
        service: Kaggle, the ledger and the clock.
        collecting: where results go; None collects nothing.
        new: begin a new run where the present one is over.
        lock: held during the pass, so that two on one machine take turns.

    Raises:
        UsageError: the settings are not those that the run was begun with.
        KgttsError: Kaggle could not be read or refused for another reason than quota.
    """
    settings = settings.with_owner(service.kaggle.username)
    with lock or nullcontext():
        seen = look(settings, service)
        if new and seen.state.is_over:
            seen = _anew(settings, seen)
        if seen.decision.start is not None:
            _check_settings(settings, seen)
            seen = _push(settings, service, seen, seen.decision.start, new=new)
    if collecting is None or seen.view is None:
        return seen
    return replace(seen, collected=_collect(service, seen.view, collecting))


def _anew(settings: Settings, seen: Pass) -> Pass:
    start = Start(1, base_kernel(settings), None, settings.session.budget)
    return Pass(Decision(RunState.NEW, "A new run is begun.", start), seen.view)


def _check_settings(settings: Settings, seen: Pass) -> None:
    """A run goes on with the settings that it was begun with."""
    if seen.state is RunState.NEW or seen.view is None:
        return
    if seen.view.newest.stamp.fingerprint != fingerprint(settings):
        raise UsageError(
            f"Since run {seen.view.run_id} was begun, settings of inputs, training or install have changed.",
            hint="put them back to go on with it, or begin another run under another kernel.slug",
        )


def _push(settings: Settings, service: Service, seen: Pass, start: Start, *, new: bool) -> Pass:
    """Push the next session, unless somebody else has done so since we looked."""
    begin = seen.view is None or (new and seen.state is RunState.NEW)
    run_id = new_run_id() if begin or seen.view is None else seen.view.run_id
    kernel = start.kernel if not begin else _first_kernel(settings)
    stamp = make_stamp(
        settings,
        kernel,
        run_id=run_id,
        session=start.session,
        parent=None if start.parent is None else start.parent.ref,
    )
    if not begin and _is_there(service, kernel, run_id, start.session):
        return look(settings, service)
    try:
        launched = launch_session(_shortened(settings, start), stamp, service, resume=_resume(start.parent))
    except RefusedError as error:
        if not any(words in error.message.lower() for words in _NOT_NOW):
            raise
        return Pass(
            Decision(RunState.WAITING, f"{error.message} It is tried again by the next pass."), seen.view
        )
    return replace(seen, launched=launched)


def _first_kernel(settings: Settings) -> KernelRef:
    from orchestrator.chain.siblings import next_kernel  # noqa: PLC0415

    return next_kernel(base_kernel(settings), None)


def _is_there(service: Service, kernel: KernelRef, run_id: str, session: int) -> bool:
    try:
        stamp = read_stamp(service.kaggle.kernel(kernel).source or "")
    except NotFoundError:
        return False
    return stamp is not None and (stamp.id, stamp.session) == (run_id, session)


def _shortened(settings: Settings, start: Start) -> Settings:
    """The settings with the session's own budget, and the time limit within it."""
    session = settings.session.model_copy(update={"budget": start.budget})
    most = start.budget - settings.session.grace
    training = settings.training.model_copy(update={"time_limit": min(settings.training.time_limit, most)})
    return settings.model_copy(update={"session": session, "training": training})


def _resume(parent: SessionView | None) -> Resume | None:
    if parent is None or parent.result is None or parent.ref.version is None:
        return None
    return Resume(
        kernel=str(parent.ref.kernel),
        version=parent.ref.version,
        run=parent.stamp.id,
        session=parent.stamp.session,
        global_step=parent.result.global_step or 0,
        sha256=parent.result.sha256,
    )


def _collect(service: Service, view: RunView, collecting: Collecting) -> Collected | None:
    """Bring the newest ended session's results, where they are not here yet."""
    session = view.newest if view.newest.status.state.is_terminal else view.resumable
    if session is None:
        return None
    folder = collecting.folder / f"session-{session.stamp.session:02}"
    if (folder / _COMPLETE).is_file():
        return None
    campaign = Campaign(service.kaggle, service.ledger, service.clock)
    target = Target(session.ref, service.ledger.of_kernel(session.ref))
    collected = campaign.collect(target, folder, collecting.choose, collecting.listener)
    (folder / _COMPLETE).write_text(f"{session.ref}\n", encoding="utf-8")
    return collected


_COMPLETE = ".kgtts-complete"
