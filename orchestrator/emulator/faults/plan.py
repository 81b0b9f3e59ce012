"""Plans of faults: read from Python, TOML or JSON, checked, and put in force for each request."""

import json
import random
import threading
import tomllib
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.emulator.faults.kinds import Error, Fault, Rule
from orchestrator.errors import UsageError
from orchestrator.settings.text import closest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_HINT = "the documentation of the emulator lists all faults and their keys"
_KINDS: dict[str, type[BaseModel]] = {
    kind.model_fields["what"].default: kind for kind in get_args(get_args(Fault)[0])
}
_EXPECTED = {
    "byte_size": 'must be a size, such as 3000000, "3MB" or "16MiB".',
    "tuple_type": "must be a list.",
    "model_attributes_type": "must be a table with `what` in it.",
    "model_type": "must be a table with [[faults]] in it.",
}
_NO_KIND = {"union_tag_invalid", "union_tag_not_found"}
_ANY = "*"

_Kind = TypeVar("_Kind", bound=Rule)


class FaultPlan(BaseModel):
    """All faults of an emulator; the same `seed` draws the same requests again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    faults: tuple[Fault, ...] = ()
    seed: int = 0


def load_plan(path: Path) -> FaultPlan:
    """Read a plan from a TOML file, or from a JSON file if the name ends in `.json`.

    Raises:
        UsageError: the file cannot be read or is not a plan; every mistake in it is named.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"The fault plan {path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"The fault plan {path} is not UTF-8 text; save it as UTF-8.") from None
    try:
        found = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # Both parsers raise a ValueError that names the place.
        raise UsageError(f"The fault plan {path} cannot be read: {error}.", hint=_HINT) from None
    return read_plan(found, str(path))


def read_plan(value: Any, source: str) -> FaultPlan:
    """Check parsed TOML or JSON; `source` is what messages call it.

    Raises:
        UsageError: it is not a plan; every mistake in it is named.
    """
    try:
        return FaultPlan.model_validate(value)
    except ValidationError as error:
        mistakes = dict.fromkeys(_sentences(error, source))
        raise UsageError("\n".join(mistakes), hint=_HINT) from None


def _sentences(error: ValidationError, source: str) -> Iterator[str]:
    for each in error.errors(include_url=False):
        where, kind, key = _location(each["loc"])
        start = ", ".join(part for part in (source, where, key) if part)
        yield f"{start}: {_mistake(each, kind, key)}"


def _location(location: tuple[int | str, ...]) -> tuple[str, str, str]:
    """Which fault a mistake is in, the kind of that fault, and the key; each may be empty."""
    if location[:1] != ("faults",) or location[1:] == ():
        return "", "", ".".join(map(str, location))
    number, *rest = location[1:]
    kind = str(rest[0]) if rest else ""
    where = f"fault {int(number) + 1}" + (f" ({kind})" if kind else "")
    return where, kind, ".".join(map(str, rest[1:]))


def _mistake(error: "ErrorDetails", kind: str, key: str) -> str:
    if error["type"] == "missing":
        return "is missing."
    if error["type"] in _NO_KIND:
        return f"`what` must be one of: {', '.join(_KINDS)}."
    if error["type"] == "extra_forbidden":
        known = list((_KINDS[kind] if kind else FaultPlan).model_fields)
        meant = closest(key, known)
        suggestion = f"did you mean {meant}?" if meant else f"choose one of {', '.join(known)}."
        return f"there is no such key; {suggestion}"
    if error["type"] in _EXPECTED:
        return _EXPECTED[error["type"]]
    cause = error.get("ctx", {}).get("error")
    return f"{cause or error['msg'].replace('Input should be', 'must be')}."


@dataclass(frozen=True, slots=True)
class FaultTarget:
    """What a request is for, as far as faults care.

    Attributes:
        place: one of `kinds.PLACES`.
        names: what the pattern after the place may match; the first one is counted by `per_name`.
        method: the method's name for `FaultInjector.fail_next`; "" if that never applies.
    """

    place: str
    names: tuple[str, ...]
    method: str = ""


