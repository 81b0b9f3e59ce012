"""The entry point: the group of commands, loaded one by one, and the one place where errors become words."""

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

import click

from orchestrator import __version__
from orchestrator.cli.github.outputs import annotation, in_actions
from orchestrator.errors import ExitCode, KgttsError, LocalError

_LONGEST_NAME = 200  # Of a file, in an error.
# Name -> module and attribute. Help and usage errors must import nothing heavy, so the modules import what
# they need inside their functions.
_COMMANDS = {
    "init": "orchestrator.cli.commands.setup:init",
    "doctor": "orchestrator.cli.commands.doctor:doctor",
    "config": "orchestrator.cli.commands.setup:config",
    "render": "orchestrator.cli.commands.push:render",
    "push": "orchestrator.cli.commands.push:push",
    "status": "orchestrator.cli.commands.status:status",
    "logs": "orchestrator.cli.commands.logs:logs",
    "pull": "orchestrator.cli.commands.pull:pull",
    "metrics": "orchestrator.cli.commands.metrics:metrics",
    "report": "orchestrator.cli.commands.report:report",
    "compare": "orchestrator.cli.commands.report:compare",
    "say": "orchestrator.cli.commands.say:say",
    "tensorboard": "orchestrator.cli.commands.tensorboard:tensorboard",
    "sync": "orchestrator.cli.commands.sync:sync",
    "watch": "orchestrator.cli.commands.sync:watch",
    "list": "orchestrator.cli.commands.status:list_runs",
    "quota": "orchestrator.cli.commands.status:quota",
    "open": "orchestrator.cli.commands.status:open_page",
    "cancel": "orchestrator.cli.commands.push:cancel",
    "demo": "orchestrator.cli.commands.demo:demo",
    "emulator": "orchestrator.cli.commands.emulator:emulator",
    "kaggle": "orchestrator.cli.commands.emulator:kaggle",
}


class _LazyGroup(click.Group):
    """A group whose commands are imported only when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click gives it.
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            close = get_close_matches(args[0], _COMMANDS, n=1)
            meant = f"Did you mean `kgtts {close[0]}`?" if close else "`kgtts --help` lists the commands."
            ctx.fail(f"There is no command {args[0]!r}. {meant}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 2 usage or settings, 3 credentials, 4 refused by Kaggle, 5 the run failed, "
    "6 the wait timed out, 7 Kaggle not reachable, 8 this machine (disk, permission, missing package), "
    "130 interrupted, 1 anything else.",
)
@click.version_option(__version__, prog_name="kgtts")
@click.option("-v", "--verbose", is_flag=True, help="Say more: retries, and how many calls went to Kaggle.")
@click.pass_context
def kgtts(ctx: click.Context, *, verbose: bool) -> None:
    """Train a Bangla voice on Kaggle's free GPUs, and bring it home.

    Start with `kgtts demo` (no account needed), or with `kgtts init` and `kgtts doctor`.
    """
    ctx.obj = {"verbose": verbose}
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    else:
        # Without a handler Python itself would print the warning that stamina logs at each retry.
        logging.getLogger("stamina").addHandler(logging.NullHandler())


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code that says how it ended (`orchestrator.errors`)."""
    sys.exit(run(args))


def run(args: Sequence[str] | None = None) -> int:  # noqa: PLR0911  # One return for each kind of end.
    """Run the command line and give its exit code."""
    try:
        result = kgtts.main(args=args, prog_name="kgtts", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.secho("Interrupted.", fg="yellow", err=True)
        return ExitCode.INTERRUPTED
    except KgttsError as error:
        return _explain(error)
    except BrokenPipeError:
        # Who reads our output has closed it (`| head`): nothing more to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except Exception as error:
        if os.environ.get("KGTTS_DEBUG"):
            raise
        if isinstance(error, OSError) and error.filename is not None:
            # A file's fault that no command has foreseen: the system's own words are what helps.
            return _explain(LocalError(f"{_shortened(str(error.filename))}: {error.strerror or error}."))
        text = f"kgtts itself failed: {type(error).__name__}: {error}"
        if in_actions():
            click.echo(annotation("error", text), err=True)
        else:
            click.secho(f"Error: {text}", fg="red", err=True)
        click.echo("Next: run it again with KGTTS_DEBUG=1 to see where, and report that.", err=True)
        return ExitCode.FAILED
    return result if isinstance(result, int) else ExitCode.DONE


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def _explain(error: KgttsError) -> int:
    """Say what failed and what to type next."""
    if os.environ.get("KGTTS_DEBUG"):
        logging.getLogger(__name__).error("traceback", exc_info=error)
    colour = "yellow" if error.exit_code is ExitCode.INTERRUPTED else "red"
    label = "" if error.exit_code is ExitCode.INTERRUPTED else "Error: "
    if in_actions():
        # One escaped line: a message that holds lines from a log cannot be taken for workflow commands.
        text = error.message if error.hint is None else f"{error.message}\nNext: {error.hint}"
        click.echo(annotation("error", text), err=True)
        return error.exit_code
    click.secho(f"{label}{error.message}", fg=colour, err=True)
    if error.hint:
        click.echo(f"Next: {error.hint}", err=True)
    return error.exit_code
