"""One pass over a run: observe it on Kaggle, decide, push the next session where it is time, collect.

A pass takes seconds, needs nothing from an earlier one, and does nothing twice: whatever it was killed in the
middle of, the next one sees on Kaggle.
"""

import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from orchestrator.download import TransferListener
from orchestrator.errors import NotFoundError, RefusedError, UsageError
from orchestrator.models import KernelRef
from orchestrator.render import read_stamp
from orchestrator.results import Results
from orchestrator.run.campaign import Campaign, Collected, Target
from orchestrator.run.decide import Circumstances, Decision, RunState, Start, being_prepared, decide
from orchestrator.run.handover import resume_from
from orchestrator.run.ledger import PushOutcome
from orchestrator.run.push import Launch, Service, launch_session, make_stamp, new_run_id
from orchestrator.run.rescue import NotHandedOverError, Rescue, drop_leftovers
from orchestrator.run.session import RunView
from orchestrator.run.view import observe
from orchestrator.settings import Settings, fingerprint

# Kaggle's words for "not now" (kaggle-api issue threads): waiting helps, so they are no failure of the run.
_NOT_NOW = re.compile(r"maximum .*(session count|quota)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass saw and did."""

    decision: Decision
    view: RunView | None
    launched: Launch | None = None
    collected: Collected | None = None
    notes: Sequence[str] = ()

    @property
    def warnings(self) -> Sequence[str]:
        """What a person should know of the pass and its push."""
        return (*self.notes, *(self.launched.warnings if self.launched is not None else ()))

    @property
    def state(self) -> RunState:
        """The run's state after the pass."""
        return RunState.RUNNING if self.launched is not None else self.decision.state


@dataclass(frozen=True, slots=True)
class Collecting:
    """Where a pass puts the outputs of an ended session, and which it takes."""

    results: Results
    choose: Callable[[Sequence[str]], Sequence[str]]
    listener: TransferListener


def base_kernel(settings: Settings) -> KernelRef:
    """The kernel that the settings name; its siblings are pushed."""
    return KernelRef(settings.kernel.owner, settings.kernel.slug)


def look(settings: Settings, service: Service, *, retry: bool = False) -> Pass:
    """See what a run is and needs, and change nothing; `settings` went through `with_owner`."""
    view = observe(service.kaggle, base_kernel(settings))
    return Pass(
        decide(settings, base_kernel(settings), view, _around(settings, service, view), retry=retry), view
    )


def sync(  # noqa: PLR0913  # Each is a word of its own to the caller.
    settings: Settings,
    service: Service,
    *,
    collecting: Collecting | None = None,
    retry: bool = False,
    new: bool = False,
    lock: AbstractContextManager[object] | None = None,
    scratch: Path | None = None,
) -> Pass:
    """Make one pass.

    Args:
        settings: the settings; the owner is filled in where it is missing.
        service: Kaggle, the ledger and the clock.
        collecting: where results go; None collects nothing.
        retry: go on with a run that failed or stalled; where it never saved anything and its settings have
            changed since, another run is begun.
        new: begin another run, unless the present one has a session that is alive.
        lock: held during the pass, so that two on one machine take turns.
        scratch: where what a killed session kept lies while it is handed over; a pass goes on with what
            another left there. By default the system's temporary folder, where nothing stays.

    Raises:
        UsageError: the settings are not those that the run was begun with, or `new` while a session of it
            is alive.
        KgttsError: Kaggle could not be read or refused for another reason than quota.
    """
    settings = settings.with_owner(service.kaggle.username)
    with lock or nullcontext():
        seen = look(settings, service, retry=retry)
        _remember(service, seen.view)
        begin = seen.view is None or _begins_another(settings, seen, retry=retry, new=new)
        if begin and seen.view is not None:
            decision = decide(settings, base_kernel(settings), None, _around(settings, service, None))
            seen = Pass(_on_newest(decision, seen.view), seen.view)
        if seen.decision.start is not None:
            if not begin:
                _check_settings(settings, seen)
            if seen.decision.start.kept:
                seen = _hand_over(settings, service, seen, scratch, retry=retry)
            if seen.decision.start is not None:
                seen = _push(settings, service, seen, seen.decision.start, begin=begin)
                if scratch is not None and seen.view is not None and seen.launched is not None:
                    drop_leftovers(scratch, seen.view.run_id)
    if collecting is None or seen.view is None:
        return seen
    return replace(seen, collected=_collect(service, seen.view, collecting))


def _around(settings: Settings, service: Service, view: RunView | None) -> Circumstances:
    needs_quota = settings.accelerator.has_gpu and (view is None or view.newest.status.state.is_terminal)
    return Circumstances(service.clock.now(), service.kaggle.quota() if needs_quota else None)


def _remember(service: Service, view: RunView | None) -> None:
    """Tell the ledger what Kaggle shows of a session pushed from here, its answer lost or not."""
    if view is None:
        return
    newest = view.newest
    service.ledger.learn(view.run_id, view.history)
    for record in service.ledger.of_run(view.run_id):
        if record.run_id == view.run_id and record.number == newest.stamp.session:
            if record.outcome is not PushOutcome.PUSHED or record.ref != newest.ref:
                record = service.ledger.confirm(record, newest.ref)  # noqa: PLW2901  # The same, as it is now.
            status = newest.status
            service.ledger.observe(record, status.state, status.failure_message, service.clock.now())


def _begins_another(settings: Settings, seen: Pass, *, retry: bool, new: bool) -> bool:
    """Whether a pass is to begin a run although there is one.

    Raises:
        UsageError: it is, and a session of the present one is alive.
    """
    view = seen.view
    assert view is not None
    alive = not view.newest.status.state.is_terminal
    if new:
        if alive:
            raise UsageError(
                f"Run {view.run_id} has a session that is not over: {view.newest.ref}.",
                hint=f"see it end with `kgtts watch`, or stop it: kgtts cancel {view.newest.ref.kernel}",
            )
        return True
    changed = view.newest.stamp.fingerprint != fingerprint(settings)
    return retry and changed and not alive and not view.has_saved


def _on_newest(decision: Decision, view: RunView) -> Decision:
    """A run that follows another begins on the kernel of that one's newest session, whose stamp it replaces.

    So the newest session of both siblings is of the new run at once, whatever Kaggle says of when they ran.
    """
    if decision.start is None:
        return decision
    return replace(decision, start=replace(decision.start, kernel=view.newest.ref.kernel))


def _check_settings(settings: Settings, seen: Pass) -> None:
    """A run goes on with the settings that it was begun with."""
    if seen.view is not None and seen.view.newest.stamp.fingerprint != fingerprint(settings):
        raise UsageError(
            f"Since run {seen.view.run_id} was begun, settings of inputs, training or install have changed.",
            hint="put them back to go on with it, or begin another run: another kernel.slug, or --new",
        )


def _hand_over(
    settings: Settings, service: Service, seen: Pass, scratch: Path | None, *, retry: bool
) -> Pass:
    """Make what a session kept mountable; where that cannot be done, the run goes on without it.

    Raises:
        ServiceError: Kaggle could not be reached; the next pass tries again.
        LocalError: this machine has no room for it.
    """
    view, start, base = seen.view, seen.decision.start, base_kernel(settings)
    assert view is not None
    assert view.kept is not None
    assert start is not None
    kept = view.kept
    with nullcontext(scratch) if scratch is not None else tempfile.TemporaryDirectory() as folder:
        rescue = Rescue(service.kaggle, service.clock, Path(folder))
        try:
            dataset = rescue.hand_over(base, kept, above=view.global_step)
        except NotHandedOverError as error:
            view = view.without_kept()
            decision = decide(settings, base, view, _around(settings, service, view), retry=retry)
            words = (
                f"What session {kept.stamp.session} kept, up to step {kept.step}, is lost: {error.message}"
            )
            return Pass(decision, view, notes=(words,))
    if dataset is None:
        return Pass(being_prepared(kept, service.clock.now()), view)
    view = view.handed_over(dataset)
    return Pass(replace(seen.decision, start=replace(start, parent=view.resumable, kept=False)), view)


def _push(settings: Settings, service: Service, seen: Pass, start: Start, *, begin: bool) -> Pass:
    """Push the next session, unless somebody else has done so since we looked."""
    run_id = new_run_id() if begin or seen.view is None else seen.view.run_id
    stamp = make_stamp(
        settings,
        start.kernel,
        run_id=run_id,
        session=start.session,
        parent=None if start.parent is None else start.parent.ref,
    )
    if _has_changed(service, start.kernel, seen.view):
        return look(settings, service)
    view = None if begin else seen.view
    resume = resume_from(start.parent)
    try:
        launched = launch_session(
            _shortened(settings, start),
            stamp,
            service,
            resume=resume,
            before=() if view is None else view.untold(start.parent),
        )
    except RefusedError as error:
        if not _NOT_NOW.search(error.message):
            raise
        waiting = Decision(RunState.WAITING, f"{error.message} It is tried again by the next pass.")
        return replace(seen, decision=waiting, view=view)
    return replace(seen, view=view, launched=launched)


def _has_changed(service: Service, kernel: KernelRef, view: RunView | None) -> bool:
    """Whether somebody has pushed to the kernel since we looked."""
    try:
        info = service.kaggle.kernel(kernel)
    except NotFoundError:
        return False
    if view is None or kernel not in view.heads:
        return read_stamp(info.source or "") is not None
    return info.latest_version != view.heads[kernel]


def _shortened(settings: Settings, start: Start) -> Settings:
    """The settings with the session's own budget, and the time limit within it."""
    session = settings.session.model_copy(update={"budget": start.budget})
    most = max(timedelta(seconds=1), start.budget - settings.session.grace)
    training = settings.training.model_copy(update={"time_limit": min(settings.training.time_limit, most)})
    return settings.model_copy(update={"session": session, "training": training})


def _collect(service: Service, view: RunView, collecting: Collecting) -> Collected | None:
    """Bring the newest ended session's results, where they are not here yet."""
    session = view.newest if view.newest.status.state.is_terminal else view.resumable
    if session is None:
        return None
    folder = collecting.results.of_session(view.base.slug, view.run_id, session.stamp.session)
    if folder.is_complete(session.ref, view.run_id, session.step):
        return None
    campaign = Campaign(service.kaggle, service.ledger, service.clock)
    target = Target(session.ref, service.ledger.of_kernel(session.ref))
    collected = campaign.collect(target, folder.path, collecting.choose, collecting.listener)
    folder.mark_complete(session.ref, view.run_id, session.step)
    return collected
