"""The nouns of kgtts as frozen values: kernels, sources, sessions, quotas, outputs and log events.

Nothing here does I/O, and nothing here knows the `kaggle` packages.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Self

from kernel_template.contract import LOCAL, PLACES, SKYPILOT
from kernel_template.settings import ResumeSettings
from orchestrator.errors import UsageError

_KERNEL = re.compile(
    r"(?P<owner>[a-z0-9][a-z0-9_-]*)/(?P<slug>[a-z0-9]+(?:-[a-z0-9]+)*)(?:/v?(?P<version>[1-9][0-9]{0,8}))?",
    re.ASCII | re.IGNORECASE,
)
# The address of a kernel's page, as `kgtts open` and a browser write it.
_PAGE = re.compile(r"^https?://[^/]+/code/([^?#]+?)/?(?:\?scriptVersionNumber=([0-9]+))?$")
_SIBLING_SUFFIXES = ("-a", "-b")
_PLACES = {LOCAL: "this machine", SKYPILOT: "SkyPilot"}
MIN_SLUG_LENGTH = 5  # kaggle 2.2.4 refuses shorter kernel slugs and titles before it sends anything.
MAX_SLUG_LENGTH = 50  # Kaggle has answered longer ones with a bare 500.
MAX_RUN_LENGTH = MAX_SLUG_LENGTH - len("-a")  # Of the slug that settings name: its kernels are SLUG-a and -b.
MAX_SOURCE_BYTES = 1_000_000  # "The kernel source must be less than 1 megabytes in size."


@dataclass(frozen=True, slots=True)
class KernelRef:
    """A kernel on Kaggle, or one version of it: `owner/slug` or `owner/slug/version`.

    Sessions outside Kaggle have names of the same form, which Kaggle must not be asked about: `is_elsewhere`.
    """

    owner: str
    slug: str
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `owner/slug`, `owner/slug/3`, `owner/slug/v3` or the address of the kernel's page.

        Raises:
            UsageError: the text is none of these.
        """
        match = _KERNEL.fullmatch(_PAGE.sub(r"\1/\2", text.strip()).rstrip("/"))
        if match:
            version = match["version"]
            return cls(match["owner"], match["slug"].lower(), int(version) if version else None)
        raise UsageError(
            f"{text!r} is not a kernel.",
            hint="write it as OWNER/SLUG or OWNER/SLUG/VERSION, as in the kernel's address on Kaggle",
        )

    @property
    def kernel(self) -> "KernelRef":
        """The same kernel without a version."""
        return KernelRef(self.owner, self.slug)

    @property
    def is_elsewhere(self) -> bool:
        """Whether its sessions ran outside Kaggle, which knows nothing of it; then a version is a session."""
        return self.owner.lower() in PLACES

    @property
    def place(self) -> str:
        """Where its sessions run, for people: the name of a place, or the kernel on Kaggle."""
        return _PLACES.get(self.owner.lower(), str(self.kernel))

    @property
    def version_label(self) -> str | None:
        """The version as Kaggle's requests want it, `v3`; the bare number gives a 404."""
        return None if self.version is None else f"v{self.version}"

    def at(self, version: int) -> "KernelRef":
        """This kernel at `version`."""
        return KernelRef(self.owner, self.slug, version)

    @property
    def siblings(self) -> "tuple[KernelRef, KernelRef]":
        """The two kernels of the run whose settings name this one.

        They take turns, since a kernel cannot mount its own output.
        """
        first, second = _SIBLING_SUFFIXES
        return KernelRef(self.owner, self.slug + first), KernelRef(self.owner, self.slug + second)

    @property
    def base(self) -> "KernelRef":
        """The kernel as settings name it, if this is one of its two siblings; else this kernel itself."""
        for suffix in _SIBLING_SUFFIXES:
            if self.slug.endswith(suffix):
                return KernelRef(self.owner, self.slug.removesuffix(suffix))
        return self.kernel

    def next_after(self, parent: "KernelRef | None") -> "KernelRef":
        """Of the two siblings, the one that can mount `parent` and so continue from it."""
        first, second = self.siblings
        return second if parent is not None and parent.kernel == first else first

    def __str__(self) -> str:
        base = f"{self.owner}/{self.slug}"
        return base if self.version is None else f"{base}/{self.version}"


class SessionState(StrEnum):
    """The states of a kernel session, as `GetKernelSessionStatus` names them (kagglesdk 0.1.37)."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    ERROR = "error"
    CANCEL_REQUESTED = "cancel_requested"
    CANCEL_ACKNOWLEDGED = "cancel_acknowledged"
    NEW_SCRIPT = "new_script"

    @property
    def is_terminal(self) -> bool:
        """Whether the session will not change any more; while outputs are still being saved, it may."""
        return self in (SessionState.COMPLETE, SessionState.ERROR, SessionState.CANCEL_ACKNOWLEDGED)

    @property
    def is_success(self) -> bool:
        """Whether the session ended as it should, with its outputs kept."""
        return self is SessionState.COMPLETE


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """What Kaggle says about one session: its state and, if it failed, why."""

    state: SessionState
    failure_message: str | None = None


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One line of a run's history. Steps and epochs are the run's own counts; times are seconds."""

    session: int
    kernel: str
    from_step: int
    to_step: int
    from_epoch: int
    to_epoch: int
    reason: str
    seconds: float

    @property
    def place(self) -> str:
        """Where it ran, for people: the name of a place, or the kernel on Kaggle."""
        return _PLACES.get(self.kernel.partition("/")[0], self.kernel)

    @property
    def is_elsewhere(self) -> bool:
        """Whether it ran outside Kaggle."""
        return self.place != self.kernel

    @property
    def advanced(self) -> bool:
        """Whether the session saved anything new."""
        return self.to_step > self.from_step


