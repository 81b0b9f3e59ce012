"""The values that everything else is made of."""

import pytest

from orchestrator.models import KernelRef, SessionSummary

BASE = KernelRef("asha", "bangla-tts")


def test_siblings_are_named_after_the_base() -> None:
    """The slug gets -a or -b, and loses it again; any other kernel is its own base."""
    assert [str(kernel) for kernel in BASE.siblings] == ["asha/bangla-tts-a", "asha/bangla-tts-b"]
    assert {kernel.base for kernel in BASE.siblings} == {BASE}
    assert BASE.at(3).base == BASE


@pytest.mark.parametrize(
    ("parent", "kernel"), [(None, "a"), ("a", "b"), ("b", "a")], ids=["none", "first", "second"]
)
def test_the_next_session_can_mount_its_parent(parent: str | None, kernel: str) -> None:
    """No kernel can mount its own output, so the next one is the other."""
    ref = None if parent is None else KernelRef("asha", f"bangla-tts-{parent}", 7)
    assert BASE.next_after(ref) == KernelRef("asha", f"bangla-tts-{kernel}")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("local/bangla-tts/2", "this machine"),
        ("skypilot/bangla-tts/2", "SkyPilot"),
        ("asha/bangla-tts-a/2", "asha/bangla-tts-a"),
    ],
)
def test_where_a_session_ran(name: str, place: str) -> None:
    """Its name tells it, to people as well."""
    ref = KernelRef.parse(name)
    summary = SessionSummary(2, str(ref.kernel), 0, 100, 0, 1, "budget", 60.0)
    assert (ref.place, summary.place) == (place, place)
    assert ref.is_elsewhere == summary.is_elsewhere == (place != str(ref.kernel))
