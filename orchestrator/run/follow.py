"""Follow a session to its end with few calls: by its live log, or else by polling its state.

A live log costs one call as long as it lasts, and its end announces the session's. Kaggle drops it after some
idle minutes and then replays it from its start (kaggle 2.2.4, `kernels_logs_stream`).
"""

from collections.abc import Callable, Iterator
from datetime import timedelta

from orchestrator.errors import (
    ForbiddenError,
    NotFoundError,
    RefusedError,
    ServiceError,
    SilentLogError,
    UsageError,
    WaitTimeoutError,
)
from orchestrator.kaggle.logs import LineAssembler, LogLine, log_lines
from orchestrator.models import KernelRef, LogEvent, SessionState, SessionStatus
from orchestrator.ports import Clock, Kaggle
from orchestrator.run.context import FollowCost, RunContext, Target
from orchestrator.run.replay import Replay

_GROWTH = 2.0  # Of the pause between two polls.
_FIRST_LOOK_S = 0.2
_LONGEST_LOOK_S = 60.0
# The end of a log is soon followed by that of its session: Kaggle saves the outputs in between.
_ENDING_FOR_S = 45.0
_ENDING_LOOK_S = 4.5
_WITNESSED_LOOK_S = 1200.0  # Between polls while a live log shows that the session goes on.

_IDLE_S = 300.0  # Longer than Kaggle leaves an idle connection open, so that it costs one call, not two.
_STEADY_S = 60.0  # A connection that lasted this long is reopened at once.
_FIRST_STREAM_S = 1.0  # Between two tries to open a live log; doubled after each one that did not last.
_LONGEST_TALKATIVE_S = 60.0  # If short connections still bring new lines.
_LONGEST_STREAM_S = 600.0
_OVER_STREAM_S = 30.0  # After a log that ended although its session did not.

_STORED_PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # While Kaggle stores a log, it may give less than the live log did.
_LONGEST_UNSEEN_S = 4 * 3600.0  # How long a state that cannot be read is waited for.
# How long a state may stay the same; then somebody has to look at the whole run. A version that was only
# saved on the website is never started.
_LONGEST_IN_STATE_S = {
    SessionState.NEW_SCRIPT: 3600.0,
    SessionState.QUEUED: 24 * 3600.0,
    SessionState.RUNNING: 13 * 3600.0,
    SessionState.CANCEL_REQUESTED: 14 * 3600.0,
}
_MOST_ASKED_FOR_S = 600.0  # How long Kaggle may ask to be left alone.

_CATCH_UP_IDLE_S = 0.4  # A pause of this length marks the end of a live log's replay.
_CATCH_UP_LOOK_S = 1.0  # How often a replay without a pause is checked for having become live.

FollowEvent = LogLine | SessionStatus


def session_status(context: RunContext, target: Target, *, retry: bool = True) -> SessionStatus:
    """The session's state, which the ledger remembers.

    Raises:
        UsageError: its kernel was deleted from here.
        NotFoundError, ForbiddenError, ServiceError: the state cannot be read.
    """
    known = context.ledger.of_kernel(target.ref)
    if known is not None and target.record is not None and known.run_id != target.record.run_id:
        raise _deleted(target)  # Version numbers start again, so this is another session.
    try:
        with target.looked_for():
            status = context.kaggle.session_status(target.ref, retry=retry)
    except (NotFoundError, ForbiddenError) as error:
        if known is not None and known.is_deleted:
            raise _deleted(target) from error
        raise
    if target.record is not None:
        context.ledger.observe(target.record, status.state, status.failure_message, context.clock.now())
    return status


def _deleted(target: Target) -> UsageError:
    run = f" with run {target.record.run_id}" if target.record is not None else ""
    return UsageError(
        f"{target.ref.kernel}{run} was deleted from here.",
        hint="`kgtts push` begins another run",
    )


def follow_session(
    context: RunContext, target: Target, *, timeout: timedelta | None = None
) -> Iterator[FollowEvent]:
    """Follow a session to its end: lines of its log and changes of its state, the last one terminal.

    A dropped stream or a failed look at the state is tried again: neither is a failed run. A failed run is a
    value, the terminal `SessionStatus`.

    Raises:
        WaitTimeoutError: `timeout` is over; the session goes on.
        ServiceError: the first look failed, or the log of the ended session cannot be read.
    """
    begun, calls = context.clock.monotonic(), context.kaggle.calls
    timeout_s = None if timeout is None else timeout.total_seconds()

    def look(retry: bool) -> SessionStatus:  # noqa: FBT001  # It has no other argument.
        return session_status(context, target, retry=retry)

    try:
        yield from Following(context.kaggle, context.clock, target.ref, look, timeout_s).events()
    finally:
        context.cost += FollowCost(context.kaggle.calls - calls, context.clock.monotonic() - begun)


