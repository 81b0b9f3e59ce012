"""Renders the task that `sky jobs launch` runs: a YAML file, and the kernel beside it.

The YAML is that of skypilot 0.14 (its sky/utils/schemas.py); tests let the real package read it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
import yaml

from kernel_template.contract import SKYPILOT
from orchestrator.errors import SettingsError, UsageError
from orchestrator.files import expanded, write_atomically
from orchestrator.models import KernelRef
from orchestrator.places.inputs import USUAL_DATA
from orchestrator.render.kernel import OwnMachine, render_kernel
from orchestrator.render.package import TemplateError
from orchestrator.run.dataset_upload import TOP, dataset_root
from orchestrator.run.push import RUN_ID_LENGTH, make_stamp
from orchestrator.settings import Settings, fingerprint, format_duration
from orchestrator.settings.accelerators import NONE
from orchestrator.settings.fields import is_bucket

TASK_FILE = "task.yaml"
KERNEL_FILE = PurePosixPath("program/kernel.py")  # In a folder: SkyPilot makes hard links of single files.
_IGNORE = ".skyignore"
_IGNORES_NOTHING = "# kgtts wrote this, so that SkyPilot uploads also what git ignores here.\n"
_HERE = Path(__file__).resolve().parent
_TEMPLATE = "task.yaml.j2"
_ROOT = "~/kgtts"  # On each machine: what Kaggle calls /kaggle.
_BUCKET, _VOLUME = f"{_ROOT}/results", "/kgtts-results"  # Where results are mounted.
_WITHOUT_SPOT = ("k8s", "kubernetes", "ssh", "slurm")
_SHORTEST_S = 120.0  # Of a session, besides the time for saving.
_CPUS = "4+"  # Of a machine without a GPU.
_SYSTEM_GB = 15  # Of the disk: the system, packages with CUDA's libraries.


@dataclass(frozen=True, slots=True)
class SkyPilotTask:
    """A task: its fields are those of SkyPilot's YAML.

    Attributes:
        run: the id of the run that it trains.
        series: where its sessions' results are, as one names it on this computer; None for a volume or a
            folder of the machines, which this computer may not see.
    """

    run_id: str
    series: str | None
    kernel: str = field(repr=False)
    name: str
    num_nodes: int
    resources: Mapping[str, Any]
    envs: Mapping[str, str]
    file_mounts: Mapping[str, Any]
    volumes: Mapping[str, str]
    setup: str
    run: str

    def config(self) -> dict[str, Any]:
        """The content of the YAML, but for the recovery of jobs, which the template says."""
        keys = ("name", "num_nodes", "resources", "envs", "file_mounts", "volumes", "setup", "run")
        return {key: value for key, value in asdict(self).items() if key in keys and value != {}}


def render_task(
    settings: Settings,
    folder: Path,
    *,
    run_id: str | None = None,
    find_voice: Callable[[str], Path] | None = None,
) -> SkyPilotTask:
    """Make the task of a run. Writes nothing.

    Args:
        settings: settings that went through `Settings.with_owner`.
        folder: where it will be written: the task names the kernel's file in it.
        run_id: the run to continue; None is the run of these settings: what is trained gives its id.
        find_voice: brings a base voice that is named otherwise than by its folder here, converted.

    Raises:
        UsageError: a setting is missing, or does not fit; inputs are not there.
    """
    sky = settings.skypilot
    if not sky.results:
        raise SettingsError(
            "skypilot.results is not set, so sessions would leave their results nowhere.",
            hint='set it in kgtts.toml, such as results = "s3://my-bucket/voices" in [skypilot]',
        )
    if settings.inputs.voice_of:
        raise UsageError(
            f"inputs.voice_of = {settings.inputs.voice_of}: a session on SkyPilot cannot begin with another "
            "run's voice.",
            hint="put that run's best model and config.json into a folder, and name it in skypilot.voice",
        )
    least = settings.session.grace.total_seconds() + _SHORTEST_S
    if sky.hours * 3600 < least:
        raise SettingsError(
            f"skypilot.hours = {sky.hours:g}: no session would fit into it, since session.grace "
            f"({format_duration(settings.session.grace)}) is kept for saving.",
            hint=f"set at least hours = {ceil(least / 36) / 100:g}",
        )
    run = run_id or fingerprint(settings)[:RUN_ID_LENGTH]
    slug = settings.kernel.slug
    mount, place = _results(sky.results)
    return SkyPilotTask(
        run_id=run,
        series=f"{sky.results}/{slug}/{run}" if is_bucket(sky.results) else None,
        kernel=_kernel(settings, run),
        name=f"kgtts-{slug}",
        num_nodes=sky.nodes,
        resources=_resources(settings),
        envs={
            "KGTTS_RESULTS": place,
            "KGTTS_RUN": f"{slug}/{run}",
            "KGTTS_PACKAGES": "\n".join(settings.install.packages),
        },
        file_mounts={
            f"{_ROOT}/{KERNEL_FILE.parent}": str(folder.absolute() / KERNEL_FILE.parent),
            **_data(settings),
            **_voice(settings, find_voice),
            **({place: mount} if isinstance(mount, dict) else {}),
        },
        volumes={place: mount} if isinstance(mount, str) else {},
        setup=(_HERE / "setup.sh").read_text(encoding="utf-8"),
        run=(_HERE / "run.sh").read_text(encoding="utf-8"),
    )


def write_task(task: SkyPilotTask, folder: Path) -> tuple[Path, ...]:
    """Write the task and the kernel into `folder`, which is made if it is missing.

    SkyPilot does not upload what git ignores (its sky/data/storage_utils.py), and who ignores `data` in a
    repository would train on nothing. A .skyignore in a folder takes the place of git's rules there, so one
    without rules is written into the kernel's folder, and into inputs that lie in a repository.

    Returns:
        The paths of the task, of the kernel, and of each .skyignore that was written into an input.

    Raises:
        TemplateError: the template does not give the task.
        LocalError: the folder cannot be made or written, or an input cannot.
    """
    kernel, path = folder / KERNEL_FILE, folder / TASK_FILE
    text = _text(task, path)
    write_atomically(kernel, task.kernel)
    write_atomically(kernel.with_name(_IGNORE), _IGNORES_NOTHING)
    sources = [Path(source) for source in task.file_mounts.values() if isinstance(source, str)]
    inputs = [source for source in sources if source.is_dir() and source != kernel.parent.absolute()]
    written = [source / _IGNORE for source in inputs if _is_in_repository(source)]
    written = [place for place in written if not place.exists()]
    for place in written:
        write_atomically(place, _IGNORES_NOTHING)
    write_atomically(path, text)
    return path, kernel, *written


def _is_in_repository(folder: Path) -> bool:
    """Whether git may have rules for a folder."""
    resolved = folder.resolve()
    return any((place / ".git").exists() for place in (resolved, *resolved.parents))


def _text(task: SkyPilotTask, path: Path) -> str:
    """The YAML, read back: every value in it is what it was.

    Raises:
        TemplateError: it is not.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - YAML, not HTML; values enter as checked literals
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["yaml"] = _literal
    text = environment.get_template(_TEMPLATE).render(task=task, path=json.dumps(str(path)), run=task.run_id)
    try:
        found = yaml.safe_load(text)
        recovery = found["resources"].pop("job_recovery")
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise TemplateError(f"{_TEMPLATE} does not give valid YAML: {error}.") from None
    if found != task.config() or not recovery:
        raise TemplateError(f"{_TEMPLATE} does not give the task's values as they were set.")
    return text


