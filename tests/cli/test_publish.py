"""`kgtts publish`: packages through both real clients, to the emulator and a small hub."""

import importlib.util
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from orchestrator.emulator import Emulator
from orchestrator.emulator.faults.kinds import Error, UploadLost
from orchestrator.emulator.faults.plan import FaultPlan
from orchestrator.voice.package import write_package
from tests.fakes.hub import TOKEN, Hub, serving
from tests.report.making import Made
from tests.support import KEY, USER, Cli
from tests.voice.bangla import put_bangla_voice

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxruntime") is None,
        reason="needs onnx and onnxruntime",
    ),
    # Version 2.4 of the client sends files in a way that its HTTP library would rather have otherwise.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]
VERSION = f"{USER}/bangla-tts-voice/onnx/default"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package, made once."""
    from orchestrator.voice.facts import VoiceFacts  # noqa: PLC0415 - needs onnxruntime.
    from orchestrator.voice.packaging import VoiceDetails, package_contents  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("package")
    contents = package_contents(put_bangla_voice(folder), VoiceFacts(), VoiceDetails("Asha", "mit"))
    write_package(folder / "voice.zip", contents.files)
    return folder / "voice.zip"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, workplace: Path) -> Iterator[Hub]:
    """A hub that this account is logged in at; the client sends by Git LFS."""
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _seconds: None)
    with serving() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


def test_a_package_becomes_a_version_on_kaggle(cli: Cli, account: Emulator, archive: Path) -> None:
    """A private model with the README as its description; nothing is sent before, and nothing twice."""
    dry = cli("publish", "kaggle", "--package", str(archive), "--dry-run")
    assert dry.code == 0, dry.said
    assert f"would be sent to {VERSION}; nothing was" in dry.out
    told = cli("publish", "kaggle", "--package", str(archive), "--json").json
    assert (told["version"], told["uploaded"]) == (f"{VERSION}/1", True)
    again = cli("publish", "kaggle", "--package", str(archive))
    assert (again.code, "Nothing has changed" in again.out) == (0, True)
    listed = cli("kaggle", "models", "instances", "versions", "files", f"{VERSION}/1", "--csv")
    for name in ("voice.onnx", "tokens.txt", "bangla.fst", "SHA256SUMS"):
        assert name in listed.out
    model = json.loads(cli("kaggle", "models", "get", f"{USER}/bangla-tts-voice").out)
    assert (model["isPrivate"], model["title"]) == (True, "Bangla tts voice")
    assert model["description"].startswith("# Asha")
    assert model["instances"][0]["licenseName"] == "MIT"
    assert KEY not in dry.said + again.said


def test_a_runs_voice_is_published_at_once(cli: Cli, account: Emulator, workplace: Path) -> None:
    """The package is made of the run; another package of it is another version, under any model."""
    Made(run="3f9c1a7be204", sessions=1, epochs=2).write(workplace / "runs" / "bangla-tts")
    put_bangla_voice(workplace / "runs" / "bangla-tts" / "session-01" / "voice")
    no_licence = cli("publish", "kaggle", "3f9c")
    assert (no_licence.code, "--license" in no_licence.err) == (2, True)
    dry = cli("publish", "kaggle", "3f9c", "--to", "my-voice", "--dry-run")
    assert (dry.code, "--license" in dry.err) == (2, True)
    for number, author in enumerate(("Asha", "Rabi"), start=1):
        done = cli("publish", "kaggle", "3f9c", "--to", "my-voice", "--license", "MIT", "--author", author)
        assert done.code == 0, done.said
        assert f"Published {USER}/my-voice/onnx/default/{number}" in done.out


def test_an_upload_to_kaggle_goes_on(cli: Cli, account: Emulator, workplace: Path, tmp_path: Path) -> None:
    """The second command makes the version with what the first one began; what is stored is the package."""
    model = bytes(range(256)) * (36 << 10)  # 9 MB
    card = json.dumps({"package": {"licence": "MIT"}}).encode()
    write_package(workplace / "big.zip", {"voice.onnx": model, "voice.json": card, "README.md": b"# Big\n"})
    account.server.faults.set(FaultPlan(faults=(UploadLost(after=4 << 20),)))
    with stamina.set_testing(True, attempts=2, cap=True):
        broken = cli("publish", "kaggle", "--package", "big.zip")
    assert (broken.code, "same command" in broken.err or "try again" in broken.err) == (7, True), broken.said
    account.server.faults.set(FaultPlan())
    done = cli("publish", "kaggle", "--package", "big.zip")
    assert done.code == 0, done.said
    assert f"Published {VERSION}/1" in done.out
    back = cli(
        "kaggle", "models", "instances", "versions", "download", f"{VERSION}/1", "-p", tmp_path, "--untar"
    )
    assert back.code == 0, back.said
    assert (tmp_path / "voice.onnx").read_bytes() == model


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Error(where="api:ListModels", status=500), 7),
        (Error(where="api:CreateModel", status=403), 4),
        (Error(where="api:CreateModelInstance", status=429), 7),
        (Error(where="api:CreateModelInstance", status=409), 4),
        (Error(where="api:StartBlobUpload", status=401), 3),
        (Error(where="upload", status=403), 7),
    ],
    ids=lambda value: f"{value.where} {value.status}" if isinstance(value, Error) else "",
)
def test_what_kaggle_refuses_is_told_and_then_goes_on(
    cli: Cli, account: Emulator, archive: Path, fault: Error, code: int
) -> None:
    """With the exit code of its kind and no secret; the same command then publishes one version."""
    account.server.faults.set(FaultPlan(faults=(fault,)))
    broken = cli("publish", "kaggle", "--package", str(archive))
    assert broken.code == code, broken.said
    assert KEY not in broken.said
    account.server.faults.set(FaultPlan())
    told = cli("publish", "kaggle", "--package", str(archive), "--json").json
    assert told["version"] == f"{VERSION}/1"


def test_a_package_becomes_a_repository(cli: Cli, hub: Hub, archive: Path) -> None:
    """Private, once, and without the token in anything that is said or sent."""
    dry = cli("publish", "hf", "asha/voice", "--package", str(archive), "--dry-run")
    assert dry.code == 0, dry.said
    assert "asha/voice would be made, private" in dry.out
    assert not hub.repositories
    done = cli("publish", "hf", "asha/voice", "--package", str(archive))
    assert done.code == 0, done.said
    assert f"Published asha/voice (private)  {hub.url}/asha/voice" in done.out
    with zipfile.ZipFile(archive) as source:
        wanted = {name: source.read(name) for name in source.namelist()}
    there = hub.content("asha/voice")
    assert {name: there.get(name) for name in wanted} == wanted
    told = cli("publish", "hf", "asha/voice", "--package", str(archive), "--json").json
    assert (told["upload"], told["private"], told["dry_run"]) == ([], True, False)
    assert told["commit"] == hub.repositories["asha/voice"].commits[-1]
    assert len(hub.repositories["asha/voice"].commits) == 2
    assert TOKEN not in dry.said + done.said + json.dumps(told)


def test_a_damaged_package_is_not_published(cli: Cli, hub: Hub, account: Emulator, archive: Path) -> None:
    """Neither service is called."""
    place = Path("damaged.zip")
    shutil.copyfile(archive, place)
    data = bytearray(place.read_bytes())
    data[data.index(b"<PAD>") if b"<PAD>" in data else len(data) // 2] ^= 1
    place.write_bytes(data)
    for target in (("kaggle",), ("hf", "asha/voice")):
        done = cli("publish", *target, "--package", str(place))
        assert (done.code, "not a whole voice package" in done.err) == (2, True), done.said
    assert not hub.calls


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("hf", "voice"), (2, "OWNER/NAME")),
        (("hf", "rabi/voice"), (4, "does not allow it")),
        (("hf", "asha/voice", "--title", "x"), (2, "leave out RUN")),
        (("kaggle", "--to", "My Voice"), (2, "Kaggle Model")),
        (("kaggle", "--to", "abc"), (2, "5 to 50")),
        (("kaggle", "--to", "rabi/my-voice"), (4, "rabi/my-voice")),
    ],
    ids=str,
)
def test_what_cannot_be_published_is_said(
    cli: Cli, hub: Hub, archive: Path, arguments: tuple[str, ...], expected: tuple[int, str]
) -> None:
    """With an exit code of its kind."""
    done = cli("publish", *arguments, "--package", str(archive))
    assert (done.code, expected[1] in done.err) == (expected[0], True), done.said
    assert TOKEN not in done.said
    assert KEY not in done.said


def test_without_a_login_there_is_a_hint(
    cli: Cli, hub: Hub, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, before anything is called."""
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "nowhere")
    done = cli("publish", "hf", "asha/voice", "--package", str(archive))
    assert (done.code, "hf auth login" in done.err) == (3, True), done.said
    assert not hub.calls
