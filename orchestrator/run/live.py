"""What is known about a session that is followed: its log and its states, folded as they come. Pure."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernel_template.contract import EventName, Stage, StageState
from orchestrator import untrusted
from orchestrator.models import SessionState, SessionStatus
from orchestrator.run.follow import FollowEvent
from orchestrator.run.progress import Progress, advance, parse_event

_TAIL = 200  # Lines of log: more than a screen has.
_MOST_POINTS = 4096  # Of a curve; no terminal is a tenth as wide.
_MOST_CURVES = 64  # Names come from a log.
_MOST_CARDS = 16


class Curve:
    """A value over the steps of the run; thinned out if it has very many points."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[float] = []

    def add(self, step: int, value: float) -> None:
        """Add a point; a step that is repeated replaces the points from that step on."""
        while self.steps and self.steps[-1] >= step:
            self.steps.pop()
            self.values.pop()
        self.steps.append(step)
        self.values.append(value)
        if len(self.steps) > _MOST_POINTS:
            del self.steps[-2::-2], self.values[-2::-2]

    def preceded_by(self, earlier: "Curve") -> "Curve":
        """This curve with the points of an earlier session before its own."""
        whole = Curve()
        for curve in (earlier, self):
            for step, value in zip(curve.steps, curve.values, strict=True):
                whole.add(step, value)
        return whole

    @property
    def last(self) -> float | None:
        """The newest value."""
        return self.values[-1] if self.values else None


@dataclass(frozen=True, slots=True)
class Card:
    """What a GPU did at the last measurement: per cent and bytes."""

    utilisation: float | None
    used: float | None
    total: float | None


@dataclass(frozen=True, slots=True)
class Resources:
    """The machine at the kernel's last measurement (`resources` events); None for what was not measured.

    Attributes:
        disk: bytes in the working folder.
        disk_limit: what it may hold.
        ram: bytes of memory in use.
        samples_per_s: utterances trained each second.
        waiting: the share of the training that waits for data, 0 to 1.
        goodput: the share of the session that is spent in optimizer steps, 0 to 1.
    """

    cards: tuple[Card, ...] = ()
    disk: float | None = None
    disk_limit: float | None = None
    ram: float | None = None
    samples_per_s: float | None = None
    waiting: float | None = None
    goodput: float | None = None


def read_resources(event: Mapping[str, Any]) -> Resources:
    """The content of a `resources` event; what is not a number counts as not measured."""
    cards = [item for item in untrusted.as_list(event.get("gpus")) if isinstance(item, dict)]
    return Resources(
        cards=tuple(
            Card(
                untrusted.amount(item.get("utilisation")),
                _bytes_of_mb(item.get("memory_used_mb")),
                _bytes_of_mb(item.get("memory_total_mb")),
            )
            for item in cards[:_MOST_CARDS]
        ),
        disk=untrusted.amount(event.get("disk_used_bytes")),
        disk_limit=untrusted.amount(event.get("disk_limit_bytes")),
        ram=untrusted.amount(event.get("ram_used_bytes")),
        samples_per_s=untrusted.amount(event.get("samples_per_s")),
        waiting=untrusted.amount(event.get("loader_wait_share")),
        goodput=untrusted.amount(event.get("goodput")),
    )


def _bytes_of_mb(value: object) -> float | None:
    found = untrusted.amount(value)
    return None if found is None else found * (1 << 20)  # What nvidia-smi calls MiB.


