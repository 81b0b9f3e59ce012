"""The knobs of the emulator, with Kaggle's own values as defaults."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from orchestrator.errors import UsageError

SandboxChoice = Literal["auto", "namespace", "relocate"]
Layout = Literal["current", "classic"]


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """How the emulated Kaggle behaves. Times are in seconds.

    Attributes:
        session_limit_s: the longest that a session may run (Kaggle: 12 h for GPU sessions).
        weekly_quota_s: GPU time of a week (Kaggle: 30 h, "sometimes higher").
        max_gpu_sessions: batch GPU sessions at once (Kaggle: 2).
        max_cpu_sessions: batch CPU sessions at once (Kaggle: 5).
        queue_delay_s: how long a session stays QUEUED.
        url_lifetime_s: how long a signed URL works.
        page_size: items of a page where the request names no size.
        sandbox: "namespace" shows sessions their folders at /kaggle itself, "relocate" through
            KGTTS_KAGGLE_ROOT; "auto" takes the first that this machine allows.
        layout: where inputs are mounted: "current" has input/datasets/OWNER/SLUG, "classic" input/SLUG.
        python: the interpreter that runs pushed scripts.
        keep_failed_outputs: whether a session that failed or was stopped keeps its outputs.
            Kaggle may or may not: both are worth rehearsing.
        dataset_processing_s: how long an uploaded version of a dataset is prepared; until then sessions
            mount the one before. Kaggle takes from seconds to minutes.
        keepalive_s: an idle log stream says a comment this often.
        cache: a folder for what several emulators can share (compiled code); default: in their own root.
        standins: whether sessions get the stand-ins for packages that cannot be imported here.

    Raises:
        UsageError: a value that makes no sense.
    """

    session_limit_s: float = 12 * 3600
    weekly_quota_s: float = 30 * 3600
    max_gpu_sessions: int = 2
    max_cpu_sessions: int = 5
    queue_delay_s: float = 0.0
    url_lifetime_s: float = 900
    page_size: int = 20
    sandbox: SandboxChoice = "auto"
    layout: Layout = "current"
    python: str = sys.executable
    keep_failed_outputs: bool = True
    dataset_processing_s: float = 0.0
    keepalive_s: float = 15.0
    standins: bool = True
    cache: Path | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("sandbox", get_args(SandboxChoice)), ("layout", get_args(Layout))):
            if getattr(self, name) not in allowed:
                raise UsageError(
                    f"The emulator's option {name} cannot be {getattr(self, name)!r}.",
                    hint=f"choose one of: {', '.join(allowed)}",
                )
        for name in ("session_limit_s", "url_lifetime_s", "page_size", "keepalive_s"):
            if getattr(self, name) <= 0:
                raise UsageError(f"The emulator's option {name} must be above 0.")
        for name in (
            "weekly_quota_s",
            "max_gpu_sessions",
            "max_cpu_sessions",
            "queue_delay_s",
            "dataset_processing_s",
        ):
            if getattr(self, name) < 0:
                raise UsageError(f"The emulator's option {name} cannot be negative.")
