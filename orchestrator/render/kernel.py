"""Settings to the one code file and the metadata of a push. Pure: it reads templates and writes nothing."""

import ast
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import SETTINGS_SCHEMA
from orchestrator.errors import SettingsError, UsageError
from orchestrator.models import KernelPush, KernelRef, SessionSummary
from orchestrator.render.literal import program_literal, python_literal
from orchestrator.render.package import TemplateError, Templates, contents, package_files
from orchestrator.render.stamp import RunStamp
from orchestrator.settings import Settings, title_from

CODE_FILE = "kaggle_tts_training.py"
METADATA_FILE = "kernel-metadata.json"
# No document gives Kaggle's limit and kaggle 2.2.4 checks none: a bound of ours, some times what is usual.
MAX_SOURCE_BYTES = 1_000_000
_TEMPLATE = "kernel.py.j2"


@dataclass(frozen=True, slots=True)
class Resume:
    """What a session continues from, exactly enough for the kernel to refuse anything else.

    Attributes:
        kernel: `owner/slug` of the sibling kernel whose output is mounted.
        version: the version whose output that should be.
        run: the run's id.
        session: the number of the session that left it.
        global_step: the step of its newest checkpoint; a mount with a lower one is an older version.
        sha256: the hash of that checkpoint, where its state tells it.
        dataset: `owner/slug` of the dataset that holds what the session left, mounted in the kernel's place.
    """

    kernel: str
    version: int
    run: str
    session: int
    global_step: int
    sha256: str | None
    dataset: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As the kernel's settings hold it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A kernel ready to be pushed, or to be written for the stock client's `kaggle kernels push`."""

    source: str
    metadata: str  # The text of kernel-metadata.json.
    code_file: str
    push: KernelPush


def render_kernel(
    settings: Settings,
    stamp: RunStamp,
    *,
    resume: Resume | None = None,
    before: Sequence[SessionSummary] = (),
    templates: Templates | None = None,
) -> Rendered:
    """The kernel of one session. The same arguments give the same bytes.

    Args:
        settings: settings that went through `Settings.with_owner`.
        stamp: the run and session; its `kernel` is the kernel to push to.
        resume: the session that is continued from, and what to mount for it; None starts from the base voice.
        before: sessions of the run that the one continued from does not know of; they enter the history.
        templates: the kernel's package and the metadata's template; None for those of this installation.

    Raises:
        SettingsError: the settings name no owner yet.
        TemplateError: a template or a file of the kernel is faulty.
        UsageError: the source has more than `MAX_SOURCE_BYTES`.
        LocalError: the templates are missing.
    """
    if not settings.kernel.owner:
        raise SettingsError("kernel.owner: the kernel has no owner yet, so its inputs are not fully written.")
    used = Templates.installed() if templates is None else templates
    source = _source(used.package, kernel_settings(settings, stamp, resume, before), stamp)
    ref = KernelRef.parse(stamp.kernel)
    machine = settings.accelerator
    push = KernelPush(
        ref=ref,
        title=_title(settings, ref),
        source=source,
        accelerator=machine.machine_shape,
        private=settings.kernel.private,
        internet=settings.kernel.internet,
        dataset_sources=_dataset_sources(settings, resume),
        model_sources=(settings.inputs.model,),
        kernel_sources=() if resume is None or resume.dataset is not None else (resume.kernel,),
        docker_image=settings.kernel.docker_image or None,
        docker_image_pinning=settings.kernel.docker_image_pinning or None,
        session_timeout_s=int(settings.session.budget.total_seconds()),
    )
    metadata = _render(used.metadata, push=push, code_file=CODE_FILE, enable_gpu=machine.has_gpu)
    return Rendered(source, metadata, CODE_FILE, push)


def _dataset_sources(settings: Settings, resume: Resume | None) -> tuple[str, ...]:
    others = (None if resume is None else resume.dataset, settings.install.wheelhouse)
    return (settings.inputs.dataset, *(source for source in others if source))


def _title(settings: Settings, ref: KernelRef) -> str:
    """The title that gives the kernel's slug; a sibling such as `slug-b` gets its letter behind the title."""
    suffix = ref.slug.removeprefix(settings.kernel.slug)
    if suffix == ref.slug:
        return title_from(ref.slug)
    return settings.title + suffix.replace("-", " ")


