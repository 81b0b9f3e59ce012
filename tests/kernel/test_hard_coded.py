"""Scripts with hard-coded paths of inputs that are mounted elsewhere."""

from pathlib import Path

import pytest

from kernel_template.host.hard_coded import compile_script
from tests.kernel.kit import put


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """A dataset and a base voice, in today's mount layout."""
    data, voice = (
        tmp_path / "datasets" / "me" / "datahrbnn",
        tmp_path / "models" / "me" / "voice" / "1" / "model",
    )
    put(data / "MyTTSDataset" / "metadata.csv")
    put(voice / "config.json")
    return [str(data), str(voice), str(voice.parent)]


def run(text: str, inputs: list[str], said: list[str] | None = None) -> str:
    """Run a script that sets `x`, and return x."""
    names: dict[str, str] = {}
    code = compile_script(text.encode(), "train.py", inputs, (said if said is not None else []).append)
    exec(code, names)  # noqa: S102 - a script of this test.
    return names["x"]


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("x = '/kaggle/input/datahrbn/MyTTSDataset'", "datahrbnn/MyTTSDataset"),
        ("x = '/kaggle/input/datahrbnn'", "datahrbnn"),
        ("x = '/kaggle/input/datahrbnn/' + 'a'", "datahrbnn/a"),
        ("y = 3; x = f'/kaggle/input/datahrbnn/{y}.wav'", "datahrbnn/3.wav"),
        ("x = '../input/datahrbn/MyTTSDataset'", "datahrbnn/MyTTSDataset"),
        ("x = '/content/drive/MyDrive/MyTTSDataset/metadata.csv'", "MyTTSDataset/metadata.csv"),
        (r"x = r'C:\Users\me\MyTTSDataset\metadata.csv'", "MyTTSDataset/metadata.csv"),
        ("x = '/kaggle/input/ttsbnng/transformers/default/1/model/config.json'", "1/model/config.json"),
    ],
)
def test_paths_of_other_mounts(inputs: list[str], text: str, end: str) -> None:
    """The end of the path identifies the input, and the log names the line."""
    said: list[str] = []
    found = run(f"import os\n{text}", inputs, said)
    assert found.endswith(end)
    assert not found.startswith(("/kaggle", "/content", "C:"))
    assert said[0].startswith("line 2 of the script names ")


def test_what_is_nowhere_is_named(inputs: list[str]) -> None:
    """The path stays unchanged and is named, so that the failure can be understood."""
    said: list[str] = []
    assert run("x = '/kaggle/input/other/data.csv'", inputs, said) == "/kaggle/input/other/data.csv"
    assert said == ["line 1 of the script names /kaggle/input/other/data.csv, which is not there"]


def test_other_texts_stay(inputs: list[str]) -> None:
    """A script without such paths is unchanged, and its errors are Python's own."""
    said: list[str] = []
    for text in ("/kaggle/working", "/content/output", "/home/me/MyTTSDataset/out"):
        assert run(f"x = {text!r}", inputs, said) == text
    assert said == []
    with pytest.raises(SyntaxError):
        run("x = (", inputs)
