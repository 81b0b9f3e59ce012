"""Scripts that write beside themselves, where inputs are read-only."""

import os
from pathlib import Path

import pytest

from kernel_template.host.beside import writable_script
from tests.kernel.kit import put

SCRIPT = b"import os\nHERE = os.path.dirname(os.path.abspath(__file__))\n"


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """A dataset and a base voice as Kaggle mounts them."""
    top = tmp_path / "input"
    put(top / "datasets" / "me" / "data" / "MyTTSDataset" / "train.py", SCRIPT.decode())
    put(top / "datasets" / "me" / "data" / "MyTTSDataset" / "wavs" / "a.wav", "sound")
    put(top / "datasets" / "me" / "data" / "readme.md")
    put(top / "models" / "me" / "voice" / "1" / "config.json", "{}")
    return [str(top / "datasets" / "me" / "data"), str(top / "models" / "me" / "voice" / "1")]


def test_a_script_finds_all_that_lies_around_it(inputs: list[str], tmp_path: Path) -> None:
    """Files above, beside and below it are there, also for `os.walk`; what it writes is not in the inputs."""
    script, said = Path(inputs[0], "MyTTSDataset", "train.py"), list[str]()
    for _ in range(2):  # The second training of a session finds the folder.
        copy = writable_script(script, SCRIPT, inputs, tmp_path / "temp" / "script", said.append)
    here = copy.resolve().parent
    assert copy.read_bytes() == SCRIPT
    assert (here / ".." / "readme.md").exists()
    assert (here / ".." / ".." / ".." / ".." / "models" / "me" / "voice" / "1" / "config.json").is_file()
    assert {name for _, _, names in os.walk(here) for name in names} == {"train.py", "a.wav"}
    put(here / "speakers.json", "{}")
    put(here / "wavs" / "b.wav", "new")
    assert [path.name for path in sorted(script.parent.rglob("*"))] == ["train.py", "wavs", "a.wav"]
    assert "which is read-only: it sees" in said[0]


def test_other_scripts_stay_where_they_are(inputs: list[str], tmp_path: Path) -> None:
    """A script that does not ask for its own place, or is no input, is not copied."""
    script, said = Path(inputs[0], "MyTTSDataset", "train.py"), list[str]()
    assert writable_script(script, b"print()", inputs, tmp_path / "temp", said.append) == script
    assert writable_script(script, SCRIPT, inputs[1:], tmp_path / "temp", said.append) == script
    assert (said, (tmp_path / "temp").exists()) == ([], False)


def test_a_full_disk_leaves_the_script_where_it_is(inputs: list[str], tmp_path: Path) -> None:
    """If the copy cannot be made, the log says so."""
    script, said = Path(inputs[0], "MyTTSDataset", "train.py"), list[str]()
    place = put(tmp_path / "temp", "a file in the way")
    assert writable_script(script, SCRIPT, inputs, place, said.append) == script
    assert "cannot be copied" in said[0]
