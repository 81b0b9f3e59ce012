"""The emulated service of one account: what a push, a delete and the end of a session do.

It connects `kernels`, `datasets`, `models`, `uploads` and `mounts`. No HTTP and no processes here.
Thread-safe; everything survives a restart.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.emulator.options import MOUNT_LAYOUTS, EmulatorOptions, WaitableClock
from orchestrator.emulator.service.bundles import Bundles, Processing
from orchestrator.emulator.service.datasets import Datasets
from orchestrator.emulator.service.exceptions import ApiError, PushRejectedError, permission_denied
from orchestrator.emulator.service.kernels import Kernel, Kernels, Version
from orchestrator.emulator.service.limits import (
    GpuQuota,
    GpuUsage,
    check_limits,
    gpu_quota,
    machine_for,
    read_usage,
    write_usage,
)
from orchestrator.emulator.service.models import Models
from orchestrator.emulator.service.mounts import InputSources, Mounts
from orchestrator.emulator.service.outputs import StoredOutput, keep_outputs
from orchestrator.emulator.service.pushes import (
    PushRequest,
    PushResult,
    check_code,
    runnable_source,
    target_of,
)
from orchestrator.emulator.service.sessions import (
    EndCause,
    SessionLog,
    SessionOrder,
    SessionOutcome,
    SessionRunner,
    last_log_time,
    store_log,
)
from orchestrator.emulator.service.state import StateFolder
from orchestrator.emulator.service.uploads import UploadFolder
from orchestrator.files import remove_tree
from orchestrator.models import SessionState

_ENDS = {
    # `[?]` Kaggle does not document in which state a session over its limit ends, nor the message. Users have
    # reported cancelAcknowledged after time-outs.
    EndCause.TIME_LIMIT: (SessionState.CANCEL_ACKNOWLEDGED, "The session was stopped at its time limit."),
    EndCause.CANCELLED: (SessionState.CANCEL_ACKNOWLEDGED, "The session was cancelled."),
    EndCause.DELETED: (SessionState.CANCEL_ACKNOWLEDGED, "The session was cancelled."),
    EndCause.SHUTDOWN: (SessionState.ERROR, "The emulator was stopped while this session was running."),
}
_LOST = "The emulator ended while this session was running."


class Backend:
    """Kernels, sessions, quota, inputs and outputs of one account.

    Args:
        state: the emulator's folder; closed together with the backend.
        options: limits and behaviour.
        username: the owner of the account.
        clock: the clock for everything.
        runner: runs sessions.
    """

    def __init__(
        self,
        state: StateFolder,
        options: EmulatorOptions,
        username: str,
        clock: WaitableClock,
        runner: SessionRunner,
    ) -> None:
        self.state = state
        self.options = options
        self.username = username
        self.clock = clock
        self.kernels = Kernels(state, username, absent=options.absent)
        self.uploads = UploadFolder(state.root / "uploads", clock)
        processing = Processing(
            timedelta(seconds=options.dataset_processing_s), exclusive=not options.version_while_processing
        )
        bundles = Bundles(self.uploads, state.archives, clock, processing)
        self.datasets = Datasets(state.root, bundles, username, options.absent)
        self.models = Models(state.root, bundles, username, options.absent)
        self._mounts = Mounts(MOUNT_LAYOUTS[options.layout], self.datasets, self.models, self.kernels)
        self._runner = runner
        self._lock = self.kernels.lock
        self._usage = read_usage(state.usage_file)
        self._deleting: set[str] = set()
        self._closing = False
        self._saving = threading.Condition()
        for kernel in self.kernels.all():
            for version in kernel.versions:
                if version.is_active:
                    self._end_lost_session(kernel, version)

    def close(self) -> None:
        """End every session with all its processes, refuse further pushes, and release the folder."""
        with self._lock:
            self._closing = True
            sessions = _sessions(self.kernels.active())
        with self._saving:
            self._saving.notify_all()
        self._runner.stop(sessions, EndCause.SHUTDOWN)
        self._runner.join(sessions)
        self.state.close()

    def live_log(self, version: Version) -> SessionLog | None:
        """The log of an active session; None if it is over."""
        with self._lock:
            if version.session is None or not self.kernels.get_session(version.session)[1].is_active:
                return None
            return self._runner.live_log(version.session)

    def quota(self) -> GpuQuota:
        """This week's GPU time."""
        with self._lock:
            active = [version for version in self.kernels.active() if version.machine_shape]
            return gpu_quota(self._usage, active, self.options.weekly_quota_s, self.clock.now())

    def outputs(self, kernel: Kernel, version: Version) -> Sequence[StoredOutput]:
        """The output files of a version that can be listed now: while they are being saved, some of them."""
        found = self.kernels.outputs(kernel, version)
        if version.saving_since is None:
            return found
        passed = (self.clock.now() - version.saving_since).total_seconds()
        return found[: int(len(found) * min(1.0, passed / self.options.saving_s))]

    # Changes

    def push(self, push: PushRequest) -> PushResult:
        """Save a version and, unless it is a quick save, start its session.

        Raises:
            PushRejectedError: Kaggle would refuse it; nothing was saved, or at a limit half a kernel.
            ApiError: Kaggle would refuse it with an HTTP error; nothing was saved.
        """
        with self._lock:
            if self._closing:
                raise PushRejectedError("The emulator is being stopped.")
            slug, title = target_of(push, self.username, self._named_by(push))
            check_code(push)
            machine = machine_for(push.machine_shape, enable_gpu=push.enable_gpu)
            if (push.internet or machine) and not self.options.phone_verified:
                # `[?]` The words are a guess; the status has been seen.
                raise ApiError(403, "Phone verification is required to use the internet or an accelerator")
            if self.kernels.is_shell(slug):
                raise PushRejectedError("Notebook not found")
            known = self.kernels.find(self.username, slug)
            if not push.quick:
                try:
                    check_limits(machine, self.kernels.active(), self.quota(), self.options)
                except PushRejectedError:
                    if known is None and self.options.refused_leaves_shell:
                        self.state.add_shell(slug)
                    raise
            if known is None and self.options.keep_deleted_names and slug in self.state.deleted_names():
                raise ApiError(404, "Notebook not found")
            kernel = known or Kernel(self.state.next_number(), self.username, slug, title, push.private)
            if kernel.ref in self._deleting:
                raise PushRejectedError(f"Kernel {kernel.ref} is being deleted.")
            invalid = self._mounts.invalid(push.sources, kernel.ref)
            version = self._new_version(kernel, push, machine, invalid)
            kernel = replace(kernel, title=title, private=push.private, versions=(*kernel.versions, version))
            paths = self.kernels.paths(kernel, version.number)
            paths.folder.mkdir(parents=True, exist_ok=True)
            paths.source.write_text(push.text, encoding="utf-8")
            self.kernels.save(kernel)
            if version.session is not None:
                order = SessionOrder(
                    version.session,
                    runnable_source(push.text, push.kernel_type),
                    limit_s=version.limit_s,
                    internet=version.internet,
                    live_log=paths.live_log,
                    mounts=lambda: self._mounts.of_version(version),
                )
                self._runner.start(order, self)
        return PushResult(kernel, version, invalid)

    def cancel(self, session: int, *, legacy_key: bool) -> bool:
        """Ask a session to end; its outputs are kept. Return whether it was active.

        Args:
            session: the session's id.
            legacy_key: whether the request carries username and key instead of a token.

        Raises:
            ApiError: 403, such credentials are not accepted, or it is not a session of this account.
        """
        active = _sessions(self.kernels.active())
        ended = _sessions(version for kernel in self.kernels.all() for version in kernel.versions) - active
        if session not in active | ended or (legacy_key and not self.options.legacy_key_may_cancel):
            raise permission_denied("kernelSessions.cancel")
        self._runner.stop({session} & active, EndCause.CANCELLED)
        return session in active

    def delete(self, owner: str, slug: str) -> None:
        """Delete a kernel with all its versions; its active session, if any, is killed and billed.

        Raises:
            ApiError: 403 or 404, see `Kernels.get`.
        """
        with self._lock:
            if self.state.drop_shell(slug.lower()):
                return
            kernel = self.kernels.get(owner, slug)
            self._deleting.add(kernel.ref)
        self._runner.stop(_sessions(kernel.versions), EndCause.DELETED)
        self._runner.join(_sessions(kernel.versions))
        with self._lock:
            self._deleting.discard(kernel.ref)
            self.kernels.delete(kernel)
            self.state.add_deleted_name(kernel.slug)

    # The runner's reports: see `SessionListener`

    def session_started(self, session: int) -> None:
        """Record that a session has left the queue."""
        self.kernels.update(session, state=SessionState.RUNNING, started_at=self.clock.now())

    def session_stopping(self, session: int) -> None:
        """Record that a session is being stopped; files are still being saved."""
        self.kernels.update(session, state=SessionState.CANCEL_REQUESTED)

    def session_ended(self, session: int, end: SessionOutcome) -> None:
        """Keep the outputs and the log of a session, bill it, and only then record that it is over."""
        kernel, version = self.kernels.get_session(session)
        paths = self.kernels.paths(kernel, version.number)
        state, message = _ENDS.get(end.cause, (SessionState.ERROR, end.detail))
        if end.cause is EndCause.FINISHED:
            good = end.exit_code == 0 or self.options.crash_is_complete
            state = SessionState.COMPLETE if good else SessionState.ERROR
            message = "" if good else f"The script ended with exit code {end.exit_code}."
        try:
            kept = state is SessionState.COMPLETE or self.options.keep_failed_outputs
            if end.working is not None and kept:
                keep_outputs(end.working, paths)
                self._wait_until_saved(session)
            remove_tree(self.state.session_folder(session))
        except OSError as error:
            state, message = SessionState.ERROR, f"The outputs could not be saved: {error}"
        store_log(paths.live_log, paths.log)
        with self._lock:
            ended_at = self.clock.now()
            self._bill(version, ended_at)
            self.kernels.update(
                session,
                state=state,
                saving_since=None,
                ended_at=ended_at,
                failure_message=message or None,
                exit_code=end.exit_code,
            )

    def _wait_until_saved(self, session: int) -> None:
        """Let the time pass that Kaggle takes to save outputs."""
        if self.options.saving_s > 0:
            self.kernels.update(session, saving_since=self.clock.now())
            until = self.clock.monotonic() + self.options.saving_s
            with self._saving:
                while not self._closing and self.clock.monotonic() < until:
                    self.clock.wait(self._saving, until)

    def _named_by(self, push: PushRequest) -> Kernel | None:
        """The existing kernel that the id of a push names."""
        owner, _, slug = (push.slug or "").rpartition("/")
        return self.kernels.find(owner or self.username, slug) if slug else self.kernels.find_key(push.key)

    def _new_version(
        self, kernel: Kernel, push: PushRequest, machine: str | None, invalid: InputSources
    ) -> Version:
        limit = self.options.session_limit_s
        return Version(
            number=len(kernel.versions) + 1,
            state=SessionState.NEW_SCRIPT if push.quick else SessionState.QUEUED,
            pushed_at=self.clock.now(),
            session=None if push.quick else self.state.next_number(),
            limit_s=min(limit, push.timeout_s) if push.timeout_s and push.timeout_s > 0 else limit,
            language=push.language,
            kernel_type=push.kernel_type,
            machine_shape=machine,
            internet=push.internet,
            dataset_sources=tuple(s for s in push.sources.datasets if s not in invalid.datasets),
            model_sources=tuple(s for s in push.sources.models if s not in invalid.models),
            kernel_sources=tuple(s for s in push.sources.kernels if s not in invalid.kernels),
            docker_image=push.docker_image,
        )

    def _bill(self, version: Version, ended_at: datetime) -> None:
        if version.machine_shape and version.started_at:
            self._usage = (*self._usage, GpuUsage(version.started_at, ended_at))
            write_usage(self.state.usage_file, self._usage)

    def _end_lost_session(self, kernel: Kernel, version: Version) -> None:
        """End a session of an emulator that was killed; the processes died together with it."""
        paths = self.kernels.paths(kernel, version.number)
        began = version.started_at or version.pushed_at
        ended_at = began + timedelta(seconds=last_log_time(paths.live_log))
        store_log(paths.live_log, paths.log)
        paths.live_log.unlink(missing_ok=True)
        self._bill(version, ended_at)
        if version.session is not None:
            remove_tree(self.state.session_folder(version.session))
            self.kernels.update(
                version.session,
                state=SessionState.ERROR,
                saving_since=None,
                ended_at=ended_at,
                failure_message=_LOST,
            )


def _sessions(versions: Iterable[Version]) -> set[int]:
    return {version.session for version in versions if version.session is not None}
