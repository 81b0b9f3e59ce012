"""Where sessions' outputs are stored on this machine: one layout for all commands.

    TO/SLUG/session-NN/          a session of a run; SLUG as in kgtts.toml, without the kernel's -a or -b
    TO/SLUG/RUN/session-NN/      the same, for a further run that was begun under the same slug
    TO/OWNER/SLUG/vN/            a kernel version that is not a session of kgtts

TO is `[pull] to`. A file in each folder, written once its outputs are complete, names the version and the
run. Earlier versions of kgtts pulled to TO/SLUG-a/vN and TO/SLUG-b/vN; these folders are still found.
What a downloaded file says about itself comes from a server and never names a path here.
"""

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kernel_template.contract import (
    COMPLETE_MARK,
    METRICS_FILE,
    STATE_FILE,
    TRAINING_LOG,
    VERSION_MARK,
    session_folder,
    session_number,
)
from orchestrator import untrusted
from orchestrator.errors import UsageError
from orchestrator.files import is_there, write_atomically
from orchestrator.models import KernelRef

SESSION_LOG = "session.log"
_OWED_MARK = ".kgtts-owed-"  # Followed by RUN-SESSION; its content: as in COMPLETE_MARK.
_TRAINER_LOG = "training/*/trainer_*_log.txt"
_OTHER_LOGS = ("trainer_0_log.txt", TRAINING_LOG, SESSION_LOG)
_VERSION = re.compile(r"v([0-9]{1,9}|latest)")
_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LARGEST_NUMBER = 10**9


@dataclass(frozen=True, slots=True)
class SessionFolder:
    """The folder of one session's outputs; every path in it is a property.

    Attributes:
        path: where it is.
        run: the id of the run that it was asked for, if it was.
    """

    path: Path
    run: str | None = None

    @property
    def state(self) -> Path:
        """The session's state.json."""
        return self.path / STATE_FILE

    @property
    def metrics(self) -> Path:
        """The session's measurements."""
        return self.path / METRICS_FILE

    @property
    def log(self) -> Path:
        """Where the log that Kaggle kept of the session is written."""
        return self.path / SESSION_LOG

    @property
    def trainer_logs(self) -> list[Path]:
        """The session's logs of the best kind that it has: the trainer's own, else Kaggle's."""
        found = sorted(place for place in self.path.glob(_TRAINER_LOG) if place.is_file())
        return found or [self.path / name for name in _OTHER_LOGS if (self.path / name).is_file()][:1]

    @property
    def has_outputs(self) -> bool:
        """Whether the folder holds the outputs of a session."""
        return self.metrics.is_file() or self.state.is_file() or bool(self.trainer_logs)

    @property
    def contents(self) -> tuple[str, str] | None:
        """The version and the run that the folder was completed for; None before that."""
        words = _text(self.path / COMPLETE_MARK).split()
        return (words[0], words[-1]) if words else None

    @property
    def version(self) -> str | None:
        """The kernel version that the folder was filled from, as `owner/slug/version`, if known."""
        contents = self.contents
        return contents[0] if contents is not None else _text(self.path / VERSION_MARK).strip() or None

    @property
    def told(self) -> dict[str, Any]:
        """What its state.json says of its run and session (`contract.Run`), unchecked; empty without one."""
        return untrusted.as_object((untrusted.read_json_object(self.state) or {}).get("run"))

    @property
    def elsewhere(self) -> KernelRef | None:
        """The session outside Kaggle whose folder this is, by its state.json; None if it is of Kaggle's."""
        told = self.told
        names = (self.version, f"{told.get('kernel')}/{told.get('session')}")
        with contextlib.suppress(UsageError):
            ref = KernelRef.parse(next(name for name in names if name is not None))
            return ref if ref.is_elsewhere and ref.version is not None else None
        return None

    def name_version(self, ref: KernelRef) -> None:
        """Record which kernel version the folder is filled from.

        Raises:
            LocalError: the folder cannot be written.
        """
        write_atomically(self.path / VERSION_MARK, f"{ref}\n")

    def is_complete(self, ref: KernelRef, run_id: str, step: int) -> bool:
        """Whether everything that `[pull]` chooses of this session is here.

        `step` is the session's newest checkpoint. The version alone does not identify a session: numbers
        start again once a kernel was deleted.
        """
        return _text(self.path / COMPLETE_MARK) == _mark(ref, run_id, step)

    def mark_complete(self, ref: KernelRef, run_id: str, step: int) -> None:
        """Record that everything that `[pull]` chooses of this session is here: see `run.collect`.

        Raises:
            LocalError: the folder cannot be written.
        """
        write_atomically(self.path / COMPLETE_MARK, _mark(ref, run_id, step))


