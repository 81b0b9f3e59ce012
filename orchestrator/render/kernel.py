"""Renders the code file and the metadata of a push."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kernel_template import contract
from kernel_template.contract import SETTINGS_SCHEMA, Session
from kernel_template.settings import SessionSettings, VoiceOf
from orchestrator.errors import SettingsError, UsageError
from orchestrator.files import write_atomically
from orchestrator.models import MAX_SOURCE_BYTES, KernelPush, KernelRef, Resume, SessionSummary
from orchestrator.render.literal import program_literal, python_literal
from orchestrator.render.package import TemplateError, Templates, contents, package_files
from orchestrator.render.stamp import RunStamp
from orchestrator.settings import Settings, title_from

if TYPE_CHECKING:
    import jinja2

CODE_FILE = "kaggle_tts_training.py"
METADATA_FILE = "kernel-metadata.json"
_TEMPLATE = "kernel.py.j2"
_OWN_GPUS = "own"  # In place of a name that Kaggle has for a machine.


@dataclass(frozen=True, slots=True)
class Rendered:
    """A kernel to push, or to write to a folder for `kaggle kernels push`."""

    source: str = field(repr=False)  # Signed URLs may be in it.
    metadata: str  # The text of kernel-metadata.json.
    code_file: str
    push: KernelPush


@dataclass(frozen=True, slots=True)
class OwnMachine:
    """A machine outside Kaggle: what of a kernel's settings it decides itself.

    The kernel serves all sessions of the run there: see `kernel_template.place`. No Kaggle kills them.

    Attributes:
        gpus: how many NVIDIA GPUs it has, whatever their names; 0 trains on the CPU.
        budget_s: the seconds that a session may take; None for no limit.
        disk_bytes: what the outputs of a session may take; None for no limit.
        series_s: the seconds that all sessions under the kernel's name may take; None for no limit.
        save_every_s: how old the newest checkpoint may get; None leaves it to Coqui's settings.
        internet: whether a session may install Coqui TTS.
    """

    gpus: int
    budget_s: int | None
    disk_bytes: int | None
    series_s: int | None = None
    save_every_s: int | None = None
    internet: bool = False


def render_kernel(  # noqa: PLR0913 - the last four have defaults.
    settings: Settings,
    stamp: RunStamp,
    *,
    resume: Resume | None = None,
    before: Sequence[SessionSummary] = (),
    machine: OwnMachine | None = None,
    templates: Templates | None = None,
) -> Rendered:
    """Render the kernel of one session. The same arguments give the same bytes. Writes nothing.

    Args:
        settings: settings that went through `Settings.with_owner`.
        stamp: the run and session; its `kernel` is the kernel to push to.
        resume: the session to continue from, and what to mount for it; None starts from the base voice.
        before: sessions of the run that `resume` does not know of, for the run's history.
        machine: the machine, if it is not one of Kaggle's.
        templates: the kernel's package and the metadata's template; None for those of this installation.

    Raises:
        SettingsError: the settings have no owner yet.
        TemplateError: a template or a file of the kernel is faulty.
        UsageError: the source is larger than `MAX_SOURCE_BYTES`.
        LocalError: the templates are missing.
    """
    if not settings.kernel.owner:
        raise SettingsError("kernel.owner is not set, so the names of the inputs are incomplete.")
    used = Templates.installed() if templates is None else templates
    asked = kernel_settings(settings, stamp, resume, before, machine)
    source = _source(used.package, asked, stamp, elsewhere=machine is not None)
    ref = KernelRef.parse(stamp.kernel)
    push = KernelPush(
        ref=ref,
        title=_title(settings, ref),
        source=source,
        accelerator=settings.accelerator.machine_shape,
        private=settings.kernel.private,
        internet=settings.kernel.internet,
        dataset_sources=_dataset_sources(settings, resume),
        model_sources=(settings.inputs.model,),
        kernel_sources=_kernel_sources(settings, resume),
        docker_image=settings.kernel.docker_image or None,
        docker_image_pinning=settings.kernel.docker_image_pinning or None,
        session_timeout_s=int(settings.session.budget.total_seconds()),
    )
    metadata = _render(used.metadata, push=push, code_file=CODE_FILE, enable_gpu=settings.accelerator.has_gpu)
    return Rendered(source, metadata, CODE_FILE, push)


def _dataset_sources(settings: Settings, resume: Resume | None) -> tuple[str, ...]:
    others = (None if resume is None else resume.dataset, settings.install.wheelhouse)
    return (settings.inputs.dataset, *(source for source in others if source))


def _kernel_sources(settings: Settings, resume: Resume | None) -> tuple[str, ...]:
    """The kernels to mount: that of the session before, or of the session whose voice the run begins with."""
    if resume is not None:
        return () if resume.dataset is not None or resume.downloads else (resume.kernel,)
    voice = _voice_of(settings, resume)
    return () if voice is None else (voice["kernel"],)


def _voice_of(settings: Settings, resume: Resume | None) -> VoiceOf | None:
    """The session whose voice is the base voice; None for a session that continues its own run."""
    other = settings.inputs.other_voice if resume is None else None
    return None if other is None else {"kernel": other[0], "run": other[1], "session": other[2]}


def _title(settings: Settings, ref: KernelRef) -> str:
    """The title that gives the kernel's slug; that of a sibling such as `slug-b` ends with its letter."""
    suffix = ref.slug.removeprefix(settings.kernel.slug)
    if suffix == ref.slug:
        return title_from(ref.slug)
    return settings.title + suffix.replace("-", " ")


