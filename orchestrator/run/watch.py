"""Follow a session to its end, and a run pass by pass to its own end.

Nothing here shows anything: what happens is told to a `Viewer`, which the command line implements.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from kernel_template.contract import EndReason
from orchestrator.download import TransferListener
from orchestrator.errors import (
    ForbiddenError,
    KgttsError,
    NotFoundError,
    RefusedError,
    RunFailedError,
    ServiceError,
    UsageError,
    WaitTimeoutError,
)
from orchestrator.models import SessionState, SessionStatus
from orchestrator.ports import Clock
from orchestrator.results import Results
from orchestrator.run.context import RunContext, Target
from orchestrator.run.decide import RunState
from orchestrator.run.follow import FollowEvent, follow_session
from orchestrator.run.look import Asked, Pass
from orchestrator.run.passes import Collecting, make_pass
from orchestrator.run.progress import Progress, advance, parse_event
from orchestrator.settings import Settings, select_outputs
from orchestrator.untrusted import terminal_line

_TAIL = 12  # Lines of its log that a failed session is shown with.
_LONGEST_WAIT = timedelta(minutes=15)
_SHORTEST_WAIT = timedelta(seconds=15)
_SHORTEST_PAUSE = timedelta(seconds=5)
_LONGEST_PREPARING_S, _FIRST_PREPARING_S = 1800.0, 5.0
_MOST_UNREACHED = 20  # Passes in a row that cannot reach Kaggle before a watch gives up: about four hours.


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """How a followed session ended: its last state, its progress and the end of its log."""

    target: Target
    status: SessionStatus
    progress: Progress
    tail: Sequence[str] = ()

    def failure(self) -> RunFailedError:
        """Describe a session that ended badly: its cause first, then the end of its log."""
        cause = self.progress.end_message or self.status.failure_message or "it gave no reason"
        end = "".join(f"\n  | {line}" for line in map(terminal_line, self.tail) if line.strip())
        return RunFailedError(
            f"{self.target.ref} ended with {self.status.state}: {terminal_line(cause)}{end}",
            hint=f"kgtts logs {self.target.ref}",
        )


def follow_to_end(
    context: RunContext,
    target: Target,
    show: Callable[[FollowEvent, Progress], None],
    *,
    timeout: timedelta | None = None,
) -> SessionEnd:
    """Follow a session to its end, however it ends.

    Args:
        context: Kaggle, the ledger and the clock.
        target: the session.
        show: is given each log line and each change of state, with the progress after it.
        timeout: how long to wait at most; None waits until the end.

    Raises:
        WaitTimeoutError: the time is over; the session continues.
    """
    progress, tail, status = Progress(), list[str](), SessionStatus(SessionState.QUEUED)
    for event in follow_session(context, target, timeout=timeout):
        if isinstance(event, SessionStatus):
            status = event
        elif (parsed := parse_event(event.text)) is None:
            tail = [*tail[1 - _TAIL :], event.text]
        else:
            progress = advance(progress, parsed)
        show(event, progress)
    return SessionEnd(target, status, progress, tail)


@dataclass(frozen=True, slots=True)
class Passes:
    """Passes over one run from this machine, which wait for each other if several processes make them.

    Attributes:
        settings: the run's settings; a missing owner is the account's.
        context: Kaggle, the ledger, the clock, and the folder in which passes take turns.
        listener: hears of the results that are downloaded; None downloads none.
        overrides: what of the settings comes from `--set`.
    """

    settings: Settings
    context: RunContext
    listener: TransferListener | None = None
    overrides: Sequence[str] = ()

    def make(self, asked: Asked | None = None) -> Pass:
        """Make one pass.

        Args:
            asked: what a person asks of it; None asks nothing but what `overrides` say.

        Raises:
            KgttsError: as `orchestrator.run.passes.make_pass`.
        """
        pull, collecting = self.settings.pull, None
        if self.listener is not None:
            choose = partial(select_outputs, include=pull.include, exclude=pull.exclude)
            collecting = Collecting(Results(Path(pull.to)), choose, self.listener)
        asked = Asked(overrides=self.overrides) if asked is None else asked
        return make_pass(self.settings, self.context, asked, collecting=collecting)

    def make_when_ready(self, asked: Asked, waiting: Callable[[str], None]) -> Pass:
        """Make a pass that waits, half an hour at most, while Kaggle prepares what the session would mount.

        Args:
            asked: what a person asks of it.
            waiting: is told once what there is to wait for.

        Raises:
            KgttsError: as `make`.
        """
        clock = self.context.clock
        deadline, pause, told = clock.monotonic() + _LONGEST_PREPARING_S, _FIRST_PREPARING_S, ""
        while True:
            done = self.make(asked)
            if not done.decision.is_preparing or clock.monotonic() >= deadline:
                return done
            if done.decision.reason != told:
                told = done.decision.reason
                waiting(told)
            clock.sleep(pause)
            pause = min(60.0, pause * 1.5)


class Viewer(Protocol):
    """Shows what happens while a run is watched."""

    def passed(self, done: Pass) -> None:
        """A pass was made."""
        ...

    def unreachable(self, error: ServiceError) -> None:
        """A pass could not reach Kaggle; another one will try."""
        ...

    def follow(self, target: Target, timeout: timedelta | None) -> SessionEnd:
        """Follow a session to its end, as `follow_to_end`."""
        ...


def watch(
    passes: Passes,
    viewer: Viewer,
    *,
    timeout: timedelta | None = None,
    first: Pass | None = None,
) -> None:
    """Make pass after pass and follow each session, until the run is over.

    Args:
        passes: makes the passes.
        viewer: is told what happens, and follows sessions.
        timeout: how long at most; None waits until the run is over.
        first: a pass that was made just now.

    Raises:
        RunFailedError: the run failed, stalled or hangs.
        WaitTimeoutError: the time is over; the run continues.
        ServiceError: Kaggle could not be reached for about four hours.
    """
    clock = passes.context.clock
    deadline = None if timeout is None else clock.monotonic() + timeout.total_seconds()

    def left() -> timedelta | None:
        return None if deadline is None else timedelta(seconds=max(0.0, deadline - clock.monotonic()))

    done, end, retries = first, None, _RetryBudget(viewer)
    was_seen = False
    while True:
        try:
            if done is None:
                done = passes.make(Asked(continues=was_seen, overrides=passes.overrides))
                viewer.passed(done)
            is_on_kaggle = done.view is not None and done.view.newest_on_kaggle is not None
            was_seen = was_seen or is_on_kaggle or done.pushed is not None
            if done.state is RunState.RUNNING and not _is_elsewhere(done):
                end = _followed(viewer, target_of(done, passes.context), left())
        except ServiceError as error:
            _pause(retries.after(error), left(), clock)
            done = None
            continue
        retries.renew()
        if done.state is RunState.WAITING or (done.state is RunState.RUNNING and _is_elsewhere(done)):
            until = done.decision.until
            wait = _LONGEST_WAIT if until is None else max(_SHORTEST_PAUSE, until - clock.now())
            _pause(min(wait, _LONGEST_WAIT), left(), clock)
        elif done.state is not RunState.RUNNING:
            if done.state is RunState.FAILED and end is not None:
                raise end.failure()  # With the end of the log that was just seen.
            if (failure := failure_of(done)) is not None:
                raise failure
            return
        done = None


def _is_elsewhere(done: Pass) -> bool:
    """Whether the run's newest session is one outside Kaggle, which nobody can follow there."""
    return done.pushed is None and done.view is not None and done.view.newest.ref.is_elsewhere


