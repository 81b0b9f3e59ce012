"""`kgtts logs`: the log of a session."""

import click

from orchestrator.cli.context import find, json_option, print_json, run_argument, workbench
from orchestrator.cli.places import log_here
from orchestrator.cli.show.follow import echo_line, print_log
from orchestrator.kaggle.logs import LogLine
from orchestrator.run.follow import session_log, session_status


@click.command()
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Print new lines as they come, until the session ends.")
@json_option
def logs(run: str | None, *, follow: bool, as_json: bool) -> None:
    """Print the log of a session as plain text, as far as it goes now.

    Without a login it is that of the newest session that `kgtts train` made here.
    """
    if follow and as_json:
        raise click.UsageError("--json prints the log as it is now; it cannot be combined with --follow.")
    if run is None and not (follow or as_json) and (kept := log_here()) is not None:
        with kept.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                echo_line(LogLine("stdout", 0.0, text.rstrip("\n")))
        return
    with workbench() as bench:
        target = find(bench, run, only_shows=True)
        if follow:
            print_log(bench, target)
            return
        lines = list(session_log(bench, target.ref, session_status(bench, target).state))
    if as_json:
        print_json([{"stream": line.stream, "time_s": line.time_s, "text": line.text} for line in lines])
        return
    for line in lines:
        echo_line(line)
    if not lines:
        click.echo(f"{target.ref} has no log yet.", err=True)
