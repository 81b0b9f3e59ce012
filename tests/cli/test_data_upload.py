"""`kgtts data upload` at the emulator: over the wire, with the stock client as witness."""

from collections.abc import Callable
from pathlib import Path

import pytest
import stamina

from orchestrator.emulator import Emulator
from orchestrator.emulator.faults.kinds import UploadLost
from orchestrator.emulator.faults.plan import FaultPlan
from tests.support import KEY, USER, Cli

pytestmark = pytest.mark.posix
SOURCE = f"{USER}/datahrbnn"


@pytest.fixture(autouse=True)
def login(
    workplace: Path, start_emulator: Callable[..., Emulator], monkeypatch: pytest.MonkeyPatch
) -> Emulator:
    """An account without anything."""
    started = start_emulator()
    monkeypatch.setenv("KGTTS_KAGGLE_URL", started.url)
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    return started


def prepare(folder: Path, recordings: int = 2) -> Path:
    """Make a dataset as `kgtts data prepare` leaves it."""
    place = folder / "My voice" / "MyTTSDataset"
    (place / "wavs").mkdir(parents=True)
    lines = []
    for number in range(recordings):
        (place / "wavs" / f"a{number}.wav").write_bytes(b"RIFF%d" % number)
        lines.append(f"a{number}|আমি|আমি\n")
    (place / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return place.parent


def listed(cli: Cli) -> set[str]:
    """List the files of the dataset with the stock client."""
    result = cli("kaggle", "datasets", "files", SOURCE, "--page-size", "200", "--csv")
    assert result.code == 0, result.said
    return {line.split(",")[0] for line in result.out.splitlines() if "/" in line}


@pytest.mark.parametrize("recordings", [2, 60])
def test_a_folder_arrives_with_its_folders(cli: Cli, tmp_path: Path, recordings: int) -> None:
    """Few files go as they are, many in an archive that Kaggle unpacks; nothing tells them apart there."""
    folder = prepare(tmp_path, recordings)
    result = cli("data", "upload", folder, "--license", "CC0-1.0")
    assert result.code == 0, result.said
    assert f"Uploaded {SOURCE}" in result.out
    wavs = {f"MyTTSDataset/wavs/a{number}.wav" for number in range(recordings)}
    assert listed(cli) == {"MyTTSDataset/metadata.csv", *wavs}
    again = cli("data", "upload", folder / "MyTTSDataset", "--json")
    assert again.json["uploaded"] is False
    assert again.json["private"] is True
    details = cli("kaggle", "datasets", "metadata", SOURCE, "-p", tmp_path)
    assert details.code == 0, details.said
    assert "CC0-1.0" in (tmp_path / "dataset-metadata.json").read_text()


def test_a_change_makes_a_version(cli: Cli, tmp_path: Path) -> None:
    """A script of one's own makes another version, in the place where sessions look for it."""
    folder = prepare(tmp_path)
    assert cli("data", "upload", folder, "--license", "other").code == 0
    (tmp_path / "my script.py").write_text("print()")
    result = cli("data", "upload", folder, "--script", tmp_path / "my script.py", "--notes", "with a script")
    assert result.code == 0, result.said
    assert "no training script" not in result.out
    assert "MyTTSDataset/train_tts.py" in listed(cli)


def test_the_licence_is_asked_for_by_name(cli: Cli, tmp_path: Path) -> None:
    """Nobody can answer a question here, so the option is named; a licence that Kaggle lacks is refused."""
    folder = prepare(tmp_path)
    result = cli("data", "upload", folder)
    assert result.code == 2
    assert "--license NAME" in result.said
    refused = cli("data", "upload", folder, "--license", "My own")
    assert refused.code == 4, refused.said
    assert "My own" in refused.said or "licen" in refused.said.lower()


def test_an_upload_goes_on_in_another_command(cli: Cli, tmp_path: Path, login: Emulator) -> None:
    """The second command makes the version with what the first one began; nothing is kept of it then."""
    folder = prepare(tmp_path)
    big = folder / "MyTTSDataset" / "wavs" / "big.wav"
    big.write_bytes(bytes(range(256)) * (36 << 10))  # 9 MB
    lost = UploadLost(after=4 << 20)
    login.server.faults.set(FaultPlan(faults=(lost,)))
    with stamina.set_testing(True, attempts=2, cap=True):
        broken = cli("data", "upload", folder, "--license", "other")
    assert broken.code == 7, broken.said
    assert len(list((tmp_path / "data" / "uploads").iterdir())) == 1
    login.server.faults.set(FaultPlan())
    result = cli("data", "upload", folder, "--license", "other")
    assert result.code == 0, result.said
    stored = tmp_path / "back"
    assert cli("kaggle", "datasets", "download", SOURCE, "-p", stored, "--unzip").code == 0
    assert (stored / "MyTTSDataset" / "wavs" / "big.wav").read_bytes() == big.read_bytes()
    assert not list((tmp_path / "data" / "uploads").iterdir())
