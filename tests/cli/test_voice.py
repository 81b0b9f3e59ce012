"""`kgtts voice package`: a run's voice as an archive, and what it tells."""

import importlib.util
import json
import zipfile
from pathlib import Path

import pytest

from tests.report.making import Made
from tests.support import Cli
from tests.voice.bangla import put_bangla_voice

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="needs onnx and onnxruntime",
)


@pytest.fixture
def run(workplace: Path) -> Path:
    """A run of two sessions, the last of which exported a voice."""
    Made(run="3f9c1a7be204", sessions=2, epochs=2).write(workplace / "runs" / "bangla-tts")
    put_bangla_voice(workplace / "runs" / "bangla-tts" / "session-02" / "voice")
    return workplace


def test_a_runs_voice_becomes_a_package(cli: Cli, run: Path) -> None:
    """The archive has the run's own figures, sentences and curves, and is the same the second time."""
    asked = ("voice", "package", "3f9c", "--license", "CC BY 4.0", "--author", "আশা", "--title", "Asha")
    done = cli(*asked, "--out", "one.zip")
    assert done.code == 0, done.said
    assert "earlier kgtts" in done.out
    assert cli(*asked, "--out", "two.zip").code == 0
    assert (run / "one.zip").read_bytes() == (run / "two.zip").read_bytes()
    with zipfile.ZipFile(run / "one.zip") as archive:
        names, text = set(archive.namelist()), archive.read("README.md").decode()
        card = json.loads(archive.read("voice.json"))
        assert "CC-BY-4.0" in archive.read("LICENSE.txt").decode()
    wanted = {"voice.onnx", "voice.json", "tokens.txt", "bangla.fst", "voice.onnx.json", "SHA256SUMS"}
    assert wanted | {"curves.svg", "LICENSE.txt", "README.md", "samples/01.wav"} <= names
    assert card["package"] | {"kgtts": ""} == {
        "schema": 1,
        "kgtts": "",
        "title": "Asha",
        "licence": "CC-BY-4.0",
        "base_licence": None,
        "author": "আশা",
    }
    assert "# Asha\n" in text
    assert "| Sessions | 2, " in text
    assert 'license: "cc-by-4.0"' in text


def test_json_lists_the_files(cli: Cli, run: Path) -> None:
    """`--json` has the archive, its identity and each file's size."""
    told = cli("voice", "package", "3f9c", "--json").json
    assert (told["file"], told["size"]) == ("voice.zip", (run / "voice.zip").stat().st_size)
    assert told["files"]["voice.onnx"] > 1000
    assert len(told["identity"]) == 64


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("3f9c", "--voice", "runs"), "each name a voice"),
        (("3f9c", "--license", "mine"), "not a licence"),
        (("nothing",), "nothing"),
        (("--voice", "."), "no voice"),
        (("--voice", "made.zip"), "is a package already"),
        (("--out", "voice.txt"), "does not end with .zip"),
    ],
    ids=str,
)
def test_what_cannot_be_packaged_is_said(cli: Cli, run: Path, arguments: tuple[str, ...], words: str) -> None:
    """No archive is left behind."""
    Path("made.zip").touch()
    done = cli("voice", "package", *arguments)
    assert done.code == 2
    assert words in done.err
    assert not (run / "voice.zip").exists()


def test_say_speaks_with_a_package(cli: Cli, run: Path) -> None:
    """The archive itself is a voice; its name is what is told."""
    assert cli("voice", "package", "3f9c").code == 0
    said = cli("say", "আমি", "--voice", "voice.zip", "--out", "said.wav")
    assert said.code == 0, said.said
    assert "voice.zip" in said.out
    (run / "voice.zip").write_bytes(b"PK")
    broken = cli("say", "আমি", "--voice", "voice.zip", "--out", "said.wav")
    assert (broken.code, "not a whole voice package" in broken.err) == (2, True)
