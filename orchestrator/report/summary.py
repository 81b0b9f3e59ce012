"""The figures at the top of a report."""

from dataclasses import dataclass

from kernel_template.contract import STATE_SCHEMA, EndReason, Status
from orchestrator import untrusted
from orchestrator.formatting import duration
from orchestrator.metrics.losses import EVAL_LOSS
from orchestrator.metrics.scores import MEASURE_WORDS
from orchestrator.report.reading import RunData, best_step, gpu_names

_WEEK_HOURS = 30  # Kaggle's weekly GPU quota.

_END_WORDS = {
    EndReason.FINISHED: "all epochs are done",
    EndReason.TIME_LIMIT: "training.time_limit was reached",
    EndReason.BUDGET: "the session's time was used up",
    EndReason.UNTIL_STEP: "run.until_step was reached",
    EndReason.NO_IMPROVEMENT: "the voice no longer improved",
    EndReason.INTERRUPTED: "it was stopped",
    EndReason.MISSING_INPUT: "an input was missing",
    EndReason.WRONG_PARENT: "the session to continue from was not there",
    EndReason.HANDOVER_FAILED: "the session before could not be downloaded",
    EndReason.NO_GPU: "there was no GPU",
    EndReason.INSTALL_FAILED: "the installation failed",
    EndReason.BAD_CONFIG: "the configuration was wrong",
    EndReason.BAD_DATA: "the dataset was unusable",
    EndReason.TRAINING_FAILED: "the training failed",
    EndReason.DISK_FULL: "the disk was full",
    EndReason.INTERNAL: "of a fault in kgtts",
    EndReason.KILLED: "Kaggle ended it without a warning",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure: its name, its value, and a remark."""

    name: str
    value: str
    more: str = ""


def status_of(data: RunData) -> tuple[str, str]:
    """The run's state in a word or two, and a sentence about it."""
    result = data.result
    if result is None:
        why = "No state.json was pulled" if data.state_fault is None else _fault(data)
        return "unknown", f"{why}. What follows comes from the logs alone."
    if result.status == Status.COMPLETE:
        return ("done" if result.done else "not finished yet"), result.message
    return result.status, result.message


def end_words(reason: str) -> str:
    """Why a session ended, completing "it ended because …"; an unknown reason is returned as it is."""
    return _END_WORDS.get(reason, reason) if reason else "(still running)"  # type: ignore[call-overload]


def facts_of(data: RunData) -> list[Fact]:
    """Target, progress, quota, time and machine."""
    found = [*_progress(data), *_losses(data), *_time(data)]
    environment = untrusted.as_object(data.state.get("environment"))
    gpus = gpu_names(data)
    if environment:
        versions = ", ".join(
            f"{label} {untrusted.one_line(environment[name], 40)}"
            for name, label in (("torch", "torch"), ("tts", "coqui-tts"), ("python", "Python"))
            if environment.get(name)
        )
        machine = f"{len(gpus)} × {gpus[0]}" if gpus else "CPU"
        found.append(Fact("Machine", machine, versions))
    return found


def _fault(data: RunData) -> str:
    """Why the newest state.json cannot be used."""
    schema = untrusted.count(data.state.get("schema"))
    if schema is not None and schema > STATE_SCHEMA:
        return f"state.json was written by a later kgtts (schema {schema})"
    return f"state.json cannot be used: {data.state_fault}"


def _progress(data: RunData) -> list[Fact]:
    result, starts = data.result, data.table.session_starts()
    steps = [step for series in data.table.series().values() for step in series.steps]
    step = max(steps, default=0)
    if result is None:
        return [Fact("Progress", f"step {max(0, step):,}")]
    saved = result.global_step or 0
    done = result.epochs_done
    target = f"{result.epochs:,} epochs" if result.epochs else "unknown"
    if result.steps_per_epoch and result.epochs:
        target_more = f"about {result.steps_per_epoch * result.epochs:,} steps"
    else:
        target_more = ""
    share = f"{min(1.0, done / result.epochs):.0%}; " if result.epochs else ""
    sessions = max((item.session for item in data.history), default=0) or len(starts) or data.sessions
    pulled = "all downloaded" if data.sessions >= sessions else f"{data.sessions:,} of them downloaded"
    return [
        Fact("Target", target, target_more),
        Fact("Progress", f"epoch {done:,}", f"{share}saved at step {saved:,}"),
        Fact("Sessions", f"{sessions:,}", pulled),
    ]


def _losses(data: RunData) -> list[Fact]:
    found, loss = [], data.verdict.loss
    if loss is not None:
        where = "" if loss.lowest_step is None else f", at step {loss.lowest_step:,}"
        found.append(Fact(f"Lowest {EVAL_LOSS}", f"{loss.lowest:.4g}", f"{loss.words}{where}"))
    chosen = untrusted.as_object(untrusted.as_object(data.state.get("scores")).get("best"))
    step, result = best_step(data.state, data.table), data.result
    if step is not None:
        by = "chosen by the trainer, by the sum of its losses"
        if untrusted.count(chosen.get("global_step")) is not None:
            by = f"chosen by {_measure_name(chosen.get('by'))}"
        elif result is not None and result.best_loss is not None:
            by = f"{by}: {result.best_loss:.4g}"
        found.append(Fact("Best model", f"step {step:,}", by))
    return found


def _measure_name(value: object) -> str:
    name = untrusted.one_line(value, 40)
    known = {str(measure): words[0].lower() for measure, words in MEASURE_WORDS.items()}
    return known.get(name, name)


def _time(data: RunData) -> list[Fact]:
    used, found = data.time, []
    hours = used.total / 3600
    if used.total:
        if gpu_names(data):
            more = f"{hours / _WEEK_HOURS:.0%} of a week's {_WEEK_HOURS} h"
            found.append(Fact("GPU quota used", f"{hours:.2f} h", more))
        else:
            found.append(Fact("Time", duration(used.total), "no GPU quota used"))
    if used.goodput is not None and used.in_steps is not None:
        part = f"{duration(used.in_steps)} of {duration(used.measured)}"
        found.append(Fact("Time spent training", f"{used.goodput:.0%}", part))
    rate = untrusted.amount(untrusted.as_object(data.state.get("resources")).get("samples_per_s"))
    if rate is not None:
        found.append(Fact("Speed", f"{rate:.3g} recordings/s", "in the newest session"))
    if data.result is not None and data.result.seconds_per_epoch:
        found.append(Fact("One epoch takes", duration(data.result.seconds_per_epoch)))
    return found
