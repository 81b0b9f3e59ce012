"""Runs on the Kaggle in memory that have come to a state, and what can be wrong with a run."""

import copy
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path, PurePosixPath
from types import CodeType, MappingProxyType, NoneType

from kernel_template.contract import EndReason
from orchestrator.download import Content, DamagedError, Fetched, Transfer, TransferListener
from orchestrator.errors import KgttsError
from orchestrator.kaggle.logs import LineAssembler
from orchestrator.models import KernelInfo, KernelPush, KernelRef, OutputFile, SessionState, SessionStatus
from orchestrator.render.stamp import RunStamp, read_stamp
from orchestrator.results import SessionFolder
from orchestrator.run.context import RunContext, Target
from orchestrator.run.decide import Start
from orchestrator.run.follow import Following
from orchestrator.run.inputs import InputState
from orchestrator.run.ledger import Ledger, SessionRecord
from orchestrator.run.look import Pass
from orchestrator.run.replay import Replay
from orchestrator.run.snapshot import Snapshot
from orchestrator.run.view import RunView, SessionView
from orchestrator.settings import Settings
from tests.download.storage import Answer, Storage
from tests.fakes.kaggle import FakeKaggle
from tests.fakes.sessions import Life, Version, said
from tests.run.conftest import Play
from tests.run.trained_here import train_here

HOUR_S = 3600.0
# What a function may remember; other things, such as clocks and connections, are the same at all times.
_VALUES = (
    *(str, bytes, int, float, bool, NoneType, tuple, list, dict, KgttsError, Pass, RunView, SessionView),
    *(SessionRecord, SessionStatus, KernelRef, KernelInfo, Target, Start, InputState),
)
DONE_AT, HERE_AT = 400, 150
LEDGER = "ledger.db"
RESULTS = "runs"
# How each session ended: at a step, killed with or without outputs, with words, or here, at a step between
# theirs; and how the last one is.
STATES: dict[str, tuple[Sequence[int | str], str]] = {
    "nothing was pushed": ((), ""),
    "the first session is queued": ((), "queued"),
    "one session has ended": ((100,), ""),
    "the second is running": ((100,), "running"),
    "two have ended": ((100, 200), ""),
    "the second was killed": ((100, "killed"), ""),
    "the second was killed and left outputs": ((100, "left"), ""),
    "the second left outputs, without internet": ((100, "left"), ""),
    "the third could not download": ((100, "left", "undownloaded"), ""),
    "the second was stopped": ((100, "stopped"), ""),
    "the second failed": ((100, "no such column"), ""),
    "the third is running": ((100, 200), "running"),
    "three have ended": ((100, 200, 300), ""),
    "the run is done": ((100, 400), ""),
    "the second was trained here": ((100, "here"), ""),
    "after the one here the third was killed": ((100, "here", "killed"), ""),
    "the third was killed, and another machine has no results": ((100, "here", "killed"), "no results"),
    "somebody saved a version on the website": ((100, 200), "saved"),
    "somebody saved our version again": ((100, 200), "saved again"),
}


class Shelf(Storage):
    """Outputs in memory, each under the hash of its content."""

    def put(self, name: str, *answers: Answer | bytes) -> OutputFile:
        """Store a file; returns its entry in a listing."""
        (content,) = answers
        assert isinstance(content, bytes)
        key = hashlib.sha256(content).hexdigest()
        self.answers[key] = [Answer(content)]
        return OutputFile(name, f"https://fake.example/{key}?X-Goog-Signature=secret")

    def fetch(
        self,
        files: Sequence[OutputFile],
        target: Path,
        listener: TransferListener,
        *,
        manifest: Mapping[str, Content] = MappingProxyType({}),
        **_: object,
    ) -> Transfer:
        """Do what `orchestrator.download.fetch` does, without a network that could fail."""
        fetched = []
        for file in files:
            content, place = (
                self.answers[file.url.split("/")[3].partition("?")[0]][0].body,
                target / file.name,
            )
            wanted = manifest.get(file.name, Content()).sha256
            if wanted is not None and hashlib.sha256(content).digest() != wanted:
                raise DamagedError(f"{file.name} arrived damaged twice.")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            fetched.append(Fetched(PurePosixPath(file.name), len(content), unchanged=False))
            listener.placed(fetched[-1])
        return Transfer(fetched, ())


SHELF = Shelf()


@cache
def _settings(changes: tuple[tuple[str, object], ...], folder: Path) -> Settings:
    return Play(folder, changes=dict(changes)).settings


@cache
def _empty_ledger(folder: Path, service: str) -> Path:
    """Return a ledger without sessions, to be copied."""
    place = folder / "empty.db"
    Ledger(place, service).__exit__()
    return place


