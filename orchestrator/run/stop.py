"""Stop the session of a run that is at work, and keep its kernel and what it saved.

Kaggle ends a session by an id that no call gives. The session itself knows it and tells it in the first event
of its log (`events.SessionEvent`). Kaggle then saves the outputs, which takes a while: the session is over,
and its run can be continued, only once they are all listed.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kernel_template.contract import EventName
from orchestrator import untrusted
from orchestrator.errors import ForbiddenError, RefusedError, ServiceError, UsageError, WaitTimeoutError
from orchestrator.kaggle.logs import log_lines
from orchestrator.models import KernelRef, SessionState
from orchestrator.run.context import RunContext, Target
from orchestrator.run.follow import session_status
from orchestrator.run.progress import parse_event
from orchestrator.run.reading import read_run

_ID_WITHIN_S = 120.0  # How long a session may take to tell its id, once it runs.
_SAVED_WITHIN_S = 1800.0  # How long Kaggle may take to save the outputs, which can be some gigabytes.
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 15.0
_EQUAL_LISTINGS = 2  # So many listings must agree before the outputs count as whole,
_EMPTY_LISTINGS = 4  # and so many if they are empty: a listing is often late.


@dataclass(frozen=True, slots=True)
class Stopped:
    """A session that was stopped.

    Attributes:
        target: the session.
        outputs: how many files it left.
        step: the step that the run can be continued from; 0 if nothing was saved, None if Kaggle does not
            tell.
        already: whether it had been stopped before.
    """

    target: Target
    outputs: int
    step: int | None
    already: bool = False


def session_at_work(context: RunContext, target: Target, run: str | None) -> Target:
    """The session to stop: the one that is at work in the run of `target`, whoever pushed it.

    Args:
        context: Kaggle, the ledger and the clock.
        target: the session that the person named.
        run: how the person named it; a version is taken at its word.

    Raises:
        ServiceError: Kaggle does not say.
    """
    if run is not None and "/" in run and KernelRef.parse(run).version is not None:
        return target
    view = read_run(context.snapshot(), target.ref.base)
    known = None if target.record is None else target.record.run_id
    if view is None or not view.is_alive or known not in (None, view.run_id):
        return target
    return Target(view.newest.ref, context.ledger.of_kernel(view.newest.ref))


def stop_session(
    context: RunContext, target: Target, *, rescue: bool = True, tell: Callable[[str], None] = lambda _: None
) -> Stopped:
    """Stop a session, and wait until all that it saved is listed.

    Args:
        context: Kaggle, the ledger and the clock.
        target: the session.
        rescue: whether the run continues from what a stopped session saved (`run.rescue`).
        tell: is told what is being waited for, in sentences.

    Raises:
        UsageError: the session is not running.
        RefusedError: Kaggle does not let these credentials stop it, or the session does not show its id.
        WaitTimeoutError: it has not told its id yet.
        ServiceError: Kaggle could not be reached, or has not saved the outputs within half an hour.
    """
    state = session_status(context, target).state
    already = state is SessionState.CANCEL_ACKNOWLEDGED
    if state.is_terminal and not already:
        raise _not_at_work(target.ref, state)
    if state not in (SessionState.CANCEL_REQUESTED, SessionState.CANCEL_ACKNOWLEDGED):
        _ask(context, target, _kaggle_session(context, target, state, tell))
        tell(f"Kaggle was asked to stop {target.ref}; waiting until its outputs are saved.")
    _wait_for_end(context, target, tell)
    outputs = _wait_for_outputs(context, target)
    return Stopped(target, outputs, _step(context, target, rescue=rescue), already)


def _kaggle_session(
    context: RunContext, target: Target, state: SessionState, tell: Callable[[str], None]
) -> int:
    """Kaggle's id of a session, as its log tells it.

    Raises:
        UsageError: the session has ended meanwhile.
        RefusedError: its log tells no id.
        WaitTimeoutError: it has not told its id within two minutes.
    """
    ref, clock = target.ref, context.clock
    until, pause = clock.monotonic() + _ID_WITHIN_S, _FIRST_PAUSE_S
    if state is SessionState.QUEUED:
        tell(f"{ref} is queued; it can be stopped once it runs and has told its id.")
    while (event := _first_event(context, ref, max(_FIRST_PAUSE_S, until - clock.monotonic()))) is None:
        if (state := session_status(context, target).state).is_terminal:
            raise _not_at_work(ref, state)
        if clock.monotonic() >= until:
            raise WaitTimeoutError(
                f"{ref} has not printed its id within {_ID_WITHIN_S:.0f} seconds, and Kaggle stops a session "
                "by nothing else.",
                hint=f"try again once it runs (kgtts status {ref}), or use its page: kgtts open {ref}",
            )
        clock.sleep(pause)
        pause = min(_LONGEST_PAUSE_S, 2 * pause)
    number = untrusted.count(event.get("kaggle_session"))
    if event["event"] != EventName.SESSION or number is None:
        raise RefusedError(
            f"The log of {ref} does not show Kaggle's id of the session, so no call can stop it: an older "
            "kgtts pushed it, or its machine does not know the id.",
            hint=f"stop it on its page: kgtts open {ref}",
        )
    return number


def _first_event(context: RunContext, ref: KernelRef, idle_s: float) -> dict[str, Any] | None:
    """The first event of a session's log; None if there is none yet, or the log cannot be read."""
    try:
        for line in log_lines(context.kaggle.log_stream(ref, idle_s=idle_s)):
            if (event := parse_event(line.text)) is not None:
                return event
    except (ServiceError, RefusedError):
        pass  # It is silent so far, was cut off, or is not there yet; the caller looks again.
    return None


