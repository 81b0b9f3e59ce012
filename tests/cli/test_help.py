"""Help and usage errors, and what they cost."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from orchestrator import __version__
from orchestrator.cli.main import _COMMANDS, kgtts
from orchestrator.errors import ExitCode
from tests.support import REPOSITORY, Cli, clean_environment

# Neither the help of kgtts nor a misspelt command may import these; they cost more than all the rest.
HEAVY = ("pydantic", "rich", "requests", "jinja2", "platformdirs", "sqlite3")
# A command's own help may not import these either: they take a second, or are optional.
HEAVIEST = ("kaggle", "kagglesdk", "torch", "TTS", "starlette", "uvicorn", "numpy", "onnxruntime", "plotly")
USAGE_ERRORS = [
    ["nonsense"],
    ["psuh"],
    ["--nonsense"],
    ["push", "--nonsense"],
    ["push", "extra"],
    ["push", "--timeout", "90m"],
    ["push", "--timeout", "soon", "--wait"],
    ["render", "--to"],
    ["status", "a", "b"],
    ["logs", "--follow", "--json"],
    ["pull", "--all", "--include", "*"],
    ["init", "--dir", "kgtts.toml/x/y", "--nonsense"],
    ["config", "nonsense"],
    ["demo", "--epochs", "0"],
    ["demo", "--epochs", "many"],
    ["emulator", "--port", "70000"],
    ["emulator", "--layout", "newest"],
    ["emulator", "--session-limit", "for ever"],
    ["quota", "extra"],
    ["delete"],
    ["cancel", "--no"],
]
GROUP_ONLY = [["--help"], ["-h"], ["--version"], [], ["nonsense"], ["psuh"], ["--nonsense"]]
FREE = [["--help"], ["-h"], ["--version"], *[[name, "--help"] for name in _COMMANDS if name != "kaggle"]]


def commands() -> list[tuple[str, click.Command]]:
    """Return every command and subcommand by its full name."""
    found = []
    context = click.Context(kgtts)
    for name in kgtts.list_commands(context):
        command = kgtts.get_command(context, name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {below}", item) for below, item in command.commands.items()]
    return found


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_command_and_option_explains_itself(name: str, command: click.Command) -> None:
    """Every command has a help text, a short one in the list, and one for each option."""
    assert (command.help or "").strip()
    assert len(command.get_short_help_str(100)) > 5
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"


@pytest.mark.parametrize("arguments", FREE, ids=" ".join)
def test_help_and_version_are_free(cli: Cli, arguments: list[str]) -> None:
    """Help needs neither settings nor credentials nor a network."""
    result = cli(*arguments)
    assert (result.code, result.err) == (0, "")
    assert ("Usage: kgtts" in result.out) or (__version__ in result.out)


def test_the_list_of_commands_is_whole(cli: Cli) -> None:
    """`kgtts --help` lists every command and the exit codes."""
    out = cli("--help").out
    assert all(f"\n  {name} " in out for name in _COMMANDS)
    assert "130 interrupted" in out.replace("\n", " ").replace("  ", " ")


@pytest.mark.parametrize("arguments", USAGE_ERRORS, ids=" ".join)
def test_a_usage_error_is_a_sentence_with_exit_code_2(cli: Cli, arguments: list[str]) -> None:
    """Nothing goes to standard output, and no traceback is shown."""
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Error: " in result.err
    assert "Traceback" not in result.err


def test_a_number_that_is_none_is_said_in_plain_words(cli: Cli) -> None:
    """Not in click's, whose number with limits is a "float range"."""
    assert "Error: Invalid value for '--hours': '1h' is not a number." in cli("train", "--hours", "1h").err
    assert "'many' is not a whole number." in cli("demo", "--epochs", "many").err


def test_a_misspelt_command_is_guessed(cli: Cli) -> None:
    """The error names the nearest command."""
    assert "Did you mean `kgtts push`?" in cli("psuh").err


def test_without_a_command_the_help_is_shown(cli: Cli) -> None:
    """`kgtts` alone prints the help."""
    assert "Usage: kgtts" in cli().said


def python(code: str, tmp_path: Path, **environment: str) -> str:
    """Run code in a fresh interpreter; returns what it printed."""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean_environment(tmp_path), "PYTHONPATH": str(REPOSITORY), **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return ended.stdout


def test_help_and_usage_errors_import_nothing_heavy(tmp_path: Path) -> None:
    """The list of commands and every command's help import neither the client nor an optional package."""
    cases: list[tuple[list[str], tuple[str, ...]]]
    cases = [(arguments, (*HEAVY, *HEAVIEST)) for arguments in GROUP_ONLY]
    cases += [(arguments, HEAVIEST) for arguments in [*FREE, *USAGE_ERRORS]]
    code = f"""
import contextlib, io, sys
from orchestrator.cli.main import run
for arguments, heavy in {cases!r}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run(arguments)
    loaded = [name for name in heavy if name in sys.modules]
    if loaded:
        print(arguments, loaded)
        break
"""
    assert python(code, tmp_path) == ""


def test_status_starts_without_pydantic(tmp_path: Path) -> None:
    """What `status` imports is light: it is typed most often."""
    code = "import sys\nimport orchestrator.cli.commands.status\nprint('pydantic' in sys.modules)"
    assert python(code, tmp_path) == "False\n"


def test_completion_works_and_imports_nothing_heavy(tmp_path: Path) -> None:
    """Shell completion is quick."""
    code = f"""
import sys
from orchestrator.cli.main import run
try:
    run([])
finally:
    print([name for name in {(*HEAVY, *HEAVIEST)!r} if name in sys.modules])
"""
    out = python(code, tmp_path, _KGTTS_COMPLETE="bash_complete", COMP_WORDS="kgtts pu", COMP_CWORD="1")
    assert out.split() == ["plain,push", "plain,pull", "plain,publish", "[]"]


def test_python_m_orchestrator_is_kgtts(tmp_path: Path) -> None:
    """The module runs like the console script."""
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--version"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ended.stdout == f"kgtts, version {__version__}\n"


@pytest.mark.posix
def test_a_reader_that_has_gone_away_is_no_fault_of_kgtts(workplace: Path) -> None:
    """`kgtts --help | head -1` ends with 1 and no message."""
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--help"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (ExitCode.FAILED, b"")
