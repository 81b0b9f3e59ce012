"""What goes with the news that a run is done: its newest sample, and a package of its voice."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kernel_template.contract import SAMPLES_FOLDER
from orchestrator.errors import KgttsError
from orchestrator.models import KernelRef
from orchestrator.report.sounds import spoken_folders
from orchestrator.results import Results
from orchestrator.run.look import Pass
from orchestrator.voice.card import load_card
from orchestrator.voice.facts import read_facts
from orchestrator.voice.finding import pulled_voice
from orchestrator.voice.package import write_package
from orchestrator.voice.packaging import VoiceDetails, package_contents

PACKAGE_FILE = "voice.zip"


def files_of(results: Results, done: Pass) -> Sequence[Path]:
    """What goes with the news of a pass's run; see `files_of_run`."""
    return () if done.view is None else files_of_run(results, done.view.base, done.view.run_id)


def files_of_run(results: Results, base: KernelRef, run_id: str) -> Sequence[Path]:
    """The newest sample of a run, and the package of its voice, made if it is not there yet.

    Either may be missing: nothing was pulled, or the extra that packaging needs is not installed.
    """
    run = results.of_run(base.slug, run_id)
    sessions = [item for item in results.find(str(base), None) if run in item.folder.parents]
    spoken = spoken_folders(item.folder / SAMPLES_FOLDER for item in sessions)
    found = [file for _, folder in sorted(spoken.items())[-1:] for file in folder.files[:1]]
    package = run / PACKAGE_FILE
    with suppress(KgttsError, ImportError):
        card = pulled_voice(sessions)
        if not package.is_file() or package.stat().st_mtime < card.stat().st_mtime:
            facts = read_facts(sessions, load_card(card).global_step, {})
            write_package(package, package_contents(card, facts, VoiceDetails(base.slug)).files)
        found.append(package)
    return [file for file in found if not file.is_symlink()]
