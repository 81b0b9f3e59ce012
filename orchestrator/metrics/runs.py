"""The sessions of a run as they were pulled, and the one series that they make.

Passes bring a session to `[pull] to`/SLUG/session-NN (or SLUG/RUN/session-NN), `kgtts pull` to SLUG/vN, where
SLUG is then that of a sibling kernel. What a file tells of itself comes from a server and names no path here.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.metrics.events import METRICS_FILE
from orchestrator.metrics.join import append, continuous, fill
from orchestrator.metrics.reading import read_metrics
from orchestrator.metrics.table import Kind, MetricsTable, as_count
from orchestrator.models import KernelRef

_STATE_FILE = "state.json"
_COMPLETE = ".kgtts-complete"  # Written by passes: `owner/slug/version step run`.
_FOLDER = re.compile(r"(?:session-|v)(\d{1,9}|latest)")
_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SESSION = re.compile(r"session-(\d{1,9})")
_TRAINER_LOG = "training/*/trainer_*_log.txt"
_OTHER_LOGS = ("trainer_0_log.txt", "train_log.txt", "session.log")
_LARGEST_STATE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PulledSession:
    """A folder with what a session left.

    Attributes:
        folder: where it lies.
        number: the session's number in its run, where the folder or its state.json tells it.
        run: the run's id, where something tells it.
        changed: when the folder was last written to, as seconds of the system's clock.
    """

    folder: Path
    number: int | None
    run: str | None
    changed: float


def pulled_sessions(folder: Path) -> list[PulledSession]:
    """The sessions below `folder` (or the one that it is), oldest first; none where nothing was pulled."""
    if _is_session(folder):
        return [_session(folder)]
    found = [_session(place) for place in _subfolders(folder) if _FOLDER.fullmatch(place.name)]
    for below in _subfolders(folder):
        if not _FOLDER.fullmatch(below.name):
            found += [_session(place) for place in _subfolders(below) if _SESSION.fullmatch(place.name)]
    return _in_order(_adopted([item for item in found if _is_session(item.folder)]))


def _adopted(sessions: Sequence[PulledSession]) -> list[PulledSession]:
    """Sessions that tell no run are of the one whose sessions lie beside them, where it is one."""
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


def newest_run(sessions: Sequence[PulledSession]) -> list[PulledSession]:
    """Those sessions that are of the run which was written to last."""
    newest = max(sessions, key=lambda item: item.changed, default=None)
    return [] if newest is None else [item for item in sessions if item.run == newest.run]


def read_run(source: Path | Sequence[PulledSession], *, logs: bool = True) -> MetricsTable:
    """One series of all that a run's sessions measured, without gaps or steps back.

    Each session's `metrics.jsonl` repeats what came before it, so only files are read that tell of a session
    which newer ones do not. What they lack is taken from the trainer's logs.

    Args:
        source: a folder with pulled sessions, whose newest run is taken; or sessions of one run.
        logs: whether logs are read too.

    Raises:
        LocalError: a file cannot be read.
    """
    sessions = newest_run(pulled_sessions(source)) if isinstance(source, Path) else list(source)
    table = _from_events(sessions)
    return _with_logs(table, sessions) if logs else table


def _from_events(sessions: Sequence[PulledSession]) -> MetricsTable:
    """What the sessions' events tell, each session's by the newest file that knows it."""
    told: set[int | None] = set()
    read: list[tuple[MetricsTable, set[int | None]]] = []
    for item in reversed(sessions):
        place = item.folder / METRICS_FILE
        if item.number in told or not place.is_file():
            continue
        table = read_metrics(place, kind="events", session=item.number)
        knows = {moment.session for moment, _, _ in table.measurements()}
        knows |= {event.session for event in table.events}
        read.append((table, knows - told))
        told |= knows
    result = MetricsTable()
    for table, fresh in reversed(read):
        append(result, table, fresh.__contains__)
    return continuous(result)


def _with_logs(table: MetricsTable, sessions: Sequence[PulledSession]) -> MetricsTable:
    """The table with what logs tell besides; the newest log of a chain begins where the run did."""
    first = min((border.step for border in table.borders()), default=None)
    for item in reversed(sessions):
        reached = None
        for place in _logs(item.folder):
            log = _of_session(read_metrics(place, kind="log"), item.number)
            lines, lost = log.counters.lines, log.counters.lost_lines
            begins = next(
                (moment.step for moment, _, _ in log.measurements() if moment.kind is Kind.STEP), None
            )
            table = fill(table, log) if table.moments else _keeping(continuous(log), table)
            table.counters.lines += lines
            table.counters.lost_lines += lost
            if begins is not None:
                reached = begins if reached is None else min(reached, begins)
        if reached is not None and (reached == 0 or (first is not None and reached <= first)):
            break
    return table


def _keeping(log: MetricsTable, table: MetricsTable) -> MetricsTable:
    """A log's measurements, where a run's events hold none; what happened is theirs to tell too."""
    log.counters.lines, log.counters.lost_lines = table.counters.lines, table.counters.lost_lines
    log.events = [*table.events, *log.events]
    return log


def _of_session(log: MetricsTable, number: int | None) -> MetricsTable:
    """A log whose last part is session `number`: the trainer's log goes on from session to session."""
    last = max((border.session for border in log.borders()), default=None)
    if number is not None:
        log.renumber(lambda old: number if old is None or last is None else max(1, number - last + old))
    return log


