"""One pass over a run: read it from Kaggle, decide, collect, and push the next session if it is time.

A pass takes seconds, needs nothing from an earlier one, and does nothing twice: whatever the last pass was
killed in the middle of, the next one sees on Kaggle.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.download import TransferListener
from orchestrator.errors import KgttsError, LocalError, RefusedError, ServiceError
from orchestrator.locks import machine_lock
from orchestrator.models import KernelRef
from orchestrator.results import OwedSession, Results, SessionFolder
from orchestrator.run.collect import Collected, FolderTakenError, collect
from orchestrator.run.context import RunContext, Target
from orchestrator.run.decide import Decision, RunState, Start
from orchestrator.run.handover import parent_of, resume_from
from orchestrator.run.look import Asked, Pass, base_kernel
from orchestrator.run.packages import lost_by_release
from orchestrator.run.prepare import HANDOVER_FOLDER, Prepared, StrangerOnTopError, prepare
from orchestrator.run.push import make_stamp, new_run_id, push_session
from orchestrator.run.rescue import drop_leftovers
from orchestrator.run.snapshot import NotThere
from orchestrator.run.view import RunView
from orchestrator.settings import Settings, merged

# Kaggle's words for "not now" (kaggle-api issue threads): waiting helps, so the run has not failed.
_NOT_NOW = re.compile(r"maximum .*(session count|quota)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Collecting:
    """Where a pass puts the outputs of an ended session, and which it takes."""

    results: Results
    choose: Callable[[Sequence[str]], Sequence[str]]
    listener: TransferListener


def make_pass(
    settings: Settings,
    context: RunContext,
    asked: Asked = Asked(),  # noqa: B008 - it cannot be changed
    *,
    collecting: Collecting | None = None,
) -> Pass:
    """Make one pass.

    Args:
        settings: the settings; the owner is filled in if it is missing.
        context: Kaggle, the ledger and the clock. Passes with the same `home` take turns, and what a killed
            session saved lies there while it is handed over; without one, in the system's temporary folder.
        asked: what a person asks of it.
        collecting: where results go; None collects nothing.

    Raises:
        UsageError: the settings are not those that the run was begun with, another run is asked for while a
            session of it is alive, Kaggle no longer shows a run that was pushed from here, or somebody else's
            version is on top of the kernel; then, what ended sessions left is brought first.
        ServiceError: Kaggle could not be read, or does not say; nothing was changed.
        KgttsError: Kaggle refused for another reason than quota.
    """
    settings = settings.with_owner(context.kaggle.username)
    name = f"{context.kaggle.service} {base_kernel(settings)}"
    try:
        with machine_lock(context.home, name) if context.home is not None else nullcontext():
            prepared = prepare(settings, context, asked)
            due = prepared.due
            if due.decision.start is not None:
                if collecting is not None and due.view is not None:
                    _owe(due.view, collecting.results)
                due = _push(due.settings or settings, context, asked, prepared)
    except StrangerOnTopError as error:
        if collecting is not None and (view := error.seen.view) is not None:
            with suppress(KgttsError):  # A later pass tries; the version has to be named now.
                _collect(context, error.seen, view, collecting)
        raise
    if collecting is None or due.view is None:
        return due
    return _collect(context, due, due.view, collecting)


def _push(settings: Settings, context: RunContext, asked: Asked, prepared: Prepared) -> Pass:
    """Push the session that is due; a refusal for want of quota or of a free machine only delays it."""
    due = prepared.due
    view, start = due.view, due.decision.start
    assert start is not None
    stamped = () if view is None or asked.new else view.newest.stamp.overrides
    known = None if prepared.begins else view
    stamp = make_stamp(
        settings,
        start.kernel,
        run_id=new_run_id() if known is None else known.run_id,
        session=start.session,
        parent=None if start.parent is None else start.parent.ref,
        overrides=merged(stamped, asked.overrides),
        failed_downloads=0 if known is None else known.failed_downloads,
    )
    try:
        pushed = push_session(
            _shortened(settings, start),
            stamp,
            context,
            resume=resume_from(start.parent, start.downloads),
            before=() if known is None else known.unknown_to(start.parent),
        )
    except RefusedError as error:
        if not _NOT_NOW.search(error.message):
            raise
        waiting = Decision(RunState.WAITING, f"{error.message} The next pass tries again.")
        return replace(due, decision=waiting, view=known)
    if context.home is not None and known is not None:
        drop_leftovers(context.home / HANDOVER_FOLDER, known.run_id)
    lost = lost_by_release(settings.install.packages)
    beside = _beside(pushed.target.ref, prepared.heads.get(start.kernel, 0))
    warnings = (*pushed.warnings, *beside, *([lost] if lost else []))
    return replace(due, view=known, pushed=replace(pushed, warnings=warnings))


def _beside(pushed: KernelRef, head: int) -> Sequence[str]:
    """Name what was pushed to the kernel from elsewhere after its newest version was read."""
    return [
        f"{pushed.at(version)} was pushed at the same moment from elsewhere, so two sessions may be at work. "
        f"The run goes on with {pushed}; `kgtts stop {pushed.at(version)}` ends the other."
        for version in range(head + 1, pushed.version or 0)
    ]


def _shortened(settings: Settings, start: Start) -> Settings:
    """The settings with the session's own budget, and the time limit within it."""
    session = settings.session.model_copy(update={"budget": start.budget})
    most = max(timedelta(seconds=1), start.budget - settings.session.grace)
    training = settings.training.model_copy(update={"time_limit": min(settings.training.time_limit, most)})
    return settings.model_copy(update={"session": session, "training": training})


