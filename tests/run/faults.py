"""A search over faults: every call of a command fails in every way, alone and in pairs.

`python -m tests.run.faults` tries all of them, in every state of a run; with a number N, all single faults
and one pair of N; with words, what begins with them, such as `watch, two have ended`. It prints what went
wrong, and counts. The tests try a part.

A watch is tried stage by stage: a pass, or following one session. A pass of a watch is the command `sync`,
and is judged as both: the watch goes on after it, and also another `sync` is made. All pairs within a stage
are tried; where a stage ends after one fault, the watch goes on from there with each single fault.

Not every pair is made, since some are another one in all that counts:

- Two ends of a stage that are alike in what `states.essence` names are one, and the watch goes on from there
  once. They may differ in the times at which things happened (not in their order), in how much longer a
  session runs, and in what a watch only counts or shows: failed passes in a row (it ends after 20) and the
  last lines of a log.
- Where a command looks at Kaggle anew, or at each call while it follows a session, all that it knows is
  written down (`states.memory`). If that and the account are as they were in a try before, it goes on as that
  one did, so its second fault was tried there.
- To a command, a 500, a time-out and HTML are one error, which the real client makes of them.

Downloads go through no network here: what can happen to them is tried in `tests/download`.
"""

# ruff: noqa: T201 - it is also a script

import hashlib
import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from orchestrator.download import TransferListener
from orchestrator.errors import KgttsError, RefusedError, ServiceError
from orchestrator.run.collect import Collected, collect
from orchestrator.run.context import RunContext, Target
from orchestrator.run.ledger import SessionRecord
from orchestrator.run.look import Asked, Pass
from orchestrator.run.target import find_target
from orchestrator.run.watch import Passes, SessionEnd, follow_to_end, watch
from tests.run.faulty import Faulty
from tests.run.states import (
    LEDGER,
    STATES,
    MarkedContext,
    QuickPlay,
    collections,
    copied,
    essence,
    faults_in,
    memory,
    missing,
    put_down,
    start,
)

COMMANDS = ("watch", "push", "pull")  # And `sync`, which is the first pass of a watch.
MACHINES = ("fresh", "laptop")  # One without a ledger, and the one that pushed.
EMPTY = "nothing was pushed"
SLUG, PULLED = "asha/bangla-tts", "pulled"


class Cut(BaseException):
    """A watch has come to its next stage."""


@dataclass
class Stage:
    """The one stage that a watch may make, and shows nothing of."""

    context: RunContext
    is_over: bool = False
    done: Pass | None = None
    target: Target | None = None

    def begin(self, target: Target | None = None) -> None:
        """Begin the stage, or end the watch at the one after it."""
        self.target = target
        if self.is_over:
            raise Cut
        self.is_over = True

    def passed(self, done: Pass) -> None:
        """Keep the pass."""
        self.done = done

    def unreachable(self, error: ServiceError) -> None:
        """Do nothing."""

    def follow(self, target: Target, timeout: timedelta | None) -> SessionEnd:
        """Follow a session as the command line does."""
        self.begin(target)
        return follow_to_end(self.context, target, lambda *_: None, timeout=timeout)


@dataclass(frozen=True)
class StagedPasses(Passes):
    """The passes of a watch that makes one stage; they are ordinary ones."""

    stage: Stage | None = None

    def make(self, asked: Asked | None = None) -> Pass:
        """Make one pass."""
        if self.stage is not None:
            self.stage.begin()
        return super().make(asked)


@dataclass(frozen=True)
class Point:
    """A run from which a command begins, or from which a watch goes on.

    Attributes:
        origin: how it came about, for a person.
        play: the account and the clock.
        place: a copy of what lies on the machine.
        is_fresh: whether every command is made on a machine without a ledger.
        first: the pass whose session a watch follows first; None begins with a pass.
    """

    origin: str
    play: QuickPlay
    place: Path
    is_fresh: bool
    first: Pass | None = None


