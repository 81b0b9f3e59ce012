"""Whether install.packages asks for a release of Coqui that the kernel's hooks do not fit."""

from collections.abc import Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from kernel_template.contract import COQUI_RELEASE, TRAINER_RELEASE, WITHOUT_HOOKS

# The releases that fit, by distribution; TTS and trainer are the distributions of 0.22 and earlier.
_FIT = {"coqui-tts": COQUI_RELEASE, "coqui-tts-trainer": TRAINER_RELEASE, "tts": None, "trainer": None}


def lost_by_release(packages: Sequence[str]) -> str | None:
    """Say what a training lacks with these packages; None if it lacks nothing, or nobody can say.

    The kernel finds out by itself once they are installed; this is known before a session is spent.
    """
    for package in packages:
        try:
            wanted = Requirement(package)
        except InvalidRequirement:
            continue  # An address, whose release is not known.
        name = canonicalize_name(wanted.name)
        if name not in _FIT or wanted.url:
            continue
        release = _FIT[name]
        if release is None or not any(wanted.specifier.contains(f"{release}.{patch}") for patch in range(20)):
            return (
                f"install.packages asks for {package}, with which the training runs without kgtts's hooks. "
                f"{WITHOUT_HOOKS}"
            )
    return None
