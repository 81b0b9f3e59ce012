"""How a session ends, and the exception that ends it early."""

from dataclasses import dataclass

from kernel_template.contract import EndReason, Status


class KernelFailure(Exception):  # noqa: N818 - it ends a session; what users meet is a failure, not an error.
    """The session cannot continue.

    Args:
        reason: the kind of failure, for programs.
        message: what failed, on which object, why, and what to do; for people.
    """

    def __init__(self, reason: EndReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the session ended; `complete` if it leaves a result that can be used or continued."""

    reason: EndReason
    message: str
    complete: bool = False

    @property
    def status(self) -> Status:
        """The status for state.json."""
        return Status.COMPLETE if self.complete else Status.FAILED

    @property
    def exit_code(self) -> int:
        """The kernel's exit code: 0 only if the session is complete."""
        return 0 if self.complete else self.reason.exit_code
