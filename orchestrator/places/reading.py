"""The sessions of runs that lie in a bucket or a folder, in the layout of `orchestrator.results`.

What is there is not trusted: names are checked as those of Kaggle's listings are, and files are compared with
what manifest.json or state.json says of them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from kernel_template.contract import (
    COMPLETE_MARK,
    OWN_PREFIX,
    STATE_FILE,
    VERSION_MARK,
    Status,
    session_folder,
    session_number,
)
from orchestrator import untrusted
from orchestrator.download import Planned, Refused, TransferListener, fetch, measure
from orchestrator.download.buckets import BucketStorage
from orchestrator.errors import LocalError, ServiceError, UsageError
from orchestrator.locks import is_training
from orchestrator.models import KernelRef, LogEvent, OutputFile
from orchestrator.places.opening import open_place, read_small, reading
from orchestrator.results import Results, SessionFolder
from orchestrator.run.collect import Brought, Choose, bring
from orchestrator.run.state import SessionResult, read_state

_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_DEPTH = 4  # PLACE/FOLDER/SLUG/RUN/session-NN
_MOST_FOLDERS = 2000
_WEIGHTS = ".pth"


@dataclass(frozen=True, slots=True)
class SessionThere:
    """A session in a bucket or folder; of the methods of `Kaggle`, those that bring its outputs.

    Attributes:
        fs: the bucket's file system (fsspec).
        folder: where its outputs are.
        number: its number in the run.
        kernel: the kernel that it was, such as skypilot/SLUG.
        state: its state.json.
        losses: the last losses there.
        heard: when its state.json was written.
    """

    fs: Any = field(repr=False)
    folder: str
    number: int
    kernel: KernelRef
    state: SessionResult
    losses: Mapping[str, float]
    heard: datetime | None

    @property
    def is_running(self) -> bool:
        """Whether it has not said how it ended: it runs, or it was killed."""
        return self.state.status == Status.RUNNING

    @property
    def ref(self) -> KernelRef:
        """Its kernel at its version, as far as that is known: outside Kaggle it is the session's number."""
        if self.kernel.is_elsewhere:
            return self.kernel.at(self.number)
        for mark in (COMPLETE_MARK, VERSION_MARK):
            words = (self.output_file(self.kernel, mark) or b"").decode("utf-8", "replace").split()
            version = words[0].removeprefix(f"{self.kernel}/") if words else ""
            if version.isdecimal() and 0 < int(version) < 10**9:
                return self.kernel.at(int(version))
        return self.kernel

    def outputs(self, ref: KernelRef) -> Sequence[OutputFile]:
        """Every file that it has left so far.

        Raises:
            ServiceError: the bucket cannot be read.
        """
        del ref
        with reading(self.folder):
            found = self.fs.find(self.folder)
        prefix = f"{self.folder}/"
        below = [str(path) for path in found if str(path).startswith(prefix)]
        names = [name for path in below if not (name := path.removeprefix(prefix)).startswith(OWN_PREFIX)]
        return [OutputFile(name, "") for name in names if name and not name.endswith("/")]

    def output_file(self, ref: KernelRef, name: str) -> bytes | None:
        """The content of one small file; None if there is none.

        Raises:
            ServiceError: the bucket cannot be read.
        """
        del ref
        return read_small(self.fs, f"{self.folder}/{name}")

    def stored_log(self, ref: KernelRef) -> Sequence[LogEvent]:
        """None: what it printed is in train_log.txt; SkyPilot keeps the rest (`sky jobs logs`)."""
        del ref
        return ()


@dataclass(frozen=True, slots=True)
class RunThere:
    """A run in a bucket or folder: its sessions, oldest first, other runs, and damaged sessions."""

    place: str
    sessions: tuple[SessionThere, ...]
    others: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The run's id."""
        return self.newest.state.run

    @property
    def newest(self) -> SessionThere:
        """The session that was started last."""
        return self.sessions[-1]

    @property
    def slug(self) -> str:
        """What the run is called."""
        return self.newest.kernel.base.slug


