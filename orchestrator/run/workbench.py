"""What work on runs needs, opened and closed together: Kaggle, the ledger, the clock."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.kaggle import connect
from orchestrator.ports import Clock, Kaggle, SystemClock
from orchestrator.run.campaign import Campaign
from orchestrator.run.ledger import Ledger
from orchestrator.run.push import Service


@dataclass(frozen=True, slots=True)
class Workbench:
    """Kaggle, logged in; the ledger; the clock; and what can be done with runs."""

    kaggle: Kaggle
    ledger: Ledger
    clock: Clock
    campaign: Campaign

    @property
    def service(self) -> Service:
        """What a pass works with."""
        return Service(self.kaggle, self.ledger, self.clock)


@contextmanager
def open_workbench(
    environ: Mapping[str, str], ledger: Path, *, login: tuple[str, str] | None = None
) -> Iterator[Workbench]:
    """Log in and open the ledger; both are closed at the end.

    Args:
        environ: where credentials and the service's address are looked up.
        ledger: the ledger's file.
        login: a user name and key to use instead of the environment's.

    Raises:
        CredentialsError, ServiceError, LocalError: as `connect` and `Ledger`.
    """
    kaggle, clock = connect(environ, login=login), SystemClock()
    try:
        with Ledger(ledger, kaggle.service) as opened:
            yield Workbench(kaggle, opened, clock, Campaign(kaggle, opened, clock))
    finally:
        kaggle.close()
