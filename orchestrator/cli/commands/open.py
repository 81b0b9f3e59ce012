"""`kgtts open`: the run's page on the service in use."""

import click

from orchestrator.cli.context import find, run_argument, workbench


@click.command("open")
@run_argument
@click.option("--print", "only_print", is_flag=True, help="Only print the address.")
def open_page(run: str | None, *, only_print: bool) -> None:
    """Open the run's page on Kaggle in your browser, and print its address."""
    with workbench() as bench:
        url = find(bench, run, only_shows=True).page(bench.kaggle.service)
    click.echo(url)
    if not only_print:
        click.launch(url)