@dataclass(frozen=True, slots=True)
class RequestFaults:
    """The faults that hit one request."""

    faults: tuple[Rule, ...] = ()

    def all(self, kind: type[_Kind]) -> list[_Kind]:
        """Those of a kind, in the plan's order."""
        return [fault for fault in self.faults if isinstance(fault, kind)]

    def first(self, kind: type[_Kind]) -> _Kind | None:
        """The first of a kind; None if there is none."""
        return next(iter(self.all(kind)), None)


@dataclass(frozen=True, slots=True)
class FaultCount:
    """How many requests matched a fault's address, and how many of those the fault hit."""

    matched: int
    hit: int


@dataclass(slots=True)
class _Counted:
    """A fault with its counts."""

    fault: Fault
    random: random.Random
    matched: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)

    def hits(self, names: tuple[str, ...]) -> bool:
        pattern = self.fault.where.partition(":")[2]
        if pattern and not any(fnmatchcase(name, pattern) for name in names):
            return False
        key = names[0] if self.fault.per_name else ""
        self.matched[key] += 1
        turn = self.matched[key] - self.fault.skip
        # With `every` = 5 and `burst` = 2 the 5th, 6th, 10th and 11th are hit.
        if turn < self.fault.every or turn % self.fault.every >= self.fault.burst:
            return False
        if self.fault.first is not None and self.hit[key] >= self.fault.first:
            return False
        if self.fault.probability < 1 and self.random.random() >= self.fault.probability:
            return False
        self.hit[key] += 1
        return True


class FaultInjector:
    """Holds the plan in force and decides which request it hits. Thread-safe; a new plan counts from zero."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._plan = FaultPlan()
        self._counted: list[_Counted] = []
        self._by_place: dict[str, list[_Counted]] = {}
        self._next_errors: deque[tuple[str, Error]] = deque()

    @property
    def plan(self) -> FaultPlan:
        """The plan in force."""
        return self._plan

    def set(self, plan: FaultPlan) -> None:
        """Put a plan in force, in place of the one before."""
        everything = []
        by_place = defaultdict(list)
        for number, fault in enumerate(plan.faults):
            # Repeatable, not secret.
            item = _Counted(fault, random.Random(f"{plan.seed}/{number}"))  # noqa: S311
            everything.append(item)
            by_place[fault.where.partition(":")[0]].append(item)
        with self._lock:
            self._plan = plan
            self._counted = everything
            self._by_place = dict(by_place)

    def clear(self) -> None:
        """End all faults of the plan."""
        self.set(FaultPlan())

    def close(self) -> None:
        """End every delay that a fault causes, since the server is being stopped."""
        self.clear()
        self._closed = True

    def is_closed(self) -> bool:
        """Whether the server is being stopped."""
        return self._closed

    def fail_next(
        self, status: int, *, method: str = _ANY, times: int = 1, retry_after_s: float | None = None
    ) -> None:
        """Answer the next `times` calls with an HTTP error, whatever the plan says.

        Args:
            status: the HTTP status, for example 429 or 500.
            method: which method fails, for example `GetKernelSessionStatus`, or `PutBlob` for the bytes of an
                upload; by default each of them.
            times: how many calls fail.
            retry_after_s: seconds for a `Retry-After` header.
        """
        error = Error(where="api", status=status, retry_after_s=retry_after_s)
        with self._lock:
            self._next_errors.extend([(method, error)] * times)

    def faults_for(self, target: FaultTarget) -> RequestFaults:
        """Count one request, and return the faults that hit it."""
        with self._lock:
            errors = self._take_next_error(target.method) if self._next_errors and target.method else ()
            counted = self._by_place.get(target.place, ())
            return RequestFaults((*errors, *(item.fault for item in counted if item.hits(target.names))))

    def counts(self) -> list[FaultCount]:
        """The counts of each fault, in the plan's order."""
        return self.state()[1]

    def state(self) -> tuple[FaultPlan, list[FaultCount]]:
        """The plan and its counts at one moment."""
        with self._lock:
            counts = [FaultCount(item.matched.total(), item.hit.total()) for item in self._counted]
            return self._plan, counts

    def _take_next_error(self, method: str) -> tuple[Error, ...]:
        for item in self._next_errors:
            if item[0] in (_ANY, method):
                self._next_errors.remove(item)
                return (item[1],)
        return ()
