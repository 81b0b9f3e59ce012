"""A pass for those who were not there: GitHub's job summary, outputs and annotations."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.github.outputs import annotation, in_actions, write_outputs
from orchestrator.cli.github.summary import failure, markdown
from orchestrator.cli.show.runs import pass_json

if TYPE_CHECKING:
    from orchestrator.errors import KgttsError
    from orchestrator.run.outlook import Outlook
    from orchestrator.run.passes import Pass


def report_pass(done: "Pass", outlook: "Outlook", *, summary: Path | None, outputs: Path | None) -> None:
    """Write the summary and the outputs where they are wanted; warnings become annotations in Actions."""
    if summary is not None:
        _append(summary, markdown(done, outlook))
    if outputs is not None:
        write_outputs(outputs, outputs_of(done))
    if in_actions():
        for warning in done.warnings:
            click.echo(annotation("warning", warning), err=True)


def report_failure(error: "KgttsError", summary: Path | None) -> None:
    """Say in the summary why there was no pass."""
    if summary is not None:
        _append(summary, failure(error))


def outputs_of(done: "Pass") -> dict[str, object]:
    """The outputs of action.yml; `done` and `over` say that no pass will push another session."""
    known = pass_json(done)
    named = {name: known[name] for name in ("state", "global_step", "session", "done", "over")}
    if done.collected is None:
        return {**named, "pulled": None, "artifact": None}
    folder = done.collected.folder
    # With the kernel: one workflow may train several voices. Neither has letters that are not allowed here.
    name = f"{done.collected.target.ref.slug}-{folder.name}"
    return {**named, "pulled": folder.absolute(), "artifact": name}


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8", errors="replace") as file:
        file.write(text)
