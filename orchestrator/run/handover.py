"""Find what the next session can continue from: the one place that knows how a checkpoint is handed over.

- By mount: two sibling kernels take turns, each mounting the other's output. A mount gives the newest
  completed version of a kernel, and nothing of a session that was killed.
- By download: what a killed session left, which Kaggle lists but does not mount, the next session downloads
  itself. The pushed source holds the signed URLs (`rescue.find_downloads`). They expire: a session that comes
  too late ends at once, and the next pass pushes fresh ones.
- By dataset: if a session has no internet, or two downloads in a row have failed, this machine downloads it
  and uploads it as the private dataset `SLUG-kept` (`rescue.Rescue`). A small file in it says by its name
  alone which session the dataset holds, so that any machine sees it in the listing. A session outside Kaggle
  (`elsewhere`) is handed over in the same way by the machine that has it; other machines know it by that.
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel_template.contract import HANDOVER_PREFIX, STATE_FILE
from orchestrator.errors import ForbiddenError, NotFoundError, RefusedError, ServiceError
from orchestrator.models import KernelRef, OutputFile, Resume, SessionState
from orchestrator.ports import Kaggle
from orchestrator.run.snapshot import Snapshot, certain, see, value_of
from orchestrator.run.view import RunView, SessionView
from orchestrator.untrusted import LARGEST_FILE

if TYPE_CHECKING:
    from orchestrator.run.state import SessionResult
    from orchestrator.settings import Settings  # Slow to import, and `status` needs none.

_SUFFIX = "-kept"
_LONGEST_SLUG = 50  # kaggle 2.2.4 refuses longer dataset slugs before it sends anything.
_MOST_FILES = 1000  # Of a dataset of ours; a foreign one may have any number.
_LOOK_BACK = 200  # How many versions of a kernel are looked at; each costs a call.
_MOST_FAILED_DOWNLOADS = 2


@dataclass(frozen=True, slots=True)
class FoundParent:
    """What the next session can continue from, as in `RunView`; `saved` is what it ought to continue from."""

    resumable: SessionView | None
    saved: SessionView | None
    stranded: SessionView | None = None
    preparing: bool = False


@dataclass(frozen=True, slots=True)
class HandoverDataset:
    """The dataset of a run as it is now: whether it exists, can be mounted, and what it holds."""

    source: str
    exists: bool = False
    pending: bool = False
    broken: bool = False  # Kaggle could not process its newest version.
    names: frozenset[str] = frozenset()

    @property
    def is_ours(self) -> bool:
        """Whether kgtts may put a new version in its place."""
        return not self.exists or any(name.startswith(HANDOVER_PREFIX) for name in self.names)

    def holds(self, view: SessionView) -> bool:
        """Whether a kernel that mounts it gets what the session left."""
        return not self.pending and not self.broken and marker_of(view) in self.names


def handover_dataset(base: KernelRef) -> str:
    """The dataset of the run whose settings name `base`."""
    slug = f"{base.slug}{_SUFFIX}"
    if len(slug) > _LONGEST_SLUG:
        name = hashlib.sha256(base.slug.encode()).hexdigest()[:8]
        slug = f"{base.slug[: _LONGEST_SLUG - len(_SUFFIX) - 9].rstrip('-')}-{name}{_SUFFIX}"
    return f"{base.owner}/{slug}"


def marker_of(view: SessionView) -> str:
    """The name of the file that says which session, and which step of it, a dataset holds."""
    return f"{HANDOVER_PREFIX}{view.stamp.id}-{view.stamp.session}-{view.step}.json"


def read_dataset(kaggle: Kaggle, source: str) -> HandoverDataset:
    """See what a dataset is now.

    Raises:
        CredentialsError, ServiceError: Kaggle could not be read, or does not say.
    """
    broken = unseen = False
    try:
        if not kaggle.dataset_ready(source):
            return HandoverDataset(source, exists=True, pending=True)
    except (NotFoundError, ForbiddenError):
        unseen = True  # It does not exist, if its listing agrees.
    except RefusedError:
        broken = True
    try:
        # Names are enough, and a version that was replaced meanwhile is listed as a whole.
        names = frozenset(file.name for file in itertools.islice(kaggle.dataset_files(source), _MOST_FILES))
    except (NotFoundError, ForbiddenError) as error:
        if unseen:
            return HandoverDataset(source)
        raise ServiceError(error.message, hint="try again later") from error
    if unseen:
        raise ServiceError(f"Kaggle does not say whether {source} is ready.", hint="try again later")
    if not names and not broken:
        raise ServiceError(
            f"Kaggle says that the dataset {source} exists, but lists no file of it.",
            hint="try again later",
        )
    return HandoverDataset(source, exists=True, broken=broken, names=names)


def downloads_itself(settings: "Settings", view: RunView) -> bool:
    """Whether the next session is to download what no kernel can mount; else a dataset hands it over.

    The source of a public kernel can be read by anybody, so no URL is put there.
    """
    kernel = settings.kernel
    if view.has_stranded_elsewhere:
        return False
    return kernel.internet and kernel.private and view.failed_downloads < _MOST_FAILED_DOWNLOADS


def resume_from(parent: SessionView | None, downloads: tuple[OutputFile, ...] = ()) -> Resume | None:
    """What the next session's kernel is told about the session before it, and what it mounts or downloads."""
    if parent is None or parent.result is None or parent.ref.version is None:
        return None
    return Resume(
        kernel=str(parent.ref.kernel),
        version=parent.ref.version,
        run=parent.stamp.id,
        session=parent.stamp.session,
        global_step=parent.result.global_step or 0,
        sha256=parent.result.sha256,
        dataset=parent.dataset,
        downloads=downloads,
    )


