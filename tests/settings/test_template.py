"""The file that `kgtts init` writes, and the schema, are made from the models."""

import json
import re
import subprocess
import sys
import tomllib
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.settings import Settings, default_toml, json_schema, to_toml
from orchestrator.settings.loading import known_keys


def uncommented(text: str) -> str:
    """Return the file with its default values uncommented."""
    return re.sub(r"^#(?! \S)", "", text, flags=re.MULTILINE)


def test_the_default_file_changes_nothing() -> None:
    """The written file leaves every default unchanged."""
    assert Settings.model_validate(tomllib.loads(default_toml())) == Settings()


def test_the_default_file_holds_every_default() -> None:
    """With its defaults uncommented, the file sets every key to its default."""
    tables = tomllib.loads(uncommented(default_toml()))
    assert Settings.model_validate(tables) == Settings()
    found = set(tables) | {f"{name}.{key}" for name, table in tables.items() for key in table}
    assert found == set(known_keys())


def test_every_key_has_a_comment_above_it() -> None:
    """Every key has an explanation."""
    lines = default_toml().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"#?[a-z_]+ = |\[", line):
            assert re.match(r"# \S|\[", lines[number - 1]), line


def test_values_are_set_for_real() -> None:
    """Values that `init` knows are written as settings, with hostile characters."""
    values: dict[str, object] = {
        "kernel.owner": "someone",
        "training.language": 'a "quoted" \\ back\nslash\x00\x7f আমি',
        "training.time_limit": timedelta(minutes=90),
        "training.coqui": {"audio.fft_size": 1024},
        "samples.sentences": ("আমার সোনার বাংলা, আমি তোমায় ভালোবাসি।" * 3,),
    }
    loaded = Settings.model_validate(tomllib.loads(default_toml(values)))
    assert loaded.kernel.owner == "someone"
    assert loaded.training.language == values["training.language"]
    assert loaded.training.time_limit == timedelta(minutes=90)
    assert loaded.training.coqui == {"audio.fft_size": 1024}
    assert loaded.samples.sentences == values["samples.sentences"]


def test_an_unknown_key_is_not_written() -> None:
    """An unknown key is the caller's mistake."""
    with pytest.raises(KeyError, match=r"kernel\.nope"):
        default_toml({"kernel.nope": 1})


@given(
    st.recursive(
        st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_written_toml_is_read_back(value: Any) -> None:
    """Any value is read as it was written."""
    assert tomllib.loads(f"value = {to_toml(value)}") == {"value": value}


def test_toml_has_no_null() -> None:
    """A value that TOML cannot hold is an error."""
    with pytest.raises(TypeError, match="TOML cannot hold None"):
        to_toml(None)


def test_schema_names_every_key_with_its_description() -> None:
    """The schema has each key with its description, and allows no others."""
    schema = json_schema()
    text = json.dumps(schema)
    definitions = schema["$defs"]
    for name, field in Settings.model_fields.items():
        table = definitions[schema["properties"][name]["$ref"].rpartition("/")[2]]
        assert table["additionalProperties"] is False
        assert all(each["description"] for each in table["properties"].values()), name
        assert set(table["properties"]) == set(field.annotation.model_fields)  # type: ignore[union-attr] # a model
    assert "NvidiaTeslaP100" not in text
    assert definitions["Session"]["properties"]["budget"]["default"] == "11h"


def test_schema_takes_the_default_file_and_refuses_a_wrong_one() -> None:
    """A schema validator agrees with the models."""
    validator = pytest.importorskip(
        "jsonschema", reason="a check more where it is installed"
    ).Draft202012Validator
    validator.check_schema(json_schema())
    check = validator(json_schema())
    assert check.is_valid(tomllib.loads(uncommented(default_toml())))
    assert check.is_valid({"session": {"budget": 3600}})
    for wrong in ({"kernel": {"accelerator": "P100"}}, {"typo": 1}, {"training": {"time_limit": "long"}}):
        assert not check.is_valid(wrong)


def test_importing_settings_brings_nothing_heavy() -> None:
    """Importing settings imports pydantic, but no client, template engine or network."""
    code = "import sys, orchestrator.settings; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"kaggle", "kagglesdk", "requests", "jinja2", "torch", "rich", "click", "stamina", "numpy"}
    assert not heavy & set(done.stdout.split())