Chosen = tuple[SessionThere, SessionFolder, Choose]  # A session, its folder here, and what is chosen of it.


def find_run(place: str, wanted: str | None = None) -> RunThere:
    """Find a run's sessions in a bucket or folder: the one that is named, else the one heard of last.

    Args:
        place: the bucket or folder; it may hold several runs, one, or be a session itself.
        wanted: a run's slug, or its id or the beginning of it.

    Raises:
        UsageError: it is not there, or the name fits several.
        ServiceError, LocalError: the bucket cannot be read.
    """
    fs, root = open_place(place)
    damaged: list[str] = []
    found = list(_sessions(fs, root, damaged))
    runs: dict[str, list[SessionThere]] = {}
    for session in found:
        if wanted is None or session.state.run.startswith(wanted) or session.kernel.base.slug == wanted:
            runs.setdefault(session.state.run, []).append(session)
    if not runs:
        if found:
            names = ", ".join(sorted({f"{item.kernel.base.slug} ({item.state.run})" for item in found}))
            raise UsageError(f"{place} holds no run {wanted}; it has {names}.")
        if damaged:
            folder = untrusted.one_line(damaged[0], 300)
            raise ServiceError(
                f"{folder}/{STATE_FILE} is damaged, and there is no other session.",
                hint="copy the folder with the bucket's own tools: its checkpoints may be whole",
            )
        raise UsageError(
            f"{place} holds no session of a run that has saved anything.",
            hint="a session is there once it has saved a checkpoint",
        )
    if wanted is not None and len(runs) > 1 and all(run.startswith(wanted) for run in runs):
        raise UsageError(f"{wanted!r} matches several runs in {place}.", hint="write more of the run's id")
    newest = max(runs, key=lambda run: max(item.heard or _LONG_AGO for item in runs[run]))
    sessions = sorted(runs[newest], key=lambda item: item.number)
    twice = [a.number for a, b in pairwise(sessions) if a.number == b.number]
    if twice:
        raise UsageError(
            f"{place} has session {twice[0]} of run {newest} in two folders.", hint="name one of them"
        )
    return RunThere(
        place, tuple(sessions), tuple(run for run in runs if run != newest), tuple(sorted(damaged))
    )


def folder_of(run: RunThere, session: SessionThere, results: Results) -> SessionFolder:
    """Where a session's results lie here.

    Raises:
        LocalError: another session of that number is there already, or may begin there.
    """
    files = results.of_session(run.slug, run.id, session.number)
    if is_training(files.path.parent):
        raise LocalError(f"`kgtts train` is at work in {files.path.parent}.", hint="pull when it has ended")
    told = files.told
    known = untrusted.text(told.get("kernel"))
    if known is not None and (known, told.get("id")) != (str(session.kernel), run.id):
        raise LocalError(
            f"{files.path} has another session {session.number} of the run, of {known}; it was not replaced.",
            hint="choose another folder with --to",
        )
    return files


def bring_session(  # noqa: PLR0913 - two are the choice
    session: SessionThere,
    files: SessionFolder,
    choose: Choose,
    listener: TransferListener,
    *,
    needed: Choose,
    is_newest: bool,
) -> Brought:
    """Bring the chosen outputs of a session, compared with what it says of them; what is here stays.

    The folder is marked as complete if all that is needed is here, and the session has ended: it says so, or
    it is not the newest.

    Args:
        session: the session.
        files: where its outputs go.
        choose: picks what is brought.
        listener: hears of every file.
        needed: picks what makes it complete.
        is_newest: whether no session follows it.

    Raises:
        LocalError, ServiceError: as `download.fetch`.
    """
    ref, fetch_there = session.ref, partial(fetch, storage=partial(BucketStorage, session.fs, session.folder))
    brought = bring(session, ref, files.path, choose, listener, fetch_files=fetch_there)
    if ref.version is not None:
        files.name_version(ref)
        is_over = not (session.is_running and is_newest)
        if is_over and brought.is_whole and brought.has_all(needed):
            files.mark_complete(ref, session.state.run, session.state.global_step or 0)
    return brought


