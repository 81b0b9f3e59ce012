"""Which session's best model another run can begin with."""

from collections.abc import Callable

from orchestrator.errors import UsageError
from orchestrator.models import KernelRef
from orchestrator.run.context import RunContext
from orchestrator.run.reading import read_run
from orchestrator.run.target import find_target


def find_voice(context: RunContext, text: str, *, default: Callable[[], KernelRef | None]) -> str:
    """The session whose voice a run begins with, as the setting `inputs.voice_of`.

    A session's kernel is mounted for it, and a mount gives the newest completed version, so it is the run's
    newest session that completed.

    Args:
        context: Kaggle and the ledger.
        text: how a person names the run.
        default: as for `find_target`.

    Raises:
        UsageError: nothing of the run can be mounted, or a version was named that cannot.
        NotFoundError, ServiceError: as `find_target`.
    """
    snapshot = context.snapshot()
    target = find_target(context, text, default=default, snapshot=snapshot)
    view = read_run(snapshot, target.ref.base)
    session = None if view is None else view.resumable
    if session is None or session.dataset is not None or not session.is_mountable:
        raise UsageError(
            f"No session of {target.ref.base} has left a voice that Kaggle mounts.",
            hint=f"`kgtts status {target.ref}` shows what it left; wait until a session is complete",
        )
    if "/" in text and KernelRef.parse(text).version not in (None, session.ref.version):
        raise UsageError(
            f"Kaggle mounts a kernel's newest completed version only, which is {session.ref}.",
            hint=f"kgtts push --new --from {session.ref}",
        )
    return f"{session.ref.kernel}/{session.stamp.id}/{session.stamp.session}"