class Feed:
    """A session as its events and states add up to it: everything that the live page draws.

    Attributes:
        state: what Kaggle says of the session.
        progress: how far it is.
        train: the trainer's running means by name.
        evaluation: the evaluations by name.
        cards: each GPU's utilisation over the measurements.
        resources: the newest measurement of the machine.
        batch: batch size and accumulation, if memory was too small for those asked for.
        saved_step: the step of the newest checkpoint.
        tail: the newest lines of the log, cleaned.
        train_began: when the training began, in seconds since the kernel's start.
    """

    def __init__(self) -> None:
        self.state = SessionState.QUEUED
        self.progress = Progress()
        self.train: dict[str, Curve] = {}
        self.evaluation: dict[str, Curve] = {}
        self.cards: list[Curve] = []
        self.resources: Resources | None = None
        self.batch: tuple[int, int] | None = None
        self.saved_step: int | None = None
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self.train_began: float | None = None
        self._kernel_began: float | None = None
        self._measured = 0
        self._told_eta_at: float | None = None

    def take(self, event_or_state: FollowEvent, now: float) -> None:
        """Take in a log line or a state that came at `now`, in seconds of a clock that never goes back."""
        if isinstance(event_or_state, SessionStatus):
            self.state = event_or_state.state
            return
        event = parse_event(event_or_state.text)
        if event is None:
            line = untrusted.terminal_line(event_or_state.text).rstrip()
            if line:
                self.tail.append(line)
            return
        elapsed = untrusted.seconds(event.get("t"))
        if elapsed is not None:
            # A replayed line comes late, and would suggest a later start.
            began = now - elapsed
            self._kernel_began = began if self._kernel_began is None else min(began, self._kernel_began)
        self.progress = advance(self.progress, event)
        self._fold(event, elapsed)

    def precede(self, train: Mapping[str, Curve], evaluation: Mapping[str, Curve]) -> None:
        """Put the curves of earlier sessions before those of this one."""
        for own, earlier in ((self.train, train), (self.evaluation, evaluation)):
            for name, curve in earlier.items():
                own[name] = own.get(name, Curve()).preceded_by(curve)

    def _fold(self, event: Mapping[str, Any], elapsed: float | None) -> None:
        kind, step = event["event"], untrusted.count(event.get("global_step"))
        if kind == EventName.PROGRESS:
            self._told_eta_at = elapsed
            add_all(self.train, step, event.get("losses"))
        elif kind == EventName.EVAL:
            add_all(self.evaluation, step, event.get("losses"))
        elif kind == EventName.RESOURCES:
            self._measure(read_resources(event))
        elif kind == EventName.OUT_OF_MEMORY:
            size, accumulate = (
                untrusted.count(event.get("batch_size")),
                untrusted.count(event.get("accumulate")),
            )
            self.batch = (size, accumulate) if size and accumulate else self.batch
        elif kind == EventName.CHECKPOINT:
            self.saved_step = step
        elif kind == EventName.STAGE and (event.get("name"), event.get("state")) == (
            Stage.TRAIN,
            StageState.START,
        ):
            self.train_began = elapsed

    def _measure(self, resources: Resources) -> None:
        self.resources = resources
        self._measured += 1
        while len(self.cards) < len(resources.cards):
            self.cards.append(Curve())
        for curve, card in zip(self.cards, resources.cards, strict=False):
            if card.utilisation is not None:
                curve.add(self._measured, card.utilisation)

    def elapsed(self, now: float) -> float | None:
        """Seconds since the kernel's start; None before its first event."""
        return None if self._kernel_began is None else max(0.0, now - self._kernel_began)

    def eta(self, now: float) -> float | None:
        """Seconds to the last epoch's end at the pace so far, counted down since the kernel reported it."""
        told, at = self.progress.eta_s, self._told_eta_at
        elapsed = self.elapsed(now)
        if told is None or at is None or elapsed is None:
            return told
        return max(0.0, told - max(0.0, elapsed - at))


def add_all(curves: dict[str, Curve], step: int | None, values: object) -> None:
    """Add the values measured at a step to their curves."""
    if step is None or not isinstance(values, dict):
        return
    for name, value in values.items():
        number = untrusted.number(value)
        if number is None:
            continue
        key = untrusted.terminal_line(name)
        if key not in curves and len(curves) >= _MOST_CURVES:
            continue
        curves.setdefault(key, Curve()).add(step, number)
