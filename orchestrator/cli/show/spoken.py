"""What is told about a spoken text: what was left out, what is doubtful."""

from collections.abc import Iterable

import click

from kernel_template.text.pieces import Spoken
from orchestrator.cli.show.console import warn
from orchestrator.voice.speech import name_all


def warn_of_losses(said: Spoken, unknown: Iterable[str] = ()) -> None:
    """Name, on standard error, what is not spoken and what the voice never met.

    Args:
        said: the text.
        unknown: what else the voice's vocabulary lacks.
    """
    silent = [loss.character for loss in said.lost if not loss.harmful]
    missed = dict.fromkeys((*(loss.character for loss in said.harmful), *unknown))
    missing = [character for character in missed if character not in silent]
    if missing:
        warn(f"Left out, though a listener would miss it: {name_all(missing)}", err=True)
    if silent:
        click.echo(f"Left out, as it has no sound: {name_all(silent)}", err=True)
    if said.doubtful:
        warn(f"Never in the voice's training texts, so perhaps wrong: {name_all(said.doubtful)}", err=True)
    for remark in said.remarks:
        warn(remark, err=True)
