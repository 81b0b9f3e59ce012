"""All that comes before a push: looks that agree, settings, inputs that are ready, a last look.

A push cannot be undone, and no wrong, old or missing answer, nor two of them, may lead to a second run or to
an older parent. None of the calls before it does what another does (`tests/run/test_calls.py` lists them):

- two looks that agree (`look_twice`): both kernels, the account's list if one is not there, the sessions'
  states, the newest `state.json`; and once the week's quota, if a GPU is asked for;
- the inputs: the dataset's newest version is ready; the model's version is there, and is ready;
- a last look, by other questions: a newer version, a session at work, a version that is somebody else's;
  before a kernel's first push also whether the account's other sessions leave a machine (`machines`).

After it, one call reads the version back: nothing else tells on which accelerator it runs.
"""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.download import fetch
from orchestrator.errors import LocalError, ServiceError, UsageError
from orchestrator.locks import is_training
from orchestrator.models import KernelRef, SessionState
from orchestrator.results import Results
from orchestrator.run.context import RunContext
from orchestrator.run.decide import PREPARING, Decision, RunState, being_prepared
from orchestrator.run.handover import downloads_itself
from orchestrator.run.inputs import input_states
from orchestrator.run.ledger import PushOutcome
from orchestrator.run.look import Asked, Pass, base_kernel, decided, look_twice
from orchestrator.run.machines import no_machine
from orchestrator.run.reading import stranger_on
from orchestrator.run.rescue import NotHandedOverError, Rescue, find_downloads
from orchestrator.run.snapshot import Snapshot, certain, is_forbidden, value_of
from orchestrator.run.target import find_push
from orchestrator.run.view import RunView
from orchestrator.settings import Effect, Settings, find_changes, fingerprint

HANDOVER_FOLDER = "kept"  # Within `home`.


