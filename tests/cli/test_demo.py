"""The whole demo with real Coqui, torch and a small voice."""

import json
import wave
from pathlib import Path

import pytest

from orchestrator.voice.package import open_package
from tests.support import Cli
from tests.voice.bangla import sherpa_says

pytestmark = [pytest.mark.posix, pytest.mark.training]


@pytest.mark.timeout(480)  # Two sessions, each with all of Coqui to import: long on a busy machine.
def test_the_demo_trains_and_says_where_everything_is(
    cli: Cli, workplace: Path, voice_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contract of `result.json` holds; the checkpoint is new, complete, and not the base voice's."""
    (workplace.parent / "data").mkdir()
    (workplace.parent / "data" / "cache").symlink_to(voice_cache)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # The other tests need the other cores.
    result = cli("demo", "--dir", "the demo")
    assert result.code == 0, result.said
    folder = workplace / "the demo"
    told = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert told["state"] == "complete"
    assert told["sessions"] >= 2
    assert (folder / told["log"]).is_file()
    import torch  # noqa: PLC0415 - seconds, which are not for every worker that only collects this.

    trained = torch.load(folder / told["checkpoint"], map_location="cpu", weights_only=True)
    base = torch.load(
        next((folder / "kaggle/models").rglob("model_file.pth")), map_location="cpu", weights_only=True
    )
    assert trained["step"] >= told["global_step"] > 0
    assert trained["step"] > base["step"]
    assert any(not torch.equal(base["model"][name], trained["model"][name]) for name in base["model"])
    for text in ("Mel loss", "kgtts init", "kgtts doctor", "validation_samples", "  checkpoint"):
        assert text in result.out
    assert "(missing)" not in result.out
    assert "500 epochs for now" in result.out  # Otherwise a forecast of 70 sessions looks like a fault.
    assert list((folder / "results").rglob("validation_samples/base/*.wav"))
    assert list((folder / "results").rglob("*.wav"))
    with wave.open(str(folder / "speech.wav")) as speech:
        assert speech.getnframes() > speech.getframerate() / 10
    said = cli("say", "আমি", "--voice", folder / "results", "--out", folder / "again.wav", "--json")
    assert said.json["voices"][0]["run"] == told["run"]
    with open_package(folder / "voice.zip") as package:  # Where sherpa-onnx loads it and speaks.
        (sound,) = sherpa_says(package.folder, ["আমি বাংলায় গান গাই।"], rules="bangla.fst")
    assert len(sound) > 2000
