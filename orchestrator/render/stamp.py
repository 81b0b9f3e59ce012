"""The run stamp: the comment on the kernel's first line by which any machine recognises a run of ours."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator import untrusted
from orchestrator.errors import UsageError
from orchestrator.models import KernelRef

_START = "# kgtts-run:"
_HEAD = 4096  # The stamp is far shorter; what lies behind that is not looked at.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_TEXT = re.compile(r"[ -~]{1,200}")
_LAST_SESSION = 1_000_000


@dataclass(frozen=True, slots=True)
class RunStamp:
    """Which run and session a kernel version is, and of which settings.

    Args:
        id: the run's name for itself: up to 64 ASCII letters, digits, `_` and `-`.
        session: the session's number in the run, from 1 on.
        parent: the kernel version that this session continues from; None for a run's first.
        fingerprint: SHA-256 (hex) of the settings that change the training.
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
        """Refuse what could not be read back.

        Raises:
            UsageError: a field is not what its description says.
        """
        wrong = next((name for name, fits in _checks(self).items() if not fits), None)
        if wrong is not None:
            raise UsageError(f"A run stamp cannot have {wrong} {getattr(self, wrong)!r}.")

    def to_dict(self) -> dict[str, Any]:
        """The stamp as the kernel's settings and its `state.json` hold it."""
        return asdict(self)

    @property
    def comment(self) -> str:
        """The stamp as one line of Python comment, in ASCII."""
        return f"{_START} {json.dumps(self.to_dict())}"


def read_stamp(source: str) -> RunStamp | None:
    """The stamp at the top of a kernel's source; None when there is none that is whole and sane.

    The source comes from a server, where anybody can have edited it: nothing in it is trusted.
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
    """Whether it is `owner/slug`, written exactly so."""
    try:
        ref = KernelRef.parse(value) if isinstance(value, str) else None
    except UsageError:
        return False
    return ref is not None and ref.version is None and str(ref) == value
