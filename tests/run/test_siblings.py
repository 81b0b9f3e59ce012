"""Two kernels take turns, named after the one in the settings."""

import pytest

from orchestrator.models import KernelRef
from orchestrator.run.siblings import base_of, next_kernel, siblings

BASE = KernelRef("asha", "bangla-tts")


def test_siblings_are_named_after_the_base() -> None:
    """Two letters behind the slug, and back again; a kernel that is no sibling is itself."""
    assert [str(kernel) for kernel in siblings(BASE)] == ["asha/bangla-tts-a", "asha/bangla-tts-b"]
    assert {base_of(kernel) for kernel in siblings(BASE)} == {BASE}
    assert base_of(BASE.at(3)) == BASE


@pytest.mark.parametrize(
    ("parent", "kernel"), [(None, "a"), ("a", "b"), ("b", "a")], ids=["none", "first", "second"]
)
def test_the_next_session_can_mount_its_parent(parent: str | None, kernel: str) -> None:
    """No kernel can mount its own output, so it is never the parent's."""
    ref = None if parent is None else KernelRef("asha", f"bangla-tts-{parent}", 7)
    assert next_kernel(BASE, ref) == KernelRef("asha", f"bangla-tts-{kernel}")
