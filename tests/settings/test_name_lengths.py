"""The kernels of a run are SLUG-a and SLUG-b, of 5 to 50 characters."""

import pytest
from pydantic import ValidationError

from orchestrator.settings import Settings


@pytest.mark.parametrize(("length", "fits"), [(4, False), (5, True), (48, True), (49, False)])
def test_a_slug_leaves_room_for_its_letter(length: int, *, fits: bool) -> None:
    """With `-a` it has at most 50 characters."""
    values = {"kernel": {"slug": "x" * length}}
    if fits:
        assert len(Settings.model_validate(values).kernel.slug) == length
    else:
        with pytest.raises(ValidationError, match="must be 5 to 48"):
            Settings.model_validate(values)


def test_a_title_leaves_room_for_its_letter() -> None:
    """A longer title can give a shorter slug."""
    title = "x" * 20 + " -  " * 8 + "y" * 20
    with pytest.raises(ValidationError, match="at most 48 characters"):
        Settings.model_validate({"kernel": {"slug": "x" * 20 + "-" + "y" * 20, "title": title}})
