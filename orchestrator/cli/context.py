"""What commands share: options, and the objects that they use."""

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem
from platformdirs import user_data_path

from orchestrator import formatting
from orchestrator.cli.show.console import quoted, warn
from orchestrator.errors import ExitCode, KgttsError, LocalError, UsageError
from orchestrator.files import expanded
from orchestrator.kaggle import service_url
from orchestrator.models import KernelRef
from orchestrator.ports import Kaggle
from orchestrator.results import Results
from orchestrator.run.context import FollowCost, RunContext, Target, open_context
from orchestrator.run.ledger import Ledger
from orchestrator.run.ledger_file import LedgerUnwritableError
from orchestrator.run.snapshot import Snapshot
from orchestrator.run.target import find_target
from orchestrator.scrubbing import scrub
from orchestrator.settings.text import parse_duration
from orchestrator.untrusted import visible_json

if TYPE_CHECKING:
    from orchestrator.settings import LoadedSettings

HOME_VARIABLE = "KGTTS_HOME"
_WHICH_RUN = (
    "RUN is a run's slug, its id or the beginning of it (`kgtts list` shows both), or OWNER/SLUG[/VERSION]. "
    "Without it, the run of this folder's kgtts.toml is meant; without that file, the newest."
)
_SETTINGS_COMMAND = re.compile(
    r"\bkgtts (?:push|watch|sync|doctor|train)\b"
)  # Those that take --config and --set.
F = TypeVar("F", bound=Callable[..., Any])


class Interrupted(KgttsError):  # noqa: N818  # Ctrl-C is no error; it only travels as one.
    """The person pressed Ctrl-C; what was being waited for continues."""

    exit_code = ExitCode.INTERRUPTED