def _literal(value: object) -> str:
    """A value as YAML: JSON is YAML, but for characters that YAML does not take, which `_text` finds."""
    return json.dumps(value, ensure_ascii=False)


def _resources(settings: Settings) -> dict[str, Any]:
    sky = settings.skypilot
    found: dict[str, Any] = {}
    if sky.infra:
        found["infra"] = sky.infra
    if sky.gpus == NONE:
        found["cpus"] = _CPUS
    else:
        found["accelerators"] = sky.gpus
    if sky.spot and sky.infra.partition("/")[0].lower() not in _WITHOUT_SPOT:
        found["use_spot"] = True
    if sky.image:
        found["image_id"] = sky.image
    found["disk_size"] = sky.disk_size
    if sky.dollars:
        found["max_hourly_cost"] = max(0.01, int(100 * sky.dollars / sky.hours / sky.nodes) / 100)
    return found


def _results(results: str) -> tuple[dict[str, str] | str | None, str]:
    """What is mounted for the results (a bucket, or the name of a volume), and where they are."""
    if is_bucket(results):
        # Not MOUNT_CACHED, which uploads later: a machine that is taken away would take a checkpoint along.
        return {"source": results, "mode": "MOUNT"}, _BUCKET
    return (None, results) if results.startswith("/") else (results, _VOLUME)


