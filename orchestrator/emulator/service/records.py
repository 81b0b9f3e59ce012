"""What the emulator remembers: kernels and their versions, as frozen values that go to disk as JSON."""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.models import SessionState

ACTIVE = frozenset({SessionState.QUEUED, SessionState.RUNNING, SessionState.CANCEL_REQUESTED})


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a kernel and the session that ran it.

    `session` is None for a quick save, which never runs and stays NEW_SCRIPT. `limit_s` is the session's
    time limit in seconds. Times carry the UTC zone.
    """

    number: int
    state: SessionState
    pushed_at: datetime
    session: int | None
    limit_s: float
    language: str
    kernel_type: str
    machine_shape: str | None
    internet: bool
    dataset_sources: tuple[str, ...] = ()
    model_sources: tuple[str, ...] = ()
    kernel_sources: tuple[str, ...] = ()
    docker_image: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure_message: str | None = None
    exit_code: int | None = None

    @property
    def is_active(self) -> bool:
        """Whether its session waits, runs or is still being stopped."""
        return self.state in ACTIVE

    def state_at(self, moment: datetime) -> SessionState:
        """What its session's state was; that it was being stopped for a while is not remembered."""
        if self.ended_at is not None and self.ended_at <= moment:
            return self.state
        if self.started_at is not None and self.started_at <= moment:
            return SessionState.RUNNING
        return SessionState.QUEUED

    @property
    def label(self) -> str:
        """How requests name it: `v3`."""
        return f"v{self.number}"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel with all its versions, oldest first. `key` is Kaggle's numeric id."""

    key: int
    owner: str
    slug: str
    title: str
    private: bool
    versions: tuple[Version, ...] = ()

    @property
    def ref(self) -> str:
        """`owner/slug`."""
        return f"{self.owner}/{self.slug}"

    @property
    def latest(self) -> Version:
        """The newest version, run or not; a kernel has at least one."""
        return self.versions[-1]

    @property
    def latest_run(self) -> Version | None:
        """The newest version that has a session: the one that the API answers for."""
        return next((v for v in reversed(self.versions) if v.session is not None), None)

    @property
    def latest_complete(self) -> Version | None:
        """The newest COMPLETE version: the one that a mount gives."""
        return next((v for v in reversed(self.versions) if v.state is SessionState.COMPLETE), None)


@dataclass(frozen=True, slots=True)
class Usage:
    """One finished stretch of GPU time; kept when its kernel is deleted, as the bill is."""

    started_at: datetime
    ended_at: datetime
