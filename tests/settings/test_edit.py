"""Keys are set in a kgtts.toml, and all else in it stays."""

import tomllib
from pathlib import Path

import pytest

from orchestrator.errors import SettingsError
from orchestrator.settings.edit import set_in_file


@pytest.mark.parametrize(
    "before",
    [
        "",
        "# only a comment",
        '[kernel]\nslug = "a-voice"\n',
        '[inputs]\nmodel = "old/x/y/1"  # this one\n[kernel]\nslug = "a-voice"',
        '[inputs] # mine\ndataset = "data"\n\n# next\n[training.coqui]\nlr_gen = 0.1\n',
        "[training]\nepochs = 3\n[training.coqui]\nmodel = 'no'\n",
        '[inputs]\n#model = "ttsbnng/transformers/default/1"\n',
    ],
)
def test_keys_are_set(tmp_path: Path, before: str) -> None:
    """The result is the old table with the new values, and every comment is still there."""
    path = tmp_path / "kgtts.toml"
    path.write_text(before, encoding="utf-8")
    set_in_file(path, {"inputs.model": "a/b/c/2", "training.sample_rate": 16000})
    text = path.read_text(encoding="utf-8")
    wanted = tomllib.loads(before)
    wanted.setdefault("inputs", {})["model"] = "a/b/c/2"
    wanted.setdefault("training", {})["sample_rate"] = 16000
    assert tomllib.loads(text) == wanted
    for line in before.splitlines():
        if line.startswith("#") and "model" not in line:
            assert line in text


def test_what_cannot_be_set_is_said_and_left(tmp_path: Path) -> None:
    """An inline table is a person's to change."""
    path = tmp_path / "kgtts.toml"
    path.write_text('inputs = { dataset = "x" }\n', encoding="utf-8")
    with pytest.raises(SettingsError, match=r"inputs\.model") as caught:
        set_in_file(path, {"inputs.model": "a/b/c/2"})
    assert "[inputs] model" in str(caught.value.hint)
    assert path.read_text(encoding="utf-8") == 'inputs = { dataset = "x" }\n'
