"""What a session on this machine mounts: a base voice is converted once, and again if it has changed."""

import json
import os
from pathlib import Path

import pytest

from orchestrator.download import TransferListener
from orchestrator.errors import UsageError
from orchestrator.places.downloads import KaggleInputs
from orchestrator.places.inputs import InputFinder, lay_out
from orchestrator.results import Results
from orchestrator.settings import Settings
from tests.base.making import OLD_CONFIG, write_voice

pytestmark = pytest.mark.posix  # `kgtts train` needs Linux or macOS.


@pytest.fixture
def finder(tmp_path: Path) -> InputFinder:
    """Finds the inputs of a run with the defaults' settings, without Kaggle."""
    listener = TransferListener()
    kaggle = KaggleInputs(None, tmp_path / "home", listener, lambda _: None)
    settings, results = Settings().with_owner("asha"), Results(tmp_path / "runs")
    return InputFinder(settings, kaggle, results, tmp_path / "home", listener, lambda _: None)


def test_a_voice_is_converted_again_only_if_it_has_changed(finder: InputFinder, tmp_path: Path) -> None:
    """A file that is as long as before counts as another if it was written later."""
    voice = write_voice(tmp_path / "my voice")
    first = finder.voice_folder(str(voice))
    assert (first / "model_file.pth").is_file()
    (first / "mark").touch()
    assert (finder.voice_folder(str(voice)) / "mark").exists()
    os.utime(voice / "model_file.pth", ns=(1, 1))
    again = finder.voice_folder(str(voice))
    assert (again != first, (again / "mark").exists()) == (True, False)


def test_a_voice_of_another_rate_is_refused(finder: InputFinder, tmp_path: Path) -> None:
    """The message says which rate to set; no half voice is left for the next call."""
    other = {**OLD_CONFIG, "audio": {**OLD_CONFIG["audio"], "sample_rate": 16_000}}
    voice = write_voice(tmp_path / "my voice", config=other)
    for _ in range(2):
        with pytest.raises(UsageError, match="16,000 samples a second") as caught:
            finder.voice_folder(str(voice))
    assert "training.sample_rate = 16000" in (caught.value.hint or "")


def test_a_tree_is_laid_out_as_links_in_read_only_folders(tmp_path: Path) -> None:
    """A script that writes beside its inputs fails here as on Kaggle, also after another session's tree."""
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({}), encoding="utf-8")
    root = tmp_path / "input"
    for name in ("first.json", "second.json"):
        lay_out(root, {"datasets/asha/data": {f"MyTTSDataset/{name}": file}})
    folder = root / "datasets/asha/data/MyTTSDataset"
    assert [path.name for path in folder.iterdir()] == ["second.json"]
    assert (folder / "second.json").resolve() == file
    assert folder.stat().st_mode & 0o222 == 0
