"""`kgtts quota`: the GPU hours of the week."""

import click

from orchestrator.cli.context import json_option, print_json, workbench
from orchestrator.formatting import hours, moment
from orchestrator.models import Quota


@click.command()
@json_option
def quota(*, as_json: bool) -> None:
    """Show the week's GPU hours: used, reserved by running sessions, left, and when they refresh."""
    with workbench() as bench:
        week = bench.kaggle.quota()
    if as_json:
        print_json(None if week is None else _as_json(week))
    elif week is None:
        click.echo("Kaggle reported no GPU quota for this account. See https://www.kaggle.com/settings")
    else:
        click.echo(f"GPU  {hours(week.left)} left of {hours(week.allowed)}")
        click.echo(f"  used       {hours(week.used)}")
        click.echo(f"  reserved   {hours(week.reserved)} by running sessions")
        if week.refreshes_at is not None:
            click.echo(f"  refreshes  {moment(week.refreshes_at)}")


def _as_json(week: Quota) -> dict[str, object]:
    return {
        "used_s": week.used.total_seconds(),
        "reserved_s": week.reserved.total_seconds(),
        "left_s": week.left.total_seconds(),
        "allowed_s": week.allowed.total_seconds(),
        "refreshes_at": week.refreshes_at,
    }