@dataclass(frozen=True, slots=True)
class PulledSession:
    """A session whose outputs are here.

    Attributes:
        folder: where they lie.
        number: the session's number in its run, if the folder or its state.json tells it.
        run: the run's id, if anything tells it.
        changed: when the folder was last written to, in seconds of the system's clock.
    """

    folder: Path
    number: int | None
    run: str | None
    changed: float

    @property
    def files(self) -> SessionFolder:
        """The paths in the folder."""
        return SessionFolder(self.folder)


@dataclass(frozen=True, slots=True)
class OwedSession:
    """An ended session whose results are not downloaded yet; `step` is that of its newest checkpoint."""

    ref: KernelRef
    number: int
    step: int


@dataclass(frozen=True, slots=True)
class Results:
    """All results on this machine, below `[pull] to`."""

    to: Path

    def of_run(self, slug: str, run_id: str) -> Path:
        """The folder of a run: a run begun later under the same slug gets a folder of its own within.

        Args:
            slug: the slug in kgtts.toml, or that of one of the run's two kernels.
            run_id: the run's id.
        """
        folder = self.to / KernelRef("", slug).base.slug
        runs = {item.run for item in _sessions_in(folder) if item.run is not None}
        return folder / run_id if runs - {run_id} else folder

    @property
    def slugs(self) -> list[Path]:
        """The folders of all runs of each slug."""
        return _subfolders(self.to)

    def of_session(self, slug: str, run_id: str, number: int) -> SessionFolder:
        """The folder of a session of a run."""
        return SessionFolder(self.of_run(slug, run_id) / session_folder(number), run_id)

    def owe(self, ref: KernelRef, run_id: str, number: int, step: int) -> None:
        """Record that the results of an ended session still have to be downloaded.

        Raises:
            LocalError: the folder cannot be written.
        """
        write_atomically(self._owed(ref, run_id, number), _mark(ref, run_id, step))

    def settle(self, ref: KernelRef, run_id: str, number: int) -> None:
        """Record that they were downloaded, or never will be."""
        with contextlib.suppress(OSError):
            self._owed(ref, run_id, number).unlink()

    def owed(self, slug: str, run_id: str) -> list[OwedSession]:
        """The sessions of a run whose results still have to be downloaded, oldest first."""
        found = []
        for place in (self.to / KernelRef("", slug).base.slug).glob(f"{_OWED_MARK}{run_id}-*"):
            number = place.name.rpartition("-")[2]
            with contextlib.suppress(ValueError, UsageError):
                text, step, _ = _text(place).split()
                found.append(OwedSession(KernelRef.parse(text), int(number), int(step)))
        return sorted(found, key=lambda item: item.number)

    def _owed(self, ref: KernelRef, run_id: str, number: int) -> Path:
        return self.to / ref.base.slug / f"{_OWED_MARK}{run_id}-{number}"

    def of_version(self, ref: KernelRef) -> SessionFolder:
        """The folder of a kernel version that is not a session of kgtts."""
        return SessionFolder(self.to / ref.owner / ref.slug / f"v{ref.version or 'latest'}")

    def find(self, text: str | None, slug: str | None) -> list[PulledSession]:
        """The pulled sessions of the run that a person names, oldest first.

        Args:
            text: a run's slug, its id or the beginning of it, or `OWNER/SLUG[/VERSION]`; None is the newest
                run of `slug`.
            slug: the slug in kgtts.toml; None if there is no kgtts.toml, and the newest of all runs is meant.

        Raises:
            UsageError: nothing of it was pulled, or the text names no run.
        """
        ref = _kernel(text)
        if text is not None and ref is None:
            ref = self._by_slug(text)
        if ref is None and (text is not None or slug is None):
            sessions = [item for place in _subfolders(self.to) for item in pulled_sessions(place)]
            if text is not None:
                sessions = [item for item in sessions if item.run is not None and item.run.startswith(text)]
            if text is not None and len({item.run for item in sessions}) > 1:
                raise UsageError(
                    f"{text!r} matches several runs in {self.to}.", hint="write more of the run's id"
                )
        else:
            sessions = [item for place in self._places(ref, slug) for item in pulled_sessions(place)]
            if ref is not None and ref.version is not None:
                sessions = [item for item in sessions if _is_version(item, ref)]
        sessions = newest_run(sessions)
        if not sessions:
            hint = f"bring it with `kgtts pull{'' if text is None else ' ' + text}`"
            what = text if text is not None else slug if _subfolders(self.to) else None
            if what is None:
                raise UsageError(f"No run has been downloaded to {self.to} yet.", hint=hint)
            raise UsageError(f"Nothing of {what} has been downloaded to {self.to}.", hint=hint)
        return _in_order(sessions)

    def _by_slug(self, text: str) -> KernelRef | None:
        """The kernel whose slug is `text`, if anything of it or of the run of that name is here."""
        ref = KernelRef("", text)
        found = any(pulled_sessions(place) for place in self._places(ref, None))
        return ref if found else None

    def _places(self, ref: KernelRef | None, slug: str | None) -> list[Path]:
        """The folders that may hold a kernel's sessions, those of earlier versions of kgtts included."""
        wanted = ref.slug if ref is not None else slug or ""
        base = wanted if wanted == slug else KernelRef("", wanted).base.slug
        names = [base, *(kernel.slug for kernel in KernelRef("", base).siblings)]
        own = [] if ref is None or not ref.owner else [self.to / ref.owner / ref.slug]
        return [*(self.to / name for name in names), *own]


