"""A search over faults: every call of a command fails in every way, alone and in pairs.

`python -m tests.run.faults` tries all of them, in every state of a run; with a number N, all single faults
and one pair of N. It prints what went wrong, and counts. The tests try a part.
"""

# ruff: noqa: T201 - it is also a script

import copy
import hashlib
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from kernel_template.contract import EndReason
from orchestrator.download import TransferListener
from orchestrator.errors import ForbiddenError, KgttsError, NotFoundError, RefusedError, ServiceError
from orchestrator.models import KernelPush, KernelRef, SessionState, SessionStatus
from orchestrator.render.stamp import RunStamp, read_stamp
from orchestrator.results import SessionFolder
from orchestrator.run.collect import Collected, collect
from orchestrator.run.context import RunContext, Target
from orchestrator.run.look import Asked, Pass
from orchestrator.run.target import find_target
from orchestrator.run.watch import Passes, SessionEnd, follow_to_end, watch
from tests.download.storage import Storage, serve
from tests.fakes.kaggle import FakeKaggle
from tests.fakes.sessions import Answer, Life, Lost, Version, said
from tests.run.conftest import Play

HOUR_S = 3600.0
COMMANDS = ("sync", "push", "watch", "pull")
MACHINES = (None, "laptop")  # A fresh machine, and the one that pushed.
# How each session ended: at a step, killed with or without outputs, or with words; and how the last one is.
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
    "somebody saved a version on the website": ((100, 200), "saved"),
    "somebody saved our version again": ((100, 200), "saved again"),
}
DONE_AT = 400
# To a command, a 500, a time-out, HTML and most `{}` are one error; a `{}` of a file is its content, and one
# of a state is QUEUED.
FAULTS = ("403", "404", "500", "{}", "lost", "stale", "empty")


@dataclass
class Faulty:
    """A fake whose n-th calls go wrong, counted over all methods.

    Attributes:
        kaggle: the fake.
        wrong: by number, what is wrong with a call.
        fitting: of each call so far, the faults that it can have, if `looks`.
    """

    kaggle: FakeKaggle
    wrong: Mapping[int, str]
    looks: bool = False
    made: int = 0
    asked: list[str] = field(default_factory=list)
    fitting: list[list[str]] = field(default_factory=list)

    def install(self) -> None:
        """Look at each call before it is answered."""
        ask = self.kaggle._call

        def call(method: str, words: str, work: Callable[[], Any]) -> Any:
            fault = self.wrong.get(self.made)
            self.made += 1
            self.asked.append(method)
            if self.looks:
                fits = [name for name in FAULTS if wrong_answer(self.kaggle, name, method, words) is not None]
                self.fitting.append(fits)
            if fault is not None:
                happening = wrong_answer(self.kaggle, fault, method, words)
                if happening is not None:
                    self.kaggle.next(method, happening)
            return ask(method, words, work)

        self.kaggle._call = call  # type: ignore[method-assign] # A fake of the tests.


def wrong_answer(kaggle: FakeKaggle, fault: str, method: str, words: str) -> Any:
    """Return a wrong answer instead of the real one; None if the fault does not fit the call."""
    plain = {
        "403": ForbiddenError("Kaggle refused (403)."),
        "404": NotFoundError("Kaggle knows no such thing (404)."),
        "500": ServiceError("Kaggle failed (500)."),
    }
    if fault in plain:
        return plain[fault]
    if fault == "lost":
        return Lost(ServiceError("The answer was lost.")) if method in ("push", "upload_dataset") else None
    if fault == "{}":
        empty: Any = {"output_file": b"{}", "session_status": SessionStatus(SessionState.QUEUED)}
        return Answer(empty[method]) if method in empty else None
    if fault == "empty":
        lists = (
            *("my_kernels", "outputs", "stored_log", "dataset_files", "model_files"),
            *("my_datasets", "my_models", "model_variations"),
        )
        nothing: dict[str, Any] = {"output_file": b"", "quota": None, **{name: [] for name in lists}}
        return Answer(nothing[method]) if method in nothing else None
    return older_answer(kaggle, method, words)