@dataclass(frozen=True)
class Outcome:
    """How a command, or a stage of a watch, ended.

    Attributes:
        error: what it raised.
        found: what is wrong.
        complete: the versions whose results are here.
        asked: the method of each call.
        fitting: the faults that each call can have, if they were looked for.
        marks: after how many calls it looked at Kaggle anew, each with a digest of all that it went on from.
        after: the point from which another command begins.
        then: the point from which the watch goes on; None if it is over, or it is another command.
    """

    error: KgttsError | None
    found: Sequence[str]
    complete: frozenset[str]
    asked: Sequence[str]
    fitting: Sequence[Sequence[str]]
    marks: Sequence[tuple[int, bytes]]
    after: int
    then: int | None = None

    def faults(self, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, str]]:
        """Give each fault that a call can have, from the call `begin` on, and before `end`."""
        for place in range(begin, len(self.fitting) if end is None else end):
            for fault in self.fitting[place]:
                yield place, fault


@dataclass(frozen=True)
class Ending:
    """How a watch without further faults ends, with the command after it: as in `Outcome`."""

    error: type
    found: Sequence[str]
    complete: frozenset[str]


@dataclass
class Tried:
    """How many faults and pairs a stage has, and from where a watch went on after each single fault."""

    has_pairs: bool = False
    singles: int = 0
    pairs: int = 0
    ends: list[int] = field(default_factory=list)


