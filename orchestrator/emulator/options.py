"""The emulator's options, the mount layouts to choose from, and its clock."""

import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from orchestrator.errors import UsageError

INSTALL_HINT = (
    'in a clone of kgtts, pip install ".[local]" --constraint constraints.txt. On Linux without an NVIDIA '
    "GPU, write PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu before it: otherwise pip downloads "
    "gigabytes of CUDA libraries"
)
SANDBOXES = ("auto", "namespace", "relocate")
ABSENT = (403, 404)


@dataclass(frozen=True, slots=True)
class MountLayout:
    """Where below /kaggle/input a session finds its inputs: one template for each kind of input.

    Templates may use: owner, slug (datasets, kernels); owner, model, framework, variation, version (models).
    """

    dataset: str
    model: str
    kernel: str


# All layouts that Kaggle is known to have had, newest first. `kgtts emulator --layout` offers these names.
# `kernel_template/start/mounts.py` searches for inputs in a session: teach it a new layout as well.
MOUNT_LAYOUTS = {
    "current": MountLayout(
        dataset="datasets/{owner}/{slug}",
        model="models/{owner}/{model}/{framework}/{variation}/{version}",
        kernel="notebooks/{owner}/{slug}",
    ),
    "classic": MountLayout(
        dataset="{slug}", model="{model}/{framework}/{variation}/{version}", kernel="{slug}"
    ),
}


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """How the emulated Kaggle behaves; the defaults are Kaggle's own values. Times are in seconds.

    Attributes:
        session_limit_s: the longest time a session may run (Kaggle: 12 h for GPU sessions).
        weekly_quota_s: GPU time per week (Kaggle: 30 h, "sometimes higher").
        max_gpu_sessions: GPU sessions that may be active at once (Kaggle: 2).
        max_cpu_sessions: CPU sessions that may be active at once (Kaggle: 5).
        queue_delay_s: how long a session stays QUEUED.
        url_lifetime_s: how long a signed URL is valid.
        page_size: items per page if the request gives no size.
        sandbox: one of `SANDBOXES`: "namespace" shows sessions their folders at /kaggle itself (Linux only),
            "relocate" through the variable KGTTS_KAGGLE_ROOT; "auto" takes the first that works here.
        layout: where inputs are mounted; a key of `MOUNT_LAYOUTS`.
        python: the interpreter that runs pushed scripts.
        keep_failed_outputs: whether a session that failed or was stopped keeps its outputs. Reports about
            Kaggle disagree, so rehearse both.
        crash_is_complete: whether a session whose script failed ends as COMPLETE instead of ERROR.
        keep_deleted_names: whether a push under the name of a deleted kernel is refused, as users report.
        refused_leaves_shell: whether a limit that refuses a kernel's first push leaves half a kernel: without
            a version, unreadable, and with a name that every push is refused for until it is deleted.
        dataset_processing_s: how long an uploaded version of a dataset or model is processed before it is
            ready. Until then, sessions mount the version before it. Kaggle takes seconds to minutes.
        version_while_processing: whether another version may be made meanwhile. Kaggle has refused that
            with a 403 that does not say why.
        saving_s: how long it takes to save the outputs of an ended session. Meanwhile it is still RUNNING, or
            CANCEL_REQUESTED if it was stopped, and the listing of its outputs grows.
        nested_errors: whether errors are `{"error": {"code", "message", "status"}}`, as api.kaggle.com
            writes them, instead of `{"code", "message"}`, as www.kaggle.com does.
        absent: the HTTP status for a kernel, dataset or model that does not exist, 403 or 404. Kaggle has
            given both; 403 is also its answer for what exists and is not yours to see.
        never_run_is_new_script: whether the status of a version that never ran is NEW_SCRIPT, not 404.
        status_by_version: whether the status of a version can be asked for; otherwise only that of the newest
            session, and a version is refused with a 400. Reports disagree.
        omit_queued: whether the state QUEUED is left out of an answer, as the protocol's JSON leaves out the
            first word of an enum, instead of written.
        phone_verified: whether the account may use internet and accelerators.
        legacy_key_may_cancel: whether CancelKernelSession accepts username and key; Kaggle wants a token.
        access_token_lifetime_s: how long an access token of an OAuth login is valid (Kaggle: about 12 h).
        keepalive_s: seconds between keep-alive comments on a live log that has nothing new.
        standins: whether sessions get stand-ins for packages that cannot be imported here.
        cache: a folder for compiled code, which several emulators may share; by default in the own root.

    Raises:
        UsageError: an option has an impossible value.
    """

    session_limit_s: float = 12 * 3600
    weekly_quota_s: float = 30 * 3600
    max_gpu_sessions: int = 2
    max_cpu_sessions: int = 5
    queue_delay_s: float = 0.0
    url_lifetime_s: float = 900
    page_size: int = 20
    sandbox: str = "auto"
    layout: str = "current"
    python: str = sys.executable
    keep_failed_outputs: bool = True
    crash_is_complete: bool = False
    keep_deleted_names: bool = False
    refused_leaves_shell: bool = True
    dataset_processing_s: float = 0.0
    version_while_processing: bool = False
    saving_s: float = 0.0
    nested_errors: bool = True
    absent: int = 403
    never_run_is_new_script: bool = False
    status_by_version: bool = True
    omit_queued: bool = True
    phone_verified: bool = True
    legacy_key_may_cancel: bool = False
    access_token_lifetime_s: float = 12 * 3600
    keepalive_s: float = 15.0
    standins: bool = True
    cache: Path | None = None

    def __post_init__(self) -> None:
        choices: dict[str, tuple[object, ...]] = {
            "sandbox": SANDBOXES,
            "layout": tuple(MOUNT_LAYOUTS),
            "absent": ABSENT,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise UsageError(
                    f"The emulator's option {name} cannot be {getattr(self, name)!r}.",
                    hint=f"choose one of: {', '.join(map(str, allowed))}",
                )
        for name in (
            "session_limit_s",
            "url_lifetime_s",
            "page_size",
            "keepalive_s",
            "access_token_lifetime_s",
        ):
            if getattr(self, name) <= 0:
                raise UsageError(f"The emulator's option {name} must be above 0.")
        for name in (
            "weekly_quota_s",
            "max_gpu_sessions",
            "max_cpu_sessions",
            "queue_delay_s",
            "dataset_processing_s",
            "saving_s",
        ):
            if getattr(self, name) < 0:
                raise UsageError(f"The emulator's option {name} cannot be negative.")


class WaitableClock(Protocol):
    """A clock that threads can wait on.

    Limits, quota and URL expiry all use one, so that a test can move twelve hours in no time.
    """

    def now(self) -> datetime:
        """The date and time, with the UTC zone."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""
        ...

    def wait(self, condition: threading.Condition, until: float | None) -> None:
        """Wait until `condition` is notified or `monotonic()` reaches `until` (None: no limit).

        The caller holds the condition's lock, and checks its predicate again afterwards.
        """
        ...


class MachineClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """The machine's date and time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The machine's monotonic clock, in seconds."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, until: float | None) -> None:
        """Wait in real time."""
        condition.wait(None if until is None else max(0.0, until - time.monotonic()))
