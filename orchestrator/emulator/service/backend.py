"""The emulated service: its state and its rules. No HTTP here; thread-safe; all of it survives a restart."""

from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.emulator.runner.sandbox import Room, Sandbox
from orchestrator.emulator.runner.session import Cause, End, Session
from orchestrator.emulator.service.blobs import Blobs
from orchestrator.emulator.service.catalogue import Catalogue
from orchestrator.emulator.service.clock import Clock
from orchestrator.emulator.service.datasets import Datasets
from orchestrator.emulator.service.logbook import Logbook, store_log
from orchestrator.emulator.service.machines import MachineRefusedError, machine_for
from orchestrator.emulator.service.options import EmulatorOptions
from orchestrator.emulator.service.outputs import keep_outputs
from orchestrator.emulator.service.pushes import (
    Invalid,
    Push,
    Pushed,
    PushRejectedError,
    check_code,
    invalid_sources,
    runnable_source,
    target_of,
)
from orchestrator.emulator.service.quota import GpuQuota, gpu_quota
from orchestrator.emulator.service.records import Kernel, Usage, Version
from orchestrator.emulator.service.sources import Sources
from orchestrator.emulator.service.store import Store, last_log_time
from orchestrator.models import SessionState

_ENDS = {
    # `[?]` Which state a session over its limit ends in, and the words, nobody documents: users have reported
    # cancelAcknowledged after time-outs.
    Cause.TIME_LIMIT: (SessionState.CANCEL_ACKNOWLEDGED, "The session was stopped at its time limit."),
    Cause.DELETED: (SessionState.CANCEL_ACKNOWLEDGED, "The session was cancelled."),
    Cause.SHUTDOWN: (SessionState.ERROR, "The emulator was stopped while this session was running."),
}
_LOST = "The emulator ended while this session was running."


