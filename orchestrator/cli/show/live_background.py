"""What the live page shows besides the session's own log: its plan, the run's earlier sessions, the quota."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import untrusted
from orchestrator.cli.context import load
from orchestrator.cli.show.live_feed import Curve, add_all
from orchestrator.errors import KgttsError
from orchestrator.models import KernelRef, Quota, SessionSummary
from orchestrator.render.stamp import RunStamp, read_stamp
from orchestrator.results import Results, pulled_sessions
from orchestrator.run.state import STATE_FILE, read_state

if TYPE_CHECKING:
    from orchestrator.metrics import MetricsTable
    from orchestrator.ports import Kaggle

_SETTINGS = "\nSETTINGS = "
_LONGEST_SETTINGS = 200_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What the session was pushed to do, as its own source says; times are seconds, None is not known.

    Attributes:
        has_gpu: whether it takes of the GPU quota.
        epochs: the run's target.
        until_step: the run's other target.
        budget_s: the whole session.
        limit_s: its training.
    """

    has_gpu: bool = False
    epochs: int | None = None
    until_step: int | None = None
    budget_s: float | None = None
    limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Background:
    """The run around a session.

    Attributes:
        stamp: which run and session it is; None where it is none of ours, or not the kernel's newest version.
        plan: what it was pushed to do.
        history: the run's earlier sessions, oldest first.
        quota: the week's GPU hours, where the session takes of them.
        earlier: the losses of earlier sessions by split and name, where they were pulled.
    """

    stamp: RunStamp | None = None
    plan: Plan = field(default_factory=Plan)
    history: Sequence[SessionSummary] = ()
    quota: Quota | None = None
    earlier: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)


class Surroundings:
    """Reads a session's background; what cannot be read is left out, as the session is what was asked for.

    Args:
        kaggle: where it is read.
        ref: the session.
    """

    def __init__(self, kaggle: "Kaggle", ref: KernelRef) -> None:
        self._kaggle, self._ref = kaggle, ref

    def read(self) -> Background:
        """The background: at most three calls to Kaggle."""
        try:
            info = self._kaggle.kernel(self._ref)
        except KgttsError:
            return Background()
        source = info.source or ""
        stamp, plan = read_stamp(source), read_plan(source)
        if stamp is None:
            return Background()
        history = self._history(stamp)
        return Background(stamp, plan, history, self.quota() if plan.has_gpu else None, self._earlier(stamp))

    def quota(self) -> Quota | None:
        """The week's GPU hours; None where they cannot be read now."""
        try:
            return self._kaggle.quota()
        except KgttsError:
            return None

    def _history(self, stamp: RunStamp) -> Sequence[SessionSummary]:
        try:
            place = None if stamp.parent is None else KernelRef.parse(stamp.parent)
            result = None if place is None else read_state(self._kaggle.output_file(place, STATE_FILE))
        except KgttsError:
            return ()
        return result.history if result is not None and result.run == stamp.id else ()

    def _earlier(self, stamp: RunStamp) -> Mapping[str, Mapping[str, Curve]]:
        """What was measured before, from the results that passes brought here."""
        if stamp.session == 1:
            return {}
        from orchestrator.metrics import read_run  # noqa: PLC0415  # Slow to import.

        try:
            settings = load(None, ()).settings
            folder = Results(Path(settings.pull.to)).of_run(settings.kernel.slug, stamp.id)
            sessions = [
                item
                for item in pulled_sessions(folder)
                if item.run == stamp.id and item.number is not None and item.number < stamp.session
            ]
            return _curves(read_run(sessions, logs=False)) if sessions else {}
        except (KgttsError, OSError):
            return {}


def _curves(table: "MetricsTable") -> Mapping[str, Mapping[str, Curve]]:
    found: dict[str, dict[str, Curve]] = {}
    for (name, split), series in table.series().items():
        if "loss" in name:
            for step, value in zip(series.steps, series.values, strict=True):
                add_all(found.setdefault(split, {}), step if step >= 0 else None, {name: value})
    return found


def read_plan(source: str) -> Plan:
    """The plan in a kernel's source, which comes from a server: what makes no sense in it is not known."""
    settings = _settings(source)
    training = settings.get("training")
    training = training if isinstance(training, Mapping) else {}
    return Plan(
        has_gpu=settings.get("accelerator") is not None,
        epochs=untrusted.count(training.get("epochs")) or None,
        until_step=untrusted.count(training.get("until_step")) or None,
        budget_s=untrusted.seconds(settings.get("session_budget_s")),
        limit_s=untrusted.seconds(training.get("time_limit_s")),
    )


def _settings(source: str) -> Mapping[str, Any]:
    """The literal of the kernel's SETTINGS: on one line, or up to a line with its last bracket alone."""
    _, found, rest = source.partition(_SETTINGS)
    line, _, _ = rest.partition("\n")
    text = line if line.endswith("}") else rest[: rest.find("\n}\n") + 2]
    if not found or len(text) > _LONGEST_SETTINGS:
        return {}
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}
