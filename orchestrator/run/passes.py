"""One pass over a run: read it from Kaggle, decide, collect, and push the next session if it is time.

A pass takes seconds, needs nothing from an earlier one, and does nothing twice: whatever the last pass was
killed in the middle of, the next one sees on Kaggle.
"""

import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from orchestrator.download import TransferListener
from orchestrator.errors import KgttsError, RefusedError, ServiceError, UsageError
from orchestrator.locks import machine_lock
from orchestrator.models import KernelRef, Quota, SessionState
from orchestrator.results import Results
from orchestrator.run.collect import Collected, collect
from orchestrator.run.context import RunContext, Target
from orchestrator.run.decide import (
    PREPARING,
    Circumstances,
    Decision,
    RunState,
    Start,
    being_prepared,
    decide,
)
from orchestrator.run.handover import resume_from
from orchestrator.run.inputs import input_states
from orchestrator.run.ledger import PushOutcome
from orchestrator.run.push import PushedSession, make_stamp, new_run_id, push_session
from orchestrator.run.reading import read_run, stranger_on
from orchestrator.run.rescue import NotHandedOverError, Rescue, drop_leftovers
from orchestrator.run.snapshot import CannotTell, Seen, Snapshot, There, certain, is_forbidden, see
from orchestrator.run.view import RunView
from orchestrator.settings import (
    Effect,
    Settings,
    find_changes,
    fingerprint,
    inherited,
    merged,
    override_key,
    with_overrides,
)

# Kaggle's words for "not now" (kaggle-api issue threads): waiting helps, so the run has not failed.
_HANDOVER_FOLDER = "kept"  # Within `home`.
_MOST_LOOKS = 3  # Further looks at a run whose answers contradict each other.
_NOT_NOW = re.compile(r"maximum .*(session count|quota)", re.IGNORECASE)


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


@dataclass(frozen=True, slots=True)
class Collecting:
    """Where a pass puts the outputs of an ended session, and which it takes."""

    results: Results
    choose: Callable[[Sequence[str]], Sequence[str]]
    listener: TransferListener


def base_kernel(settings: Settings) -> KernelRef:
    """The kernel that the settings name; its siblings are pushed."""
    return KernelRef(settings.kernel.owner, settings.kernel.slug)


def look(  # noqa: PLR0913 - each is a word of its own to the caller
    settings: Settings,
    context: RunContext,
    *,
    retry: bool = False,
    snapshot: Snapshot | None = None,
    overrides: Sequence[str] = (),
    quota: Seen[Quota] | None = None,
) -> Pass:
    """See what a run is and needs, and change nothing.

    The quota is read first, so that nothing lies between the look at the kernels and a first push.

    Args:
        settings: settings that went through `with_owner`.
        context: Kaggle, the ledger and the clock.
        retry: as `make_pass`.
        snapshot: what was already seen.
        overrides: as `make_pass`.
        quota: the week's GPU hours, if they were just read.

    Raises:
        SettingsError: what `--set` gave at a push of the run is no setting any more.
        ServiceError: Kaggle could not be read, or does not tell.
    """
    snapshot = snapshot or context.snapshot()
    if quota is None and settings.accelerator.has_gpu:
        quota = snapshot.quota()
    view = read_run(snapshot, base_kernel(settings))
    notes: Sequence[str] = ()
    if view is not None:
        settings = _of_the_run(settings, context, view, overrides)
        notes = _changed(settings, view, overrides)
    quota = (quota or snapshot.quota()) if settings.accelerator.has_gpu else None
    decision = _decided(settings, context, view, quota, retry=retry)
    return Pass(decision, view, quota, notes=notes, settings=settings)


def _of_the_run(settings: Settings, context: RunContext, view: RunView, overrides: Sequence[str]) -> Settings:
    """The settings with what `--set` gave at a push of the run, unless `overrides` say otherwise now."""
    stamped = view.newest.stamp.overrides
    return with_overrides(settings, tuple(inherited(stamped, overrides))).with_owner(context.kaggle.username)


def _changed(settings: Settings, view: RunView, overrides: Sequence[str]) -> Sequence[str]:
    """What was changed while a session runs, and what will come of it; empty if none runs."""
    stamp = view.newest.stamp
    if not view.is_alive or not stamp.values:
        return ()
    own = frozenset(map(override_key, overrides))
    return [
        f"Changed since session {stamp.session} was pushed: {change}; {change.effect}."
        + (" It is only in --set, so give that again when the session is due." if change.key in own else "")
        for change in find_changes(stamp.values, settings)
    ]


