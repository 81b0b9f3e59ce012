"""The push of a run: rendered, remembered, sent once, and never sent again on a guess."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator import __version__
from orchestrator.errors import KgttsError, NotFoundError, RefusedError, ServiceError
from orchestrator.models import KernelRef, Pushed, SessionSummary
from orchestrator.ports import Clock, Kaggle
from orchestrator.render import Rendered, Resume, RunStamp, read_stamp, render_kernel
from orchestrator.run.campaign import Target
from orchestrator.run.ledger import Intent, Ledger, SessionRecord
from orchestrator.settings import Settings, fingerprint

_ID_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Service:
    """What a push needs of the world."""

    kaggle: Kaggle
    ledger: Ledger
    clock: Clock


@dataclass(frozen=True, slots=True)
class Launch:
    """A push that Kaggle took, with what a person should know of it."""

    target: Target
    url: str
    warnings: Sequence[str]


def preview(settings: Settings) -> Rendered:
    """The kernel that a push of these settings would send; the same settings always give the same text.

    Its run id is taken from the settings, where a push makes a new one.
    """
    base = KernelRef(settings.kernel.owner, settings.kernel.slug)
    first = base.next_after(None)
    return render_kernel(settings, make_stamp(settings, first, run_id=fingerprint(settings)[:_ID_LENGTH]))


def make_stamp(
    settings: Settings, kernel: KernelRef, *, run_id: str, session: int = 1, parent: KernelRef | None = None
) -> RunStamp:
    """The stamp of one session of a run; `settings` went through `with_owner`."""
    return RunStamp(
        id=run_id,
        session=session,
        parent=None if parent is None else str(parent),
        fingerprint=fingerprint(settings),
        kernel=str(kernel.kernel),
        kgtts=__version__,
    )


def new_run_id() -> str:
    """An id for a run that no other run has."""
    return uuid.uuid4().hex[:_ID_LENGTH]


def launch_session(
    settings: Settings,
    stamp: RunStamp,
    service: Service,
    *,
    resume: Resume | None = None,
    before: Sequence[SessionSummary] = (),
) -> Launch:
    """Render the kernel of one session, push it and remember it.

    The intent is written down first; where the answer is lost, Kaggle is read for our stamp instead
    of pushing again.

    Raises:
        RefusedError: Kaggle said no, or saved the kernel under another name.
        ServiceError: the push did not arrive, or nobody can say.
    """
    kaggle, ledger, clock = service.kaggle, service.ledger, service.clock
    ref = KernelRef.parse(stamp.kernel)
    rendered = render_kernel(settings, stamp, resume=resume, before=before)
    intent = Intent(stamp.id, stamp.session, ref, settings.accelerator.machine_shape, stamp.fingerprint)
    record = ledger.intend(intent, clock.now())
    try:
        pushed = kaggle.push(rendered.push)
    except ServiceError as error:
        pushed = _lost_answer(kaggle, ledger, record, error)
    except KgttsError as error:
        ledger.refuse(record, error.message)
        raise
    if str(pushed.ref.kernel).casefold() != str(ref).casefold():
        words = f"Kaggle saved the kernel as {pushed.ref.kernel}, not as {ref}."
        ledger.refuse(record, words)
        raise RefusedError(
            words,
            hint=f"`kgtts cancel {pushed.ref.kernel}` stops it; make kernel.title one that gives "
            "kernel.slug, then push again",
        )
    return _launched(kaggle, ledger, record, pushed)


def _launched(kaggle: Kaggle, ledger: Ledger, record: SessionRecord, pushed: Pushed) -> Launch:
    """Remember the push at once, then check what Kaggle made of it; a check that fails is only a warning."""
    record = ledger.confirm(record, pushed.ref)
    asked, warnings = record.accelerator, []
    try:
        info = kaggle.kernel(pushed.ref)
    except (NotFoundError, ServiceError) as error:
        warnings.append(f"The push is made, but it could not be read back: {error.message}")
    else:
        if record.ref.version is None and info.latest_version is not None:
            record = ledger.confirm(record, pushed.ref.at(info.latest_version))
        if asked is not None and info.accelerator not in (None, asked):
            warnings.append(f"Kaggle says that it runs on {info.accelerator}, not on {asked} as asked.")
    target = Target(record.ref, record)
    return Launch(target, pushed.url or target.url, warnings)


def _lost_answer(kaggle: Kaggle, ledger: Ledger, record: SessionRecord, error: ServiceError) -> Pushed:
    """Whether a push without an answer arrived; never a second push."""
    found = find_push(kaggle, record)
    if found is not None:
        return found
    ledger.refuse(record, "the push did not arrive")
    raise ServiceError(
        f"The push of {record.ref} did not arrive: {error.message}", hint="`kgtts push` again is safe"
    ) from error


def find_push(kaggle: Kaggle, record: SessionRecord) -> Pushed | None:
    """The version that carries the record's stamp, where Kaggle has it.

    Raises:
        ServiceError: Kaggle cannot be read either, so nobody can say.
    """
    try:
        info = kaggle.kernel(record.ref.kernel)
    except NotFoundError:
        return None
    except ServiceError as error:
        raise ServiceError(
            f"Whether the push of {record.ref} arrived is not known: {error.message}",
            hint="`kgtts status` finds out as soon as Kaggle answers; do not push again before",
        ) from error
    stamp = read_stamp(info.source or "")
    if stamp is None or (stamp.id, stamp.session) != (record.run_id, record.number):
        return None
    return Pushed(info.ref if info.latest_version is None else info.ref.at(info.latest_version), "")
