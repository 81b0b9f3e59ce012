"""Recordings that Coqui's formatter would not find are found through the metadata that it is given."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kernel_template.host.metadata import MetadataMender
from kernel_template.host.report import Reporter
from tests.kernel.kit import put


def formatter(config: Any) -> dict[str, str]:
    """What the recordings hold that Coqui's ljspeech formatter would take."""
    (dataset,) = config.datasets
    lines = (Path(dataset.path) / dataset.meta_file_train).read_text(encoding="utf-8").splitlines()
    names = [line.split("|")[0] for line in lines]
    return {name: (Path(dataset.path) / "wavs" / f"{name}.wav").read_text() for name in names}


@pytest.mark.parametrize(
    "files",
    [
        ("wavs/a.WAV", "wavs/b.flac", "wavs/c d.wav"),
        ("clips/a.wav", "clips/b.Wav", "clips/c d.mp3"),
        ("wavs/one/a.wav", "wavs/two/b.WAV", "wavs/c d.wav"),
    ],
)
def test_recordings_under_other_names(tmp_path: Path, files: tuple[str, ...]) -> None:
    """Another case, ending or folder does not matter; the files and the metadata stay as they are."""
    data, said = tmp_path / "data", list[str]()
    for file in files:
        put(data / file, file)
    text = "a|আমি|আমি\nb|তুমি|তুমি\nc d|সে|সে\n"
    put(data / "metadata.csv", text)
    (tmp_path / "temp").mkdir()
    dataset = SimpleNamespace(formatter="ljspeech", path=str(data), meta_file_train="metadata.csv")
    config = SimpleNamespace(datasets=[dataset])
    reporter = Reporter(tmp_path / "temp" / "report.json", said.append)
    for _ in range(2):  # A session may train twice.
        mender = MetadataMender(tmp_path / "temp", reporter, quiet=False)
        assert list(mender.load_tts_samples(formatter, config).values()) == list(files)
    assert (data / "metadata.csv").read_text(encoding="utf-8") == text
    assert dataset.meta_file_train == "metadata.csv"
    assert dataset.path == str(data)
    assert "lie elsewhere than in wavs, or do not end in .wav" in said[0]