def _data(settings: Settings) -> dict[str, str]:
    """The dataset's mount.

    Raises:
        UsageError: it is not named, or not there.
    """
    mount = f"{_ROOT}/input/datasets/{settings.inputs.dataset}"
    source = settings.skypilot.data or settings.train.data
    if is_bucket(source):
        return {mount: source}
    if not source and Path(USUAL_DATA).is_dir():
        source = USUAL_DATA
    root = dataset_root(_folder(source, "data", "dataset"))
    return {f"{mount}/{TOP}": str(root)}


def _voice(settings: Settings, find_voice: Callable[[str], Path] | None) -> dict[str, str]:
    """The base voice's mount.

    Raises:
        UsageError: it is not named, or not there.
    """
    mount, inputs = f"{_ROOT}/input/models/{settings.inputs.model}", settings.inputs
    source = settings.skypilot.voice or settings.train.voice
    if is_bucket(source):
        return {mount: source}
    names = [PurePosixPath(inputs.config), PurePosixPath(inputs.checkpoint)]
    common = names[0].parent if names[0].parent == names[1].parent else None
    is_named = source and not expanded(source).is_dir()
    folder = find_voice(source) if is_named and find_voice else _folder(source, "voice", "base voice")
    for below in (PurePosixPath(), common):
        if below is not None and all((folder / name.relative_to(below)).is_file() for name in names):
            return {str(PurePosixPath(mount, below)): str(folder)}
    raise UsageError(
        f"{folder} holds no base voice: it lacks {inputs.config} or {inputs.checkpoint}.",
        hint="inputs.config and inputs.checkpoint say how its files are called",
    )


def _folder(source: str, key: str, what: str) -> Path:
    """The folder of an input.

    Raises:
        UsageError: it is not named, or not there.
    """
    if not source:
        raise SettingsError(
            f"skypilot.{key} is not set, so the machines would have no {what}.",
            hint=f"name it in kgtts.toml, in [skypilot]: {key} = a folder or a bucket"
            + (", or a name of `kgtts base list`" if key == "voice" else ""),
        )
    folder = expanded(source).absolute()
    if not folder.is_dir():
        raise UsageError(f'skypilot.{key} = "{source}": there is no such folder on this machine.')
    return folder


def _kernel(settings: Settings, run: str) -> str:
    """The kernel's source. All its sessions together may take the hours."""
    sky = settings.skypilot
    gpus = 0 if sky.gpus == NONE else int(sky.gpus.partition(":")[2] or 1)
    machine = OwnMachine(
        gpus,
        budget_s=None,
        disk_bytes=(sky.disk_size - _SYSTEM_GB) * 10**9,
        series_s=round(sky.hours * 3600),
        save_every_s=round(sky.save_every.total_seconds()),
        internet=True,
    )
    stamp = make_stamp(settings, KernelRef(SKYPILOT, settings.kernel.slug), run_id=run)
    return render_kernel(settings, stamp, machine=machine).source