def _owe(view: RunView, results: Results) -> None:
    """Remember whose results are still to come, before a push gives the run another newest session."""
    session = view.newest_on_kaggle
    if session is None:
        return
    folder = results.of_session(view.base.slug, view.run_id, session.stamp.session)
    if not folder.is_complete(session.ref, view.run_id, session.step):
        with suppress(LocalError):  # The results themselves will say so.
            results.owe(session.ref, view.run_id, session.stamp.session, session.step)


def _collect(context: RunContext, due: Pass, view: RunView, collecting: Collecting) -> Pass:
    """Bring the newest ended session's results, and those of earlier ones that could not be brought then.

    Raises:
        ServiceError, LocalError: they could not be brought, and nothing was pushed; the next pass tries.
    """
    results, slug, run_id = collecting.results, view.base.slug, view.run_id
    newest = (
        view.resumable if view.is_alive and view.newest == view.newest_on_kaggle else view.newest_on_kaggle
    )
    if newest is None and view.newest.parent is not None:  # It had saved when the session was pushed.
        newest = parent_of(context.snapshot(), view.newest)
    wanted = (
        []
        if newest is None or newest.ref.is_elsewhere
        else [OwedSession(newest.ref, newest.stamp.session, newest.step)]
    )
    wanted += [item for item in results.owed(slug, run_id) if item not in wanted]
    collected, problem = None, None
    for session in wanted:
        try:
            folder = results.of_session(slug, run_id, session.number)
            collected = _settle(context, session, run_id, folder, collecting) or collected
        except FolderTakenError as error:
            results.settle(session.ref, run_id, session.number)
            due = replace(due, notes=(*due.notes, f"{error.message} `{error.hint}` brings them."))
        except KgttsError as error:
            if isinstance(error, RefusedError) and _is_gone(context, session.ref):
                results.settle(session.ref, run_id, session.number)
            problem = problem or error
    if problem is None:
        return replace(due, collected=collected)
    words = f"The results could not be downloaded yet: {problem.message}"
    if due.pushed is not None:  # That is what has to be known; the next pass collects.
        return replace(due, collected=collected, notes=(*due.notes, words))
    if isinstance(problem, RefusedError):  # The session was seen to have ended a moment ago.
        raise ServiceError(words, hint="the next pass tries again") from problem
    raise problem


def _settle(
    context: RunContext, session: OwedSession, run_id: str, folder: SessionFolder, collecting: Collecting
) -> Collected | None:
    """Bring a session's results; None if they are here."""
    brought = None
    if not folder.is_complete(session.ref, run_id, session.step):
        brought = _bring(context, session, run_id, folder, collecting)
    if folder.is_complete(session.ref, run_id, session.step):
        collecting.results.settle(session.ref, run_id, session.number)
    return brought


def _is_gone(context: RunContext, ref: KernelRef) -> bool:
    """Whether two answers agree that a kernel does not exist."""
    return isinstance(context.snapshot().kernel(ref.kernel), NotThere)


def _bring(
    context: RunContext, session: OwedSession, run_id: str, folder: SessionFolder, collecting: Collecting
) -> Collected:
    target = Target(session.ref, context.ledger.of_kernel(session.ref))
    collected = collect(context, target, folder.path, collecting.choose, collecting.listener, run=run_id)
    if collected.is_empty and session.step:
        raise ServiceError(
            f"Kaggle lists no outputs of {session.ref}, although it gave its state.json.",
            hint="try again in a minute",
        )
    if collected.is_empty and not collected.status.state.is_success and collected.log is not None:
        folder.mark_complete(session.ref, run_id, session.step)  # Killed, and left nothing: seen once.
    return collected