@dataclass(slots=True)
class MarkedContext(RunContext):
    """A context that tells when a command looks at Kaggle anew, which is when it may forget what it saw."""

    marked: Callable[[], None] = field(default=lambda: None)

    def snapshot(self) -> Snapshot:
        """Return a new look."""
        self.marked()
        return Snapshot(self.kaggle, self.ledger)


@dataclass
class QuickPlay(Play):
    """A run whose machine begins with the ledger that lies in `folder`, or with an empty one.

    Settings are read once, empty ledgers are copied, kernels are small and downloads go through no network,
    which saves nine tenths of the time of a pass.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kaggle.storage, self.fetch = SHELF, SHELF.fetch

    @property
    def settings(self) -> Settings:
        """The defaults with the changes."""
        return _settings((*self.changes.items(),), self.folder)

    def context(self, ledger: Ledger, home: Path | None = None) -> MarkedContext:
        """Return what a command works with."""
        return MarkedContext(
            self.kaggle, ledger, self.clock, home, templates=self.templates, fetch=self.fetch
        )

    def ledger(self) -> Ledger:
        """Open the machine's ledger."""
        place = self.folder / LEDGER
        if not place.exists():
            shutil.copy(_empty_ledger(self.folder.parent, self.kaggle.service), place)
        return Ledger(place, self.kaggle.service)