def make_pass(  # noqa: PLR0913 - each is a word of its own to the caller
    settings: Settings,
    context: RunContext,
    *,
    collecting: Collecting | None = None,
    retry: bool = False,
    new: bool = False,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
) -> Pass:
    """Make one pass.

    Args:
        settings: the settings; the owner is filled in if it is missing.
        context: Kaggle, the ledger and the clock. Passes with the same `home` take turns, and what a killed
            session saved lies there while it is handed over; without one, in the system's temporary folder.
        collecting: where results go; None collects nothing.
        retry: go on with a run that failed or stalled; if it never saved anything and its settings have
            changed since, another run is begun.
        new: begin another run, unless the present one has a session that is alive.
        overrides: what of `settings` comes from `--set`, as `KEY=VALUE`. A push stamps it, and later passes
            take it from there.
        overwrite: push also on top of a version that kgtts did not push.

    Raises:
        UsageError: the settings are not those that the run was begun with, `new` while a session of it is
            alive, Kaggle no longer shows a run that was pushed from here, or somebody else's version is on
            top of the kernel.
        ServiceError: Kaggle could not be read, or does not tell; nothing was changed.
        KgttsError: Kaggle refused for another reason than quota.
    """
    settings = settings.with_owner(context.kaggle.username)
    name = f"{context.kaggle.service} {base_kernel(settings)}"
    with machine_lock(context.home, name) if context.home is not None else nullcontext():
        due, begins = _prepare(
            settings, context, retry=retry, new=new, overwrite=overwrite, overrides=overrides
        )
        view, start = due.view, due.decision.start
        settings = due.settings or settings
        if start is not None:
            run_id = new_run_id() if begins or view is None else view.run_id
            parent = None if start.parent is None else start.parent.ref
            stamped = () if view is None or new else view.newest.stamp.overrides
            stamp = make_stamp(
                settings,
                start.kernel,
                run_id=run_id,
                session=start.session,
                parent=parent,
                overrides=merged(stamped, overrides),
            )
            known = None if begins else view
            try:
                pushed = push_session(
                    _shortened(settings, start),
                    stamp,
                    context,
                    resume=resume_from(start.parent),
                    before=() if known is None else known.unknown_to(start.parent),
                )
            except RefusedError as error:
                if not _NOT_NOW.search(error.message):
                    raise
                waiting = Decision(RunState.WAITING, f"{error.message} The next pass tries again.")
                due = replace(due, decision=waiting, view=known)
            else:
                due = replace(due, view=known, pushed=pushed)
                if context.home is not None and known is not None:
                    drop_leftovers(context.home / _HANDOVER_FOLDER, known.run_id)
    if collecting is None or due.view is None:
        return due
    try:
        return replace(due, collected=_collect(context, due.view, collecting))
    except KgttsError as error:
        if due.pushed is None:
            raise
        # The push is what has to be known; the next pass collects.
        words = f"The results could not be downloaded yet: {error.message}"
        return replace(due, notes=(*due.notes, words))


def _decided(
    settings: Settings,
    context: RunContext,
    view: RunView | None,
    quota: Seen[Quota] | None,
    *,
    retry: bool = False,
) -> Decision:
    return decide(
        settings, base_kernel(settings), view, Circumstances(context.clock.now(), quota), retry=retry
    )


def _prepare(  # noqa: PLR0913 - as `make_pass`
    settings: Settings,
    context: RunContext,
    *,
    retry: bool,
    new: bool,
    overwrite: bool,
    overrides: Sequence[str],
) -> tuple[Pass, bool]:
    """All that comes before the push; gives the pass so far, and whether it is to begin another run."""
    seen = _look_twice(settings, context, retry=retry, new=new, overrides=overrides)
    due, begins = _due(settings, context, seen, retry=retry, new=new)
    start, settings = due.decision.start, due.settings or settings
    if start is None:
        return due, begins
    if not overwrite:
        _check_strangers(context, start.kernel)
    waiting = _unready_inputs(settings, context)
    if waiting is not None:
        return replace(due, decision=waiting), begins
    if start.needs_handover:
        due = _hand_over(settings, context, due, retry=retry)
    if due.decision.start is not None:
        if not overwrite and due.decision.start.kernel != start.kernel:
            _check_strangers(context, due.decision.start.kernel)  # What was to be handed over is lost.
        _check_once_more(context, base_kernel(settings), seen.view)
    return due, begins


def _check_strangers(context: RunContext, kernel: KernelRef) -> None:
    """See that the newest version of a kernel that a session goes to is ours.

    Raises:
        UsageError: it is not, so that a person has to ask for the push.
    """
    if (stranger := stranger_on(context.snapshot(), kernel)) is not None:
        raise UsageError(
            f"{stranger}, the newest version there, was not pushed by kgtts, so nothing was pushed over it.",
            hint=f"see it with `kgtts open {stranger}`; to push all the same: kgtts push --overwrite",
        )