def older_answer(kaggle: FakeKaggle, method: str, words: str) -> Any:
    """Return what the call gave a moment ago: before the newest version, or the session's end."""
    if method == "my_kernels":
        newest = sorted(kaggle.kernels.items(), key=lambda item: item[1][-1].pushed_s, reverse=True)
        return Answer([kaggle._info(ref, with_source=False) for ref, _ in newest][1:])
    if method not in ("kernel", "session_status"):
        return None
    ref = KernelRef.parse(words.split()[1])
    versions = kaggle.kernels.get(ref.kernel, [])
    if method == "session_status":
        number = ref.version or len(versions)
        if not 0 < number <= len(versions):
            return None
        has_ended = versions[number - 1].state_at(kaggle.clock.monotonic()).is_terminal
        return Answer(SessionStatus(SessionState.RUNNING if has_ended else SessionState.ERROR))
    if len(versions) > 1 and ref.version is None:
        before = len(versions) - 1
        return Answer(replace(kaggle._info(ref.at(before)), latest_version=before))
    return NotFoundError("It is not there yet (404).") if versions and ref.version is None else None


@dataclass
class Watching:
    """Follows sessions, and shows nothing."""

    context: RunContext

    def passed(self, done: Pass) -> None:
        """Do nothing."""

    def unreachable(self, error: ServiceError) -> None:
        """Do nothing."""

    def follow(self, target: Target, timeout: timedelta | None) -> SessionEnd:
        """Follow a session as the command line does."""
        return follow_to_end(self.context, target, lambda *_: None, timeout=timeout)


def act(play: Play, command: str) -> Pass | Collected | None:
    """Do what a command does; returns the pass that it made, or what it downloaded."""
    with play.ledger() as ledger:
        context = RunContext(play.kaggle, ledger, play.clock)
        listener = TransferListener()
        if command == "sync":
            return Passes(play.settings, context, listener).make()
        if command == "push":
            return Passes(play.settings, context).make_when_ready(Asked(retry=True), lambda _: None)
        if command == "watch":
            watch(Passes(play.settings, context, listener), Watching(context))
        else:
            target = find_target(context, "asha/bangla-tts")
            done = collect(context, target, play.folder / "pulled", lambda names: names, listener)
            if (nothing := done.emptiness) is not None:
                raise nothing
            return done
    return None


def left_by(kaggle: FakeKaggle, stamp: RunStamp, step: int) -> Mapping[str, bytes]:
    """Return what a session leaves that ended at a step: its state, its manifest and a checkpoint."""
    parent = {} if stamp.parent is None else kaggle.version(stamp.parent).outputs
    history = json.loads(parent["state.json"])["history"] if "state.json" in parent else []
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


def stamp_of(version: Version) -> RunStamp:
    """Return the stamp in a version's source."""
    stamp = read_stamp(version.source)
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


