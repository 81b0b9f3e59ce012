"""How a check of the doctor went."""

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.errors import ExitCode, KgttsError


class Level(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Checked:
    """One line of the doctor: what was looked at, how it is, and what to do."""

    subject: str
    level: Level
    text: str
    hint: str | None = None
    exit_code: ExitCode = ExitCode.DONE


def failed_check(subject: str, error: KgttsError) -> Checked:
    """A check that failed with an error."""
    return Checked(subject, Level.FAILED, error.message, error.hint, error.exit_code)
