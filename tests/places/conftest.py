"""Inputs on this machine, and settings that send them to machines of SkyPilot."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.settings import Settings


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with a dataset, as `kgtts data prepare` makes it, and a base voice."""
    folder = tmp_path / "my inputs"
    dataset, voice = folder / "data" / "MyTTSDataset", folder / "voice"
    (dataset / "wavs").mkdir(parents=True)
    (dataset / "metadata.csv").write_text("a|আমি|আমি\n", encoding="utf-8")
    (dataset / "wavs" / "a.wav").write_bytes(b"RIFF")
    voice.mkdir()
    (voice / "config.json").write_text("{}", encoding="utf-8")
    (voice / "model_file.pth").write_bytes(b"weights")
    return folder


def settings_for(inputs: Path, **sky: Any) -> Settings:
    """Make the settings of a run on SkyPilot with these inputs."""
    values = {
        "results": "s3://asha-voices/tts",
        "data": str(inputs / "data"),
        "voice": str(inputs / "voice"),
        **sky,
    }
    return Settings.model_validate({"kernel": {"owner": "asha"}, "skypilot": values}).with_owner("asha")