def _ask(context: RunContext, target: Target, number: int) -> None:
    """Ask Kaggle to stop a session; an unclear answer counts as yes if the session is ending.

    Raises:
        RefusedError: these credentials may not stop it, or Kaggle refuses for another reason.
        ServiceError: Kaggle could not be reached, and the session goes on.
    """
    ref, own = target.ref, context.kaggle.username
    try:
        context.kaggle.cancel_session(number)
    except ForbiddenError as error:
        why = (
            f"it belongs to {ref.owner}, and you are {own}."
            if ref.owner.casefold() != own.casefold()
            else "only the login that started a session may stop it, and never a username with a key."
        )
        raise RefusedError(
            f"Kaggle does not let this login stop {ref} (403): {why}",
            hint=f"stop it on its page: kgtts open {ref}; or log in with `kgtts kaggle auth login` or an "
            "access token (KAGGLE_API_TOKEN), and try again",
        ) from error
    except (RefusedError, ServiceError):
        state = session_status(context, target).state
        if not state.is_terminal and state is not SessionState.CANCEL_REQUESTED:
            raise


def _wait_for_end(context: RunContext, target: Target, tell: Callable[[str], None]) -> None:
    """Wait until a session is over, and tell how many outputs Kaggle has saved so far.

    Raises:
        ServiceError: it is not over within half an hour.
    """
    clock = context.clock
    until, pause, told = clock.monotonic() + _SAVED_WITHIN_S, _FIRST_PAUSE_S, 0
    state, problem = SessionState.CANCEL_REQUESTED, ""
    while clock.monotonic() < until:
        try:
            state = session_status(context, target).state
            if state.is_terminal:
                return
            if (saved := len(context.kaggle.outputs(target.ref))) > told:
                told = saved
                tell(f"Kaggle has saved {saved} files so far.")
        except (ServiceError, RefusedError) as error:
            problem = f" {error.message}"
        clock.sleep(pause)
        pause = min(_LONGEST_PAUSE_S, 2 * pause)
    raise ServiceError(
        f"Kaggle was asked to stop {target.ref}, and half an hour later it is {state}.{problem}",
        hint=f"look again later: kgtts status {target.ref}",
    )


def _wait_for_outputs(context: RunContext, target: Target) -> int:
    """The number of a session's outputs, once two listings agree.

    Raises:
        ServiceError: they do not agree within half an hour.
    """
    clock = context.clock
    until, pause = clock.monotonic() + _SAVED_WITHIN_S, _FIRST_PAUSE_S
    before, equal = None, 0
    while clock.monotonic() < until:
        try:
            names = sorted(file.name for file in context.kaggle.outputs(target.ref))
        except (ServiceError, RefusedError):
            before, equal = None, 0
            with suppress(ServiceError, RefusedError):
                session_status(context, target)  # It tells if the kernel was deleted from here meanwhile.
        else:
            before, equal = names, equal + 1 if names == before else 1
            if equal >= (_EQUAL_LISTINGS if names else _EMPTY_LISTINGS):
                return len(names)
        clock.sleep(pause)
        pause = min(_LONGEST_PAUSE_S, 2 * pause)
    raise ServiceError(
        f"{target.ref} is stopped, but Kaggle does not list its outputs reliably.",
        hint=f"look again later: kgtts status {target.ref}",
    )


def _step(context: RunContext, target: Target, *, rescue: bool) -> int | None:
    """The step that the run can be continued from; None if Kaggle does not say, or it is no run of kgtts."""
    try:
        view = read_run(context.snapshot(), target.ref.base)
    except ServiceError:
        return None
    if view is None:
        return None
    return view.step_to_continue_from if rescue else view.global_step


def _not_at_work(ref: KernelRef, state: SessionState) -> UsageError:
    return UsageError(
        f"{ref} is not running: Kaggle says {state}.",
        hint=f"there is nothing to stop; `kgtts status {ref}` shows its end and what its run needs",
    )
