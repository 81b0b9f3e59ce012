"""What operations on runs work with, opened and closed together; and the session that one is about."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import ForbiddenError, LocalError, NotFoundError
from orchestrator.kaggle import connect
from orchestrator.models import KernelInfo, KernelRef
from orchestrator.ports import Clock, Kaggle, SystemClock
from orchestrator.run.ledger import Ledger, SessionRecord
from orchestrator.run.snapshot import Snapshot

if TYPE_CHECKING:
    from orchestrator.download import Fetch
    from orchestrator.render.package import Templates


@dataclass(frozen=True, slots=True)
class FollowCost:
    """What following sessions cost: calls to Kaggle, and the seconds that they were followed for."""

    calls: int = 0
    seconds: float = 0.0

    def __add__(self, other: "FollowCost") -> "FollowCost":
        return FollowCost(self.calls + other.calls, self.seconds + other.seconds)

    @property
    def per_hour(self) -> float:
        """Calls an hour."""
        return self.calls * 3600 / max(self.seconds, 1.0)


@dataclass(slots=True)
class RunContext:
    """What operations on runs work with.

    Attributes:
        kaggle: the account on Kaggle.
        ledger: this machine's memory of pushes.
        clock: time.
        home: where passes of this machine take turns and keep files on their way; None: neither is needed.
        cost: what following sessions has cost so far.
        templates: what kernels are rendered from; None for those of this installation.
        fetch: downloads files, as `download.fetch`, which None is.
    """

    kaggle: Kaggle
    ledger: Ledger
    clock: Clock
    home: Path | None = None
    cost: FollowCost = field(default_factory=FollowCost)
    templates: "Templates | None" = None
    fetch: "Fetch | None" = None

    def snapshot(self) -> Snapshot:
        """A new look at Kaggle."""
        return Snapshot(self.kaggle, self.ledger)


@dataclass(frozen=True, slots=True)
class Target:
    """The session that a command is about: a kernel's version, and what the ledger knows of it."""

    ref: KernelRef
    record: SessionRecord | None

    def page(self, service: str) -> str:
        """The address of its page on the website of a service, whose API has the address `service`."""
        version = f"?scriptVersionNumber={self.ref.version}" if self.ref.version else ""
        website = service.replace("://api.", "://www.", 1)
        return f"{website}/code/{self.ref.owner}/{self.ref.slug}{version}"

    @property
    def missing_hint(self) -> str:
        """What to do if Kaggle does not show it."""
        if self.record is None:
            return "check owner and name; `kgtts list` shows your runs"
        return "if you deleted it on Kaggle, `kgtts push --new` begins another run; if not, try again later"

    @contextmanager
    def looked_for(self) -> Iterator[None]:
        """Let an error that says that it is missing advise what fits what the ledger knows of it."""
        try:
            yield
        except (NotFoundError, ForbiddenError) as error:
            if self.record is None:
                raise
            raise type(error)(error.message, hint=self.missing_hint) from error

    def at_version_of(self, info: KernelInfo) -> "Target":
        """The same target; without a version, it is the kernel's newest."""
        if self.ref.version is not None or info.latest_version is None:
            return self
        return Target(self.ref.at(info.latest_version), self.record)


@contextmanager
def open_context(
    environ: Mapping[str, str],
    ledger: Path,
    *,
    login: tuple[str, str] | None = None,
    without_ledger: Callable[[LocalError, bool], None] | None = None,
    clock: Clock | None = None,
) -> Iterator[RunContext]:
    """Log in to Kaggle and open the ledger; both are closed at the end.

    Args:
        environ: where credentials and the service's address are looked up.
        ledger: the ledger's file; its folder is kgtts's own on this machine.
        login: a user name and key to use instead of the environment's.
        without_ledger: is told why the ledger cannot be used, and whether all that it knows can be read,
            before what can be read of it is used in memory; it may raise that. None always raises it.
        clock: what time passes by; None is the machine's.

    Raises:
        CredentialsError, ServiceError, LocalError: as `connect` and `Ledger`.
    """
    kaggle = connect(environ, login=login)
    try:
        home: Path | None = ledger.parent
        problem: LocalError | None = None
        try:
            memory = Ledger(ledger, kaggle.service)
        except LocalError as error:
            if without_ledger is None:
                raise
            memory, home, problem = Ledger(ledger, kaggle.service, in_memory=True), None, error
        with memory as opened:
            if problem is not None and without_ledger is not None:
                without_ledger(problem, opened.is_whole)
            yield RunContext(kaggle, opened, clock or SystemClock(), home)
    finally:
        kaggle.close()
