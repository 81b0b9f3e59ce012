"""`kgtts publish`: a voice package on Kaggle or Hugging Face."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.commands.voice import about_options, contents_of, tell
from orchestrator.cli.context import (
    data_folder,
    json_option,
    load,
    on_interrupt,
    print_json,
    run_argument,
    workbench,
)
from orchestrator.cli.show.console import is_dumb, signs
from orchestrator.cli.show.uploading import sending_bar
from orchestrator.formatting import counted, size
from orchestrator.run.voice_publish import KagglePublication, variation_named
from orchestrator.voice.hugging_face import HuggingFace, PublishPlan, check_name
from orchestrator.voice.package import Package, open_package, write_package

_BROKE_OFF = "Stopped."
_GOES_ON = "run the same command again; what was sent is not sent again"


@click.group()
def publish() -> None:
    """Publish a voice, privately unless you say otherwise: the package of `kgtts voice package`."""


def _options(command: Any) -> Any:
    for option in (
        json_option,
        click.option("--dry-run", is_flag=True, help="Make and check the package, and send nothing."),
        click.option("--public", is_flag=True, help="Let everybody see what is made now. Default: private."),
        click.option(
            "--package",
            "package_file",
            type=click.Path(exists=True, path_type=Path),
            help="Publish this package, an archive or a folder, instead of making one.",
        ),
        about_options,
        run_argument,
    ):
        command = option(command)
    return command


@publish.command("kaggle", short_help="Publish a voice as a version of your Kaggle Model")
@click.option(
    "--to", "target", metavar="MODEL", help="[OWNER/]MODEL[/FRAMEWORK/VARIATION]. Default: SLUG-voice."
)
@_options
def kaggle(
    run: str | None, *, target: str | None, public: bool, dry_run: bool, as_json: bool, **about: Any
) -> None:
    """Publish a voice as a new version of your Kaggle Model, and wait until it is ready.

    Nothing is uploaded if the newest version holds the same package. A model that is made now is private, and
    the package's README is its description.
    """
    slug = load().settings.kernel.slug
    with on_interrupt(_BROKE_OFF, hint=_GOES_ON), _packaged(run, about, as_json=as_json) as package:
        with workbench() as bench:
            variation = variation_named(target, bench.kaggle.username, slug)
            publication = KagglePublication(bench.kaggle, bench.clock, variation, public=public)
            source = publication.plan(package).current
            is_new = source is None and not dry_run
            if is_new:
                total = sum(path.stat().st_size for path in package.paths.values())
                with sending_bar(total, data_folder()) as sending:
                    uploaded = publication.publish(package, sending=sending)
                source, is_new = uploaded.source, uploaded.is_new
        told = {"target": variation, "identity": package.identity, "uploaded": is_new, "version": source}
        if as_json:
            print_json({**told, "dry_run": dry_run})
            return
        if dry_run:
            _print_files(package, variation, package.paths if source is None else ())
        elif not is_new:
            click.echo(f"Nothing has changed: {source} holds this package already.")
        else:
            _done(f"Published {source}", f"https://www.kaggle.com/models/{source}")


@publish.command("hf", short_help="Publish a voice as a model on Hugging Face")
@click.argument("repository", metavar="OWNER/NAME")
@_options
def hf(repository: str, run: str | None, *, public: bool, dry_run: bool, as_json: bool, **about: Any) -> None:
    """Publish a voice as the model OWNER/NAME on Hugging Face.

    Needs the extra `publish` (huggingface_hub) and a login: `hf auth login`, or HF_TOKEN. Only files that
    differ are sent, and an upload that broke off goes on. Files that belong to no package stay, and a
    repository that is there stays private or public.
    """
    check_name(repository)
    service = HuggingFace(os.environ)  # Before the package, which takes a while.
    with on_interrupt(_BROKE_OFF, hint=_GOES_ON), _packaged(run, about, as_json=as_json) as package:
        plan = service.plan(package, repository, public=public)
        commit = plan.head if plan.is_current else None
        if not plan.is_current and not dry_run:
            commit = service.publish(package, plan, show_progress=sys.stderr.isatty() and not is_dumb())
        if as_json:
            told = {"target": repository, "url": service.url(repository), "identity": package.identity}
            changes = {"upload": plan.upload, "remove": plan.remove, "private": plan.is_private}
            print_json({**told, **changes, "commit": commit, "dry_run": dry_run})
        elif dry_run:
            _print_files(package, repository, plan.upload)
            _print_plan(plan)
        elif plan.is_current:
            click.echo(f"Nothing has changed: {service.url(repository)} holds this package already.")
        else:
            seen = "private" if plan.is_private else "public"
            _done(f"Published {repository} ({seen})", service.url(repository))


@contextmanager
def _packaged(run: str | None, about: dict[str, Any], *, as_json: bool) -> Iterator[Package]:
    """Give a verified package: that of `--package`, or one that is made now of the run's voice."""
    place: Path | None = about.pop("package_file")
    if place is not None:
        given = [name for name, value in {"run": run, **about}.items() if value is not None]
        if given:
            raise click.UsageError(
                "With --package the package says what it is; leave out RUN and its options."
            )
        with open_package(place) as package:
            yield package
        return
    contents = contents_of(run, **about)
    if not as_json:
        tell(contents)
    with tempfile.TemporaryDirectory(prefix="kgtts-voice-") as made:
        archive = Path(made, "voice.zip")
        write_package(archive, contents.files)
        with open_package(archive) as package:
            yield package


def _print_files(package: Package, target: str, names: Any) -> None:
    sizes = {name: path.stat().st_size for name, path in package.paths.items()}
    for name in names:
        click.echo(f"  {size(sizes[name]):>9}  {name}")
    total = size(sum(sizes[name] for name in names))
    click.echo(f"{counted(len(names), 'file')}, {total}, would be sent to {target}; nothing was.")


def _print_plan(plan: PublishPlan) -> None:
    if plan.remove:
        click.echo(f"Would be removed there: {', '.join(plan.remove)}")
    if not plan.exists:
        click.echo(f"{plan.repository} would be made, {'private' if plan.is_private else 'public'}.")


def _done(what: str, url: str) -> None:
    click.echo(f"{click.style(signs().done, fg='green')} {what}  {url}")
