"""The run stamp: the comment on a kernel's first line by which any machine recognises our runs.

A second comment line holds the settings as they were when the session was pushed. Versions of kgtts that do
not know it read the first line as before.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kernel_template.contract import Run
from orchestrator import untrusted
from orchestrator.errors import UsageError
from orchestrator.models import KernelRef

_START = "# kgtts-run:"
_SETTINGS_START = "# kgtts-settings:"
_HEAD = 4096  # The stamp is far shorter; the rest is not read.
_LONGEST_SETTINGS = 200_000
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
        overrides: what `--set` gave at a push of this run, as `KEY=VALUE`; it belongs to the run.
        values: all settings as they were at the push, by their full keys, each as TOML writes it; empty if
            the version of kgtts that pushed it did not stamp them.
        failed_downloads: how many sessions just before this one could not download what the parent had
            saved.
    """

    id: str
    session: int
    parent: str | None
    fingerprint: str
    kernel: str
    kgtts: str
    overrides: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict, hash=False)
    failed_downloads: int = 0

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
        """The stamp as one Python comment line in ASCII, and a second one if there is more to tell."""
        line = f"{_START} {json.dumps(self.to_dict())}"
        more: dict[str, object] = {"set": self.overrides, "values": dict(self.values)}
        if self.failed_downloads:
            more["failed_downloads"] = self.failed_downloads
        return f"{line}\n{_SETTINGS_START} {json.dumps(more)}" if any(more.values()) else line


def read_stamp(source: str) -> RunStamp | None:
    """Read the stamp at the top of a kernel's source; None if there is none, or if it is damaged.

    The source comes from a server, where anybody can edit it: nothing in it is trusted.
    """
    lines = source[: _HEAD + _LONGEST_SETTINGS].lstrip("\ufeff").split("\n", 2)
    first = lines[0][:_HEAD].rstrip()
    if not first.startswith(_START):
        return None
    try:
        found = untrusted.json_object(first.removeprefix(_START)) or {}
        return RunStamp(**found, **_settings(lines[1].rstrip() if len(lines) > 1 else ""))
    except (TypeError, ValueError, UsageError):
        return None


def _settings(line: str) -> dict[str, Any]:
    """Read the second line as fields of the stamp; what is damaged there counts as not stamped."""
    if not line.startswith(_SETTINGS_START):
        return {}
    found = untrusted.json_object(line.removeprefix(_SETTINGS_START)) or {}
    overrides = untrusted.as_list(found.get("set"))
    values = untrusted.as_object(found.get("values"))
    return {
        "overrides": tuple(item for item in overrides if isinstance(item, str)),
        "values": {key: value for key, value in values.items() if isinstance(value, str)},
        "failed_downloads": untrusted.count(found.get("failed_downloads"), _LAST_SESSION) or 0,
    }


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
