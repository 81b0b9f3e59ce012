"""What a push asks for, and what Kaggle would refuse about it.

Kaggle answers a refused push with HTTP 200 and `error` in the body. It leaves out unknown inputs, lists them
in the answer, and runs the session without them (client 2.2.4, kernels_push_cli). `[?]` How most refusals are
worded is a guess; the words about limits (see `limits`) are Kaggle's.
"""

import json
from dataclasses import dataclass, field

from slugify import slugify

from orchestrator.emulator.service.exceptions import ApiError, PushRejectedError
from orchestrator.emulator.service.kernels import Kernel, Version
from orchestrator.emulator.service.mounts import InputSources
from orchestrator.models import MAX_SLUG_LENGTH, MAX_SOURCE_BYTES, MIN_SLUG_LENGTH

_KERNEL_TYPES = ("script", "notebook")


@dataclass(frozen=True, slots=True)
class PushRequest:
    """A SaveKernel request.

    `slug` is `owner/slug` as in the metadata's id, `key` the numeric id; `timeout_s` is in seconds; `quick`
    saves a version without running it.
    """

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
    sources: InputSources = field(default_factory=InputSources)
    timeout_s: int | None = None
    quick: bool = False
    docker_image: str | None = None


@dataclass(frozen=True, slots=True)
class PushResult:
    """An accepted push: the saved version, and the inputs that cannot be mounted."""

    kernel: Kernel
    version: Version
    invalid: InputSources


def target_of(push: PushRequest, username: str, existing: Kernel | None) -> tuple[str, str]:
    """The slug and title of the kernel that a push goes to. The title decides the slug, whatever the id says.

    Args:
        push: the request.
        username: who pushes.
        existing: the kernel that the request's id names, if there is one.

    Raises:
        PushRejectedError: there is no id, it is another owner's, or the title is too short.
        ApiError: 500, as Kaggle has answered titles and slugs that are too long.
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
    if max(len(title), len(slug), len(name)) > MAX_SLUG_LENGTH:
        raise ApiError(500, "Internal Server Error")
    return name, title


def check_code(push: PushRequest) -> None:
    """Refuse a source that is too large, or that the emulator cannot run.

    Raises:
        PushRejectedError: the source is not Python, is empty, or is a notebook that is not JSON.
        ApiError: 400, the source is too large.
    """
    if len(push.text.encode()) >= MAX_SOURCE_BYTES:
        raise ApiError(400, "The kernel source must be less than 1 megabytes in size.")
    if push.kernel_type not in _KERNEL_TYPES:
        raise PushRejectedError(f"{push.kernel_type!r} is not a valid kernel type.")
    if push.language != "python":
        raise PushRejectedError(f"The emulator runs Python only, not {push.language!r}.")
    if not push.text:
        raise PushRejectedError("The kernel has no source.")
    if push.kernel_type == "notebook":
        runnable_source(push.text, push.kernel_type)


def runnable_source(text: str, kernel_type: str) -> str:
    """The Python program in a pushed source: the source itself, or a notebook's code cells in their order.

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
