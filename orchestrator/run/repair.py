"""Make a new ledger in the place of a damaged one: of what can be read of it, and of what Kaggle shows."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import LocalError
from orchestrator.files import rename
from orchestrator.locks import machine_lock
from orchestrator.models import KernelRef
from orchestrator.ports import Clock, Kaggle
from orchestrator.run.ledger import Intent, Ledger, readable_rows
from orchestrator.run.ledger_file import LedgerDamagedError, rebuilt
from orchestrator.run.reading import newest_session
from orchestrator.run.snapshot import Snapshot, certain

_SIDES = ("", "-wal", "-shm", "-journal")  # The files of one database.


@dataclass(frozen=True, slots=True)
class Repaired:
    """A ledger that was made anew.

    Attributes:
        aside: where the damaged file is now.
        kept: how many sessions were read from it; all, if an earlier repair had done everything but rename.
        found: how many more Kaggle shows: the newest of each kernel.
    """

    aside: Path
    kept: int
    found: int


def repair(path: Path, kaggle: Kaggle, clock: Clock) -> Repaired | None:
    """Set a damaged ledger aside and make a new one; None if it is in order.

    Kaggle is read first, so that nothing is changed if it cannot be: what was pushed has to be known again
    before the next push. The new ledger is written beside the damaged one, and takes its place when it is
    whole. If kgtts is killed before that, the damaged one refuses every push as before; if it is killed
    between the two renames, the next repair makes the second one, and no ledger can be opened until then.

    Raises:
        ServiceError: Kaggle cannot be read.
        LocalError: the files cannot be renamed or written, or another kgtts repairs the ledger.
    """
    with machine_lock(path.parent, f"repair {path.name}"):
        new = rebuilt(path)
        kept, found = 0, 0
        if new.exists():
            with Ledger(new, kaggle.service) as ledger:
                kept = len(ledger.all())
        else:
            try:
                Ledger(path, kaggle.service).__exit__()
            except LedgerDamagedError:
                kept, found = _rebuild(path, new, kaggle, clock)
            else:
                return None
        aside = path.with_name(f"{path.stem}-damaged-{clock.now():%Y%m%d-%H%M%S}{path.suffix}")
        try:
            for side in _SIDES:
                if Path(f"{path}{side}").exists():
                    rename(Path(f"{path}{side}"), Path(f"{aside}{side}"))
            rename(new, path)
        except OSError as error:
            raise LocalError(
                f"The ledger {path} cannot be set aside: {error}.", hint="set KGTTS_HOME to another folder"
            ) from error
    return Repaired(aside, kept, found)


def _rebuild(path: Path, new: Path, kaggle: Kaggle, clock: Clock) -> tuple[int, int]:
    """Write the new ledger; gives how many sessions were read from the damaged one, and how many more."""
    snapshot = Snapshot(kaggle)
    names = sorted(certain(snapshot.listing()) or ())
    refs = [KernelRef.parse(name) for name in names]
    seen = [newest_session(snapshot, ref) for ref in refs if ref.base != ref]
    rows, found = readable_rows(path), 0
    draft = new.with_name(f"{new.name}.part")
    for side in _SIDES:  # By a repair that was killed.
        Path(f"{draft}{side}").unlink(missing_ok=True)
    with Ledger(draft, kaggle.service) as ledger:
        kept = ledger.restore(rows)
        known = {(item.run_id, item.number) for item in ledger.all()}
        for view in seen:
            if view is None or (view.stamp.id, view.stamp.session) in known:
                continue
            stamp = view.stamp
            intent = Intent(stamp.id, stamp.session, view.ref.kernel, None, stamp.fingerprint)
            ledger.confirm(ledger.intend(intent, view.started or clock.now()), view.ref)
            found += 1
    rename(draft, new)
    return kept, found
