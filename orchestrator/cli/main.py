"""The entry point: the commands, each imported only to run it, and the one place that prints errors."""

import contextlib
import errno
import gc
import importlib
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click
from click.shell_completion import CompletionItem

from orchestrator import __version__
from orchestrator.cli.github.outputs import in_actions, log_streams, print_annotation
from orchestrator.cli.show.console import colours, folded, prepare_streams
from orchestrator.errors import ExitCode, KgttsError, LocalError
from orchestrator.kaggle.auth import learn_all
from orchestrator.scrubbing import scrub
from orchestrator.untrusted import terminal_text

if TYPE_CHECKING:
    from orchestrator.ports import Clock  # Only for the types: start-up stays fast.

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_ALLOCATIONS = 50_000  # After so many new objects Python looks for garbage.
_LONGEST_NAME = 200  # Of a file, in an error message.
_PLAIN_WORDS = {"a valid integer range": "a whole number", "a valid float range": "a number"}  # For click's.
_LONG_S = 3.0  # A command that has waited longer for Kaggle says so.
# What `kgtts --help` lists, by what a person is doing: command -> its line of help. Each command is in the
# module of its name in `cli/commands`, which is imported only to run it: help and completion must be quick.
_SECTIONS = {
    "Prepare": {
        "init": "Ask a few questions and write kgtts.toml",
        "data": "Make a dataset from a folder of recordings (extra data)",
        "base": "Find, check and upload a base voice",
        "doctor": "Check login, inputs and GPU quota before a push",
    },
    "Train": {
        "push": "Start the training on Kaggle, or continue it",
        "train": "Train on this machine, or continue here (extra train)",
        "watch": "Follow the run to its end, starting each next session",
        "sync": "Look once and do the next step: for cron and GitHub Actions",
        "notify": "Try out who is told what becomes of the run (extra notify)",
        "status": "Show how far the run is",
        "logs": "Print the log of a session",
        "list": "List the runs started from this machine",
        "open": "Open the run's page on Kaggle",
        "stop": "Stop the run's session; everything is kept",
        "delete": "Delete a kernel with all that it holds",
        "cancel": "The old name of delete",
    },
    "Bring the results home": {
        "pull": "Download checkpoints, logs and samples",
        "metrics": "Print losses and speed as a table, CSV or JSON",
        "report": "Write a page: curves, sound, settings, warnings",
        "compare": "Compare runs: a table, a page, a blind test for people",
        "votes": "Count the answers to blind tests",
        "tensorboard": "Start TensorBoard on downloaded event files",
    },
    "Use the voice": {
        "say": "Speak a text with a trained voice",
        "text": "Show how a text would be spoken, in words",
        "serve": "Serve voices to a browser and to OpenAI's clients (extra serve)",
        "voice": "Make a package of a voice that phones take",
        "publish": "Publish a voice on Kaggle or Hugging Face (extra publish)",
    },
    "Rehearse on this machine": {
        "demo": "Train a small voice here: no account, no GPU (extra local)",
        "emulator": "Run an emulator of Kaggle (extra local)",
        "render": "Write the kernel to a folder and send nothing",
    },
    "Settings and account": {
        "config": "Print the settings, or their JSON schema",
        "quota": "Show the GPU hours left this week",
        "kaggle": "Run the official kaggle client on the same service",
    },
}
_COMMANDS = {name: line for section in _SECTIONS.values() for name, line in section.items()}
_FUNCTIONS = {"list": "list_runs", "open": "open_page"}  # Where the command's name is one of Python's own.


class _Formatter(logging.Formatter):
    """Writes log records without secrets: those of libraries hold addresses and headers."""

    def format(self, record: logging.LogRecord) -> str:
        return _safe(super().format(record))


class Waiting(logging.Handler):
    """Says once, at a terminal, that calls are made again: a minute without a word looks like a hang."""

    def __init__(self) -> None:
        super().__init__()
        self._is_said = False

    def emit(self, record: logging.LogRecord) -> None:
        """Read what stamina logs at each retry."""
        retry = vars(record)
        waited_s = retry.get("stamina.waited_so_far", 0.0) + retry.get("stamina.wait_for", 0.0)
        if waited_s >= _LONG_S and not self._is_said and sys.stderr.isatty():
            self._is_said = True
            click.echo("Kaggle does not answer as it should; trying again for up to a minute.", err=True)