def _look_twice(
    settings: Settings, context: RunContext, *, retry: bool, new: bool, overrides: Sequence[str]
) -> Pass:
    """A look whose decision a second one confirms, if something follows from it.

    Raises:
        ServiceError: several looks in a row contradict each other, or Kaggle does not tell.
    """
    seen = look(settings, context, retry=retry, overrides=overrides)
    for _ in range(_MOST_LOOKS):
        if not new and seen.decision.start is None and seen.state not in (RunState.FAILED, RunState.STALLED):
            return seen
        again = look(settings, context, retry=retry, quota=seen.quota, overrides=overrides)
        if _same(seen, again):
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


def _check_once_more(context: RunContext, base: KernelRef, view: RunView | None) -> None:
    """Ask in a third way, just before a push: no newer version, and no session that is alive.

    Raises:
        ServiceError: there is one, or Kaggle does not tell.
    """
    snapshot = context.snapshot()
    for kernel in base.siblings:
        info = certain(snapshot.kernel(kernel))
        head = None if info is None else info.latest_version
        if view is not None and head != view.heads.get(kernel):
            raise _contradiction(kernel, f"its newest version is {head} now")
        if head is not None:
            newer = see(partial(context.kaggle.kernel, kernel.at(head + 1)))
            if isinstance(newer, There) and (newer.value.latest_version or 0) > head:
                raise _contradiction(kernel, f"it has a version {newer.value.latest_version}")
            if isinstance(newer, CannotTell) and not is_forbidden(newer):
                certain(newer)
        status = snapshot.status(kernel)
        if isinstance(status, CannotTell) and not is_forbidden(status):
            certain(status)
        if not isinstance(status, There):
            continue
        if head is None:
            raise _contradiction(kernel, "it has a session")
        if not status.value.state.is_terminal and status.value.state is not SessionState.NEW_SCRIPT:
            raise _contradiction(kernel, f"its newest session is {status.value.state}")


def _contradiction(kernel: KernelRef, words: str) -> ServiceError:
    return ServiceError(
        f"Kaggle's answers about {kernel} contradict each other ({words}), so nothing was pushed.",
        hint="try again in a minute; `kgtts watch` does so by itself",
    )


def _unready_inputs(settings: Settings, context: RunContext) -> Decision | None:
    """Why the next session waits for what it would mount; None if all of it is ready."""
    for item in input_states(settings, context.kaggle):
        if item.words is not None:
            return Decision(
                RunState.WAITING, item.words, until=context.clock.now() + PREPARING, is_preparing=True
            )
    return None


def _due(settings: Settings, context: RunContext, seen: Pass, *, retry: bool, new: bool) -> tuple[Pass, bool]:
    """What is to be done about a run that was seen, and whether it is to begin another run."""
    _remember(context, seen.view)
    if seen.view is None:
        if not new:
            _check_forgotten(settings, context)
        return seen, True
    if not new:
        settings = seen.settings or settings
    if _begins_another(settings, seen.view, retry=retry, new=new):
        quota = (seen.quota or context.snapshot().quota()) if settings.accelerator.has_gpu else None
        decision = _on_newest(_decided(settings, context, None, quota), seen.view)
        return replace(seen, decision=decision, quota=quota, settings=settings), True
    if seen.decision.start is not None:
        _check_settings(settings, seen.view)
    return seen, False


def _check_forgotten(settings: Settings, context: RunContext) -> None:
    """See that this machine has pushed nothing of a run of which Kaggle shows nothing.

    Raises:
        UsageError: it has.
    """
    for kernel in base_kernel(settings).siblings:
        record = context.ledger.of_kernel(kernel)
        if record is not None and not record.is_deleted:
            raise UsageError(
                f"Kaggle shows nothing of run {record.run_id}, although {record.ref} was pushed from here.",
                hint="if you deleted it on Kaggle, `kgtts push --new` begins another run; if not, wait",
            )


def _remember(context: RunContext, view: RunView | None) -> None:
    """Tell the ledger what Kaggle shows of a session pushed from here, its answer lost or not."""
    if view is None:
        return
    newest = view.newest
    context.ledger.learn(view.run_id, view.history)
    for record in context.ledger.of_run(view.run_id):
        if record.run_id == view.run_id and record.number == newest.stamp.session:
            if record.outcome is not PushOutcome.PUSHED or record.ref != newest.ref:
                record = context.ledger.confirm(record, newest.ref)  # noqa: PLW2901  # The same, as it is now.
            status = newest.status
            context.ledger.observe(record, status.state, status.failure_message, context.clock.now())


