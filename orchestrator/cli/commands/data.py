"""`kgtts data`: from a folder of recordings to a dataset."""

import click


@click.group()
def data() -> None:
    """Make a dataset from a folder of recordings and their transcript."""