class Backend:
    """Kernels, sessions, quota and outputs of one account.

    Args:
        store: the emulator's folder; closed with the backend.
        options: limits and ways.
        username: whose account it is.
        clock: the time of everything.
    """

    def __init__(self, store: Store, options: EmulatorOptions, username: str, clock: Clock) -> None:
        self.store = store
        self.options = options
        self.username = username
        self.clock = clock
        self._sandbox = Sandbox(store, options)
        self.catalogue = Catalogue(store, username)
        self.blobs = Blobs(store.root / "uploads", clock)
        self.datasets = Datasets(store, self.blobs, username, clock, options.dataset_processing_s)
        self.sources = Sources(store, options.layout, self.catalogue.find, self.datasets)
        self._lock = self.catalogue.lock
        self._usage = store.usage()
        self._sessions: dict[int, Session] = {}
        self._deleting: set[str] = set()
        self._closing = False
        for kernel in self.catalogue.kernels():
            for version in kernel.versions:
                if version.is_active:
                    self._give_up(kernel, version)

    @property
    def relocation(self) -> str | None:
        """Why sessions do not see their files at /kaggle itself; None where they do."""
        return self._sandbox.obstacle

    def close(self) -> None:
        """End every session with all its processes, refuse further pushes, and let go of the folder."""
        with self._lock:
            self._closing = True
            sessions = list(self._sessions.values())
        for session in sessions:
            session.stop(Cause.SHUTDOWN)
        for session in sessions:
            session.join()
        self.store.close()

    def live_log(self, version: Version) -> Logbook | None:
        """The log of a session that is not over; None when it is."""
        with self._lock:
            session = self._sessions.get(version.session or 0)
        return None if session is None else session.log

    def quota(self) -> GpuQuota:
        """This week's GPU time."""
        with self._lock:
            active = [version for version in self.catalogue.active() if version.machine_shape]
            return gpu_quota(self._usage, active, self.options.weekly_quota_s, self.clock.now())

    # Changing

    def push(self, push: Push) -> Pushed:
        """Save a version and, unless it is a quick save, start its session.

        Raises:
            PushRejectedError: Kaggle would say no; nothing was saved.
        """
        with self._lock:
            if self._closing:
                raise PushRejectedError("The emulator is being stopped.")
            owner, _, slug = (push.slug or "").rpartition("/")
            named = (
                self.catalogue.find(owner or self.username, slug)
                if slug
                else self.catalogue.find_key(push.key)
            )
            target = target_of(push, self.username, named)
            check_code(push)
            try:
                machine = machine_for(push.machine_shape, enable_gpu=push.enable_gpu)
            except MachineRefusedError as error:
                raise PushRejectedError(str(error)) from error
            if not push.quick:
                self._check_limits(machine)
            kernel = self.catalogue.find(self.username, target.slug) or Kernel(
                self.store.next_number(), self.username, target.slug, target.title, push.private
            )
            if kernel.ref in self._deleting:
                raise PushRejectedError(f"Kernel {kernel.ref} is being deleted.")
            invalid = invalid_sources(push, self.sources, kernel.ref)
            version = self._new_version(kernel, push, machine, invalid)
            kernel = replace(
                kernel, title=target.title, private=push.private, versions=(*kernel.versions, version)
            )
            paths = self.store.version(kernel, version.number)
            paths.folder.mkdir(parents=True, exist_ok=True)
            paths.source.write_text(push.text, encoding="utf-8")
            self.catalogue.remember(kernel)
            if version.session is not None:
                self._start(kernel, version, runnable_source(push.text, push.kernel_type))
        return Pushed(kernel, version, invalid)

    def delete(self, owner: str, slug: str) -> None:
        """Delete a kernel with all its versions; its session, if one is active, is killed and billed.

        Raises:
            FaultError: 403 or 404 as for `kernel`.
        """
        with self._lock:
            kernel = self.catalogue.kernel(owner, slug)
            numbers = {version.session for version in kernel.versions}
            sessions = [session for number, session in self._sessions.items() if number in numbers]
            self._deleting.add(kernel.ref)
            for session in sessions:
                session.stop(Cause.DELETED)
        for session in sessions:
            session.join()
        with self._lock:
            self._deleting.discard(kernel.ref)
            self.catalogue.forget(kernel)

    # What sessions tell

    def session_started(self, session: int) -> None:
        """A session left the queue."""
        self.catalogue.update(session, state=SessionState.RUNNING, started_at=self.clock.now())

    def session_stopping(self, session: int) -> None:
        """A session is being stopped; files are still being saved."""
        self.catalogue.update(session, state=SessionState.CANCEL_REQUESTED)

    def session_ended(self, session: int, end: End, room: Room | None) -> None:
        """A session is over: keep its outputs and its log, bill it, then say so."""
        kernel, version = self.catalogue.version_of_session(session)
        paths = self.store.version(kernel, version.number)
        state, message = _ENDS.get(end.cause, (SessionState.ERROR, end.detail))
        if end.cause is Cause.FINISHED:
            state = SessionState.COMPLETE if end.exit_code == 0 else SessionState.ERROR
            message = "" if end.exit_code == 0 else f"The script ended with exit code {end.exit_code}."
        try:
            if room is not None:
                if state is SessionState.COMPLETE or self.options.keep_failed_outputs:
                    keep_outputs(room.working, paths)
                self._sandbox.clear(room.folder)
        except OSError as error:
            state, message = SessionState.ERROR, f"The outputs could not be saved: {error}"
        store_log(paths.live_log, paths.log)
        with self._lock:
            ended_at = self.clock.now()
            self._bill(version, ended_at)
            self.catalogue.update(
                session,
                state=state,
                ended_at=ended_at,
                failure_message=message or None,
                exit_code=end.exit_code,
            )
            self._sessions.pop(session, None)

    # Within

    def _check_limits(self, machine: str | None) -> None:
        kind, most = (
            ("GPU", self.options.max_gpu_sessions) if machine else ("CPU", self.options.max_cpu_sessions)
        )
        busy = sum(1 for version in self.catalogue.active() if bool(version.machine_shape) == bool(machine))
        if busy >= most:
            raise PushRejectedError(f"Maximum batch {kind} session count of {most} reached.")
        if machine and self.quota().is_spent:
            hours = self.options.weekly_quota_s / 3600
            raise PushRejectedError(f"Maximum weekly GPU quota of {hours:.2f} hours reached.")

    def _new_version(self, kernel: Kernel, push: Push, machine: str | None, invalid: Invalid) -> Version:
        limit = self.options.session_limit_s
        return Version(
            number=len(kernel.versions) + 1,
            state=SessionState.NEW_SCRIPT if push.quick else SessionState.QUEUED,
            pushed_at=self.clock.now(),
            session=None if push.quick else self.store.next_number(),
            limit_s=min(limit, push.timeout_s) if push.timeout_s and push.timeout_s > 0 else limit,
            language=push.language,
            kernel_type=push.kernel_type,
            machine_shape=machine,
            internet=push.internet,
            dataset_sources=tuple(s for s in push.dataset_sources if s not in invalid.datasets),
            model_sources=tuple(s for s in push.model_sources if s not in invalid.models),
            kernel_sources=tuple(s for s in push.kernel_sources if s not in invalid.kernels),
            docker_image=push.docker_image,
        )

    def _start(self, kernel: Kernel, version: Version, source: str) -> None:
        number = version.session
        assert number is not None
        session = Session(
            number,
            clock=self.clock,
            queue_s=self.options.queue_delay_s,
            limit_s=version.limit_s,
            log=self.store.version(kernel, version.number).live_log,
            # The inputs are looked up when the session starts: that is when Kaggle mounts them.
            prepare=lambda: self._sandbox.prepare(
                number, source, self.sources.mounts(version), internet=version.internet
            ),
            owner=self,
        )
        self._sessions[number] = session
        session.start()

    def _bill(self, version: Version, ended_at: datetime) -> None:
        if version.machine_shape and version.started_at:
            self._usage = (*self._usage, Usage(version.started_at, ended_at))
            self.store.save_usage(self._usage)

    def _give_up(self, kernel: Kernel, version: Version) -> None:
        """A session that an earlier emulator did not end: its processes died with that emulator's leash."""
        paths = self.store.version(kernel, version.number)
        began = version.started_at or version.pushed_at
        ended_at = began + timedelta(seconds=last_log_time(paths.live_log))
        store_log(paths.live_log, paths.log)
        paths.live_log.unlink(missing_ok=True)
        self._bill(version, ended_at)
        if version.session is not None:
            self._sandbox.clear(self.store.session_folder(version.session))
            self.catalogue.update(
                version.session, state=SessionState.ERROR, ended_at=ended_at, failure_message=_LOST
            )