def plan_session(
    session: SessionThere, files: SessionFolder, choose: Choose
) -> tuple[Sequence[Planned], Sequence[Refused], int]:
    """Return what `bring_session` would bring, what it would refuse, and how many files are not chosen.

    Raises:
        ServiceError: the bucket cannot be read.
    """
    listed = session.outputs(session.kernel)
    names = frozenset(choose([file.name for file in listed]))
    chosen = [file for file in listed if file.name in names]
    there = partial(BucketStorage, session.fs, session.folder)
    planned, refused = measure(chosen, files.path, storage=there)
    return planned, refused, len(listed) - len(chosen)


def plan_run(
    run: RunThere, results: Results, own: Choose, *, folder: Path | None = None, choose: Choose | None = None
) -> Sequence[Chosen]:
    """Say of each session where it goes and which of its files come, oldest first.

    Args:
        run: the run.
        results: the results on this machine.
        own: what `[pull]` chooses; of all sessions but the newest without checkpoints.
        folder: a folder for the run's sessions; None is its own in `results`.
        choose: what is chosen of every session instead.

    Raises:
        LocalError: another session of that number is there already, or may begin there.
    """
    found = []
    for session in run.sessions:
        if folder is None:
            files = folder_of(run, session, results)
        else:
            files = SessionFolder(folder / session_folder(session.number), run.id)
        found.append((session, files, choose or (own if session is run.newest else without_weights(own))))
    return found


def without_weights(choose: Choose) -> Choose:
    """The same choice without checkpoints, which have a gigabyte each."""
    return lambda names: [name for name in choose(names) if not name.endswith(_WEIGHTS)]


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def _sessions(fs: Any, root: str, damaged: list[str]) -> Iterator[SessionThere]:
    """The sessions at and below a folder, in any order; `damaged` gets the folders of those that are."""
    due, seen = [(root, 0)], 0
    while due:
        folder, depth = due.pop()
        seen += 1
        if seen > _MOST_FOLDERS:
            raise UsageError(
                f"{root} has more than {_MOST_FOLDERS:,} folders.", hint="name the folder of the run in it"
            )
        if session_number(folder.rpartition("/")[2]) is not None:
            data = read_small(fs, f"{folder}/{STATE_FILE}")
            if (session := _session(fs, folder, data)) is not None:
                yield session
            elif data is not None:
                damaged.append(folder)
        elif depth < _DEPTH:
            with reading(folder):
                entries = fs.ls(folder, detail=True)
            due += [
                (str(item["name"]).rstrip("/"), depth + 1)
                for item in entries
                if item.get("type") == "directory" and str(item["name"]).rstrip("/") != folder
            ]


def _session(fs: Any, folder: str, data: bytes | None) -> SessionThere | None:
    """The session in a folder; None if it has saved nothing, or its state.json cannot be used."""
    place = f"{folder}/{STATE_FILE}"
    state, run = read_state(data), untrusted.as_object((untrusted.json_object(data) or {}).get("run"))
    if state is None or not _RUN.fullmatch(state.run):
        return None
    try:
        kernel = KernelRef.parse(str(run.get("kernel")))
    except UsageError:
        return None
    if state.session != session_number(folder.rpartition("/")[2]) or kernel.version is not None:
        return None
    with reading(place):
        heard = fs.modified(place)
    losses = untrusted.as_object((untrusted.json_object(data) or {}).get("losses"))
    known = {
        str(name): number
        for part in ("train", "eval")
        for name, value in untrusted.as_object(losses.get(part)).items()
        if (number := untrusted.number(value)) is not None
    }
    when = heard if isinstance(heard, datetime) else None
    when = when.replace(tzinfo=UTC) if when is not None and when.tzinfo is None else when
    return SessionThere(fs, folder, state.session, kernel, state, known, when)
