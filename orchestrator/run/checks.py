"""Check everything that a push needs before quota is spent: one line for each thing, for the doctor."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from kernel_template.contract import FIND_SCRIPT, OWN_SCRIPT
from orchestrator.errors import ForbiddenError, KgttsError, NotFoundError
from orchestrator.formatting import weekday
from orchestrator.kaggle import client_version
from orchestrator.kaggle.auth import find_credentials
from orchestrator.models import InputFile
from orchestrator.ports import Kaggle
from orchestrator.run.checked import Checked, Level, failed_check
from orchestrator.run.data_check import check_data, kaggle_place, local_place, read_config
from orchestrator.run.inputs import UPLOADS, input_states
from orchestrator.run.packages import lost_by_release
from orchestrator.settings import LoadedSettings, Settings, format_duration

_NOT_IN_DATASET = ("TTS.bin.train_tts", FIND_SCRIPT, OWN_SCRIPT)


class HasKaggle(Protocol):
    """What a login opens."""

    @property
    def kaggle(self) -> Kaggle:
        """Kaggle, logged in."""
        ...


def check_all(  # noqa: PLR0913 - what is looked at, and where.
    load: Callable[[], LoadedSettings],
    log_in: Callable[[], AbstractContextManager[HasKaggle]],
    environ: Mapping[str, str],
    home: Path,
    *,
    now: datetime,
    data: Path | None = None,
) -> Iterator[Checked]:
    """Check settings, client, credentials, login, quota, inputs and data, in this order.

    Args:
        load: loads the settings.
        log_in: logs in to Kaggle.
        environ: the environment, for credentials in it.
        home: the user's home folder, for credentials in it.
        now: the wall clock, UTC.
        data: the prepared dataset, if it is on this machine.
    """
    loaded = None
    try:
        loaded = load()
        if loaded.path:
            yield Checked("settings", Level.OK, str(loaded.path))
        else:
            yield Checked("settings", Level.OK, "no kgtts.toml here: the defaults are used", "kgtts init")
        if lost := lost_by_release(loaded.settings.install.packages):
            yield Checked("packages", Level.WARNING, lost, "remove it from install.packages in kgtts.toml")
    except KgttsError as error:
        yield failed_check("settings", error)
    yield Checked("client", Level.OK, client_version())
    try:
        credentials = find_credentials(environ, home)
        found = f"{credentials.kind} in {credentials.place}"
        if credentials.exposed:
            hint = f"chmod 600 {credentials.place}"
            yield Checked("credentials", Level.WARNING, f"{found}, which other users here can read", hint)
        else:
            yield Checked("credentials", Level.OK, found)
        with log_in() as opened:
            opened.kaggle.quota()  # The cheapest call that needs a valid login.
            yield Checked("login", Level.OK, f"{opened.kaggle.username} at {opened.kaggle.service}")
            if loaded is not None:
                yield from check_service(loaded.settings, opened.kaggle)
                yield from _data(loaded.settings, opened.kaggle, now, data)
    except KgttsError as error:
        yield failed_check("login", error)


def check_service(settings: Settings, kaggle: Kaggle) -> Iterator[Checked]:
    """Ask Kaggle for everything that a push of these settings needs."""
    try:
        settings = settings.with_owner(kaggle.username)
    except KgttsError as error:
        yield failed_check("sources", error)
        return
    owner = settings.kernel.owner
    if owner != kaggle.username:
        yield Checked("owner", Level.WARNING, f"kernel.owner is {owner}, but {kaggle.username} is logged in",
                      "correct kernel.owner in kgtts.toml, or log in as its user")  # fmt: skip
    yield _quota(settings, kaggle)
    inputs = settings.inputs
    script = [] if inputs.script in _NOT_IN_DATASET else [inputs.script]
    sources = [_files("dataset", inputs.dataset, script, kaggle.dataset_files(inputs.dataset))]
    yield sources[0]
    names = [inputs.config, inputs.checkpoint]
    sources.append(_files("model", inputs.model, names, kaggle.model_files(inputs.model)))
    yield sources[1]
    try:
        states = list(input_states(settings, kaggle))
    except KgttsError as error:
        if not isinstance(error, NotFoundError) and any(item.level is Level.FAILED for item in sources):
            return  # It was said above that it cannot be read; that it is absent is more.
        yield failed_check("ready", error)
        return
    for item in states:
        if item.words is not None:
            hint = "`kgtts push` and `kgtts watch` wait for it"
            yield Checked("ready", Level.WARNING, item.words, hint)
        elif item.note is not None:
            yield Checked("ready", Level.WARNING, f"{item.source}: {item.note}")


def _data(settings: Settings, kaggle: Kaggle, now: datetime, folder: Path | None) -> Iterator[Checked]:
    """Check the dataset, here or on Kaggle, against the base voice and the settings."""
    try:
        settings = settings.with_owner(kaggle.username)
        source = settings.inputs.dataset
        place = kaggle_place(kaggle, source) if folder is None else local_place(folder)
        yield from check_data(settings, place, read_config(kaggle, settings), kaggle.quota(), now)
    except (NotFoundError, ForbiddenError):
        return  # It was said above that it cannot be read.
    except KgttsError as error:
        yield failed_check("data", error)


def _files(kind: str, source: str, wanted: list[str], listing: Iterator[InputFile]) -> Checked:
    """Whether a source can be read and has the files; the listing is read only as far as needed."""
    missing, seen = list(wanted), list[str]()
    try:
        for file in listing:
            seen.append(file.name)
            if file.name in missing:
                missing.remove(file.name)
            if wanted and not missing:
                break
    except (NotFoundError, ForbiddenError) as error:
        return replace(failed_check(kind, error), hint=UPLOADS[kind])
    except KgttsError as error:
        return failed_check(kind, error)
    if not missing:
        has = f" and has {', '.join(wanted)}" if wanted else ""
        return Checked(kind, Level.OK, f"{source} is readable{has}")
    close = difflib.get_close_matches(missing[0], seen, n=1, cutoff=0.4)
    near = f"; the nearest is {close[0]}" if close else ""
    return Checked(
        kind,
        Level.WARNING,
        f"{source} is readable, but {', '.join(missing)} is not among its {len(seen)} files{near}",
        f"correct inputs.{'script' if kind == 'dataset' else 'config or inputs.checkpoint'} in kgtts.toml",
    )


def _quota(settings: Settings, kaggle: Kaggle) -> Checked:
    if settings.accelerator.machine_shape is None:
        return Checked("quota", Level.OK, "a CPU session needs no GPU hours")
    try:
        week = kaggle.quota()
    except KgttsError as error:
        return failed_check("quota", error)
    if week is None:
        return Checked(
            "quota", Level.WARNING, "Kaggle reported no GPU quota", "see https://www.kaggle.com/settings"
        )
    refresh = f", refreshes {weekday(week.refreshes_at)}" if week.refreshes_at else ""
    reserved = f" ({format_duration(week.reserved)} reserved by running sessions)" if week.reserved else ""
    text = f"{format_duration(week.left)} of {format_duration(week.allowed)} left{reserved}{refresh}"
    if week.left < settings.session.budget:
        budget = format_duration(settings.session.budget)
        return Checked("quota", Level.WARNING, f"{text}: less than a session's budget of {budget}",
                       "shorten session.budget and training.time_limit, or wait for the refresh")  # fmt: skip
    return Checked("quota", Level.OK, text)
