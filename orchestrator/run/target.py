"""Find the session that a command is about, from what a person wrote."""

from collections.abc import Callable, Iterator, Sequence

from orchestrator.errors import NotFoundError, ServiceError, UsageError
from orchestrator.models import MIN_SLUG_LENGTH, KernelInfo, KernelRef, Pushed
from orchestrator.render.stamp import RunStamp, read_stamp
from orchestrator.run.context import RunContext, Target
from orchestrator.run.ledger import Ledger, PushOutcome, SessionRecord
from orchestrator.run.reading import ended_by_the_list, read_run
from orchestrator.run.snapshot import NotThere, Snapshot, certain, visible

_LIST = "`kgtts list` shows the runs of this machine; name any other as SLUG or OWNER/SLUG"
_LOOKS_FOR_A_PUSH = 3  # All of `_PUSH_PAUSES_S` if Kaggle answers 403: it does so after a push, too.
_PUSH_PAUSES_S = (0.0, 2.0, 5.0, 10.0, 20.0)  # Before each look.


def find_target(
    context: RunContext,
    text: str | None,
    *,
    default: Callable[[], KernelRef | None] = lambda: None,
    snapshot: Snapshot | None = None,
    only_shows: bool = False,
) -> Target:
    """The newest session, known here, of the run that a person names, or the version that they name.

    Args:
        context: Kaggle and the ledger.
        text: a run's slug, its id or the beginning of it, or `owner/slug[/version]`; None is the run of
            `default`, or without one the newest that was pushed from this machine.
        default: the kernel that the settings of this folder name; None if it has none.
        snapshot: where Kaggle is looked at, so that what is seen here need not be read again.
        only_shows: whether the command changes nothing; then fewer calls do (`ended_by_the_list`).

    Raises:
        UsageError: nothing fits, or several runs do.
        NotFoundError: there is no such kernel.
        ServiceError: Kaggle does not say.
    """
    snapshot = snapshot or context.snapshot()
    if text is None:
        return _of_folder(context, default(), snapshot, only_shows=only_shows)
    if "/" in text:
        return _of_kernel(context, KernelRef.parse(text), snapshot, only_shows=only_shows)
    records = _named(context.ledger, text)
    runs = {record.run_id for record in records}
    if len({record.ref.owner for record in records}) > 1 or (len(runs) > 1 and text not in _names(records)):
        count = max(len(runs), len({record.ref.owner for record in records}))
        raise UsageError(f"{text!r} matches {count} runs.", hint=_LIST)
    if records:
        return _settled(context, records[0])
    return _on_kaggle(context, text, default, snapshot, only_shows=only_shows)


def _of_folder(
    context: RunContext, kernel: KernelRef | None, snapshot: Snapshot, *, only_shows: bool
) -> Target:
    """The run of this folder's settings, or without any the newest of this machine."""
    if kernel is None:
        newest = context.ledger.newest()
        if newest is None:
            raise UsageError(
                "No run is known on this machine.",
                hint="start one with `kgtts push`, or name one as OWNER/SLUG",
            )
        return _settled(context, newest)
    records = context.ledger.of_slug(kernel.slug, kernel.owner)
    if records:
        return _settled(context, records[0])
    try:
        return _of_kernel(context, kernel, snapshot, only_shows=only_shows)
    except NotFoundError as error:
        raise NotFoundError(
            f"{kernel}, which kgtts.toml names, has not been pushed yet.", hint="kgtts push"
        ) from error


def _names(records: Sequence[SessionRecord]) -> frozenset[str]:
    """The slugs of kernels, and what settings call their runs."""
    return frozenset(name for record in records for name in (record.ref.slug, record.ref.base.slug))


def _named(ledger: Ledger, text: str) -> Sequence[SessionRecord]:
    """The sessions of what the ledger knows by a slug, newest first; else of runs by their id's beginning."""
    exact = [record for record in ledger.of_slug(text) if record.ref.slug == text]
    return exact or ledger.of_slug(text) or ledger.of_run(text)


def _on_kaggle(
    context: RunContext,
    text: str,
    default: Callable[[], KernelRef | None],
    snapshot: Snapshot,
    *,
    only_shows: bool,
) -> Target:
    """The run of another machine: by its slug, or by its id if this folder's settings name it."""
    unknown = f"{text!r} is no run that this machine knows"
    if len(text) >= MIN_SLUG_LENGTH:
        try:
            ref = KernelRef.parse(f"{context.kaggle.username}/{text}")
        except UsageError:
            raise UsageError(f"{unknown}.", hint=_LIST) from None
        try:
            return _of_kernel(context, ref, snapshot, only_shows=only_shows)
        except NotFoundError:
            unknown = f"{unknown}, and Kaggle has no {ref}"
    kernel = default()
    view = None if kernel is None else read_run(snapshot, kernel)
    if view is not None and view.run_id.startswith(text):
        return Target(view.newest.ref, None)
    raise UsageError(f"{unknown}.", hint=_LIST)


