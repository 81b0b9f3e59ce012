"""Make a new ledger in the place of a damaged one: of what can be read of it, and of what Kaggle shows."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import LocalError
from orchestrator.models import KernelRef
from orchestrator.ports import Clock, Kaggle
from orchestrator.run.ledger import Intent, Ledger, readable_rows
from orchestrator.run.ledger_file import LedgerDamagedError
from orchestrator.run.reading import newest_session
from orchestrator.run.snapshot import Snapshot, certain

_SIDES = ("", "-wal", "-shm", "-journal")  # The files of one database.


@dataclass(frozen=True, slots=True)
class Repaired:
    """A ledger that was made anew.

    Attributes:
        aside: where the damaged file is now.
        kept: how many sessions were read from it.
        found: how many more Kaggle shows: the newest of each kernel.
    """

    aside: Path
    kept: int
    found: int


def repair(path: Path, kaggle: Kaggle, clock: Clock) -> Repaired | None:
    """Set a damaged ledger aside and make a new one; None if it is in order.

    Kaggle is read first, so that nothing is changed if it cannot be: what was pushed has to be known again
    before the next push.

    Raises:
        ServiceError: Kaggle cannot be read.
        LocalError: the files cannot be renamed or written.
    """
    try:
        Ledger(path, kaggle.service).__exit__()
    except LedgerDamagedError:
        pass
    else:
        return None
    snapshot = Snapshot(kaggle)
    names = sorted(certain(snapshot.listing()) or ())
    refs = [KernelRef.parse(name) for name in names]
    seen = [newest_session(snapshot, ref) for ref in refs if ref.base != ref]
    rows = readable_rows(path)
    aside = path.with_name(f"{path.stem}-damaged-{clock.now():%Y%m%d-%H%M%S}{path.suffix}")
    try:
        for side in _SIDES:
            if Path(f"{path}{side}").exists():
                Path(f"{path}{side}").replace(f"{aside}{side}")
    except OSError as error:
        raise LocalError(
            f"The ledger {path} cannot be set aside: {error}.", hint="set KGTTS_HOME to another folder"
        ) from error
    found = 0
    with Ledger(path, kaggle.service) as ledger:
        kept = ledger.restore(rows)
        known = {(item.run_id, item.number) for item in ledger.all()}
        for view in seen:
            if view is None or (view.stamp.id, view.stamp.session) in known:
                continue
            stamp = view.stamp
            intent = Intent(stamp.id, stamp.session, view.ref.kernel, None, stamp.fingerprint)
            ledger.confirm(ledger.intend(intent, view.started or clock.now()), view.ref)
            found += 1
    return Repaired(aside, kept, found)
