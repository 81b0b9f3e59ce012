"""Renders the task that `sky jobs launch` runs: a YAML file, and the kernel beside it.

The YAML is that of skypilot 0.14 (its sky/utils/schemas.py); tests let the real package read it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import jinja2
import yaml

from orchestrator.errors import SettingsError, UsageError
from orchestrator.files import write_atomically
from orchestrator.models import KernelRef
from orchestrator.render.kernel import render_kernel
from orchestrator.render.package import TemplateError
from orchestrator.run.push import RUN_ID_LENGTH, make_stamp
from orchestrator.settings import Settings, fingerprint
from orchestrator.settings.accelerators import NONE, Accelerator
from orchestrator.settings.fields import is_bucket

TASK_FILE = "task.yaml"
KERNEL_FILE = "kernel.py"
OWNER = "skypilot"  # Of the kernel's name in histories: skypilot/SLUG.
_HERE = Path(__file__).resolve().parent
_TEMPLATE = "task.yaml.j2"
_ROOT = "~/kgtts"  # On each machine: what Kaggle calls /kaggle.
_BUCKET, _VOLUME = f"{_ROOT}/results", "/kgtts-results"  # Where results are mounted.
_WITHOUT_SPOT = ("k8s", "kubernetes", "ssh", "slurm")
_CPUS = "4+"  # Of a machine without a GPU.


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


def render_task(settings: Settings, folder: Path, *, run_id: str | None = None) -> SkyPilotTask:
    """Make the task of a run. Writes nothing.

    Args:
        settings: settings that went through `Settings.with_owner`.
        folder: where it will be written: the task names the kernel's file in it.
        run_id: the run to continue; None is the run of these settings: what is trained gives its id.

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
            hint="put that run's best model and config.json into a folder, and name it in skypilot.model",
        )
    run = run_id or fingerprint(settings)[:RUN_ID_LENGTH]
    slug, kernel = settings.kernel.slug, KernelRef(OWNER, settings.kernel.slug)
    mount, place = _results(sky.results)
    return SkyPilotTask(
        run_id=run,
        series=f"{sky.results}/{slug}/{run}" if is_bucket(sky.results) else None,
        kernel=render_kernel(
            _limited(settings), make_stamp(settings, kernel, run_id=run), machine=_machine(sky.gpus)
        ).source,
        name=f"kgtts-{slug}",
        num_nodes=sky.nodes,
        resources=_resources(settings),
        envs={
            "KGTTS_RESULTS": place,
            "KGTTS_RUN": f"{slug}/{run}",
            "KGTTS_PACKAGES": "\n".join(settings.install.packages),
        },
        file_mounts={
            f"{_ROOT}/{KERNEL_FILE}": str(folder.absolute() / KERNEL_FILE),
            f"{_ROOT}/input/datasets/{settings.inputs.dataset}": _input("dataset", sky.dataset),
            f"{_ROOT}/input/models/{settings.inputs.model}": _input("model", sky.model),
            **({place: mount} if isinstance(mount, dict) else {}),
        },
        volumes={place: mount} if isinstance(mount, str) else {},
        setup=(_HERE / "setup.sh").read_text(encoding="utf-8"),
        run=(_HERE / "run.sh").read_text(encoding="utf-8"),
    )


def write_task(task: SkyPilotTask, folder: Path) -> tuple[Path, Path]:
    """Write the task and the kernel into `folder`, which is made if it is missing.

    Returns:
        The paths of the task and of the kernel.

    Raises:
        TemplateError: the template does not give the task.
        LocalError: the folder cannot be made or written.
    """
    kernel, path = folder / KERNEL_FILE, folder / TASK_FILE
    text = _text(task, path)
    write_atomically(kernel, task.kernel)
    write_atomically(path, text)
    return path, kernel


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


def _input(name: str, source: str) -> str:
    """The bucket or the absolute path of an input.

    Raises:
        UsageError: it is not named, or not there.
    """
    if not source:
        what = "dataset" if name == "dataset" else "base voice"
        raise SettingsError(
            f"skypilot.{name} is not set, so a machine would have no {what}.",
            hint=f"name its folder or bucket in kgtts.toml: {name} = ... in [skypilot]",
        )
    if is_bucket(source):
        return source
    folder = Path(source).expanduser().absolute()
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UsageError(f'skypilot.{name} = "{source}": there is no such folder, or nothing is in it.')
    if "$" in str(folder):
        raise UsageError(f'skypilot.{name} = "{source}": SkyPilot takes a $ in a path for a variable.')
    return str(folder)


def _machine(gpus: str) -> Accelerator:
    """The machine as the kernel knows it: so many GPUs, of whatever name the driver gives them."""
    if gpus == NONE:
        return Accelerator(NONE, None, 0)
    return Accelerator(gpus, "", int(gpus.partition(":")[2] or 1))


def _limited(settings: Settings) -> Settings:
    """The settings with `skypilot.hours` as the limits of a session: no machine there ends it after 12 hours.

    How long earlier sessions took is subtracted by the session itself.
    """
    budget = timedelta(hours=settings.skypilot.hours)
    grace = min(settings.session.grace, budget / 2)
    training = settings.training.model_copy(update={"time_limit": budget - grace})
    session = settings.session.model_copy(update={"budget": budget, "grace": grace})
    return settings.model_copy(update={"training": training, "session": session})