def start(folder: Path, name: str, machine: str | None, storage: Storage) -> Play:
    """Play a run to this point, on an account with other kernels."""
    folder.mkdir()
    play = Play(folder, machine=machine, changes={"training.epochs": DONE_AT // 100})
    if name.endswith("without internet"):
        play.changes["kernel.internet"] = "false"
    play.kaggle.storage = storage
    play.kaggle.save("asha/something-else")
    ends, last = STATES[name]
    for how in ends:
        end(play, play.kaggle.version(play.pushed(retry=True)), how)
    if last in ("queued", "running"):
        version = play.kaggle.version(play.pushed())
        live(play.kaggle, version, DONE_AT, queued_s=60.0 if last == "queued" else 0.0)
    elif last:
        newest = play.kaggle.kernels[KernelRef("asha", "bangla-tts-a")][-1]
        is_copy = last == "saved again"
        source, state = (newest.source, SessionState.NEW_SCRIPT) if is_copy else ("1", SessionState.COMPLETE)
        play.kaggle.save("asha/bangla-tts-a", source, state)
    return play


def copied(play: Play, folder: Path) -> Play:
    """Return a copy of the run to continue with, with its ledger and results."""
    folder.mkdir()
    for ledger in play.folder.glob("*.db") if play.machine else ():
        shutil.copy(ledger, folder)
    changes = {**play.changes, "pull.to": json.dumps(str(folder / "runs"))}
    other = Play(folder, clock=copy.copy(play.clock), machine=play.machine, changes=changes)
    kernels = play.kaggle.kernels.items()
    other.kaggle.kernels = {ref: [copy.copy(version) for version in versions] for ref, versions in kernels}
    other.kaggle.pushes = [*play.kaggle.pushes]
    other.kaggle.storage = play.kaggle.storage

    def begin(push: KernelPush, version: Version) -> None:
        del push
        live(other.kaggle, version, DONE_AT)

    other.kaggle.plays = begin
    return other


def faults_in(play: Play, before: int) -> list[str]:
    """Return what is wrong with the pushes after the first `before`, such as a second run."""
    found, kaggle, now_s = list[str](), play.kaggle, play.clock.monotonic()
    stamps = [stamp for push in kaggle.pushes if (stamp := read_stamp(push.source)) is not None]
    if len({stamp.id for stamp in stamps}) > 1:
        found.append("a second run")
    numbers = [stamp.session for stamp in stamps]
    if len(set(numbers)) < len(numbers):
        found.append("a session twice")
    pushed = [item for versions in kaggle.kernels.values() for item in versions if item.push is not None]
    if sum(not version.state_at(now_s).is_terminal for version in pushed) > 1:
        found.append("two sessions at once")
    steps = {stamp_of(version).session: _step_of(version) for version in pushed}
    for stamp in stamps[before:]:
        best = max((step for session, step in steps.items() if session < stamp.session), default=0)
        number = None if stamp.parent is None else _session_at(kaggle, stamp.parent)
        parent = 0 if number is None else steps.get(number, 0)
        if parent < best:
            found.append(f"an older parent: step {parent}, not {best}")
    return found


def _session_at(kaggle: FakeKaggle, text: str) -> int | None:
    """Return the number of a version's session; None if it was deleted or replaced."""
    ref = KernelRef.parse(text)
    versions = kaggle.kernels.get(ref.kernel, [])
    if not 0 < (ref.version or 0) <= len(versions):
        return None
    stamp = read_stamp(versions[(ref.version or 0) - 1].source)
    return None if stamp is None else stamp.session


def _step_of(version: Version) -> int:
    outputs = version.outputs
    return int(json.loads(outputs["state.json"]).get("global_step") or 0) if "state.json" in outputs else 0


def collections(play: Play) -> tuple[set[str], list[str]]:
    """Return the versions whose results are marked as complete here, and what is wrong with them."""
    complete, found = set[str](), list[str]()
    for mark in (play.folder / "runs").rglob(".kgtts-complete"):
        folder = SessionFolder(mark.parent)
        assert folder.contents is not None
        version = folder.contents[0]
        complete.add(version)
        found += _missing(mark.parent, play.kaggle.version(version))
    return complete, found


def _missing(folder: Path, version: Version) -> list[str]:
    lost = [
        name
        for name, content in version.outputs.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != content
    ]
    return [f"a lost collection: {', '.join(lost)}"] if lost else []


@dataclass
class Outcome:
    """How a command ended: what it raised, what is wrong, and its calls."""

    error: KgttsError | None
    found: list[str]
    complete: set[str]
    faulty: Faulty


@dataclass
class Search:
    """Tries faults in one state of a run, with one command, on one machine."""

    folder: Path
    storage: Storage
    name: str
    machine: str | None
    command: str
    tried: int = 0
    _known: dict[object, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.play = start(self.folder / "start", self.name, self.machine, self.storage)
        self.before = len(self.play.kaggle.pushes)
        self.clean = self.outcome({}, looks=True)
        self.tried = 0

    def outcome(self, wrong: Mapping[int, str], *, looks: bool = False) -> Outcome:
        """Make the command with these faults, then another one without any."""
        self.tried += 1
        place = self.folder / str(self.tried)
        play = copied(self.play, place)
        call, faulty = play.kaggle._call, Faulty(play.kaggle, wrong, looks)
        faulty.install()
        error, done = None, None
        found = list[str]()
        try:
            done = act(play, self.command)
        except KgttsError as caught:
            error = caught
        except Exception as caught:  # noqa: BLE001 - a crash is what is searched for.
            found.append(f"a crash: {type(caught).__name__}: {caught}")
        play.kaggle._call = call  # type: ignore[method-assign] # As above.
        refused = [faulty.asked[place] for place, fault in wrong.items() if fault in ("403", "404")]
        if self.command != "watch" or not (isinstance(error, RefusedError) and "push" in refused):
            found += self._judged(play, error, done, wrong)  # A push that is refused ends a watch.
        complete, lost = collections(play)
        found += lost
        key = self._essence(play, complete)
        if key not in self._known:
            self._known[key] = self._afterwards(play, complete)
        shutil.rmtree(place)
        return Outcome(error, [*found, *self._known[key]], complete, faulty)

    def _judged(
        self, play: Play, error: KgttsError | None, done: object, wrong: Mapping[int, str]
    ) -> list[str]:
        """Return what is wrong with what the command did and printed."""
        found = faults_in(play, self.before)
        pushed = len(play.kaggle.pushes) > self.before
        is_reported = isinstance(done, Pass) and done.pushed is not None
        if self.command in ("sync", "push") and pushed and not (is_reported or "lost" in wrong.values()):
            found.append("a push that was not reported")
        if isinstance(done, Collected):  # An old answer may have hidden a newer session; it says which it is.
            found += _missing(play.folder / "pulled", play.kaggle.version(str(done.target.ref)))
        if self.command == "watch" and wrong and type(error) is not type(self.clean.error):
            found.append(f"a watch that ended: {error!r}, not {self.clean.error!r}")
        return found

    def _essence(self, play: Play, complete: set[str]) -> object:
        """Return what the next pass depends on, without times."""
        with play.ledger() as ledger:
            rows = tuple(
                (row.run_id == "", row.number, row.ref, row.outcome, row.state) for row in ledger.all()
            )
        now_s = play.clock.monotonic()
        versions = tuple(
            (str(ref), tuple(item.state_at(now_s) for item in items))
            for ref, items in sorted(play.kaggle.kernels.items(), key=str)
        )
        datasets = tuple((name, len(items)) for name, items in play.kaggle.datasets.items())
        return rows, versions, datasets, tuple(sorted(complete))

    def _afterwards(self, play: Play, complete: set[str]) -> list[str]:
        """Return what is wrong after the same command without faults."""
        after = "watch" if self.command == "watch" else "sync"
        with suppress(KgttsError):
            act(play, after)
        found = faults_in(play, self.before)
        now, lost = collections(play)
        found += lost
        if complete - now:
            found.append("a collection that was undone")
        if hasattr(self, "clean") and self.clean.complete - now:
            found.append("a collection that was never made")
        return [f"{words} (afterwards)" for words in found]

    def singles(self) -> Iterator[tuple[Mapping[int, str], Outcome]]:
        """Try each single fault; returns it with its outcome."""
        for place, faults in enumerate(self.clean.faulty.fitting):
            for fault in faults:
                wrong = {place: fault}
                yield wrong, self.outcome(wrong, looks=True)

    def doubles(self, first: Mapping[int, str], after: Outcome) -> Iterator[Mapping[int, str]]:
        """Each second fault that can come after a first one: of the calls that are then made."""
        (begin,) = first
        for place in range(begin + 1, len(after.faulty.fitting)):
            for fault in after.faulty.fitting[place]:
                yield {**first, place: fault}

    def run(self, every: int) -> Iterator[tuple[Mapping[int, str], list[str]]]:
        """All single faults and one pair of `every`, each with what is wrong."""
        count = itertools.count()
        for wrong, outcome in self.singles():
            yield wrong, outcome.found
            for pair in self.doubles(wrong, outcome):
                if next(count) % every == 0:
                    yield pair, self.outcome(pair).found


def main(every: int, only: str) -> int:
    """Search, print what was found, and return the number of wrong ends."""
    tried = bad = 0
    begun = time.monotonic()
    with ExitStack() as stack:
        storage = stack.enter_context(serve())
        for command, name, machine in itertools.product(COMMANDS, STATES, MACHINES):
            if only not in f"{command}, {name}" or (command == "pull" and name == "nothing was pushed"):
                continue
            here = wrong_here = 0
            with tempfile.TemporaryDirectory() as folder:
                for wrong, found in Search(Path(folder), storage, name, machine, command).run(every):
                    here += 1
                    if found:
                        wrong_here += 1
                        print("WRONG", command, name, machine, dict(wrong), sorted(set(found)), flush=True)
            tried, bad = tried + here, bad + wrong_here
            took = time.monotonic() - begun
            print(
                f"{command}, {name}, {machine or 'fresh'}: {here} tried, {wrong_here} wrong; {took:.0f} s",
                flush=True,
            )
    print(f"{tried} tried, {bad} wrong, {time.monotonic() - begun:.0f} s")
    return bad


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1, " ".join(sys.argv[2:])) > 0)