def _of_kernel(context: RunContext, ref: KernelRef, snapshot: Snapshot, *, only_shows: bool) -> Target:
    """The kernel's session, or the newest of the run whose settings name the kernel."""
    if ref.is_elsewhere:
        raise UsageError(
            f"{ref} is not on Kaggle: its sessions run on {ref.place}.",
            hint=f"`kgtts status {ref.slug}` shows them; their results are in the run's folder",
        )
    known = [record for each in (ref, *ref.siblings) if (record := context.ledger.of_kernel(each))]
    if ref.version is not None:
        return Target(ref, known[0] if known and known[0].ref == ref else None)
    if known:
        record = max(known, key=lambda each: each.pushed_at)
        return Target(record.ref, record)
    if only_shows and (newest := ended_by_the_list(snapshot, ref)) is not None:
        return Target(newest, None)
    seen = snapshot.kernel(ref)
    if visible(seen) is not None or (isinstance(seen, NotThere) and seen.is_half_made):
        return Target(ref, None)
    view = read_run(snapshot, ref)
    if view is None:
        raise NotFoundError(
            f"{ref} does not exist: Kaggle has no such kernel, and no run of that name.",
            hint="check owner and name; `kgtts list` shows your runs",
        )
    return Target(view.newest.ref, None)


def _settled(context: RunContext, record: SessionRecord) -> Target:
    """The record's session; a push whose answer was lost is looked up first."""
    if record.outcome is PushOutcome.INTENDED:
        found = find_push(context, record)
        if found is None:
            context.ledger.refuse(record, "the push did not arrive")
            raise ServiceError(f"The push of {record.ref} never arrived.", hint="`kgtts push` again is safe")
        record = context.ledger.confirm(record, found.ref)
    return Target(record.ref, record)


def find_push(context: RunContext, record: SessionRecord) -> Pushed | None:
    """The version that carries the record's stamp, if Kaggle has it.

    One answer may be older than the push, so three looks have to agree that it is missing; and a kernel is
    missing only if the account's list agrees, and for longer if Kaggle says 403.

    Raises:
        ServiceError: Kaggle does not say, so it stays unknown.
    """
    kernel, is_hidden = record.ref.kernel, False
    try:
        for look, pause_s in enumerate(_PUSH_PAUSES_S):
            if look >= _LOOKS_FOR_A_PUSH and not is_hidden:
                break
            context.clock.sleep(pause_s)
            snapshot = context.snapshot()
            for info in _newest_versions(snapshot, kernel):
                stamp = read_stamp(info.source or "")
                if stamp is not None and (stamp.id, stamp.session) == (record.run_id, record.number):
                    version = info.latest_version
                    return Pushed(info.ref if version is None else info.ref.at(version), "")
            seen = snapshot.kernel(kernel)
            is_hidden = isinstance(seen, NotThere) and seen.is_hidden
    except ServiceError as error:
        raise ServiceError(
            f"Whether the push of {record.ref} arrived is not known: {error.message}",
            hint="`kgtts status` finds out as soon as Kaggle answers; do not push again before",
        ) from error
    return None


def _newest_versions(snapshot: Snapshot, kernel: KernelRef) -> Iterator[KernelInfo]:
    """A kernel's newest version, and the one after it if the answer about the newest was old.

    Raises:
        ServiceError: Kaggle does not say.
    """
    info = certain(snapshot.kernel(kernel))
    if info is not None:
        yield info
        if info.latest_version is not None:
            newer = snapshot.after(kernel, info.latest_version)
            yield from () if newer is None else (newer,)
    elif snapshot.is_own(kernel) and str(kernel).casefold() in (certain(snapshot.listing()) or ()):
        raise ServiceError(f"Kaggle lists {kernel}, but also says that it does not exist.")


def identify(context: RunContext, target: Target) -> tuple[Target, RunStamp | None]:
    """The target at its version, and what its source says that it is; None if it is no session of kgtts.

    Raises:
        NotFoundError, ForbiddenError, ServiceError: Kaggle does not show it.
    """
    with target.looked_for():
        info = context.kaggle.kernel(target.ref)
    return target.at_version_of(info), read_stamp(info.source or "")


def delete(context: RunContext, target: Target) -> None:
    """Delete the target's kernel with all versions and outputs; a running session is stopped by that."""
    context.kaggle.delete(target.ref.kernel)
    context.ledger.forget_kernel(target.ref.kernel, context.clock.now())