def kernel_settings(
    settings: Settings, stamp: RunStamp, resume: Resume | None = None, before: Sequence[SessionSummary] = ()
) -> dict[str, Any]:
    """The settings as the kernel reads them: its `SETTINGS`, schema 1. Times are seconds."""
    inputs, training, machine = settings.inputs, settings.training, settings.accelerator
    speed = settings.speed
    return {
        "schema": SETTINGS_SCHEMA,
        "run": stamp.to_dict(),
        "accelerator": machine.machine_shape,
        "gpu_name": machine.gpu_name,
        "gpus": machine.gpus if machine.has_gpu else None,
        "internet": settings.kernel.internet,
        "dataset": {"source": inputs.dataset, "script": inputs.script},
        "model": {"source": inputs.model, "config": inputs.config, "checkpoint": inputs.checkpoint},
        "training": {
            "model": training.model,
            "sample_rate": training.sample_rate,
            "language": training.language,
            "batch_size": training.batch_size,
            "epochs": training.epochs,
            "until_step": settings.run.until_step or None,
            "coqui": dict(training.coqui),
            "time_limit_s": int(training.time_limit.total_seconds()),
            "grace_s": int(settings.session.grace.total_seconds()),
        },
        "session_budget_s": int(settings.session.budget.total_seconds()),
        "stop": {"patience": settings.run.patience or None},
        "resume": None if resume is None else resume.to_dict(),
        "before": [asdict(item) for item in before],
        "speed": {
            "gpus": speed.gpus if machine.has_gpu else 1,
            "mixed_precision": speed.mixed_precision and machine.has_gpu,
            "cudnn_benchmark": speed.cudnn_benchmark and machine.has_gpu,
            # Without a GPU Coqui's configuration decides.
            "loader_workers": speed.loader_workers if machine.has_gpu else None,
            "length_buckets": speed.length_buckets if machine.has_gpu else 0,
        },
        "data": {
            "bad_samples": settings.data.bad_samples,
            "shortest_s": settings.data.shortest,
            "longest_s": settings.data.longest,
        },
        "disk": {
            "limit_bytes": int(settings.session.disk_limit * 1e9),
            "keep_checkpoints": settings.session.keep_checkpoints,
        },
        "install": {
            "packages": list(settings.install.packages),
            "wheelhouse": settings.install.wheelhouse or None,
        },
        "voice": {"onnx": settings.voice.onnx, "packages": list(settings.voice.packages)},
        "samples": {"sentences": list(settings.samples.sentences), "enabled": settings.samples.enabled},
    }


def _source(package: Path, settings: dict[str, Any], stamp: RunStamp) -> str:
    files = package_files(package)
    source = _render(
        package / _TEMPLATE, stamp=stamp, settings=settings, files=files, contents=contents(files)
    )
    _check(source, settings, files)
    return source


def _check(source: str, settings: dict[str, Any], files: dict[str, str]) -> None:
    """Compile the finished source once, and read back what was written into it."""
    size = len(source.encode())
    if size > MAX_SOURCE_BYTES:
        raise UsageError(
            f"The kernel's source would be {size:,} bytes, more than the {MAX_SOURCE_BYTES:,} that kgtts "
            f"pushes: the settings take up {len(repr(settings).encode()):,} of them. Shorten "
            "samples.sentences or training.coqui in kgtts.toml."
        )
    try:
        tree = ast.parse(source, CODE_FILE)
        compile(tree, CODE_FILE, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise TemplateError(f"{_TEMPLATE} does not give valid Python: {error}.") from None
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("SETTINGS", "FILES")
    }
    if values != {"SETTINGS": settings, "FILES": files}:
        raise TemplateError(f"{_TEMPLATE} does not assign SETTINGS and FILES as they were given.")


def _render(template: Path, **values: object) -> str:
    # Imported here because every `kgtts status` imports this module to read a stamp.
    import jinja2  # noqa: PLC0415 - see above

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - Python and JSON, not HTML; values enter as checked literals
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"pyliteral": python_literal, "program": program_literal}
    try:
        return environment.get_template(template.name).render(values)
    except jinja2.TemplateError as error:
        line = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise TemplateError(f"{template}{line}: {error.message}.") from None
