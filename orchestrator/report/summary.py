"""The figures at the top of a report, as words."""

from dataclasses import dataclass

from kernel_template.contract import STATE_SCHEMA, Status
from orchestrator.formatting import duration
from orchestrator.report.reading import RunData, card_names
from orchestrator.report.texts import as_number, as_object, one_line

_WEEK_HOURS = 30  # Kaggle's quota of GPU hours.


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure with its name, and a word more."""

    name: str
    value: str
    more: str = ""


def status_of(data: RunData) -> tuple[str, str]:
    """The run's state as one word, and the newest session's own sentence."""
    result = data.result
    if result is None:
        schema = data.state.get("schema")
        if isinstance(schema, int) and schema > STATE_SCHEMA:
            why = f"state.json was written by a later kgtts (schema {one_line(schema, 20)})"
        else:
            why = "state.json is damaged" if data.state else "No readable state.json was pulled"
        return "unknown", f"{why}: this is what the logs tell."
    if result.status == Status.COMPLETE:
        return ("done" if result.done else "between sessions"), result.message
    return result.status, result.message


def facts_of(data: RunData) -> list[Fact]:
    """Target, progress, quota, time in steps and the like."""
    found = [*_progress(data), *_losses(data), *_time(data)]
    environment = as_object(data.state.get("environment"))
    cards = card_names(data)
    if environment:
        versions = ", ".join(
            f"{label} {one_line(environment[name], 40)}"
            for name, label in (("torch", "torch"), ("tts", "coqui-tts"), ("python", "Python"))
            if environment.get(name)
        )
        machine = f"{len(cards)} × {cards[0]}" if cards else "CPU"
        found.append(Fact("Machine", machine, versions))
    return found


def _progress(data: RunData) -> list[Fact]:
    result, borders = data.result, data.table.session_starts()
    steps = [step for series in data.table.series().values() for step in series.steps]
    step = max(steps, default=0)
    if result is None:
        return [Fact("Progress", f"step {max(0, step):,}")]
    saved = result.global_step or 0
    done = max((item.to_epoch for item in data.history), default=result.epoch or 0)
    target = f"{result.epochs:,} epochs" if result.epochs else "not told"
    if result.steps_per_epoch and result.epochs:
        target_more = f"about {result.steps_per_epoch * result.epochs:,} steps"
    else:
        target_more = ""
    share = f"{min(1.0, done / result.epochs):.0%}; " if result.epochs else ""
    sessions = max((item.session for item in data.history), default=0) or len(borders) or data.sessions
    pulled = "all pulled" if data.sessions >= sessions else f"{data.sessions:,} of them pulled"
    return [
        Fact("Target", target, target_more),
        Fact("Progress", f"epoch {done:,}", f"{share}saved up to step {saved:,}"),
        Fact("Sessions", f"{sessions:,}", pulled),
    ]


def _losses(data: RunData) -> list[Fact]:
    best = data.table.best_steps()
    result = data.result
    if result is not None and result.best_loss is not None:
        where = f"at step {best[-1]:,}" if best else ""
        return [Fact("Best eval loss", f"{result.best_loss:.4g}", where)]
    return [Fact("Best model", f"step {best[-1]:,}")] if best else []


def _time(data: RunData) -> list[Fact]:
    spent, found = data.spent, []
    hours = spent.total / 3600
    if spent.total:
        if card_names(data):
            more = f"{hours / _WEEK_HOURS:.0%} of a week's {_WEEK_HOURS} h"
            found.append(Fact("GPU quota used", f"{hours:.2f} h", more))
        else:
            found.append(Fact("Time of sessions", duration(spent.total), "no GPU quota"))
    if spent.goodput is not None and spent.in_steps is not None:
        found.append(Fact("Time in steps", f"{spent.goodput:.0%}", f"{duration(spent.in_steps)} of training"))
    rate = as_number(as_object(data.state.get("resources")).get("samples_per_s"))
    if rate is not None:
        found.append(Fact("Speed", f"{rate:.3g} samples/s", "newest session"))
    if data.result is not None and data.result.seconds_per_epoch:
        found.append(Fact("An epoch", duration(data.result.seconds_per_epoch)))
    return found
