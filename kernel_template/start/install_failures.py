"""Why packages could not be installed, from what pip (or uv) said, as a sentence with the way out."""

import platform
import re
from collections.abc import Sequence

from kernel_template.tools.failure import EndReason, KernelFailure

_NO_NETWORK = re.compile(
    r"name resolution|NewConnectionError|NameResolutionError|Failed to establish a new connection|"
    r"Network is unreachable|ConnectTimeoutError|ReadTimeoutError|Could not fetch URL|Max retries exceeded",
    re.IGNORECASE,
)
_OTHER_VERSIONS = (
    "it wants another torch, torchaudio or numpy than the image has, and those are kept as they are; "
    "name a release in install.packages that fits them"
)
_NO_RELEASE = "no release of it fits this Python and the image's torch; check install.packages"
_DISK_FULL = re.compile(r"No space left on device|Errno 28|os error 28", re.IGNORECASE)
_NO_MATCH = re.compile(
    r"No matching distribution found for (\S+)|Could not find a version that satisfies the requirement (\S+)"
)
_TROUBLE = (
    (re.compile(r"ResolutionImpossible|conflicting dependencies"), _OTHER_VERSIONS),
    (_NO_MATCH, _NO_RELEASE),
    (re.compile(r"requires a different Python|Requires-Python"), "it does not support this Python version"),
    (
        re.compile(r"No module named '?pip"),
        "this Python has no pip; install the packages into it beforehand",
    ),
)


def disk_was_full(lines: Sequence[str]) -> bool:
    """Whether the installation ended for want of room."""
    return any(_DISK_FULL.search(line) for line in lines)


def last_error(lines: Sequence[str]) -> str:
    """The line that says most: the last one that calls itself an error, or else the last."""
    errors = [line for line in lines if line.lstrip(" ×╰─▶").lower().startswith("error")] or list(lines[-1:])
    return errors[-1].removeprefix("ERROR:").strip() if errors else ""


def install_failure(
    packages: Sequence[str], lines: Sequence[str], ended: str, wheelhouse: str | None
) -> KernelFailure:
    """The failure that ends the session.

    Args:
        packages: what was to be installed.
        lines: the last lines of pip.
        ended: how it ended, with its name.
        wheelhouse: the dataset that alone was asked; None for the package index.
    """
    text = "\n".join(lines)
    names = ", ".join(packages)
    if disk_was_full(lines):
        return KernelFailure(EndReason.DISK_FULL, f"{names} could not be installed: the disk is full.")
    if wheelhouse is not None and (match := _NO_MATCH.search(text)):
        return KernelFailure(
            EndReason.INSTALL_FAILED,
            f"{names} could not be installed: the wheels in {wheelhouse} lack "
            f"{match.group(1) or match.group(2)} for Python {platform.python_version()} on "
            f"{platform.machine()}. Make them anew as the README says, or set kernel.internet = true.",
        )
    if wheelhouse is None and _NO_NETWORK.search(text):
        return KernelFailure(
            EndReason.INSTALL_FAILED,
            f"{names} could not be installed: the session cannot reach the package index. "
            "Internet in a kernel needs a phone-verified account and kernel.internet = true; a dataset of "
            "wheels (install.wheelhouse) needs neither.",
        )
    for pattern, why in _TROUBLE:
        if pattern.search(text):
            return KernelFailure(EndReason.INSTALL_FAILED, f"{names} could not be installed: {why}.")
    said = last_error(lines)
    return KernelFailure(
        EndReason.INSTALL_FAILED,
        f"{names} could not be installed ({ended}){said and f': {said}'}",
    )
