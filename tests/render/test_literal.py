"""Values become literals that Python reads back as the same values, whatever they hold."""

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_template.contract import EndReason
from orchestrator.errors import UsageError
from orchestrator.render.literal import program_literal, python_literal

# Any code point, lone surrogates too: an argument of the command line can carry them.
TEXTS = st.text(st.characters())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
HOSTILE = [
    "",
    "'",
    '"',
    "'\"",
    "\"\"\"'''",
    "\\",
    "\\'",
    "a\nb\r\nc\x00\x1b[31m",
    "{{ config }}{% raw %}{# x #}",
    "আমি বাংলায় গান গাই \u200c\u200d\u2028\u2029\ufeff",
    "\udc80 lone",
    "🚀" * 40,
    '"""\nimport os; os.system("x")\n"""',
]


def test_a_member_of_an_enum_is_its_text() -> None:
    """The kernel needs no classes of ours: end reasons and states become texts."""
    assert python_literal({"reason": EndReason.KILLED}) == python_literal({"reason": "killed"})


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_survive(text: str) -> None:
    """Quotes, braces, line breaks, NUL, Bangla and escapes are unchanged, as keys and as values."""
    value = {"text": text, text: [text, {"deep": (text,)}]}
    assert ast.literal_eval(python_literal(value)) == {"text": text, text: [text, {"deep": [text]}]}
    assert ast.literal_eval(program_literal(text)) == text


@given(VALUES)
def test_every_value_comes_back(value: Any) -> None:
    """The literal of any JSON-like value gives that value, types included."""
    back = ast.literal_eval(python_literal(value))
    assert repr(back) == repr(value)


@given(TEXTS | st.text(alphabet="'\"\\\n\r\t ax{}#"))
def test_every_program_comes_back(text: str) -> None:
    """The literal of any text is that text, even after newlines are normalised in its source."""
    literal = program_literal(text)
    assert ast.literal_eval(literal) == text
    assert ast.literal_eval(literal.replace("\r\n", "\n").replace("\r", "\n")) == text


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1: "x"}, {"x"}, b"x", object(), [1, [float("-inf")]]]
)
def test_what_has_no_literal_is_refused(value: object) -> None:
    """Infinity, bytes, sets and other objects are errors."""
    with pytest.raises(UsageError, match="cannot be written as a Python literal"):
        python_literal(value)


def test_long_values_stand_on_lines_of_their_own() -> None:
    """Short tables stay on one line; long ones are formatted over several."""
    value = {"short": {"a": 1, "b": [True, None]}, "long": ["x" * 60, "y" * 60]}
    assert python_literal(value).splitlines() == [
        "{",
        '    "short": {"a": 1, "b": [True, None]},',
        '    "long": [',
        f'        "{"x" * 60}",',
        f'        "{"y" * 60}",',
        "    ],",
        "}",
    ]


def test_a_program_is_shown_as_it_is() -> None:
    """An ordinary program is written line by line, its escapes untouched."""
    program = 'def f():\n\t"""Says."""\n    return "\\n"\n'
    assert program_literal(program) == f"r'''{program}'''"


def test_a_program_with_both_triple_quotes_is_quoted_by_line() -> None:
    """If no raw string fits, each line of the program is quoted by itself."""
    assert program_literal("'''\n\"\"\"\n").count("\n") == 3
