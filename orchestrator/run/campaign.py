"""The life of a run after its push: found, observed, waited for, collected, cancelled.

`orchestrator.run.push` pushes; it is apart because it needs settings and templates, which are slow to import.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import NotFoundError, ServiceError, UsageError
from orchestrator.kaggle.logs import LogLine, log_lines
from orchestrator.models import KernelInfo, KernelRef, LogEvent, SessionState, SessionStatus, SessionSummary
from orchestrator.ports import Clock, Kaggle
from orchestrator.render.stamp import RunStamp, read_stamp
from orchestrator.results import Results, SessionFolder
from orchestrator.run.collect import Outline, bring, check_ended, outline
from orchestrator.run.follow import FollowEvent, Following, Load
from orchestrator.run.ledger import Ledger, PushOutcome, SessionRecord
from orchestrator.run.progress import Progress, parse_event, read_progress
from orchestrator.run.state import STATE_FILE, read_state
from orchestrator.run.view import observe

if TYPE_CHECKING:
    from orchestrator.download import Transfer, TransferListener

_CATCH_UP_IDLE_S = 0.4  # How long a pause marks the end of the live log's replay.
_CATCH_UP_LOOK_S = 1.0  # How often a replay without a pause is asked whether it has become live.
_TAIL = 12


@dataclass(frozen=True, slots=True)
class Target:
    """The session that a command speaks of: a kernel's version, and what the ledger knows of it."""

    ref: KernelRef
    record: SessionRecord | None

    @property
    def url(self) -> str:
        """The page on Kaggle."""
        version = f"?scriptVersionNumber={self.ref.version}" if self.ref.version else ""
        return f"https://www.kaggle.com/code/{self.ref.owner}/{self.ref.slug}{version}"


@dataclass(frozen=True, slots=True)
class Report:
    """One look at a session: its state, its progress and the end of its log."""

    target: Target
    status: SessionStatus
    progress: Progress
    tail: Sequence[str]
    latest_version: int | None
    stamp: RunStamp | None = None
    history: Sequence[SessionSummary] = ()

    @property
    def is_latest(self) -> bool:
        """Whether Kaggle's newest version of the kernel is the one looked at."""
        return self.latest_version in (None, self.target.ref.version)


@dataclass(frozen=True, slots=True)
class Collected:
    """What a pull brought: the files, the session's log, and how many outputs were not chosen."""

    target: Target
    status: SessionStatus
    folder: Path
    transfer: "Transfer"
    log: Path | None
    left_out: int


