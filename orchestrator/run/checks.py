"""What `kgtts doctor` finds out before quota is spent: one verdict for each thing that a push needs."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.errors import ExitCode, KgttsError
from orchestrator.models import InputFile
from orchestrator.ports import Kaggle
from orchestrator.settings import Settings, format_duration

_OWN_SCRIPT = "TTS.bin.train_tts"


class Level(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the doctor: what was looked at, how it is, and what to do."""

    subject: str
    level: Level
    text: str
    hint: str | None = None
    exit_code: ExitCode = ExitCode.DONE


def verdict_of(subject: str, error: KgttsError) -> Verdict:
    """The verdict that an error is."""
    return Verdict(subject, Level.FAILED, error.message, error.hint, error.exit_code)


def check_service(settings: Settings, kaggle: Kaggle) -> Iterator[Verdict]:
    """Ask Kaggle for everything that a push of these settings needs."""
    try:
        settings = settings.with_owner(kaggle.username)
    except KgttsError as error:
        yield verdict_of("sources", error)
        return
    yield _quota(settings, kaggle)
    inputs = settings.inputs
    script = [] if inputs.script == _OWN_SCRIPT else [inputs.script]
    yield _files("dataset", inputs.dataset, script, kaggle.dataset_files(inputs.dataset))
    yield _files("model", inputs.model, [inputs.config, inputs.checkpoint], kaggle.model_files(inputs.model))


def _files(kind: str, source: str, wanted: list[str], listing: Iterator[InputFile]) -> Verdict:
    """Whether a source can be read and has the files; the listing is read only as far as needed."""
    missing, seen = list(wanted), list[str]()
    try:
        for file in listing:
            seen.append(file.name)
            if file.name in missing:
                missing.remove(file.name)
            if wanted and not missing:
                break
    except KgttsError as error:
        return verdict_of(kind, error)
    if not missing:
        has = f" and has {', '.join(wanted)}" if wanted else ""
        return Verdict(kind, Level.OK, f"{source} is readable{has}")
    close = difflib.get_close_matches(missing[0], seen, n=1, cutoff=0.4)
    near = f"; the nearest is {close[0]}" if close else ""
    return Verdict(
        kind,
        Level.WARNING,
        f"{source} is readable, but among its {len(seen)} files is no {', '.join(missing)}{near}",
        f"correct inputs.{'script' if kind == 'dataset' else 'config or inputs.checkpoint'} in kgtts.toml",
    )


def _quota(settings: Settings, kaggle: Kaggle) -> Verdict:
    if settings.accelerator.machine_shape is None:
        return Verdict("quota", Level.OK, "a CPU session needs no GPU hours")
    try:
        week = kaggle.quota()
    except KgttsError as error:
        return verdict_of("quota", error)
    if week is None:
        return Verdict(
            "quota", Level.WARNING, "Kaggle tells no GPU quota", "see https://www.kaggle.com/settings"
        )
    refresh = f", refreshes {week.refreshes_at:%A %H:%M} UTC" if week.refreshes_at else ""
    reserved = f" ({format_duration(week.reserved)} reserved by running sessions)" if week.reserved else ""
    text = f"{format_duration(week.left)} of {format_duration(week.allowed)} left{reserved}{refresh}"
    if week.left < settings.session.budget:
        budget = format_duration(settings.session.budget)
        return Verdict("quota", Level.WARNING, f"{text}: less than a session's budget of {budget}",
                       "shorten session.budget and training.time_limit, or wait for the refresh")  # fmt: skip
    return Verdict("quota", Level.OK, text)
