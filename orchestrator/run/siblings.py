"""The two sibling kernels of a run, which take turns since a kernel cannot mount its own output.

This module alone knows how they are named; how one hands over to the other is `handover`'s to know.
"""

from orchestrator.models import KernelRef

_SUFFIXES = ("-a", "-b")


def siblings(base: KernelRef) -> tuple[KernelRef, KernelRef]:
    """The two kernels of a run whose settings name `base`."""
    first, second = (KernelRef(base.owner, f"{base.slug}{suffix}") for suffix in _SUFFIXES)
    return first, second


def base_of(kernel: KernelRef) -> KernelRef:
    """The kernel as settings name it, from one of its siblings (or from itself)."""
    for suffix in _SUFFIXES:
        if kernel.slug.endswith(suffix):
            return KernelRef(kernel.owner, kernel.slug.removesuffix(suffix))
    return kernel.kernel


def next_kernel(base: KernelRef, parent: KernelRef | None) -> KernelRef:
    """The kernel for the session that continues from `parent`: the sibling that can mount it."""
    first, second = siblings(base)
    return second if parent is not None and parent.kernel == first else first