def session_log(context: RunContext, ref: KernelRef, state: SessionState) -> Iterator[LogLine]:
    """The lines of a session's log as far as it goes now."""
    return log_lines(_log_so_far(context, ref, state))


def _log_so_far(context: RunContext, ref: KernelRef, state: SessionState) -> Iterator[LogEvent]:
    if state is SessionState.RUNNING:
        try:
            yield from _past(context.clock, context.kaggle.log_stream(ref, idle_s=_CATCH_UP_IDLE_S))
        except (ServiceError, RefusedError):
            return  # A progress that cannot be read is no reason to hide the state.
    elif state.is_terminal:
        yield from context.kaggle.stored_log(ref)


def _past(clock: Clock, events: Iterator[LogEvent]) -> Iterator[LogEvent]:
    """The part of a live log that was said before now.

    The log of a session that never pauses would go on for ever: once the log's own time passes no faster
    than ours, its events are not the past any more.
    """
    looked, then = clock.monotonic(), 0.0
    for event in events:
        yield event
        now = clock.monotonic()
        if now - looked >= _CATCH_UP_LOOK_S:
            if event.time_s - then <= 2 * (now - looked):
                return
            looked, then = now, event.time_s


class Following:
    """Follows one session once.

    Args:
        kaggle: where its log is read.
        clock: time.
        ref: the session.
        look: gives its state; its argument says whether a failed call is retried.
        timeout_s: how long to follow at most, in seconds.
    """

    def __init__(
        self,
        kaggle: Kaggle,
        clock: Clock,
        ref: KernelRef,
        look: Callable[[bool], SessionStatus],
        timeout_s: float | None,
    ) -> None:
        self._kaggle, self._clock, self._ref, self._look = kaggle, clock, ref, look
        self._deadline = None if timeout_s is None else clock.monotonic() + timeout_s
        self._lines, self._replay = LineAssembler(), Replay()
        self._seen_at = clock.monotonic()  # When the state was last read.
        self._status: SessionStatus | None = None
        self._since = clock.monotonic()  # When it changed.
        self._reached = True  # Whether the latest poll was answered.
        self._ran = False
        self._look_s, self._looked_at = _FIRST_LOOK_S, 0.0
        self._next_look = 0.0
        self._stream_s, self._next_stream = _FIRST_STREAM_S, 0.0
        self._log_over_at: float | None = None

    def events(self) -> Iterator[FollowEvent]:
        """Lines of the log and changes of the state, the last one terminal.

        Raises:
            WaitTimeoutError: the time is over; the session goes on.
            ServiceError: the first poll failed, no other has succeeded for hours, the state stays the same
                for longer than it can, or the log of the session that ended cannot be read.
            CredentialsError, RefusedError: trying again would not help.
        """
        while True:
            status = self._next_status()
            if status is not None:
                if status.state.is_terminal:
                    yield from self._rest()
                    yield from self._lines.finish()
                    yield status
                    return
                yield status
            self._check_deadline()
            if self._is_streaming and self._clock.monotonic() >= self._next_stream:
                yield from self._stream()
            else:
                self._sleep_until(
                    min(self._next_look, self._next_stream) if self._is_streaming else self._next_look
                )

    @property
    def _is_streaming(self) -> bool:
        return self._status is not None and self._status.state is SessionState.RUNNING

    def _next_status(self) -> SessionStatus | None:
        """Poll the state if that is due; gives it if it has changed."""
        before = self._status
        if before is not None and self._clock.monotonic() < self._next_look:
            return None
        asked_for_s = 0.0
        try:
            self._status = self._look(before is None)
        except (ServiceError, ForbiddenError, NotFoundError) as error:
            # A failed poll is not a failed run, but a session that was never seen cannot be followed.
            now = self._clock.monotonic()
            if before is None:
                raise
            if now - self._seen_at > _LONGEST_UNSEEN_S:
                raise ServiceError(
                    f"Kaggle has not shown the state of {self._ref} for hours: {error.message}",
                    hint=f"the session may still be running; kgtts status {self._ref} --watch",
                ) from error
            wanted_s = error.retry_after_s if isinstance(error, ServiceError) else None
            self._reached, asked_for_s = False, min(wanted_s or 0.0, _MOST_ASKED_FOR_S)
        else:
            self._seen_at = self._clock.monotonic()
            if not self._reached or self._status != before:
                self._stream_s, self._next_stream = _FIRST_STREAM_S, 0.0
            if self._status != before:
                self._look_s, self._since = _FIRST_LOOK_S, self._seen_at
            self._reached = True
            self._check_age()
        self._looked_at = self._clock.monotonic()
        self._next_look = self._looked_at + max(self._look_s, asked_for_s)
        self._look_s = min(self._longest_look_s, self._look_s * _GROWTH)
        return self._status if self._status != before else None

    @property
    def _longest_look_s(self) -> float:
        ending = self._log_over_at is not None and self._clock.monotonic() - self._log_over_at < _ENDING_FOR_S
        return _ENDING_LOOK_S if ending else _LONGEST_LOOK_S

    def _stream(self) -> Iterator[LogLine]:
        """Give the live log as long as it lasts, and schedule the next poll and the next connection."""
        self._ran = True
        begun, talked, silent, asked_for_s = self._clock.monotonic(), False, False, 0.0
        left_s = _IDLE_S if self._deadline is None else self._deadline - begun
        idle_s = max(0.1, min(_IDLE_S, left_s))
        try:
            for event in self._replay.news(self._kaggle.log_stream(self._ref, idle_s=idle_s, retry=False)):
                talked = True
                yield from self._lines.feed(event)
                self._check_deadline()
        except SilentLogError:
            silent = True
        except (ServiceError, RefusedError) as error:
            asked_for_s = (error.retry_after_s or 0.0) if isinstance(error, ServiceError) else 0.0
        else:
            self._log_is_over()
            return
        now = self._clock.monotonic()
        if talked:
            self._log_over_at = None
        if now - begun >= _STEADY_S:
            self._stream_s, self._next_stream = _FIRST_STREAM_S, now if silent else now + _FIRST_STREAM_S
            self._next_look = now if silent else self._looked_at + _WITNESSED_LOOK_S
        else:
            self._next_stream = now + max(self._stream_s, min(asked_for_s, _MOST_ASKED_FOR_S))
            longest_s = _LONGEST_TALKATIVE_S if talked else _LONGEST_STREAM_S
            self._stream_s = min(longest_s, self._stream_s * 2)
            # A session that writes is running: its end shows when the log is read again.
            self._next_look = (self._next_stream if talked else self._looked_at) + self._look_s

    def _log_is_over(self) -> None:
        """The session must be about to end; if it goes on, the log is tried again from time to time."""
        now = self._clock.monotonic()
        if self._log_over_at is None:
            self._log_over_at, self._look_s = now, _FIRST_LOOK_S
        self._next_look = now
        self._next_stream = now + max(_OVER_STREAM_S, self._stream_s)
        self._stream_s = min(_LONGEST_STREAM_S, max(_OVER_STREAM_S, self._stream_s) * 2)

    def _rest(self) -> Iterator[LogLine]:
        """Give what the live log did not, from the log that is stored at the end."""
        for pause_s in (*_STORED_PAUSES_S, None):
            is_last = pause_s is None or self._is_late
            try:
                stored = self._kaggle.stored_log(self._ref)
            except (ServiceError, ForbiddenError, NotFoundError):
                if is_last:
                    raise
            else:
                for event in self._replay.news(stored):
                    yield from self._lines.feed(event)
                missing = self._replay.behind or (self._ran and not stored)
                if is_last or not missing or self._log_over_at is not None:
                    return
            self._sleep_until(self._clock.monotonic() + (pause_s or 0.0))

    def _sleep_until(self, moment: float) -> None:
        if self._deadline is not None:
            moment = min(moment, self._deadline)
        self._clock.sleep(max(0.0, moment - self._clock.monotonic()))

    @property
    def _is_late(self) -> bool:
        return self._deadline is not None and self._clock.monotonic() >= self._deadline

    def _check_age(self) -> None:
        state = SessionState.RUNNING if self._status is None else self._status.state
        if not state.is_terminal and self._seen_at - self._since > _LONGEST_IN_STATE_S[state]:
            hours = round(_LONGEST_IN_STATE_S[state] / 3600)
            raise ServiceError(
                f"Kaggle has said for {hours} hour{'' if hours == 1 else 's'} that {self._ref} is {state}: "
                "kgtts waits no longer.",
                hint=f"kgtts status {self._ref}",
            )

    def _check_deadline(self) -> None:
        if self._is_late:
            raise WaitTimeoutError(
                f"The time to wait is over; {self._ref} goes on.", hint=f"kgtts status {self._ref} --watch"
            )
