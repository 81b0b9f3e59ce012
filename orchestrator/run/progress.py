"""How far a session is: the kernel's `@kgtts {…}` lines in its log, added up."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from kernel_template.contract import EVENT_PREFIX, EventName, StageState
from orchestrator import untrusted


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a session is, by its log. Steps and epochs are the trainer's own counts, times are seconds.

    A log comes from a server: a number in it that makes no sense counts as missing. `epoch` is the number of
    whole epochs done, which is also the running one's number, counted from 0. `kaggle_session` is Kaggle's
    id of the session, and `stops_by_s` when it ends by itself (`events.SessionEvent`).
    """

    kaggle_session: int | None = None
    stops_by_s: float | None = None
    stage: str | None = None
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps_per_epoch: int | None = None
    global_step: int | None = None
    losses: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    eta_s: float | None = None
    elapsed_s: float | None = None
    checkpoint: str | None = None
    warnings: tuple[str, ...] = ()
    end_status: str | None = None
    end_reason: str | None = None
    end_message: str | None = None

    @property
    def fraction(self) -> float | None:
        """How much of all epochs is done, 0 to 1; None before the first step."""
        if self.epoch is None or not self.epochs:
            return None
        within = (self.step or 0) / self.steps_per_epoch if self.steps_per_epoch else 0.0
        return min(1.0, (self.epoch + within) / self.epochs)


def parse_event(line: str) -> dict[str, Any] | None:
    """The event in a log line; None if the line is something else or is torn."""
    if not line.startswith(EVENT_PREFIX):
        return None
    event = untrusted.json_object(line.removeprefix(EVENT_PREFIX))
    return event if event is not None and isinstance(event.get("event"), str) else None


def follow(progress: Progress, line: str) -> Progress:
    """The progress after one more line of the log; a line without an event changes nothing."""
    event = parse_event(line)
    return progress if event is None else advance(progress, event)


def advance(progress: Progress, event: Mapping[str, Any]) -> Progress:
    """The progress after one more event, as `parse_event` gives it."""
    elapsed = untrusted.seconds(event.get("t"))
    if elapsed is not None:
        progress = replace(progress, elapsed_s=elapsed)
    change = _CHANGES.get(event["event"])
    return progress if change is None else replace(progress, **change(progress, event))


def _session(_progress: Progress, event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kaggle_session": untrusted.count(event.get("kaggle_session")),
        "stops_by_s": untrusted.seconds(event.get("stops_by_s")),
    }


def _stage(_progress: Progress, event: Mapping[str, Any]) -> dict[str, Any]:
    return {"stage": untrusted.encodable(event.get("name"))} if event.get("state") == StageState.START else {}


def _step(progress: Progress, event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "epoch": untrusted.count(event.get("epoch")),
        "epochs": untrusted.count(event.get("epochs")) or progress.epochs,
        "step": untrusted.count(event.get("step")),
        "steps_per_epoch": untrusted.count(event.get("steps_per_epoch")),
        "global_step": untrusted.count(event.get("global_step")),
        "losses": _losses(event.get("losses")) or progress.losses,
        "eta_s": untrusted.seconds(event.get("eta_s")),
    }


def _epoch(progress: Progress, event: Mapping[str, Any]) -> dict[str, Any]:
    epoch = untrusted.count(event.get("epoch"))
    return {
        "epoch": None if epoch is None else epoch + 1,
        "epochs": untrusted.count(event.get("epochs")) or progress.epochs,
        "step": 0,
    }


def _evaluation(progress: Progress, event: Mapping[str, Any]) -> dict[str, Any]:
    return {"losses": {**progress.losses, **_losses(event.get("losses"))}}


def _checkpoint(_progress: Progress, event: Mapping[str, Any]) -> dict[str, Any]:
    return {"checkpoint": untrusted.encodable(event.get("path"))}


def _warning(progress: Progress, event: Mapping[str, Any]) -> dict[str, Any]:
    return {"warnings": (*progress.warnings, untrusted.encodable(event.get("message")))}


def _end(progress: Progress, event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stage": None,
        "end_status": untrusted.encodable(event.get("status")),
        "end_reason": untrusted.encodable(event.get("reason")),
        "end_message": untrusted.encodable(event.get("message")),
        "global_step": untrusted.count(event.get("global_step")) or progress.global_step,
        "eta_s": None,
    }


_CHANGES: Mapping[str, Callable[[Progress, Mapping[str, Any]], dict[str, Any]]] = {
    EventName.SESSION: _session,
    EventName.STAGE: _stage,
    EventName.PROGRESS: _step,
    EventName.EPOCH: _epoch,
    EventName.EVAL: _evaluation,
    EventName.CHECKPOINT: _checkpoint,
    EventName.WARNING: _warning,
    EventName.END: _end,
}


def read_progress(lines: Iterable[str]) -> Progress:
    """The progress that a whole log shows."""
    progress = Progress()
    for line in lines:
        progress = follow(progress, line)
    return progress


def _losses(value: object) -> dict[str, float]:
    return {
        untrusted.encodable(name): found
        for name, item in untrusted.as_object(value).items()
        if (found := untrusted.number(item)) is not None
    }
