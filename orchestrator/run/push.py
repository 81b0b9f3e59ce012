"""Push one session of a run: rendered, recorded, sent once, and never sent again on a guess."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator import __version__
from orchestrator.errors import KgttsError, RefusedError, ServiceError
from orchestrator.models import KernelRef, Pushed, Resume, SessionSummary
from orchestrator.render.kernel import Rendered, render_kernel
from orchestrator.render.stamp import RunStamp
from orchestrator.run.context import RunContext, Target
from orchestrator.run.ledger import Intent, SessionRecord
from orchestrator.run.target import find_push
from orchestrator.settings import Settings, fingerprint, values_of

RUN_ID_LENGTH = 12


@dataclass(frozen=True, slots=True)
class PushedSession:
    """A session that Kaggle took, with what a person should know about it."""

    target: Target
    url: str
    warnings: Sequence[str]


def preview(settings: Settings) -> Rendered:
    """The kernel that a push of these settings would send; the same settings always give the same text.

    Its run id is taken from the settings, where a push makes a new one.
    """
    base = KernelRef(settings.kernel.owner, settings.kernel.slug)
    first = base.next_after(None)
    return render_kernel(settings, make_stamp(settings, first, run_id=fingerprint(settings)[:RUN_ID_LENGTH]))


def make_stamp(  # noqa: PLR0913 - each is a word of its own to the caller
    settings: Settings,
    kernel: KernelRef,
    *,
    run_id: str,
    session: int = 1,
    parent: KernelRef | None = None,
    overrides: Sequence[str] = (),
    failed_downloads: int = 0,
) -> RunStamp:
    """The stamp of one session of a run; `settings` went through `with_owner`."""
    return RunStamp(
        id=run_id,
        session=session,
        parent=None if parent is None else str(parent),
        fingerprint=fingerprint(settings),
        kernel=str(kernel.kernel),
        kgtts=__version__,
        overrides=tuple(overrides),
        values=values_of(settings),
        failed_downloads=failed_downloads,
    )


def new_run_id() -> str:
    """An id for a run that no other run has."""
    return uuid.uuid4().hex[:RUN_ID_LENGTH]


def push_session(
    settings: Settings,
    stamp: RunStamp,
    context: RunContext,
    *,
    resume: Resume | None = None,
    before: Sequence[SessionSummary] = (),
) -> PushedSession:
    """Render the kernel of one session, push it and remember it.

    The intent is recorded first. If the answer is lost, Kaggle is searched for our stamp instead of pushing
    again.

    Args:
        settings: settings that went through `with_owner`.
        stamp: which session it is.
        context: Kaggle, the ledger and the clock.
        resume: what the session continues from.
        before: sessions of the run that its parent does not know.

    Raises:
        RefusedError: Kaggle said no, or saved the kernel under another name.
        ServiceError: the push did not arrive, or nobody can say.
    """
    ledger, ref = context.ledger, KernelRef.parse(stamp.kernel)
    rendered = render_kernel(settings, stamp, resume=resume, before=before, templates=context.templates)
    intent = Intent(stamp.id, stamp.session, ref, settings.accelerator.machine_shape, stamp.fingerprint)
    record = ledger.intend(intent, context.clock.now())
    try:
        pushed = context.kaggle.push(rendered.push)
    except ServiceError as error:
        pushed = _after_lost_answer(context, record, error)
    except KgttsError as error:
        ledger.refuse(record, error.message)
        raise
    if str(pushed.ref.kernel).casefold() != str(ref).casefold():
        words = f"Kaggle saved the kernel as {pushed.ref.kernel}, not as {ref}."
        ledger.refuse(record, words)
        raise RefusedError(
            words,
            hint=f"`kgtts stop {pushed.ref}` stops it; make kernel.title one that gives "
            "kernel.slug, then push again",
        )
    return _checked(context, record, pushed)


def _checked(context: RunContext, record: SessionRecord, pushed: Pushed) -> PushedSession:
    """Remember the push at once, then check what Kaggle made of it; a failed check is only a warning."""
    record = context.ledger.confirm(record, pushed.ref)
    asked, warnings = record.accelerator, []
    try:
        info = context.kaggle.kernel(pushed.ref)
    except (RefusedError, ServiceError) as error:
        warnings.append(f"The push is made, but it could not be read back: {error.message}")
    else:
        if record.ref.version is None and info.latest_version is not None:
            record = context.ledger.confirm(record, pushed.ref.at(info.latest_version))
        if asked is not None and info.accelerator not in (None, asked):
            warnings.append(f"Kaggle says that it runs on {info.accelerator}, not on {asked} as asked.")
    target = Target(record.ref, record)
    return PushedSession(target, pushed.url or target.page(context.kaggle.service), warnings)


def _after_lost_answer(context: RunContext, record: SessionRecord, error: ServiceError) -> Pushed:
    """The version that a push without an answer became; never a second push.

    Raises:
        ServiceError: it did not arrive, or nobody can say.
    """
    found = find_push(context, record)
    if found is not None:
        return found
    context.ledger.refuse(record, "the push did not arrive")
    raise ServiceError(
        f"The push of {record.ref} did not arrive: {error.message}", hint="`kgtts push` again is safe"
    ) from error
