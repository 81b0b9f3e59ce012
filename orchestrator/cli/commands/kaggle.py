"""`kgtts kaggle`: the official client on the same service."""

import click

from orchestrator.kaggle import run_stock_client


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kaggle(arguments: tuple[str, ...]) -> None:
    """Run the official `kaggle` command on the service that kgtts uses.

    The official client has no setting for the address, which an emulator needs: this command makes it use
    KGTTS_KAGGLE_URL and the credentials that kgtts finds, and changes nothing else.
    """
    run_stock_client(arguments)
