"""Which run `kgtts train` continues or begins: by the results on this machine, and by what Kaggle has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_template.contract import CONFIG_FILE, LOCAL, MANIFEST_FILE, METRICS_FILE, PLACES, STATE_FILE
from orchestrator import untrusted
from orchestrator.download import TransferListener
from orchestrator.errors import LocalError, UsageError
from orchestrator.files import write_atomically
from orchestrator.models import KernelRef
from orchestrator.render.stamp import RunStamp, read_stamp
from orchestrator.results import PulledSession, Results
from orchestrator.run.collect import Choose, collect
from orchestrator.run.context import RunContext, Target
from orchestrator.run.decide import is_done, why_done
from orchestrator.run.prepare import changed_since
from orchestrator.run.push import make_stamp, new_run_id
from orchestrator.run.reading import read_run
from orchestrator.run.state import SessionResult, read_state
from orchestrator.run.view import SessionView
from orchestrator.settings import (
    Settings,
    fingerprint,
    inherited,
    merged,
    select_outputs,
    with_overrides,
)

_STAMP = ".kgtts-run"  # In a run's folder: the stamp of its newest session, as a kernel's source has it.
# What a session takes over of the one before.
_NEEDED = ("best-model", "newest-checkpoint", f"*{CONFIG_FILE}", METRICS_FILE, STATE_FILE, MANIFEST_FILE)


@dataclass(frozen=True, slots=True)
class Series:
    """A run whose sessions lie in a folder of this machine.

    Attributes:
        settings: those of the run: with an owner, and with what `--set` gave at its begin.
        run_id: the run's id.
        folder: where its sessions lie, or will lie.
        stamp: what the next session is told of the run; its session number is not meant.
        sessions: those that are here, oldest first.
        result: what the newest of them that left a state.json says.
    """

    settings: Settings
    run_id: str
    folder: Path
    stamp: RunStamp
    sessions: Sequence[PulledSession] = ()
    result: SessionResult | None = None

    @property
    def is_new(self) -> bool:
        """Whether nothing of the run is here yet."""
        return not self.sessions

    @property
    def newest(self) -> int:
        """The number of the newest session; 0 before the first."""
        return max((item.number or 0 for item in self.sessions), default=0)

    @property
    def done(self) -> str | None:
        """Why the run needs no further session; None if it does."""
        if self.result is None or not is_done(self.settings, self.result):
            return None
        return f"The run is done at step {self.result.global_step or 0}: {why_done(self.result.done_reason)}."

    @property
    def was_on_kaggle(self) -> bool:
        """Whether any of its sessions ran there."""
        return any(owner not in PLACES for owner in _owners(self.sessions))

    @property
    def kernel(self) -> KernelRef:
        """The name that its sessions on this machine have."""
        return KernelRef.parse(self.stamp.kernel)

    def remember(self) -> None:
        """Write down what the run was begun with, for `find_series`.

        Raises:
            LocalError: the folder cannot be written.
        """
        write_atomically(self.folder / _STAMP, f"{self.stamp.comment}\n")


def find_series(
    settings: Settings, results: Results, *, overrides: Sequence[str] = (), owner: str = "", new: bool = False
) -> Series:
    """The newest run of `kernel.slug` among the results on this machine; a new one if there is none.

    Args:
        settings: the settings, with `overrides`.
        results: the results.
        overrides: what of the settings comes from `--set`.
        owner: the account on Kaggle, if it is known; the names of the inputs have it.
        new: begin another run in any case.

    Raises:
        UsageError: settings have changed that the run was begun with.
    """
    slug = settings.kernel.slug
    sessions = [] if new else _newest_run(results, slug)
    if not sessions:
        settings = settings.with_owner(owner or LOCAL)
        # A run whose first session was ended before it saved anything has left its stamp alone.
        begun = None if new else _read_stamp(results.to / slug)
        is_same = begun is not None and begun.fingerprint == fingerprint(settings)
        run_id = begun.id if begun is not None and is_same else new_run_id()
        stamp = _stamp(settings, run_id, overrides)
        return Series(settings, run_id, results.of_run(slug, run_id), stamp)
    run_id = sessions[-1].run or ""
    folder = results.of_run(slug, run_id)
    known = _read_stamp(folder)
    if known is None or known.id != run_id:
        known = None
    else:
        settings = with_overrides(settings, tuple(inherited(known.overrides, overrides)))
        overrides = merged(known.overrides, overrides)
    print_of_run = known.fingerprint if known is not None else _fingerprint_of(sessions)
    names = (settings.kernel.owner, owner, *_source_owners(known), *_owners(sessions), LOCAL)
    completed = [_with_owner(settings, name) for name in dict.fromkeys(names) if name]
    fitting = next((item for item in completed if fingerprint(item) == print_of_run), None)
    if fitting is None and print_of_run is not None:
        raise changed_since(run_id, known.values if known is not None else {}, completed[0])
    settings = fitting or completed[0]
    stamp = _stamp(settings, run_id, overrides)
    return Series(settings, run_id, folder, stamp, sessions, _newest_result(sessions))


def _read_stamp(folder: Path) -> RunStamp | None:
    return read_stamp((untrusted.read_bytes(folder / _STAMP) or b"").decode("utf-8", "replace"))


def _with_owner(settings: Settings, owner: str) -> Settings:
    kernel = settings.kernel.model_copy(update={"owner": ""})
    return settings.model_copy(update={"kernel": kernel}).with_owner(owner)


def _newest_run(results: Results, slug: str) -> list[PulledSession]:
    try:
        sessions = results.find(None, slug)
    except UsageError:
        return []
    if sessions[-1].run is None:
        return []
    folder = results.of_run(slug, sessions[-1].run)
    here = [item for item in sessions if item.folder.parent == folder and item.number is not None]
    if not here:
        raise UsageError(
            f"Run {sessions[-1].run} lies in {sessions[-1].folder}, where an earlier kgtts put it.",
            hint=f"bring it anew with `kgtts pull {slug}`, or begin another run with --new",
        )
    return here


def _stamp(settings: Settings, run_id: str, overrides: Sequence[str]) -> RunStamp:
    return make_stamp(settings, KernelRef(LOCAL, settings.kernel.slug), run_id=run_id, overrides=overrides)


def _newest_result(sessions: Sequence[PulledSession]) -> SessionResult | None:
    found = (read_state(untrusted.read_bytes(item.files.state)) for item in reversed(sessions))
    return next((result for result in found if result is not None), None)


def _fingerprint_of(sessions: Sequence[PulledSession]) -> str | None:
    """The fingerprint in the newest state.json that has one."""
    found = (untrusted.text(item.files.told.get("fingerprint")) for item in reversed(sessions))
    return next((text for text in found if text), None)


def _owners(sessions: Sequence[PulledSession]) -> Iterator[str]:
    """The accounts whose kernels the sessions were, newest first; LOCAL for those on this machine."""
    for item in reversed(sessions):
        kernel = untrusted.text(item.files.told.get("kernel")) or ""
        if "/" in kernel:
            yield kernel.partition("/")[0]


def _source_owners(stamp: RunStamp | None) -> Iterator[str]:
    """The owner of the dataset, as it was stamped."""
    source = "" if stamp is None else stamp.values.get("inputs.dataset", "").strip('"')
    if "/" in source:
        yield source.partition("/")[0]


def bring_newer(
    series: Series, base: KernelRef, context: RunContext, results: Results, listener: TransferListener
) -> list[str]:
    """Bring what Kaggle has of the run and this machine has not; if nothing is here, the run that Kaggle has.

    Args:
        series: the run, as it is known here.
        base: the kernel that the settings name, with the account.
        context: the account.
        results: where it is brought.
        listener: hears of the files.

    Returns:
        The names of the sessions that were brought.

    Raises:
        UsageError: a session of the run is at work on Kaggle.
        KgttsError: Kaggle could not be read, or does not say.
    """
    view = read_run(context.snapshot(), base)
    if view is None or (view.run_id != series.run_id and not series.is_new):
        return []
    newest = view.newest
    if view.is_alive:
        raise UsageError(
            f"Session {newest.stamp.session} of run {view.run_id} is at work on Kaggle: {newest.ref}.",
            hint=f"`kgtts watch` follows it there; `kgtts stop {newest.ref}` ends it, and then kgtts train "
            "goes on from what it saved",
        )
    asked = {item.ref: item for item in (view.resumable, view.stranded, newest) if item is not None}
    wanted = [item for item in asked.values() if item.has_saved and _is_missing(series, item)]
    names = []
    for session in sorted(wanted, key=lambda item: item.stamp.session):
        stamp = session.stamp
        files = results.of_session(series.settings.kernel.slug, stamp.id, stamp.session)
        target = Target(session.ref, context.ledger.of_kernel(session.ref))
        choose = _chooser(series.settings)
        done = collect(context, target, files.path, choose, listener, run=stamp.id, needed=_needed)
        if done.failure is not None:
            raise done.failure
        files.name_version(session.ref)
        names.append(str(session.ref))
    if names:
        folder = results.of_run(series.settings.kernel.slug, view.run_id)
        write_atomically(folder / _STAMP, f"{newest.stamp.comment}\n")
    return names


def _is_missing(series: Series, session: SessionView) -> bool:
    """Whether a session's newest checkpoint is not here."""
    here = next((item for item in series.sessions if item.number == session.stamp.session), None)
    if here is None or session.result is None or session.result.checkpoint is None:
        return True
    return not (here.folder / session.result.checkpoint).is_file()