class StrangerOnTopError(UsageError):
    """Somebody else's version is on top of the kernel that the next session would go to.

    Attributes:
        seen: the pass so far.
    """

    def __init__(self, stranger: KernelRef, seen: Pass) -> None:
        super().__init__(
            f"{stranger}, the newest version there, was not pushed by kgtts, so nothing was pushed over it.",
            hint=f"see it with `kgtts open {stranger}`; to push all the same: kgtts push --overwrite",
        )
        self.seen = seen


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that comes before a push.

    Attributes:
        due: the pass so far; it has a `start` if a session is to be pushed.
        begins: whether it is to begin another run.
        heads: the newest version of each sibling that exists, just before the push.
    """

    due: Pass
    begins: bool
    heads: Mapping[KernelRef, int] = field(default_factory=dict)


def prepare(settings: Settings, context: RunContext, asked: Asked) -> Prepared:
    """Do all that comes before the push.

    Raises:
        UsageError, ServiceError: as `make_pass`.
    """
    seen = look_twice(settings, context, asked)
    due, begins = _due(settings, context, seen, asked)
    start, settings = due.decision.start, due.settings or settings
    if start is None:
        return Prepared(due, begins)
    trained_before = _trains_here(settings, seen.view)
    _settle_intents(context, base_kernel(settings), seen.view)
    if not asked.overwrite:
        _check_strangers(start.kernel, due)
    waiting, notes = _unready_inputs(settings, context)
    due = replace(due, notes=(*due.notes, *notes))
    if waiting is not None:
        return Prepared(replace(due, decision=waiting), begins)
    if start.needs_handover:
        due = _hand_over(settings, context, due, retry=asked.retry)
    heads: Mapping[KernelRef, int] = {}
    if due.decision.start is not None:
        last = context.snapshot()
        if not asked.overwrite:
            _check_strangers(due.decision.start.kernel, due, last)  # Another kernel if the handover failed.
        heads = _check_once_more(last, base_kernel(settings), seen.view)
        if not trained_before and _trains_here(settings, seen.view):
            raise ServiceError(
                "A session of the run has just begun to train on this machine, so nothing was pushed.",
                hint="`kgtts watch` waits for its end and continues after it",
            )
        if due.decision.start.kernel not in heads:
            has_gpu, now = settings.accelerator.has_gpu, context.clock.now()
            waiting = no_machine(last, has_gpu=has_gpu, now=now)
            due = due if waiting is None else replace(due, decision=waiting)
    return Prepared(due, begins, heads)


def _trains_here(settings: Settings, view: RunView | None) -> bool:
    results = Results(Path(settings.pull.to))
    return view is not None and is_training(results.of_run(view.base.slug, view.run_id))


def _settle_intents(context: RunContext, base: KernelRef, view: RunView | None) -> None:
    """See that no push from here, whose end nobody knows, has arrived behind what Kaggle showed.

    Raises:
        ServiceError: one has, or Kaggle does not say.
    """
    newest = None if view is None else view.newest_on_kaggle
    for record in context.ledger.of_slug(base.slug, base.owner):
        is_shown = (
            newest is not None and record.run_id == newest.stamp.id and record.number <= newest.stamp.session
        )
        if record.outcome is not PushOutcome.INTENDED or is_shown:
            continue
        if (found := find_push(context, record)) is not None:
            context.ledger.confirm(record, found.ref)
            raise _contradiction(found.ref.kernel, f"{found.ref} was pushed from here")
        context.ledger.refuse(record, "the push did not arrive")


def _check_strangers(kernel: KernelRef, seen: Pass, last: Snapshot | None = None) -> None:
    """See that the newest version of a kernel that a session goes to is ours, by earlier looks or the last.

    Raises:
        StrangerOnTopError: it is not, so that a person has to ask for the push.
    """
    known = () if seen.view is None else seen.view.strangers
    stranger = next((ref for ref in known if ref.kernel == kernel), None)
    if stranger is None and last is not None:
        stranger = stranger_on(last, kernel)
    if stranger is not None:
        raise StrangerOnTopError(stranger, seen)


def _check_once_more(last: Snapshot, base: KernelRef, view: RunView | None) -> Mapping[KernelRef, int]:
    """Ask in a third way, just before a push: no newer version, and no session that is alive.

    Returns:
        The newest version of each sibling that exists.

    Raises:
        ServiceError: there is one, or Kaggle does not say.
    """
    heads = dict[KernelRef, int]()
    for kernel in base.siblings:
        info = certain(last.kernel(kernel))
        head = None if info is None else info.latest_version
        if view is not None and head != view.heads.get(kernel):
            raise _contradiction(kernel, f"its newest version is {head} now")
        if head is not None:
            newer = last.after(kernel, head)
            if newer is not None and (newer.latest_version or 0) > head:
                raise _contradiction(kernel, f"it has a version {newer.latest_version}")
        seen = last.status(kernel)
        status = None if is_forbidden(seen) else certain(seen)
        if status is not None and head is None:
            raise _contradiction(kernel, "it has a session")
        if status is not None and not (status.state.is_terminal or status.state is SessionState.NEW_SCRIPT):
            raise _contradiction(kernel, f"its newest session is {status.state}")
        if head is not None:
            heads[kernel] = head
    return heads


def _contradiction(kernel: KernelRef, words: str) -> ServiceError:
    return ServiceError(
        f"Kaggle's answers about {kernel} contradict each other ({words}), so nothing was pushed.",
        hint="try again in a minute; `kgtts watch` does so by itself",
    )


def _unready_inputs(settings: Settings, context: RunContext) -> tuple[Decision | None, Sequence[str]]:
    """Why the next session waits for what it would mount, None if all is ready; and what is not known."""
    items = list(input_states(settings, context.kaggle))
    notes = [f"{item.source}: {item.note}." for item in items if item.note is not None]
    words = next((item.words for item in items if item.words is not None), None)
    if words is None:
        return None, notes
    until = context.clock.now() + PREPARING
    return Decision(RunState.WAITING, words, until=until, is_preparing=True), notes


def _due(settings: Settings, context: RunContext, seen: Pass, asked: Asked) -> tuple[Pass, bool]:
    """What is to be done about a run that was seen, and whether it is to begin another run."""
    _remember(context, seen.view)
    seen = replace(seen, notes=(*seen.notes, *_beside(context, seen.view)))
    if (seen.view is None or seen.view.newest_on_kaggle is None) and not asked.new:
        _check_forgotten(settings, context, asked)
    if seen.view is None:
        return seen, True
    if not asked.new:
        settings = seen.settings or settings
    if _begins_another(settings, seen.view, asked):
        quota = (seen.quota or context.snapshot().quota()) if settings.accelerator.has_gpu else None
        _check_voice(settings, seen.view)
        decision = _on_newest(decided(settings, context, None, quota), seen.view)
        return replace(seen, decision=decision, quota=quota, settings=settings), True
    if seen.decision.start is not None:
        _check_settings(settings, seen.view)
    return seen, False


def _check_forgotten(settings: Settings, context: RunContext, asked: Asked) -> None:
    """See that nothing is known of a run of which Kaggle shows nothing; only a person begins one after it.

    Raises:
        UsageError: this machine has pushed it, or has seen it a moment ago; or it was deleted from here, and
            nobody asks for another.
    """
    for kernel in base_kernel(settings).siblings:
        record = context.ledger.of_kernel(kernel)
        if record is not None and not record.is_deleted:
            raise UsageError(
                f"Kaggle shows nothing of run {record.run_id}, although {record.ref} was pushed from here.",
                hint="if you deleted it on Kaggle, `kgtts push --new` begins another run; if not, wait",
            )
        if record is not None and not asked.retry:
            raise UsageError(
                f"Run {record.run_id} was deleted from here, so no other is begun by itself.",
                hint="`kgtts push` begins another run",
            )
    if asked.continues:
        raise UsageError(
            f"Kaggle shows nothing of {base_kernel(settings)} any more, so nothing was pushed.",
            hint="if you deleted it on Kaggle, `kgtts push --new` begins another run; if not, wait",
        )


def _remember(context: RunContext, view: RunView | None) -> None:
    """Tell the ledger what Kaggle shows of a session pushed from here, its answer lost or not."""
    if view is None:
        return
    newest = view.newest_on_kaggle
    context.ledger.learn(view.run_id, view.history)
    for record in context.ledger.of_run(view.run_id):
        if newest is not None and record.run_id == view.run_id and record.number == newest.stamp.session:
            if record.outcome is not PushOutcome.PUSHED or record.ref != newest.ref:
                record = context.ledger.confirm(record, newest.ref)  # noqa: PLW2901  # The same, as it is now.
            status = newest.status
            context.ledger.observe(record, status.state, status.failure_message, context.clock.now())


def _beside(context: RunContext, view: RunView | None) -> Sequence[str]:
    """Name sessions of other runs that were pushed from here to the run's kernels and are still at work.

    Two machines that push at the same moment begin two runs; passes follow the later one.
    """
    notes = []
    for kernel in () if view is None else view.base.siblings:
        record = context.ledger.of_kernel(kernel)
        if view is None or record is None or record.run_id == view.run_id:
            continue
        if record.state is not None and record.state.is_terminal:
            continue
        status = value_of(context.snapshot().status(record.ref))
        if status is not None:
            context.ledger.observe(record, status.state, status.failure_message, context.clock.now())
            if not status.state.is_terminal:
                notes.append(
                    f"{record.ref} of run {record.run_id} is {status.state}: it was pushed from here, and "
                    f"passes follow {view.newest.ref} of run {view.run_id}. `kgtts stop {record.ref}` ends "
                    "the other."
                )
    return notes


def _begins_another(settings: Settings, view: RunView, asked: Asked) -> bool:
    """Whether a pass begins a run although there is one.

    Raises:
        UsageError: it should, but a session of the present one is alive.
    """
    if asked.new:
        if view.is_alive:
            ref = view.newest.ref
            how = "Ctrl-C in its terminal saves and ends it" if ref.is_elsewhere else f"kgtts stop {ref}"
            raise UsageError(
                f"Run {view.run_id} has a session that is not over: {ref}.",
                hint=f"`kgtts watch` waits for its end; to stop it: {how}",
            )
        return True
    changed = view.newest.stamp.fingerprint != fingerprint(settings)
    return asked.retry and changed and not view.is_alive and not view.has_saved


def _on_newest(decision: Decision, view: RunView) -> Decision:
    """Begin a run that follows another on the kernel of that run's newest session, whose stamp it replaces.

    So the newest session of both siblings belongs to the new run at once, whenever Kaggle says that they ran.
    """
    newest = view.newest_on_kaggle
    if decision.start is None or newest is None:
        return decision
    return replace(decision, start=replace(decision.start, kernel=newest.ref.kernel))


def _check_voice(settings: Settings, view: RunView) -> None:
    """See that another run's first session does not replace the version whose voice it begins with.

    Raises:
        UsageError: it would.
    """
    other, newest = settings.inputs.other_voice, view.newest_on_kaggle
    kernel = None if newest is None else newest.ref.kernel
    if other is not None and str(kernel) == other[0]:
        raise UsageError(
            f"A run that begins with the voice of {kernel} cannot be pushed to that kernel, which cannot "
            "mount its own output.",
            hint="set another kernel.slug in kgtts.toml, then run the same command again",
        )


def _check_settings(settings: Settings, view: RunView) -> None:
    """See that a run goes on with the settings that it was begun with.

    Raises:
        UsageError: they are others.
    """
    stamp = view.newest.stamp
    if stamp.fingerprint != fingerprint(settings):
        raise changed_since(view.run_id, stamp.values, settings)


def changed_since(run_id: str, values: Mapping[str, str], settings: Settings) -> UsageError:
    """The error for a run that would go on with other settings than it was begun with.

    Args:
        run_id: the run.
        values: its settings as they were stamped; empty if they are not known.
        settings: those of now.
    """
    changes = find_changes(values, settings) if values else []
    named = ", ".join(str(change) for change in changes if change.effect is Effect.NEW_RUN)
    return UsageError(
        f"Settings of inputs, training or install have changed since run {run_id} was begun"
        f"{f': {named}' if named else ''}.",
        hint="put them back to go on with it, or begin another run: another kernel.slug, or --new",
    )


def _hand_over(settings: Settings, context: RunContext, seen: Pass, *, retry: bool) -> Pass:
    """Have the next session download what a session saved, or make it mountable; else do without it.

    Raises:
        ServiceError: Kaggle could not be reached; the next pass tries again.
        LocalError: this machine has no room for it; or a session was trained elsewhere, and what it saved
            cannot be handed over.
    """
    view, start, base = seen.view, seen.decision.start, base_kernel(settings)
    assert view is not None
    assert view.stranded is not None
    assert start is not None
    stranded, home, above = view.stranded, context.home, view.global_step
    start = replace(start, needs_handover=False)
    if downloads_itself(settings, view) and (files := find_downloads(context.kaggle, stranded, above=above)):
        view = view.handed_over()
        start = replace(start, parent=view.resumable, downloads=files)
        return replace(seen, decision=replace(seen.decision, start=start), view=view)
    with tempfile.TemporaryDirectory() if home is None else nullcontext(home / HANDOVER_FOLDER) as folder:
        rescue = Rescue(context.kaggle, context.clock, Path(folder), context.fetch or fetch)
        try:
            dataset = rescue.hand_over(base, stranded, above=above)
        except NotHandedOverError as error:
            if stranded.folder is not None:
                raise LocalError(
                    f"What session {stranded.stamp.session} saved on {stranded.ref.place}, up to step "
                    f"{stranded.step}, cannot be handed over: {error.message} Nothing was pushed.",
                    hint=f"`kgtts push` tries again; to go on without it, from step {above}, move "
                    f"{stranded.folder} away",
                ) from error
            view = view.without_stranded()
            decision = decided(settings, context, view, seen.quota, retry=retry)
            words = (
                f"What session {stranded.stamp.session} kept, up to step {stranded.step}, is lost: "
                f"{error.message}"
            )
            return replace(seen, decision=decision, view=view, notes=(*seen.notes, words))
    if dataset is None:
        return replace(seen, decision=being_prepared(stranded, context.clock.now()))
    view = view.handed_over(dataset)
    start = replace(start, parent=view.resumable)
    return replace(seen, decision=replace(seen.decision, start=start), view=view)
