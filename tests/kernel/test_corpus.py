"""A part of the corpus; `python -m tests.corpus` plays all of it."""

from pathlib import Path

import pytest

from tests.corpus.runner import Corpus
from tests.corpus.shapes import SHAPES
from tests.kernel.hosting import VITS_TRAINING, ForkServer

pytestmark = VITS_TRAINING
_SHAPES = {shape.name: shape for shape in SHAPES}


@pytest.mark.parametrize(("name", "ranks"), [("copies", 2), ("notebook", 1), ("recipe_english", 1)])
def test_what_people_bring(
    vits_fork_server: ForkServer, tmp_path: Path, voice_cache: Path, name: str, ranks: int
) -> None:
    """A shape trains in both sessions, or ends with the message that says how to fix it."""
    result = Corpus(tmp_path, voice_cache, vits_fork_server).play(_SHAPES[name], ranks)
    assert result.fault is None, result.row


def test_every_shape_has_a_name_of_its_own() -> None:
    """No two rows of the table have the same name."""
    assert len(_SHAPES) == len(SHAPES)
