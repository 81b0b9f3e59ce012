"""The run stamp: the comment on a kernel's first line by which any machine recognises our runs."""

import json
import re
from dataclasses import dataclass

from kernel_template.contract import Run
from orchestrator import untrusted
from orchestrator.errors import UsageError
from orchestrator.models import KernelRef

_START = "# kgtts-run:"
_HEAD = 4096  # The stamp is far shorter; the rest is not read.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_TEXT = re.compile(r"[ -~]{1,200}")
_LAST_SESSION = 1_000_000


@dataclass(frozen=True, slots=True)
class RunStamp:
    """The run, session and settings of a kernel version.

    Args:
        id: the run's id: up to 64 ASCII letters, digits, `_` and `-`.
        session: the session's number in the run, from 1.
        parent: the kernel version that this session continues from; None for the first.
        fingerprint: the SHA-256, in hex, of the settings that affect the training.
        kernel: `owner/slug` of the kernel that this version belongs to.
        kgtts: the version of kgtts that rendered it.
    """

    id: str
    session: int
    parent: str | None
    fingerprint: str
    kernel: str
    kgtts: str

    def __post_init__(self) -> None:
        """Refuse values that could not be read back.

        Raises:
            UsageError: a field has an unsuitable value.
        """
        wrong = next((name for name, fits in _checks(self).items() if not fits), None)
        if wrong is not None:
            raise UsageError(f"A run stamp cannot have {wrong} {getattr(self, wrong)!r}.")

    def to_dict(self) -> Run:
        """The stamp for the kernel's settings and state.json."""
        return {
            "id": self.id,
            "session": self.session,
            "parent": self.parent,
            "fingerprint": self.fingerprint,
            "kernel": self.kernel,
            "kgtts": self.kgtts,
        }

    @property
    def comment(self) -> str:
        """The stamp as one Python comment line, in ASCII."""
        return f"{_START} {json.dumps(self.to_dict())}"


def read_stamp(source: str) -> RunStamp | None:
    """Read the stamp at the top of a kernel's source; None if there is none, or if it is damaged.

    The source comes from a server, where anybody can edit it: nothing in it is trusted.
    """
    first = source[:_HEAD].lstrip("\ufeff").split("\n", 1)[0].rstrip()
    if not first.startswith(_START):
        return None
    try:
        return RunStamp(**untrusted.json_object(first.removeprefix(_START)) or {})
    except (TypeError, ValueError, UsageError):
        return None


def _checks(stamp: RunStamp) -> dict[str, bool]:
    return {
        "id": _matches(_ID, stamp.id),
        "session": type(stamp.session) is int and 1 <= stamp.session <= _LAST_SESSION,
        "parent": stamp.parent is None or _matches(_TEXT, stamp.parent),
        "fingerprint": _matches(_FINGERPRINT, stamp.fingerprint),
        "kernel": _is_kernel(stamp.kernel),
        "kgtts": _matches(_TEXT, stamp.kgtts),
    }


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_kernel(value: object) -> bool:
    """Whether `value` is exactly `owner/slug`."""
    try:
        ref = KernelRef.parse(value) if isinstance(value, str) else None
    except UsageError:
        return False
    return ref is not None and ref.version is None and str(ref) == value
