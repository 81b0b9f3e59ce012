"""The composition root: options that commands share, and the objects that they work with."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator import formatting
from orchestrator.errors import ExitCode, KgttsError

if TYPE_CHECKING:
    from orchestrator.kaggle.client import KaggleClient
    from orchestrator.models import KernelRef
    from orchestrator.run.campaign import Campaign
    from orchestrator.run.follow import Load
    from orchestrator.run.ledger import Ledger
    from orchestrator.settings import LoadedSettings

HOME_VARIABLE = "KGTTS_HOME"
F = TypeVar("F", bound=Callable[..., Any])


class Interrupted(KgttsError):  # noqa: N818  # Ctrl-C is no error; it only travels as one.
    """The person stopped waiting; what was waited for goes on."""

    exit_code = ExitCode.INTERRUPTED


def settings_options(command: F) -> F:
    """Give a command `--config` and `--set`."""
    command = click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Override a setting, such as training.batch_size=8; may be repeated.",
    )(command)
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        help="The settings file; default: kgtts.toml here or above, or KGTTS_CONFIG.",
    )(command)


def json_option(command: F) -> F:
    """Give a command `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def duration_option(name: str, *, help: str, default: str | None = None) -> Callable[[F], F]:  # noqa: A002
    """Give a command an option for a time such as `90m`; `help` is click's own word for its text."""
    return click.option(
        name, callback=_duration, metavar="TIME", default=default, show_default=True, help=help
    )


def _duration(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    """Read a time such as `90m`; a wrong one is a usage error."""
    if value is None:
        return None
    from orchestrator.settings import parse_duration  # noqa: PLC0415  # pydantic is slow to import.

    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def run_argument(command: F) -> F:
    """Give a command the run that it speaks of."""
    return click.argument("run", required=False, metavar="[RUN | OWNER/SLUG[/VERSION]]")(command)


def load(config_path: Path | None, overrides: tuple[str, ...]) -> "LoadedSettings":
    """The validated settings of this working directory."""
    from orchestrator.settings import load_settings  # noqa: PLC0415  # pydantic is slow to import.

    return load_settings(config_path, overrides, environ=os.environ, cwd=Path.cwd())


def data_folder() -> Path:
    """Where kgtts keeps its ledger and the demo's cache: `KGTTS_HOME`, else the system's place for data."""
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_data_path  # noqa: PLC0415  # Only where the variable is not set.

    return user_data_path("kgtts", appauthor=False)


@dataclass(frozen=True, slots=True)
class Workbench:
    """What a command that talks to Kaggle works with."""

    kaggle: "KaggleClient"
    ledger: "Ledger"
    campaign: "Campaign"

    def default_kernel(self) -> "KernelRef | None":
        """The kernel that this working directory's kgtts.toml names, where there is one."""
        from orchestrator.models import KernelRef  # noqa: PLC0415

        loaded = load(None, ())
        if loaded.path is None:
            return None
        kernel = loaded.settings.kernel
        return KernelRef(kernel.owner or self.kaggle.username, kernel.slug)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another service than the person's own: the demo's emulator, with its login and a ledger of its own."""

    url: str
    login: tuple[str, str]
    ledger: Path


@contextmanager
def workbench(elsewhere: Elsewhere | None = None) -> Iterator[Workbench]:
    """Log in and open the ledger: the person's own, or those of `elsewhere`."""
    from orchestrator.kaggle import URL_VARIABLE, connect  # noqa: PLC0415  # As above.
    from orchestrator.ports import SystemClock  # noqa: PLC0415  # As above.
    from orchestrator.run.campaign import Campaign  # noqa: PLC0415  # Start-up: only commands that need it.
    from orchestrator.run.ledger import Ledger  # noqa: PLC0415  # As above.

    if elsewhere is None:
        kaggle, place = connect(os.environ), data_folder() / "ledger.db"
    else:
        kaggle = connect({**os.environ, URL_VARIABLE: elsewhere.url}, login=elsewhere.login)
        place = elsewhere.ledger
    load = None
    try:
        with Ledger(place, kaggle.service) as ledger:
            campaign = Campaign(kaggle, ledger, SystemClock())
            try:
                yield Workbench(kaggle, ledger, campaign)
            finally:
                load = campaign.load
    finally:
        context = click.get_current_context(silent=True)
        if context is not None and (context.obj or {}).get("verbose"):
            click.echo(_load_in_words(kaggle, load), err=True)
        kaggle.close()


def _load_in_words(kaggle: "KaggleClient", load: "Load | None") -> str:
    """How many calls a command made, and at which rate it made those of following a session."""
    text = f"{kaggle.calls} calls to {kaggle.service}"
    if load is None or not load.calls:
        return text

    time = formatting.duration(load.seconds)
    return f"{text}; {load.calls} of them in {time} of following, {load.per_hour:,.0f} an hour"


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))