@dataclass(frozen=True, slots=True)
class KernelPush:
    """All that one push carries: the source, what it mounts, and the machine it asks for."""

    ref: KernelRef
    title: str
    source: str = field(repr=False)  # Signed URLs may be in it.
    accelerator: str | None  # Kaggle's machine shape; None asks for a CPU machine.
    private: bool = True
    internet: bool = True
    dataset_sources: tuple[str, ...] = ()
    model_sources: tuple[str, ...] = ()
    kernel_sources: tuple[str, ...] = ()
    docker_image: str | None = None
    docker_image_pinning: str | None = None
    session_timeout_s: int | None = None


@dataclass(frozen=True, slots=True)
class Pushed:
    """A push that Kaggle took: the version that it became, and its page."""

    ref: KernelRef
    url: str


@dataclass(frozen=True, slots=True)
class KernelInfo:
    """A kernel as Kaggle describes it: its newest version number, machine and, if asked for, source."""

    ref: KernelRef
    title: str
    latest_version: int | None
    accelerator: str | None = None
    private: bool | None = None
    last_run: datetime | None = None
    source: str | None = field(default=None, repr=False)  # As above.


@dataclass(frozen=True, slots=True)
class Quota:
    """The week's accelerator hours. `reserved` is what running sessions may still use."""

    used: timedelta
    reserved: timedelta
    allowed: timedelta
    refreshes_at: datetime | None

    @property
    def left(self) -> timedelta:
        """What a new session can still use: allowed, less used, less reserved; never negative."""
        return max(timedelta(0), self.allowed - self.used - self.reserved)


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a session left: the name that the server gives (do not trust it) and a signed URL."""

    name: str
    url: str = field(repr=False)  # The signature in it is a secret.


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of a dataset or a model version, with its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class InputArchive:
    """All files of a dataset's newest version, or of a model's version, as one file to download.

    Attributes:
        file: its name and its signed URL.
        identity: what another version does not have; empty if the server tells nothing that says so.
        size: its bytes, if the server tells.
    """

    file: OutputFile
    identity: str
    size: int | None


@dataclass(frozen=True, slots=True)
class InputDetails:
    """The metadata of a dataset or a model.

    Attributes:
        title: its title.
        private: whether nobody else sees it.
        subtitle: a line below the title; Kaggle wants 20 to 80 characters of a dataset's, or none.
        description: what it is, in Markdown.
        license: Kaggle's name of its licence. A model has none: each of its variations has one.
        keywords: Kaggle's tags; for datasets only.
    """

    title: str
    private: bool = True
    subtitle: str = ""
    description: str = ""
    license: str = ""
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sending:
    """How large files are uploaded.

    Attributes:
        sent: is told the bytes that were sent since it was told last; fewer than none if they are sent again.
        unfinished: a folder of this machine that remembers uploads that broke off; the next one goes on with
            them. What it holds lets whoever reads it fill that upload.
        say: is told what is being waited for.
    """

    sent: Callable[[int], None] = lambda _count: None
    unfinished: Path | None = None
    say: Callable[[str], None] = lambda _words: None


@dataclass(frozen=True, slots=True)
class ModelVariation:
    """A variation of a model, `owner/model/framework/variation`, and its newest version.

    `is_ready` says whether that version is processed, so that sessions can mount it; None if Kaggle does not
    tell.
    """

    source: str
    version: int
    is_ready: bool | None


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A piece of a session's log: its stream, seconds since the session's start, and its text.

    A piece is not a line: a line can come in several pieces, and a piece can hold several lines.
    """

    stream: str
    time_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Resume:
    """The session to continue from, so exactly that the kernel can refuse any other.

    Attributes:
        kernel: `owner/slug` of the sibling kernel whose output is mounted.
        version: the version that made this output.
        run: the run's id.
        session: the session's number.
        global_step: the step of its newest checkpoint; a mount with a lower one is of an older version.
        sha256: the SHA-256 of that checkpoint, in hex; None if unknown.
        dataset: `owner/slug` of the dataset that is mounted instead of the kernel's output, if there is one.
        downloads: the outputs that the kernel downloads itself, if nothing is mounted.
    """

    kernel: str
    version: int
    run: str
    session: int
    global_step: int
    sha256: str | None
    dataset: str | None = None
    downloads: tuple[OutputFile, ...] = ()

    def to_settings(self) -> ResumeSettings:
        """The section `resume` of the kernel's settings."""
        return {
            "kernel": self.kernel,
            "version": self.version,
            "run": self.run,
            "session": self.session,
            "global_step": self.global_step,
            "sha256": self.sha256,
            "dataset": self.dataset,
            "downloads": {file.name: file.url for file in self.downloads} or None,
        }
