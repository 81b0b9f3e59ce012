"""The plan in force, and which request it strikes; thread-safe."""

import random
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeVar

from orchestrator.emulator.faults.plan import Fault, FaultPlan, Rule

_Kind = TypeVar("_Kind", bound=Rule)


@dataclass(frozen=True, slots=True)
class Struck:
    """The faults that befall one request."""

    faults: tuple[Rule, ...] = ()

    def all(self, kind: type[_Kind]) -> list[_Kind]:
        """Those of a kind, in the plan's order."""
        return [fault for fault in self.faults if isinstance(fault, kind)]

    def one(self, kind: type[_Kind]) -> _Kind | None:
        """The first of a kind; None where there is none."""
        return next(iter(self.all(kind)), None)


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a fault's address was asked, and how often the fault struck."""

    asked: int
    struck: int


@dataclass(slots=True)
class _Armed:
    """A fault with its counts."""

    fault: Fault
    draw: random.Random
    asked: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)

    def strikes(self, names: tuple[str, ...]) -> bool:
        pattern = self.fault.where.partition(":")[2]
        if pattern and not any(fnmatchcase(name, pattern) for name in names):
            return False
        key = names[0] if self.fault.per_name else ""
        self.asked[key] += 1
        turn = self.asked[key] - self.fault.skip
        # With `every` = 5 and `burst` = 2 the 5th, 6th, 10th and 11th are struck.
        if turn < self.fault.every or turn % self.fault.every >= self.fault.burst:
            return False
        if self.fault.first is not None and self.struck[key] >= self.fault.first:
            return False
        if self.fault.probability < 1 and self.draw.random() >= self.fault.probability:
            return False
        self.struck[key] += 1
        return True


class FaultSwitch:
    """Holds the plan; counts begin anew with each one that is set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._plan = FaultPlan()
        self._all: list[_Armed] = []
        self._armed: dict[str, list[_Armed]] = {}

    @property
    def plan(self) -> FaultPlan:
        """The plan in force."""
        return self._plan

    def set(self, plan: FaultPlan) -> None:
        """Put a plan in force, in the place of the one before."""
        everything = []
        armed = defaultdict(list)
        for number, fault in enumerate(plan.faults):
            # Drawn to be repeatable, not secret.
            item = _Armed(fault, random.Random(f"{plan.seed}/{number}"))  # noqa: S311
            everything.append(item)
            armed[fault.where.partition(":")[0]].append(item)
        with self._lock:
            self._plan = plan
            self._all = everything
            self._armed = dict(armed)

    def clear(self) -> None:
        """Let everything go well again."""
        self.set(FaultPlan())

    def close(self) -> None:
        """End every wait that a fault has caused: the server is being stopped."""
        self.clear()
        self._closed = True

    def is_closed(self) -> bool:
        """Whether the server is being stopped."""
        return self._closed

    def strike(self, place: str, *names: str) -> Struck:
        """Count one request, and give what befalls it. `names` are what patterns are matched with."""
        with self._lock:
            armed = self._armed.get(place)
            if not armed:
                return Struck()
            return Struck(tuple(item.fault for item in armed if item.strikes(names)))

    def tallies(self) -> list[Tally]:
        """For each fault of the plan, in its order, how often it was asked for and struck."""
        return self.state()[1]

    def state(self) -> tuple[FaultPlan, list[Tally]]:
        """The plan and its tallies, of one moment."""
        with self._lock:
            counts = [Tally(item.asked.total(), item.struck.total()) for item in self._all]
            return self._plan, counts
