"""Why a session ends, and the one exception that ends it early."""

from enum import StrEnum


class EndReason(StrEnum):
    """Why the session ended, as `state.json` and the `end` event name it."""

    FINISHED = "finished"
    TIME_LIMIT = "time_limit"
    BUDGET = "budget"
    UNTIL_STEP = "until_step"
    NO_IMPROVEMENT = "no_improvement"
    INTERRUPTED = "interrupted"
    MISSING_INPUT = "missing_input"
    WRONG_PARENT = "wrong_parent"
    NO_GPU = "no_gpu"
    INSTALL_FAILED = "install_failed"
    BAD_CONFIG = "bad_config"
    BAD_DATA = "bad_data"
    TRAINING_FAILED = "training_failed"
    DISK_FULL = "disk_full"
    INTERNAL = "internal"

    @property
    def exit_code(self) -> int:
        """The kernel's exit code for a session that failed so."""
        return 130 if self is EndReason.INTERRUPTED else 1


class KernelFailure(Exception):  # noqa: N818 - it is the end of a session, in the user's words a failure.
    """The session cannot go on.

    Args:
        reason: the kind of failure, for programs.
        message: what failed, on which object, why, and what to do; for people.
    """

    def __init__(self, reason: EndReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
