"""`kgtts base` at the emulator: a voice from a folder, an archive or an address becomes a Kaggle model."""

import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from orchestrator.base.sources import KNOWN_VOICES
from orchestrator.emulator import Emulator
from tests.base.making import state, write_voice
from tests.support import KEY, USER, Cli

pytestmark = pytest.mark.posix
VARIATION = f"{USER}/ttsbnng/transformers/default"


@pytest.fixture
def account(
    workplace: Path, start_emulator: Callable[..., Emulator], monkeypatch: pytest.MonkeyPatch
) -> Emulator:
    """An account without anything."""
    started = start_emulator()
    monkeypatch.setenv("KGTTS_KAGGLE_URL", started.url)
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    return started


def pack(folder: Path, target: Path, **more: str) -> Path:
    """Pack a voice as Coqui releases it; `more` are names of entries that are added."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"tts_models--bn/{path.name}")
        for name in more.values():
            archive.writestr(name, "x")
    return target


def test_a_voice_becomes_the_model(account: Emulator, cli: Cli, tmp_path: Path) -> None:
    """It is private, in the place where sessions look for it; the same voice makes no second version."""
    folder = write_voice(tmp_path / "my voice")
    refused = cli("base", "add", folder)
    assert refused.code == 2
    assert "--license NAME" in refused.said
    result = cli("base", "add", folder, "--license", "Apache 2.0")
    assert result.code == 0, result.said
    assert "Changed: 2 weights of the generation weight_g/weight_v" in result.out
    assert f"Uploaded {VARIATION}/1" in result.out
    files = cli("kaggle", "models", "variations", "versions", "files", f"{VARIATION}/1")
    assert files.code == 0, files.said
    assert "model/config.json" in files.out
    assert "model/model_file.pth" in files.out
    again = cli("base", "add", folder, "--json")
    assert (again.json["uploaded"], again.json["model"]) == (False, f"{VARIATION}/1")


def test_another_version_and_rate_go_into_kgtts_toml(account: Emulator, cli: Cli, workplace: Path) -> None:
    """The next push trains on what was added last, without editing; comments in the file stay."""
    settings = workplace / "kgtts.toml"
    settings.write_text('# mine\n[kernel]\naccelerator = "none"  # cpu\n', encoding="utf-8")
    assert cli("base", "add", write_voice(workplace / "one"), "--license", "MIT").code == 0
    assert "inputs" not in settings.read_text(encoding="utf-8")
    from tests.base.making import OLD_CONFIG  # noqa: PLC0415 - beside its use.

    other = write_voice(workplace / "two", state(), {**OLD_CONFIG, "audio": {"sample_rate": 16000}})
    result = cli("base", "add", other)
    assert result.code == 0, result.said
    text = settings.read_text(encoding="utf-8")
    assert text.startswith('# mine\n[kernel]\naccelerator = "none"  # cpu\n')
    assert 'model = "ttsbnng/transformers/default/2"' in text
    assert "sample_rate = 16000" in text
    assert cli("config", "show").code == 0


def test_a_dry_run_needs_no_account(cli: Cli, workplace: Path) -> None:
    """It says all that an upload would, and sends nothing."""
    folder = write_voice(workplace / "voice", name="best_model_17.pth")
    result = cli("base", "add", pack(folder, workplace / "voice.zip"), "--dry-run")
    assert result.code == 0, result.said
    assert "13 letters, 22,050 Hz, trained to step 845,500" in result.out
    assert "Nothing was uploaded" in result.out


@pytest.mark.parametrize("name", ["../config.json", "/etc/config.json", "a/../../x", "C:\\x", "..\\x"])
def test_hostile_archives_are_refused(cli: Cli, workplace: Path, name: str) -> None:
    """Names that lead out of the archive are named, and nothing is unpacked."""
    archive = pack(write_voice(workplace / "voice"), workplace / "voice.zip", hostile=name)
    result = cli("base", "add", archive, "--dry-run")
    assert result.code == 2
    assert "leads out of it" in result.said
    assert not list((workplace.parent / "data").rglob("*.pth"))


def test_a_bomb_is_refused(cli: Cli, workplace: Path) -> None:
    """An entry that tells a small size and holds more is stopped at what it tells."""
    archive = pack(write_voice(workplace / "voice"), workplace / "voice.zip")
    data = bytearray(archive.read_bytes())
    entry = data.index(b"PK\x01\x02")
    while b"model_file.pth" not in data[entry : entry + 120]:
        entry = data.index(b"PK\x01\x02", entry + 4)
    data[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    archive.write_bytes(bytes(data))
    result = cli("base", "add", archive, "--dry-run")
    assert result.code == 2, result.said


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and prints nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name.
        """Say nothing."""


@pytest.fixture
def server(workplace: Path) -> Iterator[str]:
    """Serve the working folder on this machine."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(workplace)))
    thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


def test_an_address_is_downloaded(cli: Cli, workplace: Path, server: str) -> None:
    """The size is shown first; a missing file, another scheme and another kind of file are refused."""
    pack(write_voice(workplace / "voice"), workplace / "voice.zip")
    result = cli("base", "add", f"{server}/voice.zip", "--dry-run")
    assert result.code == 0, result.said
    assert "Downloading" in result.err
    assert "kB)" in result.err
    assert cli("base", "add", f"{server}/no.zip", "--dry-run").code == 7
    for address in (
        "http://example.org/voice.zip",
        "ftp://example.org/v.zip",
        "https://example.org/voice.exe",
    ):
        assert cli("base", "add", address, "--dry-run").code == 2


def test_what_is_no_voice_is_named(cli: Cli, workplace: Path) -> None:
    """Nothing there, a folder without a checkpoint, without a configuration, and with several."""
    assert "no known voice (bangla-female" in cli("base", "add", "bangla").said
    assert "did you mean bangla-female?" in cli("base", "add", "Bangla-femle").said
    (workplace / "empty").mkdir()
    assert "it has no checkpoint" in cli("base", "add", "empty").said
    folder = write_voice(workplace / "voice", name="a.pth")
    write_voice(folder, name="b.pth")
    assert "several checkpoints: a.pth, b.pth" in cli("base", "add", folder).said
    (folder / "config.json").unlink()
    assert "no config.json beside a.pth" in cli("base", "add", folder).said


def test_known_voices_are_listed(cli: Cli, workplace: Path) -> None:
    """Coqui's Bangla voices come first, each with its licence and its source."""
    result = cli("base", "list")
    assert result.code == 0
    assert [voice.name for voice in KNOWN_VOICES][:2] == ["bangla-female", "bangla-male"]
    assert "Apache 2.0" in result.out
    assert "83.1 million parameters" in result.out
    assert cli("base", "list", "--json").json[0]["is_commercial"] is True