def _logs(folder: Path) -> list[Path]:
    """The session's logs of the best kind that it has."""
    found = sorted(place for place in folder.glob(_TRAINER_LOG) if place.is_file())
    return found or [folder / name for name in _OTHER_LOGS if (folder / name).is_file()][:1]


def _is_session(folder: Path) -> bool:
    return (folder / METRICS_FILE).is_file() or (folder / _STATE_FILE).is_file() or bool(_logs(folder))


def _session(folder: Path) -> PulledSession:
    number, run = _told(folder / _STATE_FILE)
    match = _SESSION.fullmatch(folder.name)
    if match is not None:
        number = int(match.group(1))
    if run is None:
        words = _text(folder / _COMPLETE).split()
        run = words[-1] if words else None
    try:
        changed = max((place.stat().st_mtime for place in folder.iterdir()), default=0.0)
    except OSError:
        changed = 0.0
    return PulledSession(folder, number, run, changed)


def _told(place: Path) -> tuple[int | None, str | None]:
    """The session's number and run that a state.json tells."""
    try:
        run = json.loads(_text(place)).get("run")
        number, name = as_count(run.get("session")), run.get("id")
    except (ValueError, AttributeError, RecursionError):
        return None, None
    return number, name if isinstance(name, str) and name else None


def _text(place: Path) -> str:
    try:
        return place.read_text("utf-8") if place.stat().st_size <= _LARGEST_STATE else ""
    except (OSError, ValueError):
        return ""


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(place for place in folder.iterdir() if place.is_dir())
    except OSError:
        return []


def find_run(folder: Path, text: str | None, slug: str) -> list[PulledSession]:
    """The pulled sessions of the run that a person names.

    Args:
        folder: where pulls go, `[pull] to`.
        text: a run's id or its beginning, `OWNER/SLUG[/VERSION]`, or nothing for the newest of `slug`.
        slug: the kernel that the settings name.

    Raises:
        UsageError: nothing was pulled of it, or nobody's run is called so.
    """
    ref = _kernel(text)
    wanted = slug if ref is None else ref.slug
    for suffix in ("-a", "-b"):
        wanted = wanted.removesuffix(suffix) if wanted != slug else wanted
    by_id = text is not None and ref is None
    names = (wanted, f"{wanted}-a", f"{wanted}-b")
    places = _subfolders(folder) if by_id else [folder / name for name in names]
    sessions = [item for place in places for item in pulled_sessions(place)]
    if by_id:
        sessions = [item for item in sessions if item.run is not None and item.run.startswith(text or "")]
        if len({item.run for item in sessions}) > 1:
            raise UsageError(f"{text!r} fits several runs in {folder}.", hint="write more of the run's id")
    if ref is not None and ref.version is not None:
        sessions = [item for item in sessions if _is_version(item.folder, ref)]
    sessions = newest_run(sessions)
    if not sessions:
        what = "the newest run" if text is None else text
        hint = f"bring it with `kgtts pull{'' if text is None else ' ' + text}`"
        raise UsageError(f"Nothing of {what} has been pulled to {folder}.", hint=hint)
    return _in_order(sessions)


def _kernel(text: str | None) -> KernelRef | None:
    """The kernel that a text names; None for a run's id and for no text.

    Raises:
        UsageError: it is neither: a path with a slip in it, most likely.
    """
    if text is None or _RUN.fullmatch(text):
        return None
    try:
        return KernelRef.parse(text)
    except UsageError as error:
        no_path = "" if Path(text).exists() else ", and no file or folder here is called so"
        raise UsageError(
            f"{text!r} names no run{no_path}.",
            hint="give a run's id or its beginning (`kgtts list` shows them), or OWNER/SLUG[/VERSION]",
        ) from error


def _is_version(folder: Path, ref: KernelRef) -> bool:
    """Whether a folder holds what a kernel's version left: its name tells, or the mark of a pass."""
    return folder.name == f"v{ref.version}" or _text(folder / _COMPLETE).split()[:1] == [str(ref)]