def find_parent(
    snapshot: Snapshot,
    base: KernelRef,
    heads: Mapping[KernelRef, int],
    newest: SessionView,
    known: Sequence[SessionView],
) -> FoundParent:
    """What the session after `newest` can continue from.

    The dataset is only asked about if a session is known to have saved more than the mounts give: usually
    that costs no call.

    Args:
        snapshot: what Kaggle shows.
        base: the kernel that the settings name.
        heads: the newest version number of each sibling.
        newest: the newest session, which has ended.
        known: sessions whose states are known.

    Raises:
        ServiceError: it cannot be found out.
    """
    mounted = _mounted(snapshot, heads, newest, known)
    saved = newest if newest.is_mountable else parent_of(snapshot, newest, known=mounted)
    step = mounted.step if mounted is not None else 0
    better = [view for view in (newest, saved) if view is not None and view.has_saved and view.step > step]
    if not better and saved is None and newest.parent is not None and newest.parent.is_elsewhere:
        dataset = read_dataset(snapshot.kaggle, handover_dataset(base))
        return FoundParent(mounted, saved, preparing=dataset.pending)
    if not better:
        return FoundParent(mounted, saved)
    better.sort(key=lambda view: (view.step, view.stamp.session), reverse=True)
    dataset = read_dataset(snapshot.kaggle, handover_dataset(base))
    held = next((replace(view, dataset=dataset.source) for view in better if dataset.holds(view)), None)
    best, resumable = better[0], held or mounted
    stranded = best if held is None or held.step < best.step else None
    return FoundParent(resumable, saved, stranded, preparing=dataset.pending)


def parent_of(
    snapshot: Snapshot, child: SessionView, *, known: SessionView | None = None
) -> SessionView | None:
    """The session that `child` was to continue from, if Kaggle still has what it saved.

    One that ran elsewhere is no kernel on Kaggle: there is of it what the dataset has that handed it over.

    Raises:
        ServiceError: it cannot be found out.
    """
    ref = child.parent
    if ref is None or (known is not None and known.ref == ref):
        return known if ref is not None else None
    return (
        _handed_over(snapshot, child, ref)
        if ref.is_elsewhere
        else snapshot.saved_session(ref, child.stamp.id)
    )


def result_before(snapshot: Snapshot, child: SessionView) -> "SessionResult | None":
    """What the session before `child` saved; None if it cannot be read, as it is only shown."""
    parent = child.parent
    if parent is None or not parent.is_elsewhere:
        return None if parent is None else value_of(snapshot.state(parent))
    found = value_of(see(lambda: _handed_over(snapshot, child, parent)))
    return None if found is None else found.result


def _handed_over(snapshot: Snapshot, child: SessionView, ref: KernelRef) -> SessionView | None:
    """A session outside Kaggle as the run's dataset has it; None if that has another one, or is not ready.

    Raises:
        ServiceError: it cannot be found out.
    """
    from orchestrator.run.state import session_of  # noqa: PLC0415 - pydantic, see `Snapshot.state`.

    source, number = handover_dataset(child.ref.base), ref.version or 0
    dataset, run_id = read_dataset(snapshot.kaggle, source), child.stamp.id
    marked = f"{HANDOVER_PREFIX}{run_id}-{number}-"
    if not any(name.startswith(marked) for name in dataset.names):
        return None
    content = certain(see(lambda: snapshot.kaggle.dataset_head(source, STATE_FILE, LARGEST_FILE)))
    if content is None:
        raise ServiceError(f"Kaggle does not give the state.json of {source}.", hint="try again in a minute")
    session = session_of(content, number)
    if session is None or session.ref != ref or session.stamp.id != run_id or not dataset.holds(session):
        return None
    return replace(session, dataset=source)


def _mounted(
    snapshot: Snapshot, heads: Mapping[KernelRef, int], newest: SessionView, known: Sequence[SessionView]
) -> SessionView | None:
    """What the siblings' mounts give to continue from: the best of the newest completed versions."""
    wanted = newest.ref if newest.is_mountable else newest.parent
    candidates = []
    for kernel in sorted(heads, key=lambda kernel: wanted is None or kernel != wanted.kernel):
        given = _newest_complete(snapshot, kernel.at(heads[kernel]), newest.stamp.id, known)
        if given is not None and given.ref == wanted:
            return given  # As it should be, and as it nearly always is.
        candidates += [given] if given is not None else []
    return max(candidates, key=lambda view: (view.step, view.stamp.session), default=None)


def _newest_complete(
    snapshot: Snapshot, head: KernelRef, run: str, known: Sequence[SessionView]
) -> SessionView | None:
    """The newest completed version of a kernel, if it can be continued from."""
    seen = {view.ref: view for view in known}
    newest = head.version or 0
    for version in range(newest, max(0, newest - _LOOK_BACK), -1):
        ref = head.at(version)
        if snapshot.certain_status(ref).state is SessionState.COMPLETE:
            view = seen.get(ref)
            if view is not None and view.result is not None:
                return view if view.is_mountable else None
            return snapshot.saved_session(ref, run)
    if newest > _LOOK_BACK:
        raise ServiceError(
            f"None of the newest {_LOOK_BACK} versions of {head.kernel} is complete, and older ones were not "
            "read, so what a session can continue from is unknown.",
            hint="another kernel.slug begins another run",
        )
    return None
