"""`kgtts pull`."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator import formatting
from orchestrator.cli.context import Interrupted, json_option, load, print_json, run_argument, workbench
from orchestrator.errors import LocalError
from orchestrator.results import Results

if TYPE_CHECKING:
    from orchestrator.download import Counts
    from orchestrator.run.campaign import Collected, Target
    from orchestrator.run.collect import Outline


@click.command(short_help="Bring checkpoints, logs and samples here")
@run_argument
@click.option("--to", "folder", type=click.Path(file_okay=False, path_type=Path), help="The folder to fill.")
@click.option("--all", "everything", is_flag=True, help="Every file, not only those that [pull] chooses.")
@click.option("--include", "include", metavar="GLOB", multiple=True, help="Only what fits; may be repeated.")
@click.option("--exclude", "exclude", metavar="GLOB", multiple=True, help="Leave out what fits.")
@click.option("--dry-run", is_flag=True, help="Say what would be brought, with sizes, and bring nothing.")
@json_option
def pull(
    run: str | None,
    *,
    folder: Path | None,
    everything: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring a session's checkpoints, logs, config and samples to this machine.

    Files arrive whole and checked or not at all. What is here already, unchanged, is not fetched again, and
    a pull that was broken off goes on where it was. The session may be anybody's whose outputs you may read.
    """
    if everything and include:
        raise click.UsageError("--all brings everything; --include chooses. Give one of them.")
    from orchestrator.settings import select_outputs  # noqa: PLC0415  # Start-up.

    settings = load(None, ()).settings.pull
    patterns = ("*",) if everything else include or settings.include

    def choose(names: Sequence[str]) -> Sequence[str]:
        return select_outputs(names, patterns, exclude or (() if everything else settings.exclude))

    with workbench() as bench:
        target = bench.campaign.find(run, default=bench.default_kernel)
        place = folder
        if place is None:
            target, own = bench.campaign.folder_of(target, Results(Path(settings.to)))
            place = own.path
        if dry_run:
            _outline(bench.campaign.outline(target, place, choose), target, place, as_json=as_json)
            return
        try:
            with _listener(quiet=as_json) as listener:
                collected = bench.campaign.collect(target, place, choose, listener)
        except KeyboardInterrupt:
            raise Interrupted(
                "Stopped; files that are here are whole.",
                hint="run the same pull again: it goes on from here",
            ) from None
    _report(collected, as_json=as_json)
    if (click.get_current_context().obj or {}).get("verbose"):
        click.echo(_cost(collected.transfer.counts), err=True)
    if collected.transfer.refused:
        names = "; ".join(f"{item.name!r} {item.reason}" for item in collected.transfer.refused)
        raise LocalError(f"These files were left out, as their names are not safe to write here: {names}.")


def _cost(counts: "Counts") -> str:
    """What a transfer cost, in words."""
    return (
        f"{formatting.size(counts.received)} received, {formatting.size(counts.again)} of it fetched again; "
        f"{formatting.size(counts.resumed)} were here from an earlier pull; {counts.requests} requests, "
        f"{counts.retries} retries, {counts.connections} connections"
    )


def _outline(outline: "Outline", target: "Target", place: Path, *, as_json: bool) -> None:
    """Show what would be brought."""
    files = sorted(outline.files, key=lambda file: file.path)
    if as_json:
        print_json(
            {
                "kernel": str(target.ref.kernel),
                "version": target.ref.version,
                "state": outline.status.state.value,
                "folder": str(place),
                "files": [{"path": str(file.path), "size": file.size, "here": file.here} for file in files],
                "size": sum(file.size or 0 for file in files),
                "to_come": outline.to_come,
                "refused": [item.name for item in outline.refused],
                "left_out": outline.left_out,
            }
        )
        return
    for file in files:
        size = "?" if file.size is None else formatting.size(file.size)
        here = ""
        if file.here:
            here = "  here" if file.here == file.size else f"  {formatting.size(file.here)} here"
        click.echo(f"{size:>10}  {file.path}{here}")
    for item in outline.refused:
        click.secho(f"   refused  {item.name!r} {item.reason}", fg="yellow")
    total = formatting.size(sum(file.size or 0 for file in files))
    click.secho(
        f"{total:>10}  in {len(files)} files, {formatting.size(outline.to_come)} to come",
        fg="green",
        nl=False,
    )
    click.echo(f"  to {place}{os.sep}")
    if outline.left_out:
        click.echo(f"Not chosen: {outline.left_out} more; --all brings everything.")


def _report(collected: "Collected", *, as_json: bool) -> None:
    files = sorted(collected.transfer.files, key=lambda file: file.path)
    if as_json:
        print_json(
            {
                "kernel": str(collected.target.ref.kernel),
                "version": collected.target.ref.version,
                "state": collected.status.state.value,
                "folder": str(collected.folder),
                "files": [
                    {"path": str(file.path), "size": file.size, "unchanged": file.unchanged} for file in files
                ],
                "refused": [item.name for item in collected.transfer.refused],
                "left_out": collected.left_out,
                "transfer": asdict(collected.transfer.counts),
            }
        )
        return
    fresh = [file for file in files if not file.unchanged]
    same = f", {len(files) - len(fresh)} unchanged" if len(fresh) < len(files) else ""
    total = formatting.size(sum(file.size for file in fresh))
    click.secho(f"{collected.target.ref}: {len(fresh)} files, {total}{same}", fg="green", nl=False)
    click.echo(f"  in {collected.folder}{os.sep}")
    if collected.left_out:
        click.echo(f"Not chosen: {collected.left_out} more; --all brings everything.")
    if not collected.status.state.is_success:
        click.secho(f"The session ended with {collected.status.state}; see session.log there.", fg="yellow")


def _listener(*, quiet: bool) -> Any:
    from orchestrator.cli.show.transfer_display import Bar, Lines, Silent  # noqa: PLC0415  # Start-up.

    return Silent() if quiet else Bar() if sys.stdout.isatty() else Lines()
