"""Texts and their spoken forms: the table of sentences, and what holds for any text."""

from pathlib import Path

import pytest

from kernel_template.text import spoken

_TABLE = Path(__file__).with_name("spoken_forms.tsv").read_text(encoding="utf-8").splitlines()
FORMS = [tuple(line.split("\t")) for line in _TABLE if line and not line.startswith("#")]


@pytest.mark.parametrize(("text", "form"), FORMS)
def test_a_text_is_read_as_people_do(text: str, form: str) -> None:
    """Each sentence of the table is spoken as it says, and the spoken form is its own spoken form."""
    assert spoken(text).text == form
    assert spoken(form).text == form


def test_pieces_name_the_rule_and_the_place() -> None:
    """Put in the place of what they replace, the pieces make the spoken text."""
    found = spoken("১৯৭৯ সালে ৳২৫,০০০")
    assert [(piece.start, piece.end, piece.rule, piece.source) for piece in found.pieces] == [
        (0, 4, "number", "১৯৭৯"),
        (10, 17, "number", "৳২৫,০০০"),
    ]
    assert found.pieces[1].result == "পঁচিশ হাজার টাকা"
