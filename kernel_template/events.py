"""The events of a session with their fields, as its log and metrics.jsonl have them.

Apart from `contract`, which has their names, since the laptop and the training's processes write none.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from kernel_template.contract import EndReason, EventName, Export, Scored, Stage, StageState, Status


@dataclass(frozen=True, slots=True)
class Event:
    """An event; its fields are those of its JSON object."""

    name: ClassVar[EventName]

    def fields(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SessionEvent(Event):
    """The first event of a session on Kaggle: what stopping it needs, and when it stops by itself.

    `kaggle_session` is Kaggle's own id, which CancelKernelSession needs and no call returns. `stops_by_s` is
    when the session stops its training by itself, in seconds after its start: one whose log ends long before
    was stopped by a person, not by Kaggle at its limit.
    """

    name: ClassVar[EventName] = EventName.SESSION
    kaggle_session: int | None
    stops_by_s: int | None


@dataclass(frozen=True, slots=True)
class StageEvent(Event):
    """A stage begins or ends; `seconds` is None when it begins."""

    name: ClassVar[EventName] = EventName.STAGE
    stage: Stage
    state: StageState
    seconds: float | None = None

    def fields(self) -> dict[str, Any]:
        """The fields, with the stage under `name`."""
        took = {} if self.seconds is None else {"seconds": self.seconds}
        return {"name": self.stage, "state": self.state, **took}


@dataclass(frozen=True, slots=True)
class StartEvent(Event):
    """The first training step is done; how long each part before it took, and `total`."""

    name: ClassVar[EventName] = EventName.START
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class ProgressEvent(Event):
    """A step; `losses` are running means, `eta_s` the seconds to the last epoch's end."""

    name: ClassVar[EventName] = EventName.PROGRESS
    epoch: int
    epochs: int | None
    step: int
    steps_per_epoch: int
    global_step: int | None
    losses: dict[str, float]
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class EvalEvent(Event):
    """An evaluation."""

    name: ClassVar[EventName] = EventName.EVAL
    epoch: int
    global_step: int | None
    losses: dict[str, float]


@dataclass(frozen=True, slots=True)
class EpochEvent(Event):
    """The end of an epoch; `losses` are its means."""

    name: ClassVar[EventName] = EventName.EPOCH
    epoch: int
    epochs: int | None
    seconds: float | None
    losses: dict[str, float]


@dataclass(frozen=True, slots=True)
class CheckpointEvent(Event):
    """A checkpoint is whole."""

    name: ClassVar[EventName] = EventName.CHECKPOINT
    path: str
    global_step: int
    best: bool


@dataclass(frozen=True, slots=True)
class OutOfMemoryEvent(Event):
    """GPU memory ran out; the training continues from `global_step` with a smaller batch."""

    name: ClassVar[EventName] = EventName.OUT_OF_MEMORY
    batch_size: int
    accumulate: int
    global_step: int


@dataclass(frozen=True, slots=True)
class WarningEvent(Event):
    """Something is wrong that does not end the session."""

    name: ClassVar[EventName] = EventName.WARNING
    message: str


@dataclass(frozen=True, slots=True)
class ResourcesEvent(Event):
    """What the session uses now; for the units see `Resources`."""

    name: ClassVar[EventName] = EventName.RESOURCES
    gpus: list[dict[str, float | None]]  # utilisation (per cent), memory_used_mb, memory_total_mb (MiB).
    disk_used_bytes: int | None
    disk_limit_bytes: int | None
    ram_used_bytes: int | None
    samples_per_s: float | None
    loader_wait_share: float | None
    goodput: float | None
    goodput_since_first_step: float | None


@dataclass(frozen=True, slots=True)
class ExportEvent(Event):
    """What became of the session's voice; the fields are those of `Export`."""

    name: ClassVar[EventName] = EventName.EXPORT
    export: Export

    def fields(self) -> dict[str, Any]:
        """The fields of the export itself."""
        return dict(self.export)


@dataclass(frozen=True, slots=True)
class ScoresEvent(Event):
    """Held-out sentences were measured; the fields are those of `Scored`."""

    name: ClassVar[EventName] = EventName.SCORES
    scored: Scored

    def fields(self) -> dict[str, Any]:
        """The fields of `Scored` itself."""
        return dict(self.scored)


@dataclass(frozen=True, slots=True)
class EndEvent(Event):
    """The session ends."""

    name: ClassVar[EventName] = EventName.END
    status: Status
    reason: EndReason
    message: str
    global_step: int | None
    epoch: int | None
    exit_code: int
