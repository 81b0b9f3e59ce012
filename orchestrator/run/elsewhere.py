"""Sessions of a run outside Kaggle, as this machine's results have them: the one reader of these.

`kgtts train` and tasks of SkyPilot train sessions of a run whose other sessions are on Kaggle. Each lies in
the run's folder as a session that was pulled does. What its state.json says is trusted as little as Kaggle's.
Its checkpoints are compared with the hashes there before they are handed over (`rescue`).

Machines that do not have this folder know such a session by its child's stamp, and by the dataset that handed
it over (`handover.parent_of`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kernel_template.contract import LOCAL, STATE_FILE, EndReason, session_folder
from orchestrator import untrusted
from orchestrator.errors import UsageError
from orchestrator.locks import is_training
from orchestrator.models import KernelRef, SessionState, SessionStatus
from orchestrator.results import Results, newest_number, newest_run, pulled_sessions
from orchestrator.run.handover import handover_dataset, read_dataset
from orchestrator.run.snapshot import Snapshot
from orchestrator.run.state import session_of
from orchestrator.run.view import RunView, SessionView

_KILLED = SessionStatus(SessionState.ERROR)


@dataclass(frozen=True, slots=True)
class Here:
    """The sessions of a run outside Kaggle that this machine has.

    Attributes:
        sessions: those that said anything of themselves, oldest first.
        folder: the run's folder.
        begins: the number of the session that trains here, but has saved nothing yet; None if none does.
    """

    sessions: Sequence[SessionView]
    folder: Path
    begins: int | None = None

    @property
    def best(self) -> SessionView | None:
        """The one that has ended with the highest step; None if none has saved anything."""
        ended = [item for item in self.sessions if item.status.state.is_terminal and item.has_saved]
        return max(ended, key=lambda item: (item.step, item.stamp.session), default=None)


def all_here(results: Results) -> list[SessionView]:
    """All sessions on this machine that ran outside Kaggle, the last begun first."""
    runs = {(place.name, item.run) for place in results.slugs for item in pulled_sessions(place)}
    here = (sessions_here(results, slug, run) for slug, run in sorted(runs, key=str) if run is not None)
    found = [view for each in here for view in each.sessions]
    return sorted(found, key=lambda view: view.started.timestamp() if view.started else 0.0, reverse=True)


def sessions_here(results: Results, slug: str, run_id: str, fingerprint: str | None = None) -> Here:
    """The sessions outside Kaggle of a run, with these settings if a fingerprint is given.

    A session of SkyPilot that did not write its end may still be at work; one of this machine is while
    `kgtts train` holds the run's folder.
    """
    folder = results.of_run(slug, run_id)
    trains, newest = is_training(folder), newest_number(folder)
    found = list[SessionView]()
    for item in pulled_sessions(folder):
        ref, number = item.files.elsewhere, item.number or 0
        if ref is None:
            continue
        is_at_work = (trains and number == newest) or ref.owner != LOCAL
        view = session_of(untrusted.read_bytes(item.files.state), number, is_at_work=is_at_work)
        if view is None or view.stamp.id != run_id or fingerprint not in (None, view.stamp.fingerprint):
            continue
        found.append(replace(view, folder=item.folder))
    begins = None
    if trains and not any(not view.status.state.is_terminal for view in found):
        is_told = (folder / session_folder(newest) / STATE_FILE).is_file()
        begins = newest + 1 if is_told else max(newest, 1)
    return Here(found, folder, begins)


def with_sessions_here(
    snapshot: Snapshot, view: RunView, results: Results, *, insists: bool = False
) -> RunView:
    """The run with the sessions here: the newest of all is its newest, and the next continues from it.

    A session here counts if it continues what Kaggle has, and is further. If the run went on without it, on
    another machine, it is only named; then a person has to ask for it.

    Args:
        snapshot: what Kaggle shows.
        view: the run on Kaggle.
        results: what this machine has.
        insists: a person asks to go on from the session here.

    Raises:
        UsageError: a person asks for that, and it cannot be.
        ServiceError: Kaggle does not say whether a session here was handed over already.
    """
    kaggle = view.newest
    here = sessions_here(results, view.base.slug, view.run_id, kaggle.stamp.fingerprint)
    at_work, best = _at_work(here, view), here.best
    if at_work is not None and _knows(view, at_work) is not True:
        if not (insists and at_work.ref.owner != LOCAL):
            return _beside_one_at_work(view, at_work, best, insists=insists)
        best = replace(at_work, status=_KILLED, reason=EndReason.KILLED.value)
    is_further = best is not None and best.step > view.step_to_continue_from
    if insists:
        _check_insisted(view, best, here.folder, is_further=is_further)
    if best is None:
        return view
    best = _of_run(best, kaggle)
    if is_further and view.unreachable == best.ref:  # Kaggle's newest was to continue from it.
        return replace(view, stranded=best, unreachable=None)
    knows, follows = _knows(view, best), kaggle.stamp.session < best.stamp.session
    if is_further and not view.is_alive and (insists or (follows and _continues(best, kaggle))):
        return _led_by(snapshot, replace(view, newest=best, on_kaggle=kaggle), best)
    is_beside = knows is False or (follows and not _continues(best, kaggle))
    return _noted(view, _beside(view, best, is_further=is_further)) if is_beside else view


def begun_here(snapshot: Snapshot, base: KernelRef, results: Results, fingerprint: str) -> RunView | None:
    """A run of which Kaggle has nothing, as its sessions were all trained elsewhere; None if there is none.

    Raises:
        ServiceError: Kaggle does not say whether a session here was handed over already.
    """
    newest = newest_run(pulled_sessions(results.to / base.slug))
    run_id = newest[0].run if newest else None
    here = None if run_id is None else sessions_here(results, base.slug, run_id, fingerprint)
    best = None if here is None else here.best
    if best is None or best.result is None or not all(item.is_elsewhere for item in best.result.history):
        return None
    assert here is not None
    view = RunView(base, best, None)
    if (at_work := _at_work(here, view)) is not None:
        return replace(view, newest=at_work, stranded=best)
    return _led_by(snapshot, view, best)


def _at_work(here: Here, view: RunView) -> SessionView | None:
    """The session that trains elsewhere, if one does: perhaps it has saved nothing yet."""
    found = next((item for item in reversed(here.sessions) if not item.status.state.is_terminal), None)
    if found is not None or here.begins is None:
        return found
    ref = KernelRef(LOCAL, view.base.slug, here.begins)
    stamp = replace(view.newest.stamp, session=here.begins, parent=None, kernel=str(ref.kernel))
    return SessionView(ref, stamp, SessionStatus(SessionState.RUNNING))


def _beside_one_at_work(
    view: RunView, at_work: SessionView, best: SessionView | None, *, insists: bool
) -> RunView:
    number, kaggle = at_work.stamp.session, view.newest
    if insists:
        raise UsageError(
            f"Session {number} of the run still trains on {at_work.ref.place}.",
            hint="Ctrl-C in its terminal saves and ends it",
        )
    if not view.is_alive and number > kaggle.stamp.session:
        if best is not None and best.step > view.step_to_continue_from and _continues(best, kaggle):
            view = replace(view, stranded=_of_run(best, kaggle))  # Until the one at work has more.
        return replace(view, newest=_of_run(at_work, kaggle), on_kaggle=kaggle)
    return _noted(
        view,
        f"Session {number} of the run trains on {at_work.ref.place} while the run goes on with {kaggle.ref}: "
        "what one of them trains will be left aside.",
    )


def _check_insisted(view: RunView, best: SessionView | None, folder: Path, *, is_further: bool) -> None:
    """See that the run can go on from the session here, as a person asks.

    Raises:
        UsageError: it cannot.
    """
    if best is None:
        raise UsageError(
            f"No session of run {view.run_id} in {folder} was trained outside Kaggle and saved a checkpoint, "
            "so there is none to go on from."
        )
    if view.is_alive:
        raise UsageError(
            f"Run {view.run_id} has a session on Kaggle that is not over: {view.newest.ref}.",
            hint=f"stop it first: kgtts stop {view.newest.ref}",
        )
    if not is_further:
        raise UsageError(
            f"Session {best.stamp.session} of {best.ref.place} saved step {best.step}, and the run on Kaggle "
            f"can go on from step {view.step_to_continue_from}: it never goes back.",
            hint="kgtts push",
        )


def _led_by(snapshot: Snapshot, view: RunView, best: SessionView) -> RunView:
    """The run whose next session continues from `best`: by the dataset, once that holds it."""
    dataset = read_dataset(snapshot.kaggle, handover_dataset(view.base))
    if dataset.holds(best):
        best = replace(best, dataset=dataset.source)
        return replace(view, resumable=best, stranded=None, unreachable=None, preparing=False)
    return replace(view, stranded=best, unreachable=None, preparing=dataset.pending)


def _knows(view: RunView, session: SessionView) -> bool | None:
    """Whether the run on Kaggle goes on from a session here; None if it is not known."""
    number, kaggle = session.stamp.session, view.newest
    if kaggle.stamp.session < number:
        return None
    if kaggle.parent == session.ref:
        given = view.resumable
        return given is None or given.ref != session.ref or given.step == session.step
    told = next((item for item in view.history if item.session == number), None)
    if told is None:
        return False if kaggle.stamp.session == number else None
    return told.kernel == str(session.ref.kernel) and told.to_step == session.step


def _continues(session: SessionView, kaggle: SessionView) -> bool:
    """Whether a session here goes on from Kaggle's newest, or that one left nothing to go on from."""
    if not kaggle.has_saved or session.parent == kaggle.ref:
        return True
    history = () if session.result is None else session.result.history
    told = next((item for item in history if item.session == kaggle.stamp.session), None)
    return told is not None and told.kernel == str(kaggle.ref.kernel) and told.to_step >= kaggle.step


def _beside(view: RunView, best: SessionView, *, is_further: bool) -> str:
    number, kaggle = best.stamp.session, view.newest
    words = (
        f"Session {number} was also trained on {best.ref.place}, up to step {best.step} ({best.folder}), but "
        f"the run went on with {kaggle.ref}. It is left aside"
    )
    return f"{words}, unless `kgtts push --from-here` goes on from it." if is_further else f"{words}."


def _of_run(session: SessionView, kaggle: SessionView) -> SessionView:
    """A session here with what `--set` gave to the run at its pushes: its state.json does not have that."""
    stamp = replace(session.stamp, overrides=kaggle.stamp.overrides, values=kaggle.stamp.values)
    return replace(session, stamp=stamp)


def _noted(view: RunView, words: str) -> RunView:
    return replace(view, notes=(*view.notes, words))