def kernel_settings(
    settings: Settings,
    stamp: RunStamp,
    resume: Resume | None = None,
    before: Sequence[SessionSummary] = (),
    machine: OwnMachine | None = None,
) -> SessionSettings:
    """Make the kernel's SETTINGS. Times are in seconds."""
    inputs, training, speed = settings.inputs, settings.training, settings.speed
    kaggle, budget_s = settings.accelerator, int(settings.session.budget.total_seconds())
    has_gpu = kaggle.has_gpu if machine is None else machine.gpus > 0
    values: SessionSettings = {
        "schema": SETTINGS_SCHEMA,
        "run": stamp.to_dict(),
        "accelerator": kaggle.machine_shape,
        "gpu_name": kaggle.gpu_name,
        "gpus": kaggle.gpus if has_gpu else None,
        "internet": settings.kernel.internet,
        "dataset": {"source": inputs.dataset, "script": inputs.script},
        "model": {
            "source": inputs.model,
            "config": inputs.config,
            "checkpoint": inputs.checkpoint,
            "voice_of": _voice_of(settings, resume),
        },
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
        "session_budget_s": budget_s,
        "stop": {"patience": settings.run.patience or None},
        "resume": None if resume is None else resume.to_settings(),
        "before": [_session(item) for item in before],
        "speed": {
            "gpus": speed.gpus if has_gpu else 1,
            "mixed_precision": speed.mixed_precision and has_gpu,
            "cudnn_benchmark": speed.cudnn_benchmark and has_gpu,
            "round_lengths": speed.round_lengths and has_gpu,
            "deterministic": speed.deterministic and has_gpu,
            # Without a GPU Coqui's configuration decides.
            "loader_workers": speed.loader_workers if has_gpu else None,
            "length_buckets": speed.length_buckets if has_gpu else 0,
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
        "scores": {
            "enabled": settings.scores.enabled,
            "share": settings.scores.share,
            "sentences": settings.scores.sentences,
            "packages": list(settings.scores.packages),
            "recogniser": settings.scores.recogniser or None,
            "best_by": settings.run.best_by,
        },
    }
    if machine is not None:
        values["accelerator"], values["gpu_name"] = (_OWN_GPUS if has_gpu else None), None
        values["gpus"] = machine.gpus if has_gpu else None
        values["session_budget_s"], values["series_budget_s"] = machine.budget_s, machine.series_s
        values["training"]["time_limit_s"] = contract.UNLIMITED_S  # The budgets end a session.
        values["internet"], values["save_every_s"] = machine.internet, machine.save_every_s
        values["disk"]["limit_bytes"], values["install"]["wheelhouse"] = machine.disk_bytes, None
    return values


def _session(summary: SessionSummary) -> Session:
    return {
        "session": summary.session,
        "kernel": summary.kernel,
        "from_step": summary.from_step,
        "to_step": summary.to_step,
        "from_epoch": summary.from_epoch,
        "to_epoch": summary.to_epoch,
        "reason": summary.reason,
        "seconds": summary.seconds,
    }


def _source(package: Path, settings: SessionSettings, stamp: RunStamp, *, elsewhere: bool) -> str:
    files = package_files(package, elsewhere=elsewhere)
    source = _render(
        package / _TEMPLATE,
        stamp=stamp,
        settings=settings,
        files=files,
        contents=contents(files),
        contract=contract,
    )
    if not elsewhere:
        _check_size(source, settings)
    _check(source, settings, files)
    return source


def _check_size(source: str, settings: SessionSettings) -> None:
    size = len(source.encode())
    if size >= MAX_SOURCE_BYTES:
        raise UsageError(
            f"The kernel's source would be {size:,} bytes; Kaggle takes less than {MAX_SOURCE_BYTES:,}: "
            f"the settings take up {len(repr(settings).encode()):,} of them. Shorten "
            "samples.sentences or training.coqui in kgtts.toml."
        )


def _check(source: str, settings: SessionSettings, files: dict[str, str]) -> None:
    """Compile the finished source once, and read back what was written into it."""
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

    try:
        return _environment(template.parent).get_template(template.name).render(values)
    except jinja2.TemplateError as error:
        line = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise TemplateError(f"{template}{line}: {error.message}.") from None


@cache
def _environment(folder: Path) -> "jinja2.Environment":
    """Make what renders the templates of a folder; it reads one again that was changed."""
    import jinja2  # noqa: PLC0415 - as above

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - Python and JSON, not HTML; values enter as checked literals
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"pyliteral": python_literal, "program": program_literal}
    return environment


def write_rendered(rendered: Rendered, folder: Path) -> tuple[Path, Path]:
    """Write the code file and `kernel-metadata.json` into `folder`, for `kaggle kernels push -p`.

    The folder is made if it is missing. These two files are replaced; nothing else in it is changed.

    Returns:
        The paths of the code file and of the metadata.

    Raises:
        LocalError: the folder cannot be made or written.
    """
    files = {rendered.code_file: rendered.source, METADATA_FILE: rendered.metadata}
    for name, text in files.items():
        write_atomically(folder / name, text)
    return folder / rendered.code_file, folder / METADATA_FILE