class Search:
    """Tries faults from one point after the other.

    Args:
        folder: a folder of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._work, self._places = folder / "work", folder / "points"
        self.points: list[Point] = []
        self.made = 0
        self._numbers: dict[tuple[bytes, bool], int] = {}
        self._clean: dict[tuple[int, str], Outcome] = {}
        self._endings: dict[int, Ending] = {}
        self._tried: dict[tuple[int, str], Tried] = {}
        self._sources: dict[str, str] = {}

    def begin(self, state: str, machine: str) -> int:
        """Return the point of a run that has come to a state."""
        shutil.rmtree(self._work, ignore_errors=True)
        play = start(self._work, state, has_ledger=machine == "laptop")
        with play.ledger() as ledger:
            rows = ledger.all()
        return self._point(play, rows, f"{state}, {machine}", is_fresh=machine == "fresh")

    def run(self, number: int, command: str, every: int = 1) -> Iterator[tuple[str, list[str]]]:
        """Try all single faults and one pair of `every`; gives each, and what is wrong then."""
        turn = (count % every == 0 for count in itertools.count())
        yield "no fault", self.judged(number, {}, command, self.clean(number, command))
        stages = self._stages(number) if command == "watch" else [number]
        for each in stages:
            if not self._tried.get((each, command), Tried()).has_pairs:
                yield from self._pairs(each, command, turn)
        ends = itertools.chain(*(self._tried[each, command].ends for each in stages))
        for each in dict.fromkeys(ends):
            for later in self._stages(each):
                if (later, command) not in self._tried:
                    yield from self._singles(later, command, turn)

    def _singles(self, number: int, command: str, turn: Iterator[bool]) -> Iterator[tuple[str, list[str]]]:
        """Try the faults of a stage that comes after one with a fault."""
        tried = self._tried[number, command] = Tried()
        for place, fault in self.clean(number, command).faults():
            tried.singles += 1
            if next(turn):
                yield self._try(number, {place: fault}, command)[0]

    def _pairs(self, number: int, command: str, turn: Iterator[bool]) -> Iterator[tuple[str, list[str]]]:
        """Try each fault of a stage, and each that can come after it in the calls that are then made."""
        tried = self._tried[number, command] = Tried(has_pairs=True)
        clean = self.clean(number, command)
        known = {key for _, key in clean.marks}  # What can come after these was tried, or is about to be.
        for place, fault in clean.faults():
            result, outcome = self._try(number, {place: fault}, command, looks=True)
            yield result
            tried.singles += 1
            tried.ends += [] if outcome.then is None else [outcome.then]
            tried.pairs += sum(1 for _ in outcome.faults(place + 1))
            marks = [(made, key) for made, key in outcome.marks if made > place]
            end = next((made for made, key in marks if key in known), None)
            known |= {key for _, key in marks}
            for later, other in outcome.faults(place + 1, end):
                if next(turn):
                    yield self._try(number, {place: fault, later: other}, command)[0]

    def _try(
        self, number: int, wrong: Mapping[int, str], command: str, *, looks: bool = False
    ) -> tuple[tuple[str, list[str]], Outcome]:
        outcome = self.outcome(number, wrong, command, looks=looks)
        return (
            f"{self.points[number].origin}; {command} {dict(wrong)}",
            self.judged(number, wrong, command, outcome),
        ), outcome

    def counted(self, number: int, command: str) -> tuple[int, int]:
        """Return how many single faults a command can have, and how many pairs, once they were tried."""
        if command != "watch":
            return self._tried[number, command].singles, self._tried[number, command].pairs
        stages = [self._tried[each, command] for each in self._stages(number)]
        pairs = sum(each.pairs for each in stages)
        for end in itertools.chain(*(each.ends for each in stages)):
            pairs += sum(self._tried[later, command].singles for later in self._stages(end))
        return sum(each.singles for each in stages), pairs

    def clean(self, number: int, command: str) -> Outcome:
        """Return how a command, or a stage of a watch, ends without faults."""
        if (number, command) not in self._clean:
            self._clean[number, command] = self.outcome(number, {}, command, looks=True)
        return self._clean[number, command]

    def outcome(self, number: int, wrong: Mapping[int, str], command: str, *, looks: bool = False) -> Outcome:
        """Make a command, or a stage of a watch, from a point with these faults."""
        self.made += 1
        point = self.points[number]
        put_down(point.place, self._work)
        play = copied(point.play)
        faulty, call = Faulty(play.kaggle, wrong, looks), play.kaggle._call
        faulty.install()
        error: KgttsError | None = None
        done: Pass | Collected | None = None
        found, is_cut = list[str](), False
        marks = list[tuple[int, bytes]]()
        with play.ledger() as ledger:
            context = play.context(ledger)
            if looks:
                _mark(marks, play, context, faulty, follows=point.first is not None)
            stage = Stage(context)
            try:
                done = act(play, command, stage, point.first)
            except Cut:
                is_cut = True
            except KgttsError as caught:
                error = caught
            except Exception as caught:  # noqa: BLE001 - a crash is what is searched for.
                found.append(f"a crash: {type(caught).__name__}: {caught}")
            rows = ledger.all()
        play.kaggle._call = call  # type: ignore[method-assign] # As above.
        before, done = len(point.play.kaggle.pushes), done or stage.done
        complete, lost = collections(play)
        found += [*faults_in(play, before), *lost]
        is_reported = isinstance(done, Pass) and done.pushed is not None
        if len(play.kaggle.pushes) > before and not (is_reported or "lost" in wrong.values()):
            found.append("a push that was not reported")
        if isinstance(done, Collected):  # An old answer may have hidden a newer session; it says which it is.
            found += missing(play.folder / PULLED, play.kaggle.version(str(done.target.ref)))
        origin, then = f"{point.origin}; {command} {dict(wrong)}", None
        if is_cut:
            then = self._point(play, rows, origin, is_fresh=point.is_fresh, stage=stage)
        if point.is_fresh:
            (play.folder / LEDGER).unlink()
        if then is not None and stage.target is None and not point.is_fresh:
            after = then
        else:
            after = self._point(play, () if point.is_fresh else rows, origin, is_fresh=point.is_fresh)
        return Outcome(error, found, complete, faulty.asked, faulty.fitting, marks, after, then)

    def judged(self, number: int, wrong: Mapping[int, str], command: str, outcome: Outcome) -> list[str]:
        """Return what is wrong with an outcome, what comes after it included."""
        found, last = [*outcome.found], self.clean(outcome.after, "sync")
        later = [*last.found]
        if outcome.complete - last.complete:
            later.append("a collection that was undone")
        if self.clean(number, command).complete - last.complete:
            later.append("a collection that was never made")
        asked = dict(enumerate(outcome.asked))
        refused = {asked.get(place) for place, fault in wrong.items() if fault in ("403", "404")}
        if command == "watch" and not (isinstance(outcome.error, RefusedError) and "push" in refused):
            wanted, ending = self._ending(number), self._ending_of(outcome)  # A refused push ends a watch.
            later += ending.found
            if ending.error is not wanted.error:
                found.append(f"a watch that ended: {ending.error.__name__}, not {wanted.error.__name__}")
            if wanted.complete - ending.complete:
                later.append("a collection that the watch never made")
        return [*found, *(f"{words} (afterwards)" for words in later)]

    def _ending(self, number: int) -> Ending:
        """Return how a watch from a point ends without faults."""
        if number not in self._endings:
            self._endings[number] = self._ending_of(self.clean(number, "watch"))
        return self._endings[number]

    def _ending_of(self, outcome: Outcome) -> Ending:
        if outcome.then is not None:
            rest = self._ending(outcome.then)
            return Ending(rest.error, [*self.clean(outcome.then, "watch").found, *rest.found], rest.complete)
        last = self.clean(outcome.after, "sync")
        return Ending(type(outcome.error), last.found, last.complete)

    def _stages(self, number: int) -> list[int]:
        """Return the points at which the stages of a watch without faults begin."""
        found = [number]
        while (then := self.clean(found[-1], "watch").then) is not None:
            if then in found:
                raise AssertionError(f"{self.points[number].origin}: a watch without an end")
            found.append(then)
        return found

    def _point(
        self,
        play: QuickPlay,
        rows: Sequence[SessionRecord],
        origin: str,
        *,
        is_fresh: bool,
        stage: Stage | None = None,
    ) -> int:
        """Return the number of the point at which a run is now, the same for all that are alike."""
        target = None if stage is None else stage.target
        key = (essence(play, rows, target), is_fresh)
        if key not in self._numbers:
            for version in itertools.chain(*play.kaggle.kernels.values()):
                version.source = self._sources.setdefault(version.source, version.source)
            place = self._places / str(len(self.points))
            put_down(play.folder, place)
            self._numbers[key] = len(self.points)
            first = None if stage is None or target is None else stage.done
            self.points.append(Point(origin, copied(play), place, is_fresh, first))
        return self._numbers[key]


def _mark(
    marks: list[tuple[int, bytes]], play: QuickPlay, context: MarkedContext, faulty: Faulty, *, follows: bool
) -> None:
    """Have a command write down what it goes on from: at each new look, or at each call if it follows."""

    def mark() -> None:
        if faulty.made <= min(faulty.wrong, default=-1):
            return  # So far it was as without faults.
        rows, known = context.ledger.all(), memory(ACT)
        if follows:  # Nothing else changes, but for the time.
            key = hashlib.blake2b(f"{rows} {known} {play.clock.passed}".encode(), digest_size=16).digest()
        else:
            key = essence(play, rows, None, known)
        marks.append((faulty.made, key))

    if follows:
        faulty.before_call = mark
    else:
        context.marked = mark


def act(play: QuickPlay, command: str, stage: Stage, first: Pass | None) -> Pass | Collected | None:
    """Do what a command does; returns the pass that it made, or what it downloaded."""
    context, listener = stage.context, TransferListener()
    if command == "sync":
        return Passes(play.settings, context, listener).make()
    if command == "push":
        return Passes(play.settings, context).make_when_ready(Asked(retry=True), lambda _: None)
    if command == "watch":
        watch(StagedPasses(play.settings, context, listener, stage=stage), stage, first=first)
        return None
    done = collect(context, find_target(context, SLUG), play.folder / PULLED, lambda names: names, listener)
    if (nothing := done.emptiness) is not None:
        raise nothing
    return done


ACT = act.__code__


def main(every: int, only: str) -> int:
    """Search, print what was found, and return the number of wrong ends."""
    made = bad = 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        search = Search(Path(folder))
        commands = ["sync"] if only.startswith("sync") else COMMANDS
        for command, state, machine in itertools.product(commands, STATES, MACHINES):
            if not f"{command}, {state}, {machine}".startswith(only) or (
                command == "pull" and state == EMPTY
            ):
                continue
            number, here, wrong_here = search.begin(state, machine), 0, 0
            for wrong, found in search.run(number, command, every):
                here += 1
                if found:
                    wrong_here += 1
                    print("WRONG", wrong, sorted(set(found)), flush=True)
            made, bad = made + here, bad + wrong_here
            singles, pairs = search.counted(number, command)
            print(
                f"{command}, {state}, {machine}: {singles} faults, {pairs} pairs; {here} tried, "
                f"{wrong_here} wrong; {time.monotonic() - begun:.0f} s",
                flush=True,
            )
    print(f"{made} tried, {bad} wrong, {time.monotonic() - begun:.0f} s")
    return bad


if __name__ == "__main__":
    asked = sys.argv[1:]
    one_of = int(asked.pop(0)) if asked and asked[0].isdecimal() else 1
    sys.exit(main(one_of, " ".join(asked)) > 0)