def _needed(names: Sequence[str]) -> list[str]:
    return select_outputs(names, _NEEDED)


def _chooser(settings: Settings) -> Choose:
    """What `[pull]` chooses, and what the next session takes over."""
    pull = settings.pull

    def choose(names: Sequence[str]) -> list[str]:
        wanted = {*select_outputs(names, pull.include, pull.exclude), *_needed(names)}
        return [name for name in names if name in wanted]

    return choose


def check_takeover(series: Series) -> None:
    """See that the newest checkpoint of the run is here: without it, sessions would begin further back.

    Raises:
        LocalError: it is not: it was deleted, or its session ran elsewhere and was brought without it.
    """
    for item in reversed(series.sessions):
        result = read_state(untrusted.read_bytes(item.files.state))
        if result is None or result.checkpoint is None:
            continue
        if not (item.folder / result.checkpoint).is_file():
            hint = f"bring it with `kgtts pull --include newest-checkpoint --include {STATE_FILE}`"
            if (item.files.told.get("kernel") or "") == str(series.kernel):
                hint = f"put it back, or delete {item.folder} to go on from the session before it"
            raise LocalError(
                f"The checkpoint of session {item.number} of run {series.run_id} is not in {item.folder}: "
                f"{result.checkpoint}.",
                hint=hint,
            )
        return