class Campaign:
    """What can be done with runs; one object per command."""

    def __init__(self, kaggle: Kaggle, ledger: Ledger, clock: Clock) -> None:
        self._kaggle = kaggle
        self._ledger = ledger
        self._clock = clock
        self._load = Load()

    def find(self, text: str | None, *, default: Callable[[], KernelRef | None] = lambda: None) -> Target:
        """The session meant by a run id, by `owner/slug[/version]`, or by nothing (the newest).

        Args:
            text: what the person wrote.
            default: the kernel to fall back on where nothing was written and nothing is remembered.

        Raises:
            UsageError: there is nothing that fits.
        """
        if text is None:
            record = self._ledger.newest()
            if record is not None:
                return self._settled(record)
            ref = default()
            if ref is not None:
                try:
                    return self._of_kernel(ref)
                except NotFoundError as error:
                    raise NotFoundError(
                        f"{ref}, which kgtts.toml names, has not been pushed yet.", hint="kgtts push"
                    ) from error
            raise UsageError(
                "No run is known on this machine.",
                hint="start one with `kgtts push`, or name one as OWNER/SLUG",
            )
        if "/" in text:
            return self._of_kernel(KernelRef.parse(text))
        records = self._ledger.of_run(text)
        runs = {record.run_id for record in records}
        if len(runs) != 1:
            found = f"fits {len(runs)} runs" if runs else "is no run that this machine knows"
            raise UsageError(
                f"{text!r} {found}.", hint="`kgtts list` shows them; or name the kernel as OWNER/SLUG"
            )
        return self._settled(records[0])

    def _of_kernel(self, ref: KernelRef) -> Target:
        """The kernel's session, or the newest of the run that settings name so (its kernels are siblings)."""
        known = [record for each in (ref, *ref.siblings) if (record := self._ledger.of_kernel(each))]
        if ref.version is not None:
            return Target(ref, known[0] if known and known[0].ref == ref else None)
        if known:
            record = max(known, key=lambda each: each.pushed_at)
            return Target(record.ref, record)
        try:
            self._kaggle.kernel(ref)
        except NotFoundError:
            view = observe(self._kaggle, ref)
            if view is None:
                raise
            return Target(view.newest.ref, None)
        return Target(ref, None)

    def _settled(self, record: SessionRecord) -> Target:
        """The record's session; a push whose answer was lost is looked up first."""
        if record.outcome is PushOutcome.INTENDED:
            from orchestrator.run.push import find_push  # noqa: PLC0415  # Slow, and hardly ever needed.

            found = find_push(self._kaggle, record)
            if found is None:
                self._ledger.refuse(record, "the push did not arrive")
                raise ServiceError(
                    f"The push of {record.ref} never arrived.", hint="`kgtts push` again is safe"
                )
            record = self._ledger.confirm(record, found.ref)
        return Target(record.ref, record)

    def report(self, target: Target) -> Report:
        """Look at a session once; the ledger remembers what was seen."""
        info = self._kaggle.kernel(target.ref.kernel)
        target = _with_version(target, info)
        status = self.status(target)
        lines = [line.text for line in log_lines(self._log_so_far(target.ref, status))]
        tail = [line for line in lines if parse_event(line) is None][-_TAIL:]
        stamp = read_stamp(info.source or "") if info.latest_version == target.ref.version else None
        history = self._history(target, status, stamp)
        progress = read_progress(lines)
        return Report(target, status, progress, tail, info.latest_version, stamp, history)

    def _history(
        self, target: Target, status: SessionStatus, stamp: RunStamp | None
    ) -> Sequence[SessionSummary]:
        """The run's sessions so far, from the newest state there is: the session's own or its parent's."""
        if stamp is None:
            return ()
        places = [target.ref] if status.state.is_terminal else []
        if stamp.parent is not None:
            places.append(KernelRef.parse(stamp.parent))
        for place in places:
            result = read_state(self._kaggle.output_file(place, STATE_FILE))
            if result is not None and result.run == stamp.id:
                self._ledger.learn(stamp.id, result.history)
                return result.history
        return ()

    def status(self, target: Target, *, retry: bool = True) -> SessionStatus:
        """The session's state, which the ledger remembers."""
        status = self._kaggle.session_status(target.ref, retry=retry)
        if target.record is not None:
            self._ledger.observe(target.record, status.state, status.failure_message, self._clock.now())
        return status

    def log(self, target: Target) -> Iterator[LogLine]:
        """The lines of the log as far as it goes now."""
        return log_lines(self._log_so_far(target.ref, self.status(target)))

    def _log_so_far(self, ref: KernelRef, status: SessionStatus) -> Iterator[LogEvent]:
        if status.state is SessionState.RUNNING:
            try:
                yield from self._replayed(self._kaggle.log_stream(ref, idle_s=_CATCH_UP_IDLE_S))
            except (ServiceError, NotFoundError):
                return  # A progress that cannot be read is no reason to hide the state.
        elif status.state.is_terminal:
            yield from self._kaggle.stored_log(ref)

    def _replayed(self, events: Iterator[LogEvent]) -> Iterator[LogEvent]:
        """The part of a live log that was said before now.

        A session that never pauses would go on for ever: where the log's own time passes no faster than
        ours, it is not the past any more.
        """
        looked, then = self._clock.monotonic(), 0.0
        for event in events:
            yield event
            now = self._clock.monotonic()
            if now - looked >= _CATCH_UP_LOOK_S:
                if event.time_s - then <= 2 * (now - looked):
                    return
                looked, then = now, event.time_s

    def follow(self, target: Target, *, timeout: timedelta | None = None) -> Iterator[FollowEvent]:
        """Follow a session to its end: lines of its log and changes of its state, the last one terminal.

        A dropped stream or a failed look at the state is tried again; neither is a failed run. A failed
        run is a value: the terminal `SessionStatus`.

        Raises:
            WaitTimeoutError: `timeout` is over; the session goes on.
            ServiceError: the first look failed, or the log of the ended session cannot be read.
        """
        begun, calls = self._clock.monotonic(), self._kaggle.calls
        timeout_s = None if timeout is None else timeout.total_seconds()

        def look(retry: bool) -> SessionStatus:  # noqa: FBT001  # It has no other argument.
            return self.status(target, retry=retry)

        try:
            yield from Following(self._kaggle, self._clock, target.ref, look, timeout_s).events()
        finally:
            self._load += Load(self._kaggle.calls - calls, self._clock.monotonic() - begun)

    @property
    def load(self) -> Load:
        """What this object's followings have cost so far."""
        return self._load

    def collect(
        self,
        target: Target,
        folder: Path,
        choose: Callable[[Sequence[str]], Sequence[str]],
        listener: "TransferListener",
    ) -> Collected:
        """Bring the outputs that `choose` picks by name, and the session's log, into `folder`.

        Raises:
            RefusedError: the session has not ended, so Kaggle gives no outputs yet.
            LocalError, ServiceError: as `transfer.fetch`.
        """
        status = self.status(target)
        check_ended(target.ref, status)
        brought = bring(self._kaggle, target.ref, folder, choose, listener)
        return Collected(target, status, folder, brought.transfer, brought.log, brought.left_out)

    def folder_of(self, target: Target, results: Results) -> tuple[Target, SessionFolder]:
        """The target at its version, and the folder for its outputs.

        Raises:
            NotFoundError, ServiceError: Kaggle could not be asked whose session it is.
        """
        record = target.record
        if record is not None and record.ref == target.ref and target.ref.version is not None:
            return target, results.of_session(target.ref.slug, record.run_id, record.number)
        info = self._kaggle.kernel(target.ref)
        target, stamp = _with_version(target, info), read_stamp(info.source or "")
        if stamp is None:
            return target, results.of_version(target.ref)
        return target, results.of_session(target.ref.slug, stamp.id, stamp.session)

    def outline(
        self, target: Target, folder: Path, choose: Callable[[Sequence[str]], Sequence[str]]
    ) -> Outline:
        """What `collect` would bring; nothing is written.

        Raises:
            RefusedError: the session has not ended, so Kaggle gives no outputs yet.
            ServiceError: the storage could not be asked for a size.
        """
        status = self.status(target)
        check_ended(target.ref, status)
        return outline(self._kaggle, target.ref, status, folder, choose)

    def cancel(self, target: Target) -> None:
        """Delete the kernel, the only way that Kaggle's public interface has to stop a session."""
        self._kaggle.delete(target.ref.kernel)
        if target.record is not None:
            self._ledger.observe(
                target.record,
                SessionState.CANCEL_ACKNOWLEDGED,
                "deleted with `kgtts cancel`",
                self._clock.now(),
            )


def _with_version(target: Target, info: KernelInfo) -> Target:
    """A target without a version is the newest one."""
    if target.ref.version is not None or info.latest_version is None:
        return target
    return Target(target.ref.at(info.latest_version), target.record)
