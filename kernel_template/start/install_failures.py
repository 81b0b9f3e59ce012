"""Why packages could not be installed, judged by the output of pip or uv, and what to do."""

import platform
import re
from collections.abc import Sequence

from kernel_template.contract import EndReason
from kernel_template.tools.outcome import KernelFailure

_NO_NETWORK = re.compile(
    r"name resolution|NewConnectionError|NameResolutionError|Failed to establish a new connection|"
    r"Network is unreachable|ConnectTimeoutError|ReadTimeoutError|Could not fetch URL|Max retries exceeded",
    re.IGNORECASE,
)
_OTHER_VERSIONS = (
    "it needs another torch, torchaudio or numpy than the image has, and these must not change; "
    "choose a release in install.packages that works with them"
)
_NO_RELEASE = "no release of it works with this Python and the image's torch; check install.packages"
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
        "this Python has no pip; use an image that has pip or the packages",
    ),
)


def disk_was_full(lines: Sequence[str]) -> bool:
    """Whether the installation failed because the disk was full."""
    return any(_DISK_FULL.search(line) for line in lines)


def last_error(lines: Sequence[str]) -> str:
    """The most telling line: the last that is marked as an error, else the last."""
    errors = [line for line in lines if line.lstrip(" ×╰─▶").lower().startswith("error")] or list(lines[-1:])
    return errors[-1].removeprefix("ERROR:").strip() if errors else ""


def install_failure(
    packages: Sequence[str], lines: Sequence[str], ended: str, wheelhouse: str | None
) -> KernelFailure:
    """Explain why an installation failed.

    Args:
        packages: what was to be installed.
        lines: the last lines of the tool's output.
        ended: how the tool ended, such as `pip ended with exit code 1`.
        wheelhouse: the dataset that was the only source; None for the package index.
    """
    text = "\n".join(lines)
    names = ", ".join(packages)
    if disk_was_full(lines):
        return KernelFailure(EndReason.DISK_FULL, f"{names} could not be installed: the disk is full.")
    if wheelhouse is not None and (match := _NO_MATCH.search(text)):
        return KernelFailure(
            EndReason.INSTALL_FAILED,
            f"{names} could not be installed: among the wheels in {wheelhouse} there is no "
            f"{match.group(1) or match.group(2)} for Python {platform.python_version()} on "
            f"{platform.machine()}. Make the dataset again as the documentation says, or set "
            "kernel.internet = true.",
        )
    if wheelhouse is None and _NO_NETWORK.search(text):
        return KernelFailure(
            EndReason.INSTALL_FAILED,
            f"{names} could not be installed: the session cannot reach the package index. "
            "Set kernel.internet = true, for which Kaggle asks you to verify your phone number, or set "
            "install.wheelhouse to a dataset of wheels, which needs no internet.",
        )
    for pattern, why in _TROUBLE:
        if pattern.search(text):
            return KernelFailure(EndReason.INSTALL_FAILED, f"{names} could not be installed: {why}.")
    error = last_error(lines)
    return KernelFailure(
        EndReason.INSTALL_FAILED,
        f"{names} could not be installed ({ended}){error and f': {error}'}",
    )
