"""Every error that kgtts raises for a person to read, and the exit code that each ends with.

    KgttsError                1   something failed that has no better name
    ├── UsageError            2   a wrong option, setting, reference or template
    │   └── SettingsError     2   kgtts.toml or --set: names file, key, value and what would be right
    ├── CredentialsError      3   none found, or Kaggle does not accept them
    ├── RefusedError          4   Kaggle said no: rejected push, unknown source, quota, permission
    │   ├── NotFoundError     4   Kaggle has no such kernel, version, dataset or model (404)
    │   └── ForbiddenError    4   these credentials may not see or do it (403): it may exist or not
    ├── RunFailedError        5   the training session ended without a result
    ├── WaitTimeoutError      6   the wait ended before the session did; the session goes on
    ├── ServiceError          7   Kaggle could not be reached or answered with a fault; try again
    │   ├── OddAnswerError    7   an answer that makes no sense: what it is about stays unknown
    │   └── SilentLogError    7   a live log said nothing for as long as its reader would wait
    └── LocalError            8   this machine: disk full, unwritable folder, missing extra

Ctrl-C ends with 130. Exit code 1 is also what an unforeseen exception (a bug in kgtts) gives.
A message says what failed, on which object and why; `hint` is the next command to type.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended, as the process's exit code."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CREDENTIALS = 3
    REFUSED = 4
    RUN_FAILED = 5
    WAIT_TIMEOUT = 6
    SERVICE = 7
    LOCAL = 8
    INTERRUPTED = 130


class KgttsError(Exception):
    """The base of all errors meant for a person: a message and, if there is one, the next step.

    Args:
        message: what failed, on which object, and why; one or two sentences.
        hint: what to type or change next.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(KgttsError):
    """The request itself is wrong; nothing was sent."""

    exit_code = ExitCode.USAGE


class SettingsError(UsageError):
    """A setting is wrong: the message names file, key, value and what would be right."""


class CredentialsError(KgttsError):
    """No Kaggle credentials were found, or Kaggle does not accept them (HTTP 401)."""

    exit_code = ExitCode.CREDENTIALS


class RefusedError(KgttsError):
    """Kaggle refused the request; the message has Kaggle's own words."""

    exit_code = ExitCode.REFUSED


class NotFoundError(RefusedError):
    """Kaggle has nothing of that name (HTTP 404)."""


class ForbiddenError(RefusedError):
    """These credentials may not read or do it (HTTP 403); it may or may not exist."""


class RunFailedError(KgttsError):
    """A session ended without success; the message carries its cause and the tail of its log."""

    exit_code = ExitCode.RUN_FAILED


class WaitTimeoutError(KgttsError):
    """The wait timed out; the session itself continues."""

    exit_code = ExitCode.WAIT_TIMEOUT


class ServiceError(KgttsError):
    """Kaggle could not be reached, or failed; try again later.

    Args:
        message: as `KgttsError`.
        hint: as `KgttsError`.
        retry_after_s: the seconds that Kaggle itself asked to be left alone for, where it did.
        status: the HTTP status that it failed with, if it answered at all.
    """

    exit_code = ExitCode.SERVICE

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retry_after_s: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s
        self.status = status


class OddAnswerError(ServiceError):
    """An answer lacks a required part, or is not Kaggle's, so it proves nothing."""


class SilentLogError(ServiceError):
    """A live log printed nothing for as long as its reader waits; it has not ended."""


class LocalError(KgttsError):
    """This machine is the obstacle: disk, permission, or a missing package."""

    exit_code = ExitCode.LOCAL