def _begins_another(settings: Settings, view: RunView, *, retry: bool, new: bool) -> bool:
    """Whether a pass begins a run although there is one.

    Raises:
        UsageError: it should, but a session of the present one is alive.
    """
    if new:
        if view.is_alive:
            raise UsageError(
                f"Run {view.run_id} has a session that is not over: {view.newest.ref}.",
                hint=f"`kgtts watch` waits for its end; to stop it: kgtts stop {view.newest.ref}",
            )
        return True
    changed = view.newest.stamp.fingerprint != fingerprint(settings)
    return retry and changed and not view.is_alive and not view.has_saved


def _on_newest(decision: Decision, view: RunView) -> Decision:
    """Begin a run that follows another on the kernel of that run's newest session, whose stamp it replaces.

    So the newest session of both siblings belongs to the new run at once, whenever Kaggle says that they ran.
    """
    if decision.start is None:
        return decision
    return replace(decision, start=replace(decision.start, kernel=view.newest.ref.kernel))


def _check_settings(settings: Settings, view: RunView) -> None:
    """See that a run goes on with the settings that it was begun with.

    Raises:
        UsageError: they are others.
    """
    stamp = view.newest.stamp
    if stamp.fingerprint != fingerprint(settings):
        named = ", ".join(
            str(change)
            for change in find_changes(stamp.values, settings)
            if stamp.values and change.effect is Effect.NEW_RUN
        )
        raise UsageError(
            f"Settings of inputs, training or install have changed since run {view.run_id} was begun"
            f"{f': {named}' if named else ''}.",
            hint="put them back to go on with it, or begin another run: another kernel.slug, or --new",
        )


def _hand_over(settings: Settings, context: RunContext, seen: Pass, *, retry: bool) -> Pass:
    """Make what a session saved mountable; if that is impossible, the run goes on without it.

    Raises:
        ServiceError: Kaggle could not be reached; the next pass tries again.
        LocalError: this machine has no room for it.
    """
    view, start, base = seen.view, seen.decision.start, base_kernel(settings)
    assert view is not None
    assert view.stranded is not None
    assert start is not None
    stranded, home = view.stranded, context.home
    with tempfile.TemporaryDirectory() if home is None else nullcontext(home / _HANDOVER_FOLDER) as folder:
        rescue = Rescue(context.kaggle, context.clock, Path(folder))
        try:
            dataset = rescue.hand_over(base, stranded, above=view.global_step)
        except NotHandedOverError as error:
            view = view.without_stranded()
            decision = _decided(settings, context, view, seen.quota, retry=retry)
            words = (
                f"What session {stranded.stamp.session} kept, up to step {stranded.step}, is lost: "
                f"{error.message}"
            )
            return replace(seen, decision=decision, view=view, notes=(words,))
    if dataset is None:
        return replace(seen, decision=being_prepared(stranded, context.clock.now()))
    view = view.handed_over(dataset)
    start = replace(start, parent=view.resumable, needs_handover=False)
    return replace(seen, decision=replace(seen.decision, start=start), view=view)


def _shortened(settings: Settings, start: Start) -> Settings:
    """The settings with the session's own budget, and the time limit within it."""
    session = settings.session.model_copy(update={"budget": start.budget})
    most = max(timedelta(seconds=1), start.budget - settings.session.grace)
    training = settings.training.model_copy(update={"time_limit": min(settings.training.time_limit, most)})
    return settings.model_copy(update={"session": session, "training": training})


def _collect(context: RunContext, view: RunView, collecting: Collecting) -> Collected | None:
    """Bring the newest ended session's results, if they are not here yet."""
    session = view.resumable if view.is_alive else view.newest
    if session is None:
        return None
    folder = collecting.results.of_session(view.base.slug, view.run_id, session.stamp.session)
    if folder.is_complete(session.ref, view.run_id, session.step):
        return None
    target = Target(session.ref, context.ledger.of_kernel(session.ref))
    collected = collect(context, target, folder.path, collecting.choose, collecting.listener)
    if not collected.transfer.files:
        if session.has_saved:
            raise ServiceError(
                f"Kaggle lists no outputs of {session.ref}, although it gave its state.json.",
                hint="try again in a minute",
            )
        if session.status.state.is_success or collected.log is None:
            return collected  # Perhaps they are still being saved: the next pass looks again.
    folder.mark_complete(session.ref, view.run_id, session.step)
    return collected
