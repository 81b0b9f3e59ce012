"""What a push asks for, what is wrong with it, and what the answer says.

A push that Kaggle rejects is answered by HTTP 200 with `error` in the body; an unknown input is left out,
listed in the answer, and the session runs without it (client 2.2.4, kernels_push_cli). The words of most
refusals are `[?]`; the two about limits are Kaggle's.
"""

import json
from dataclasses import dataclass

from slugify import slugify

from orchestrator.emulator.service.records import Kernel, Version
from orchestrator.emulator.service.sources import Sources
from orchestrator.models import MIN_SLUG_LENGTH

_KERNEL_TYPES = ("script", "notebook")


@dataclass(frozen=True, slots=True)
class Push:
    """A SaveKernel request. `slug` is `owner/slug` as in the metadata's id, `timeout_s` in seconds."""

    slug: str | None
    key: int | None
    title: str | None
    text: str
    language: str
    kernel_type: str
    private: bool
    machine_shape: str | None
    enable_gpu: bool
    internet: bool
    dataset_sources: tuple[str, ...] = ()
    model_sources: tuple[str, ...] = ()
    kernel_sources: tuple[str, ...] = ()
    competition_sources: tuple[str, ...] = ()
    timeout_s: int | None = None
    quick: bool = False
    docker_image: str | None = None


@dataclass(frozen=True, slots=True)
class Invalid:
    """The inputs of a push that cannot be mounted, as they were written."""

    datasets: tuple[str, ...]
    models: tuple[str, ...]
    kernels: tuple[str, ...]
    competitions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pushed:
    """The answer to a push that was taken, with the inputs that were not."""

    kernel: Kernel
    version: Version
    invalid: Invalid


class PushRejectedError(Exception):
    """The push is refused; the text is the answer's `error`."""


@dataclass(frozen=True, slots=True)
class Target:
    """The kernel that a push means."""

    slug: str
    title: str


def target_of(push: Push, username: str, existing: Kernel | None) -> Target:
    """The kernel that a push ends up in: the one that its title slugifies to, whatever the id says.

    Args:
        push: the request.
        username: who pushes.
        existing: the kernel that the request's id names, if there is one.

    Raises:
        PushRejectedError: no id, another owner's id, or a title that is too short.
    """
    owner, _, slug = (push.slug or "").rpartition("/")
    if not slug and existing is None:
        raise PushRejectedError("A kernel must be named by its slug or its id.")
    if owner and owner.lower() != username.lower():
        raise PushRejectedError("You do not have permission to save a kernel for another user.")
    title = push.title or (existing.title if existing else slug)
    if len(title) < MIN_SLUG_LENGTH:
        raise PushRejectedError("Title must be at least five characters")
    name = slugify(title)
    if not name:
        raise PushRejectedError(f"The title {title!r} has no letter or digit that a slug could be made of.")
    return Target(name, title)


def check_code(push: Push) -> None:
    """Refuse what the emulator cannot run.

    Raises:
        PushRejectedError: not Python, no code, or a notebook that is not JSON.
    """
    if push.kernel_type not in _KERNEL_TYPES:
        raise PushRejectedError(f"{push.kernel_type!r} is not a valid kernel type.")
    if push.language != "python":
        raise PushRejectedError(f"The emulator runs Python only, not {push.language!r}.")
    if not push.text:
        raise PushRejectedError("The kernel has no source.")
    if push.kernel_type == "notebook":
        runnable_source(push.text, push.kernel_type)


def runnable_source(text: str, kernel_type: str) -> str:
    """The Python program in a pushed source: itself, or a notebook's code cells one after another.

    Raises:
        PushRejectedError: the notebook cannot be read.
    """
    if kernel_type == "script":
        return text
    try:
        cells = json.loads(text)["cells"]
        return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    except (ValueError, KeyError, TypeError) as error:
        raise PushRejectedError("The source is not a valid notebook.") from error


def invalid_sources(push: Push, sources: Sources, own_ref: str) -> Invalid:
    """The inputs that cannot be mounted: unknown ones, the kernel itself, and every competition."""
    datasets = tuple(s for s in push.dataset_sources if not sources.has_dataset(s))
    models = tuple(s for s in push.model_sources if sources.model(s) is None)
    kernels = tuple(
        s
        for s in push.kernel_sources
        if "/".join(s.lower().split("/")[:2]) == own_ref.lower() or sources.kernel(s) is None
    )
    return Invalid(datasets, models, kernels, push.competition_sources)
