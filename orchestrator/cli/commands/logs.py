"""`kgtts logs`."""

import click

from orchestrator.cli.context import json_option, print_json, run_argument, workbench


@click.command(short_help="Print a session's log; --follow goes live")
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the session ends.")
@json_option
def logs(run: str | None, *, follow: bool, as_json: bool) -> None:
    """Print the log of a session as plain text: as far as it goes now, or live to its end."""
    if follow and as_json:
        raise click.UsageError("--json prints the log as it is now; it does not go with --follow.")
    from orchestrator.cli.show.follow import echo_line, print_log  # noqa: PLC0415  # Start-up.

    with workbench() as bench:
        target = bench.campaign.find(run, default=bench.default_kernel)
        if follow:
            print_log(bench.campaign, target)
            return
        lines = list(bench.campaign.log(target))
        if as_json:
            print_json([{"stream": line.stream, "time_s": line.time_s, "text": line.text} for line in lines])
            return
        for line in lines:
            echo_line(line)
        if not lines:
            click.echo(f"{target.ref} has no log yet.", err=True)