class _LazyGroup(click.Group):
    """A group whose commands are imported only to run them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click passes it.
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"orchestrator.cli.commands.{cmd_name}")
        command: click.Command = getattr(module, _FUNCTIONS.get(cmd_name, cmd_name))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        longest = max(map(len, _COMMANDS))
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{longest}}", line) for name, line in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in _COMMANDS if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=_COMMANDS[name]) for name in names), *options]

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            close = get_close_matches(args[0], _COMMANDS, n=1)
            meant = f"Did you mean `kgtts {close[0]}`?" if close else "`kgtts --help` lists the commands."
            ctx.fail(f"There is no command {args[0]!r}. {meant}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 a fault in kgtts, 2 wrong usage or settings, 3 login, 4 refused by Kaggle, "
    "5 the run failed, 6 the wait timed out, 7 Kaggle cannot be reached, 8 this machine (disk, permission, "
    "missing package), 130 interrupted. `kgtts COMMAND --help` explains a command.",
)
@click.version_option(__version__, prog_name="kgtts")
@click.option("-v", "--verbose", is_flag=True, help="Also print retries, and how many calls went to Kaggle.")
@click.pass_context
def kgtts(ctx: click.Context, *, verbose: bool) -> None:
    """Train a Bangla voice on Kaggle's free GPUs, and bring it home.

    To train your own voice: kgtts init, which says what comes next. To try it without an account: kgtts demo,
    which needs the extra local; in a clone of kgtts, `make demo` or pip install ".[local]" installs it.
    """
    ctx.obj = {**(ctx.obj or {}), "verbose": verbose}
    ctx.color = colours()
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(_Formatter("%(name)s: %(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler])
    else:
        # Without a handler, Python itself would print the warning that stamina logs at each retry.
        logging.getLogger("stamina").handlers = [Waiting()]


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code that says how it ended (`orchestrator.errors`)."""
    # Nothing that start-up imports is garbage, and looking for some takes a tenth of its time.
    gc.set_threshold(_ALLOCATIONS)
    code = run(args)
    gc.freeze()  # Nor is all that is left looked through at the end, which takes as long again.
    if code == ExitCode.INTERRUPTED:
        # Ctrl-C once more, while Python waits for what it started: end at once, and without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def run(args: Sequence[str] | None = None, clock: "Clock | None" = None) -> int:
    """Run the command line and give its exit code; `clock` takes the place of the machine's."""
    # A stream that was closed (`>&-`, or a Windows program without a console) is None.
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    prepare_streams(sys.stdout, sys.stderr)
    with log_streams():
        return _run(args, clock)


def _run(args: Sequence[str] | None, clock: "Clock | None") -> int:  # noqa: PLR0911  # One return a kind of end.
    try:
        result = kgtts.main(args=args, prog_name="kgtts", standalone_mode=False, obj={"clock": clock})
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        _show_usage(error)
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.secho("Interrupted.", fg="yellow", err=True, color=colours())
        return ExitCode.INTERRUPTED
    except KgttsError as error:
        return _explain(error)
    except Exception as error:  # noqa: BLE001  # Whatever it is, it is printed without secrets.
        if os.environ.get("KGTTS_DEBUG"):
            _print_traceback(error)
            return ExitCode.FAILED
        if isinstance(error, OSError) and error.filename is not None:
            # A file's error that no command foresaw: the system's own words help most.
            return _explain(LocalError(f"{_shortened(str(error.filename))}: {error.strerror or error}."))
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            _drop_output()
            return _explain(
                LocalError(f"The output could not be written: {error.strerror}.", hint="free some space")
            )
        text = _safe(f"kgtts itself failed: {type(error).__name__}: {error}")
        if in_actions():
            print_annotation("error", text)
        else:
            click.secho(f"Error: {text}", fg="red", err=True, color=colours())
        click.echo(
            "Next: this is a bug in kgtts. Run it again with KGTTS_DEBUG=1 and report what it prints.",
            err=True,
        )
        return ExitCode.FAILED
    return result if isinstance(result, int) else ExitCode.DONE


def _show_usage(error: click.ClickException) -> None:
    """Print what click has to say, in plain words and without lines that are broken within words."""
    with io.StringIO() as kept:
        error.show(kept)
        text = kept.getvalue().rstrip("\n")
    for words, plain in _PLAIN_WORDS.items():
        text = text.replace(words, plain)
    click.echo(folded(text, sys.stderr), err=True)


def _drop_output() -> None:
    """Let what is still to be written go nowhere: Python would fail on it once more at its end."""
    with contextlib.suppress(OSError, ValueError):  # A stream of somebody else's may be no file.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def _safe(text: str) -> str:
    """Return an exception's text without secrets, wherever they are, and without what a terminal obeys."""
    with contextlib.suppress(OSError, RuntimeError):  # A home that cannot be read, or none.
        learn_all(os.environ, Path.home())
    return terminal_text(scrub(text))


def _print_traceback(error: BaseException) -> None:
    click.echo(_safe("".join(traceback.format_exception(error))), err=True)


def _explain(error: KgttsError) -> int:
    """Print what failed and what to type next."""
    if os.environ.get("KGTTS_DEBUG"):
        _print_traceback(error)
    colour = "yellow" if error.exit_code is ExitCode.INTERRUPTED else "red"
    label = "" if error.exit_code is ExitCode.INTERRUPTED else "Error: "
    if in_actions():
        # One escaped line, so that lines from a log in it cannot be taken for workflow commands.
        text = error.message if error.hint is None else f"{error.message}\nNext: {error.hint}"
        print_annotation("error", _safe(text))
        return error.exit_code
    text = folded(f"{label}{_safe(error.message)}", sys.stderr)
    click.secho(text, fg=colour, err=True, color=colours())
    if error.hint:
        hint = f"Next: {_safe(error.hint)}"
        is_command = error.hint.startswith("kgtts ")  # It is copied, so it stays one line.
        click.echo(hint if is_command else folded(hint, sys.stderr), err=True)
    return error.exit_code