@contextmanager
def on_interrupt(message: str, *, hint: str | None = None) -> Iterator[None]:
    """Say what Ctrl-C stopped and how to come back.

    Raises:
        Interrupted: Ctrl-C was pressed.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(message, hint=hint) from None


def settings_options(command: F) -> F:
    """Give a command `--config` and `--set`."""
    command = click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Override one setting, for example training.batch_size=8. Can be repeated.",
    )(command)
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        help="The settings file. Default: KGTTS_CONFIG, or kgtts.toml in this folder or above.",
    )(command)


def json_option(command: F) -> F:
    """Give a command `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def duration_option(name: str, *, help: str, default: str | None = None) -> Callable[[F], F]:  # noqa: A002
    """Give a command an option for a time such as `90m`; `help` is click's own name for its text."""
    return click.option(
        name, callback=_duration, metavar="TIME", default=default, show_default=True, help=help
    )


def _duration(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    """Read a time such as `90m`; a wrong one is a usage error."""
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give the slugs, kernels and ids of this machine's runs that begin so; from the ledger, without a login.

    A shell that asks gets no error: whatever fails here gives no names.
    """
    del ctx, param
    found: dict[str, str] = {}
    with suppress(Exception):
        place = data_folder() / "ledger.db"
        if place.is_file():
            with ledger() as known:
                for record in known.all():
                    base = record.ref.base
                    for name in (base.slug, record.run_id, str(base)):
                        found.setdefault(name, f"{base.slug}, run {record.run_id}")
    return [CompletionItem(name, help=about) for name, about in found.items() if name.startswith(incomplete)]


def complete_run_or_path(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give what `complete_run` gives, and let the shell complete files as well."""
    return [*complete_run(ctx, param, incomplete), CompletionItem(incomplete, type="file")]


def run_argument(command: F) -> F:
    """Give a command the run that it is about, and explain in its help how to name one."""
    command.__doc__ = f"{inspect.cleandoc(command.__doc__ or '')}\n\n{_WHICH_RUN}"
    return click.argument("run", required=False, metavar="[RUN]", shell_complete=complete_run)(command)


def out_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Refuse what a file must not replace: root would replace /dev/null itself."""
    with suppress(OSError):  # A name that is too long is reported when it is written.
        if value is not None and value.exists() and not value.is_file():
            raise click.BadParameter(f"{value} is a device or a pipe, not a file.", ctx, param)
    return value


def out_option(default: str) -> Callable[[F], F]:
    """Give a command `--out` for the page that it writes."""
    return click.option(
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=out_file,
        help=f"The file to write. Default: {default}.",
    )


def open_option(command: F) -> F:
    """Give a command `--open`."""
    return click.option("--open", "show", is_flag=True, help="Open the page in your browser.")(command)


def recordings_option(command: F) -> F:
    """Give a command `--recordings`."""
    return click.option(
        "--recordings",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="The dataset's folder (metadata.csv and wavs/), to put its recordings beside the voice.",
    )(command)


def load(config_path: Path | None = None, overrides: tuple[str, ...] = ()) -> "LoadedSettings":
    """Load the validated settings of this working directory."""
    # pydantic: `kgtts status` of a kernel that was named needs no settings.
    from orchestrator.settings import load_settings  # noqa: PLC0415

    return load_settings(config_path, overrides, environ=os.environ, cwd=Path.cwd())


def pulled() -> tuple[Results, str | None]:
    """Give the results on this machine, and the slug of the run that kgtts.toml is about, if there is one."""
    loaded = load()
    return Results(Path(loaded.settings.pull.to)), loaded.settings.kernel.slug if loaded.path else None


def load_to_train(config_path: Path | None, overrides: tuple[str, ...]) -> "LoadedSettings":
    """Load the settings for a command that may start a session; the defaults alone train nothing.

    Raises:
        UsageError: there is no settings file.
    """
    loaded = load(config_path, overrides)
    if loaded.path is None:
        raise UsageError(
            "There is no kgtts.toml in this folder or above, so kgtts does not know what to train.",
            hint="`kgtts init` writes one; or name one with --config FILE",
        )
    return loaded


@contextmanager
def repeating(config_path: Path | None, overrides: tuple[str, ...]) -> Iterator[Callable[[str], str]]:
    """Make hints repeat `--config` and `--set`, so that the commands they show are about the same run.

    Gives a function that writes a hint so; the hints of errors are written so by themselves.
    """
    words = [] if config_path is None else ["--config", str(config_path)]
    words += [word for item in overrides for word in ("--set", item)]
    options = "".join(f" {quoted(word)}" for word in words)

    def whole(hint: str) -> str:
        return _SETTINGS_COMMAND.sub(lambda found: found[0] + options, hint)

    try:
        yield whole
    except KgttsError as error:
        error.hint = None if error.hint is None else whole(error.hint)
        raise


def data_folder() -> Path:
    """Give kgtts's own folder (ledger, caches): `KGTTS_HOME`, else the system's place for user data."""
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return expanded(named)
    try:
        return user_data_path("kgtts", appauthor=False).expanduser()  # Old platformdirs leave a `~`.
    except RuntimeError as error:
        raise LocalError(
            "This user has no home folder.", hint=f"set HOME or {HOME_VARIABLE} to one"
        ) from error


def is_verbose() -> bool:
    """Whether `kgtts -v` was asked for."""
    context = click.get_current_context(silent=True)
    return context is not None and bool((context.obj or {}).get("verbose"))


@contextmanager
def workbench(*, starts: bool = False) -> Iterator[RunContext]:
    """Log in and open the user's ledger; with -v, print at the end how many calls were made.

    The ledger is only a cache: if it cannot be used, that is said, and the command works without it.

    Args:
        starts: whether the command may start a session. Then a ledger that is damaged or cannot be read is an
            error, because what it knew can keep a session from being started twice; one that only cannot be
            written is read.
    """

    def without_ledger(error: LocalError, is_whole: bool) -> None:  # noqa: FBT001 - a callback's.
        if starts and not isinstance(error, LedgerUnwritableError):
            raise error
        if starts and not is_whole:
            raise _unreadable(error)
        warn(f"{error.message} It is only a cache, so this command works without it.", err=True)

    bench = None
    try:
        context = click.get_current_context(silent=True)
        clock = None if context is None else (context.obj or {}).get("clock")
        place = data_folder() / "ledger.db"
        with open_context(os.environ, place, without_ledger=without_ledger, clock=clock) as bench:
            yield bench
    finally:
        if bench is not None and is_verbose():
            click.echo(_calls(bench.kaggle, bench.cost), err=True)


def ledger() -> Ledger:
    """Open this machine's ledger for the service in use, without a login; in memory if necessary."""
    place, service = data_folder() / "ledger.db", service_url(os.environ)
    try:
        return Ledger(place, service)
    except LedgerUnwritableError as error:
        known = Ledger(place, service, in_memory=True)
        if known.is_whole:
            return known
        known.__exit__()
        raise _unreadable(error) from error


def _unreadable(error: LocalError) -> LocalError:
    """Say what to do about a ledger that can be neither written nor read."""
    return LocalError(
        f"{error.message} What it knows keeps sessions from being started twice, and it cannot be read.",
        hint="give yourself the right to read and write that file, or put back a copy of it",
    )


def find(
    bench: RunContext, run: str | None, snapshot: Snapshot | None = None, *, only_shows: bool = False
) -> Target:
    """Give the session that a command is about; without `run`, that of kgtts.toml, or else the newest.

    If it is the newest for want of a kgtts.toml, that is said.

    Raises:
        UsageError, NotFoundError: as `find_target`.
    """

    def kernel_of_settings() -> KernelRef | None:
        loaded = load()
        kernel = loaded.settings.kernel
        return KernelRef(kernel.owner or bench.kaggle.username, kernel.slug) if loaded.path else None

    target = find_target(bench, run, default=kernel_of_settings, snapshot=snapshot, only_shows=only_shows)
    if run is None and load().path is None:
        which = f", run {target.record.run_id}" if target.record is not None else ""
        click.echo(f"There is no kgtts.toml here, so this is the newest run: {target.ref}{which}.", err=True)
    return target


def _calls(kaggle: Kaggle, followed: FollowCost) -> str:
    """Write how many calls a command made, and at what rate while it followed a session."""
    text = f"{kaggle.calls} calls to {kaggle.service}"
    if not followed.calls:
        return text
    time = formatting.duration(followed.seconds)
    return f"{text}; {followed.calls} of them in {time} of following, {followed.per_hour:,.0f} an hour"


def print_json(value: object) -> None:
    """Print one JSON document; a stream that cannot show every character gets escapes instead."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    readable = encoding.lower().replace("-", "").startswith("utf")
    text = json.dumps(value, ensure_ascii=not readable, indent=2, default=str)
    # Only texts can have these: written so, they mean the same, and are no workflow commands of GitHub's.
    click.echo(visible_json(scrub(text)).replace("##[", "\\u0023#[").replace("::", "\\u003a:"))