def pulled_sessions(folder: Path) -> list[PulledSession]:
    """The sessions below `folder` (or the one that it is), oldest first; empty if nothing was pulled."""
    if SessionFolder(folder).has_outputs:
        return [_session(folder)]
    found = _sessions_in(folder)
    for below in _subfolders(folder):
        if not _is_session(below.name):
            found += _sessions_in(below)
    return _in_order(_adopted(found))


def newest_number(folder: Path) -> int:
    """The highest number of a session's folder in that of its run, perhaps an empty one; 0 without any."""
    return max((session_number(place.name) or 0 for place in _subfolders(folder)), default=0)


def newest_run(sessions: Sequence[PulledSession]) -> list[PulledSession]:
    """The sessions of the run that was written to last."""
    newest = max(sessions, key=lambda item: item.changed, default=None)
    return [] if newest is None else [item for item in sessions if item.run == newest.run]


def _mark(ref: KernelRef, run_id: str, step: int) -> str:
    return f"{ref} {step} {run_id}\n"


def _sessions_in(folder: Path) -> list[PulledSession]:
    """The sessions that lie directly in `folder`."""
    places = [place for place in _subfolders(folder) if _is_session(place.name)]
    return [_session(place) for place in places if SessionFolder(place).has_outputs or _is_marked(place)]


def _is_session(name: str) -> bool:
    """Whether a folder of this name holds a session's outputs, or those of a kernel version."""
    return session_number(name) is not None or _VERSION.fullmatch(name) is not None


def _is_marked(place: Path) -> bool:
    return (place / COMPLETE_MARK).is_file()


def _adopted(sessions: Sequence[PulledSession]) -> list[PulledSession]:
    """Assign sessions without a run to the run of the sessions beside them, if there is only one."""
    beside: dict[Path, set[str]] = {}
    for item in sessions:
        if item.run is not None:
            beside.setdefault(item.folder.parent, set()).add(item.run)
    return [
        replace(item, run=next(iter(runs)))
        if item.run is None and len(runs := beside.get(item.folder.parent, set())) == 1
        else item
        for item in sessions
    ]


def _in_order(sessions: Iterable[PulledSession]) -> list[PulledSession]:
    return sorted(sessions, key=lambda item: (item.number is None, item.number or 0, item.changed))


def _session(folder: Path) -> PulledSession:
    told = SessionFolder(folder).told
    run = untrusted.text(told.get("id")) or None
    number = session_number(folder.name)
    if number is None:
        number = untrusted.count(told.get("session"), _LARGEST_NUMBER)
    contents = SessionFolder(folder).contents
    if run is None and contents is not None:
        run = contents[1]
    try:
        changed = max((place.stat().st_mtime for place in folder.iterdir()), default=0.0)
    except OSError:
        changed = 0.0
    return PulledSession(folder, number, run, changed)


def _is_version(item: PulledSession, ref: KernelRef) -> bool:
    """Whether a folder has a kernel version's outputs, by its name or its mark."""
    version = item.files.version
    if version is not None:
        return version == str(ref)
    return item.folder.name == f"v{ref.version}"


def _kernel(text: str | None) -> KernelRef | None:
    """The kernel that a text names; None for a run's id and for no text.

    Raises:
        UsageError: it is neither, but probably a mistyped path.
    """
    if text is None or _RUN.fullmatch(text):
        return None
    try:
        return KernelRef.parse(text)
    except UsageError as error:
        no_path = "" if is_there(Path(text)) else ", and no file or folder here has that name"
        raise UsageError(
            f"{text!r} is not the name of a run{no_path}.",
            hint="give a run's id or its beginning (`kgtts list` shows them), or OWNER/SLUG[/VERSION]",
        ) from error


def _text(place: Path) -> str:
    return (untrusted.read_bytes(place) or b"").decode("utf-8", "replace")


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(place for place in folder.iterdir() if place.is_dir())
    except OSError:
        return []
