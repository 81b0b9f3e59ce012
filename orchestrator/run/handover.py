"""How a checkpoint is handed over to the next session: the one place that knows the ways.

- By mount: two sibling kernels (`siblings`) take turns, each mounting the other's output. A mount gives the
  newest completed version of a kernel, and nothing of a session that was killed.
- By dataset: what such a session kept, which Kaggle shows and does not mount, is uploaded as the private
  dataset `SLUG-kept` (`rescue`). A small file in it says by its name alone which session it holds, so that
  any machine sees it in the listing.
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.errors import NotFoundError, RefusedError
from orchestrator.models import KernelRef, SessionState
from orchestrator.ports import Kaggle
from orchestrator.run.reading import parent_of, parent_ref, read_session, status_of
from orchestrator.run.session import SessionView

if TYPE_CHECKING:
    from orchestrator.render import Resume

MARKER_PREFIX = "kgtts-kept-"
_KEPT = "-kept"
_LONGEST_SLUG = 50  # kaggle 2.2.4 refuses longer dataset slugs before it sends anything.
_MOST_FILES = 1000  # Of a dataset of ours; a foreign one may have any number.
_LOOK_BACK = 20  # How many versions of a kernel are looked through, which costs a call each.


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be continued from, as in `RunView`; `saved` is what ought to be."""

    resumable: SessionView | None
    saved: SessionView | None
    kept: SessionView | None = None
    preparing: bool = False


@dataclass(frozen=True, slots=True)
class KeptDataset:
    """The dataset of a run as it is now: whether it exists, can be mounted, and what it holds."""

    source: str
    exists: bool = False
    pending: bool = False
    broken: bool = False  # Kaggle could not process its newest version.
    names: frozenset[str] = frozenset()

    @property
    def is_ours(self) -> bool:
        """Whether kgtts may put a new version in its place."""
        return not self.exists or any(name.startswith(MARKER_PREFIX) for name in self.names)

    def holds(self, view: SessionView) -> bool:
        """Whether a kernel that mounts it gets what the session left."""
        return not self.pending and not self.broken and marker_of(view) in self.names


def kept_dataset(base: KernelRef) -> str:
    """The dataset of the run whose settings name `base`."""
    slug = f"{base.slug}{_KEPT}"
    if len(slug) > _LONGEST_SLUG:
        name = hashlib.sha256(base.slug.encode()).hexdigest()[:8]
        slug = f"{base.slug[: _LONGEST_SLUG - len(_KEPT) - 9].rstrip('-')}-{name}{_KEPT}"
    return f"{base.owner}/{slug}"


def marker_of(view: SessionView) -> str:
    """The name of the file that says which session, and which step of it, a dataset holds."""
    return f"{MARKER_PREFIX}{view.stamp.id}-{view.stamp.session}-{view.step}.json"


def look_at_dataset(kaggle: Kaggle, source: str) -> KeptDataset:
    """See what a dataset is now.

    Raises:
        CredentialsError, ServiceError: Kaggle could not be read.
    """
    broken = False
    try:
        if not kaggle.dataset_ready(source):
            return KeptDataset(source, exists=True, pending=True)
    except NotFoundError:
        return KeptDataset(source)
    except RefusedError:
        broken = True
    try:
        # Names alone tell, and a version that was replaced meanwhile is listed as a whole.
        names = frozenset(file.name for file in itertools.islice(kaggle.dataset_files(source), _MOST_FILES))
    except NotFoundError:
        names = frozenset()
    return KeptDataset(source, exists=True, broken=broken, names=names)


def resume_from(parent: SessionView | None) -> "Resume | None":
    """What the kernel of the next session is told of the one before, and what it mounts."""
    from orchestrator.render import Resume  # noqa: PLC0415  # Start-up: only a push renders.

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
    )


def find_offer(
    kaggle: Kaggle,
    base: KernelRef,
    heads: Mapping[KernelRef, int],
    newest: SessionView,
    known: Sequence[SessionView],
) -> Offer:
    """What the session after `newest` can continue from.

    The dataset is asked about only where a session is known to have saved more than the mounts give: on the
    ordinary way no call is spent on it.

    Args:
        kaggle: Kaggle.
        base: the kernel that the settings name.
        heads: the newest version number of each sibling.
        newest: the newest session, which has ended.
        known: sessions whose states are known.
    """
    mounted = _mounted(kaggle, heads, newest, known)
    saved = newest if newest.is_mountable else parent_of(kaggle, newest, known=mounted)
    step = mounted.step if mounted is not None else 0
    better = [view for view in (newest, saved) if view is not None and view.has_saved and view.step > step]
    if not better:
        return Offer(mounted, saved)
    better.sort(key=lambda view: (view.step, view.stamp.session), reverse=True)
    dataset = look_at_dataset(kaggle, kept_dataset(base))
    held = next((replace(view, dataset=dataset.source) for view in better if dataset.holds(view)), None)
    best, resumable = better[0], held or mounted
    kept = best if held is None or held.step < best.step else None
    return Offer(resumable, saved, kept, preparing=dataset.pending)


def _mounted(
    kaggle: Kaggle, heads: Mapping[KernelRef, int], newest: SessionView, known: Sequence[SessionView]
) -> SessionView | None:
    """What the mounts of the siblings give to continue from: the best of the newest completed versions."""
    wanted = newest.ref if newest.is_mountable else parent_ref(newest)
    candidates = []
    for kernel in sorted(heads, key=lambda kernel: wanted is None or kernel != wanted.kernel):
        given = _newest_complete(kaggle, kernel.at(heads[kernel]), newest.stamp.id, known)
        if given is not None and given.ref == wanted:
            return given  # As it should be, and as it nearly always is.
        candidates += [given] if given is not None else []
    return max(candidates, key=lambda view: (view.step, view.stamp.session), default=None)


def _newest_complete(
    kaggle: Kaggle, head: KernelRef, run: str, known: Sequence[SessionView]
) -> SessionView | None:
    """The newest completed version of a kernel, where it can be continued from."""
    seen = {view.ref: view for view in known}
    newest = head.version or 0
    for version in range(newest, max(0, newest - _LOOK_BACK), -1):
        ref = head.at(version)
        view = seen.get(ref)
        status = view.status if view is not None else status_of(kaggle, ref)
        if status.state is SessionState.COMPLETE:
            if view is not None and view.result is not None:
                return view if view.is_mountable else None
            return read_session(kaggle, ref, run, status)
    return None