def left_by(kaggle: FakeKaggle, stamp: RunStamp, step: int) -> Mapping[str, bytes]:
    """Return what a session leaves that ended at a step: its state, its manifest and a checkpoint."""
    history = kaggle.history_before(stamp)
    before = history[-1]["to_step"] if history else 0
    name = f"training/checkpoint_{step}.pth"
    weights = f"weights {step}".encode()
    digest = hashlib.sha256(weights).hexdigest()
    own = {"session": stamp.session, "kernel": stamp.kernel, "from_step": before, "to_step": step}
    own |= {"from_epoch": before // 100, "to_epoch": step // 100, "reason": "budget", "seconds": HOUR_S}
    is_done = step >= DONE_AT
    state = {
        "schema": 1,
        "run": stamp.to_dict(),
        "status": "complete",
        "reason": "finished" if is_done else "budget",
        "message": "",
        "global_step": step,
        "epoch": step // 100,
        "epochs": DONE_AT // 100,
        "checkpoint": name,
        "checkpoints": [{"path": name, "global_step": step, "size": len(weights), "sha256": digest}],
        "seconds": {"total": HOUR_S},
        "seconds_per_epoch": 600.0,
        "steps_per_epoch": 100,
        "history": [*history, own],
        "done": is_done,
        "done_reason": "epochs" if is_done else None,
    }
    files = {"state.json": json.dumps(state).encode(), name: weights}
    manifest = [
        {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in files.items()
    ]
    return {**files, "manifest.json": json.dumps({"files": manifest}).encode()}


stamp_in = cache(read_stamp)


def stamp_of(version: Version) -> RunStamp:
    """Return the stamp in a version's source."""
    stamp = stamp_in(version.source)
    assert stamp is not None
    return stamp


def live(kaggle: FakeKaggle, version: Version, step: int, queued_s: float = 60.0) -> None:
    """Let a session run for an hour, up to a step."""
    version.life = Life(queued_s=queued_s, runs_s=HOUR_S)
    version.outputs = left_by(kaggle, stamp_of(version), step)
    version.log = said("a line", start=1.0)


def end(play: Play, version: Version, how: int | str) -> None:
    """End a session as `STATES` says."""
    stamp = stamp_of(version)
    if isinstance(how, int):
        version.state, version.outputs = SessionState.COMPLETE, left_by(play.kaggle, stamp, how)
        version.log = said('@kgtts {"event": "end", "status": "complete", "reason": "budget", "message": ""}')
    elif how in ("killed", "left"):
        version.state, version.log = SessionState.ERROR, said("a line", start=HOUR_S)
        if how == "left":
            files = dict(left_by(play.kaggle, stamp, 150))
            del files["manifest.json"]
            state = {**json.loads(files["state.json"]), "status": "running", "reason": None}
            version.outputs = {**files, "state.json": json.dumps(state).encode()}
    elif how == "stopped":
        version.state = SessionState.CANCEL_ACKNOWLEDGED
        told = {"event": "session", "kaggle_session": version.session, "stops_by_s": 36000}
        version.log = said(f"@kgtts {json.dumps(told)}", "a line")
    else:
        version.state = SessionState.ERROR
        reason = EndReason.HANDOVER_FAILED if how == "undownloaded" else EndReason.BAD_DATA
        ending = {"event": "end", "status": "failed", "reason": reason, "message": how}
        version.log = said(f"@kgtts {json.dumps(ending)}")


def start(folder: Path, name: str, *, has_ledger: bool) -> QuickPlay:
    """Play a run to this point, on an account with other kernels; `folder` is where commands are made."""
    folder.mkdir(exist_ok=True)
    changes = {"training.epochs": DONE_AT // 100, "pull.to": json.dumps(str(folder / RESULTS))}
    if name.endswith("without internet"):
        changes["kernel.internet"] = "false"
    play = QuickPlay(folder, changes=changes)
    play.kaggle.save("asha/something-else")
    ends, last = STATES[name]
    for how in ends:
        if how == "here":
            train_here(play, HERE_AT, f"asha/bangla-tts-a/{len(play.kaggle.pushes)}")
        else:
            end(play, play.kaggle.version(play.pushed(retry=True)), how)
    if last in ("queued", "running"):
        version = play.kaggle.version(play.pushed())
        live(play.kaggle, version, DONE_AT, queued_s=60.0 if last == "queued" else 0.0)
    elif last == "no results":
        play.changes = {**changes, "pull.to": json.dumps(str(folder / "none"))}
    elif last:
        newest = play.kaggle.kernels[KernelRef("asha", "bangla-tts-a")][-1]
        is_copy = last == "saved again"
        source, state = (newest.source, SessionState.NEW_SCRIPT) if is_copy else ("1", SessionState.COMPLETE)
        play.kaggle.save("asha/bangla-tts-a", source, state)
    if not has_ledger:
        (folder / LEDGER).unlink(missing_ok=True)
    return play


def copied(play: QuickPlay) -> QuickPlay:
    """Return a run with an account of its own, to go on with in the same folder; new sessions live."""
    other = QuickPlay(play.folder, clock=copy.copy(play.clock), changes=play.changes)
    kernels = play.kaggle.kernels.items()
    other.kaggle.kernels = {ref: [copy.copy(version) for version in versions] for ref, versions in kernels}
    other.kaggle.datasets = {name: [*uploads] for name, uploads in play.kaggle.datasets.items()}
    other.kaggle.details = {**play.kaggle.details}
    other.kaggle.pushes = [*play.kaggle.pushes]

    def begin(push: KernelPush, version: Version) -> None:
        del push
        live(other.kaggle, version, DONE_AT)

    other.kaggle.plays = begin
    return other


def put_down(folder: Path, place: Path) -> None:
    """Make a folder that has what another one has: the ledger and the results."""
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    if (folder / LEDGER).exists():
        shutil.copy(folder / LEDGER, place)
    if (folder / RESULTS).exists():
        shutil.copytree(folder / RESULTS, place / RESULTS)


def essence(play: QuickPlay, rows: Sequence[SessionRecord], target: Target | None, known: str = "") -> bytes:
    """Return a digest of all that goes on depends on: two runs with the same one are taken for the same.

    That is what the account shows, the machine's ledger (`rows`) and results, which session is followed, and
    what a command that is at work knows.
    Of times only their order is in it, and of a session that runs that it does, not for how many more
    seconds; ids of runs and of Kaggle's sessions are replaced by their order.
    """
    kaggle, now_s = play.kaggle, play.clock.monotonic()
    versions = [(ref, item) for ref, items in sorted(kaggle.kernels.items(), key=str) for item in items]
    times = sorted({*(row.pushed_at for row in rows), *(item.pushed_at for _, item in versions)})
    order = {time: number for number, time in enumerate(times)}
    parts: list[object] = [sorted(play.changes.items())]
    if len({row.run_id for row in rows}) > 1:  # Else nothing but `list` asks for it.
        parts.append([row.state for row in rows])
    for row in rows:
        seen = (row.outcome, row.is_deleted, order[row.pushed_at])
        parts.append((row.run_id, row.number, str(row.ref), row.fingerprint, *seen))
    for ref, item in versions:
        state, told = item.state_at(now_s), re.sub(rf"\b{item.session}\b", "its id", repr(item.log))
        left = sorted(_without_hashes(item.outputs.items()))
        parts.append((str(ref), _facts(item.source), state, told, left, order[item.pushed_at]))
        parts.append(None if item.push is None else (item.push.dataset_sources, item.push.kernel_sources))
    parts += [(name, [item.files for item in items]) for name, items in kaggle.datasets.items()]
    results = play.folder / RESULTS
    files = [(str(file), file.read_bytes()) for file in results.rglob("*") if file.is_file()]
    parts.append(sorted(_without_hashes(files)))
    parts.append(known)
    parts.append(None if target is None else (str(target.ref), target.record is None))
    text = repr(parts)
    pushed = [stamp_of(item).id for _, item in versions if item.push is not None]
    runs = dict.fromkeys([*pushed, *(row.run_id for row in rows)])
    for number, run in enumerate(runs):
        text = text.replace(run, f"run {number}")
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _without_hashes(files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Give files, of a manifest its name: it says what the others are, and its hashes depend on the id."""
    for name, content in files:
        yield name, b"" if name.endswith("manifest.json") else content


def memory(outermost: CodeType) -> str:
    """Return what the functions that are at work know, from the one that called the caller of the caller.

    That is where each of them is, and what its variables hold; `outermost` is the last of them.
    """
    frame, parts = sys._getframe(3), list[object]()
    while frame is not None:
        known = [(name, _remembered(value)) for name, value in sorted(frame.f_locals.items())]
        parts.append((frame.f_code.co_qualname, frame.f_lasti, known))
        if frame.f_code is outermost:
            return repr(parts)
        assert frame.f_back is not None
        frame = frame.f_back
    return repr(parts)


def _remembered(value: object) -> object:
    """Return a value, what an object that follows a session holds, or nothing for any other."""
    if isinstance(value, _VALUES):
        return value
    if isinstance(value, Following | Replay | LineAssembler):
        return [(name, _remembered(item)) for name, item in sorted(vars(value).items())]
    return None


@cache
def _facts(source: str) -> object:
    """Return what a session's source says of it; URLs of outputs differ from listing to listing."""
    stamp = stamp_in(source)
    return source if stamp is None else (replace(stamp, values={}), "X-Goog-Signature" in source)


def faults_in(play: Play, before: int) -> list[str]:
    """Return what is wrong with the pushes after the first `before`, such as a second run."""
    found, kaggle, now_s = list[str](), play.kaggle, play.clock.monotonic()
    stamps = [stamp for push in kaggle.pushes if (stamp := stamp_in(push.source)) is not None]
    if len({stamp.id for stamp in stamps}) > 1:
        found.append("a second run")
    here = _trained_here(play, {stamp.id for stamp in stamps})
    numbers = [*here, *(stamp.session for stamp in stamps)]
    if len(set(numbers)) < len(numbers):
        found.append("a session twice")
    pushed = [item for versions in kaggle.kernels.values() for item in versions if item.push is not None]
    if sum(not version.state_at(now_s).is_terminal for version in pushed) > 1:
        found.append("two sessions at once")
    steps = {**here, **{stamp_of(version).session: _step_of(version) for version in pushed}}
    for stamp in stamps[before:]:
        best = max((step for session, step in steps.items() if session < stamp.session), default=0)
        number = None if stamp.parent is None else _session_at(kaggle, stamp.parent, here)
        parent = 0 if number is None else steps.get(number, 0)
        if parent < best:
            found.append(f"an older parent: step {parent}, not {best}")
    return found


def _trained_here(play: Play, runs: Collection[str]) -> Mapping[int, int]:
    """Return the steps of the sessions of runs that were trained here, by their numbers."""
    folders = map(SessionFolder, (play.folder / RESULTS).rglob("session-*"))
    states = [json.loads(folder.state.read_bytes()) for folder in folders if folder.elsewhere is not None]
    return {state["run"]["session"]: state["global_step"] for state in states if state["run"]["id"] in runs}


def _session_at(kaggle: FakeKaggle, text: str, here: Mapping[int, int]) -> int | None:
    """Return the number of a version's session; None if it was deleted or replaced."""
    ref = KernelRef.parse(text)
    if ref.is_elsewhere:
        return ref.version if ref.version in here else None
    versions = kaggle.kernels.get(ref.kernel, [])
    if not 0 < (ref.version or 0) <= len(versions):
        return None
    stamp = stamp_in(versions[(ref.version or 0) - 1].source)
    return None if stamp is None else stamp.session


def _step_of(version: Version) -> int:
    outputs = version.outputs
    return int(json.loads(outputs["state.json"]).get("global_step") or 0) if "state.json" in outputs else 0


def collections(play: Play) -> tuple[frozenset[str], list[str]]:
    """Return the versions whose results are marked as complete here, and what is wrong with them."""
    complete, found = set[str](), list[str]()
    for mark in (play.folder / "runs").rglob(".kgtts-complete"):
        folder = SessionFolder(mark.parent)
        assert folder.contents is not None
        version = folder.contents[0]
        complete.add(version)
        found += missing(mark.parent, play.kaggle.version(version))
    return frozenset(complete), found


def missing(folder: Path, version: Version) -> list[str]:
    """Return what a folder lacks of a version's outputs."""
    lost = [
        name
        for name, content in version.outputs.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != content
    ]
    return [f"a lost collection: {', '.join(lost)}"] if lost else []