def _followed(viewer: Viewer, target: Target, left: timedelta | None) -> SessionEnd:
    """Follow a session; a 403 or a 404 says nothing about it, as it was seen a moment ago."""
    try:
        return viewer.follow(target, left)
    except (ForbiddenError, NotFoundError) as error:
        raise ServiceError(error.message, hint=error.hint) from error


class _RetryBudget:
    """Counts failed answers in a row; failing to see the run does not end it."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer, self._missed = viewer, 0

    def after(self, error: ServiceError) -> timedelta:
        """Return how long to wait after another failed answer.

        Raises:
            ServiceError: `error`, if too many have failed in a row.
        """
        self._missed += 1
        if self._missed > _MOST_UNREACHED:
            raise error
        self._viewer.unreachable(error)
        wait: timedelta = min(_LONGEST_WAIT, _SHORTEST_WAIT * 2**self._missed)
        return wait

    def renew(self) -> None:
        """Start counting again: there was an answer."""
        self._missed = 0


def _pause(span: timedelta, left: timedelta | None, clock: Clock) -> None:
    """Wait for `span` while nothing runs, or for the time that is `left` to wait.

    Raises:
        WaitTimeoutError: no time is left.
    """
    clock.sleep(min(span, left).total_seconds() if left is not None else span.total_seconds())
    if left is not None and left <= span:
        raise WaitTimeoutError(
            "The time to wait is over before another session could start.", hint="kgtts watch"
        )


def target_of(done: Pass, context: RunContext) -> Target:
    """Give the session that a pass pushed, or else found running."""
    if done.pushed is not None:
        return done.pushed.target
    assert done.view is not None
    ref = done.view.newest.ref
    return Target(ref, context.ledger.of_kernel(ref))


def failure_of(done: Pass) -> RunFailedError | None:
    """Give the error for a run that failed, stalled or hangs, with the next step; None for any other."""
    if done.state not in (RunState.FAILED, RunState.STALLED, RunState.ZOMBIE) or done.view is None:
        return None
    newest = done.view.newest
    ref, lost = newest.ref, done.view.unreachable
    if lost is not None and lost.is_elsewhere:
        return RunFailedError(done.decision.reason, hint="kgtts push")
    if ref.is_elsewhere:
        return RunFailedError(
            done.decision.reason, hint=f"read its log in {newest.folder}; `kgtts push` continues on Kaggle"
        )
    hint = f"read the log with `kgtts logs {ref}`, mend the cause, then continue with `kgtts push`"
    if newest.result is not None and newest.result.reason == EndReason.WRONG_PARENT:
        hint = f"kgtts logs {ref}; if nothing is left to continue from, `kgtts push --new` starts again"
    if done.state is RunState.ZOMBIE:
        hint = f"stop it with `kgtts stop {ref}`, or on its page: kgtts open {ref}"
    return RunFailedError(done.decision.reason, hint=hint)


def why_not_pushed(done: Pass) -> KgttsError:
    """Give the error for a pass that was to push a session and pushed none."""
    reason = done.decision.reason
    if done.state is RunState.WAITING:
        return RefusedError(
            reason, hint="`kgtts watch` waits and then continues; `kgtts quota` shows the week"
        )
    if done.state in (RunState.DONE, RunState.LIMITED):
        return UsageError(
            reason, hint="raise the target or the limit in kgtts.toml, or start another run with --new"
        )
    ref = done.view.newest.ref if done.view is not None else ""
    if done.state is RunState.ZOMBIE:
        return RunFailedError(
            reason, hint=f"stop it with `kgtts stop {ref}`, or on its page: kgtts open {ref}"
        )
    if _is_elsewhere(done):
        return UsageError(reason, hint="`kgtts watch` waits for its end and continues after it")
    return UsageError(
        reason, hint=f"`kgtts status {ref} --watch` follows it; `kgtts watch` also continues after it"
    )
