"""The voice's export from the kernel's side, with a made-up program."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import Export
from kernel_template.finish.export import SessionCard, VoiceExporter, free_bytes, voice_checkpoint
from kernel_template.finish.samples import checkpoints_to_hear
from kernel_template.finish.voice_program import VoiceProgram
from kernel_template.tools.files import write_atomic
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import ChildPlan, StopCause
from kernel_template.train.checkpoints import Checkpoint
from tests.kernel.kit import Child, Log, paths_in, put, reporter, settings
from tests.kernel.sessions import HEAD, PROGRAMS, TRAINS, Played

_VOICE = b"onnx" * 1000
_CARD: SessionCard = {"run": settings()["run"], "made": "2026-11-22T07:31:00+00:00"}
_VOICE_ON = {"onnx": True, "packages": []}
_CHECK = {"state": "passed", "why": None, "tolerance": 1e-3, "difference": 1e-6, "sentences": 2, "samples": 9}


def card(**changes: Any) -> dict[str, Any]:
    """Return what the program writes to voice.json."""
    sha256 = hashlib.sha256(_VOICE).hexdigest()
    onnx = {"file": "voice.onnx", "size": len(_VOICE), "sha256": sha256}
    return {
        "schema": 1,
        "onnx": onnx,
        "check": _CHECK,
        "text": {"speakable": True, "why": None},
        **changes,
    }


def writes(described: Any) -> Callable[[ChildPlan], None]:
    """Play the program: write its files to its `--out`; voice.json has the letters that it was given."""

    def before(plan: ChildPlan) -> None:
        options = dict(zip(plan.command, plan.command[1:], strict=False))
        folder = Path(options["--out"])
        text = described.get("text", {})
        if "--letters" in options:
            text = {**text, "counts": json.loads(Path(options["--letters"]).read_text(encoding="utf-8"))}
        put(folder / "voice.onnx", _VOICE)
        put(folder / "voice.json", json.dumps({**described, "text": text}))
        if text.get("kind") == "characters":
            put(folder / "tokens.txt", "ক 4\n")

    return before


def made(described: Any = None) -> Child:
    """Play a program that succeeds."""
    line = json.dumps({"export": {"state": "made", "why": None}})
    return Child(["a library greets", line], before=writes(described or card()))


def export(root: Path, log: Log, child: Child, **more: Any) -> Export:
    """Export a best model of step 8."""
    paths = paths_in(root)
    exporter = VoiceExporter(
        program=VoiceProgram(
            child, PackagePrograms("python"), "finish.export_program", {}, root, write_atomic
        ),
        paths=paths,
        report=reporter(log),
        write=write_atomic,
        **more,
    )
    checkpoint = Checkpoint(paths.training / "v" / "best_model_8.pth", 8, best=True)
    return exporter.export(checkpoint, root / "config.json", ["আ"], _CARD)


def test_a_voice_comes_with_its_description(root: Path, log: Log) -> None:
    """Both files are written; voice.json has the run's stamp, the step, the letters and the recordings."""
    recordings = {"recordings": 2, "seconds_a_letter": 0.08, "loudness_db": -20.0, "movement_db": 11.0}
    record = export(root, log, made(), letters={"আ": 3, "য\u09bc": 2}, recordings=recordings)
    place = root / "working" / "voice"
    assert sorted(path.name for path in place.iterdir()) == ["voice.json", "voice.onnx"]
    written = json.loads((place / "voice.json").read_text())
    source = {"checkpoint": "training/v/best_model_8.pth", "global_step": 8, "best": True}
    text = {**card()["text"], "counts": {"আ": 3, "য\u09bc": 2}}
    assert written == {**card(), **_CARD, **source, "text": text, "recordings": recordings}
    assert (place / "voice.onnx").read_bytes() == _VOICE
    assert record["state"] == "made"
    assert record["sha256"] == written["onnx"]["sha256"]
    assert record["check"] == _CHECK
    (event,) = log.events("export")
    assert event["file"] == "voice/voice.onnx"
    assert not log.events("warning")
    assert list((root / "temp").iterdir()) == []


@pytest.mark.parametrize(("name", "there"), [("voice", True), ("base", False)])
def test_the_vocabulary_lies_beside_the_voice(root: Path, log: Log, name: str, *, there: bool) -> None:
    """The session's own voice comes with tokens.txt, the base voice without."""
    text = {"kind": "characters", "speakable": True, "why": None}
    assert export(root, log, made(card(text=text)), name=name)["state"] == "made"
    tokens = root / "working" / "voice" / "tokens.txt"
    assert tokens.is_file() is there
    assert not there or tokens.read_text(encoding="utf-8") == "ক 4\n"


@pytest.mark.parametrize(
    ("child", "word"),
    [
        (Child(["ImportError: no torch"], returncode=1), "exit code 1: ImportError: no torch"),
        (Child(stop_cause=StopCause.TIME_LIMIT), "took longer than 5 min"),
        (Child(stop_cause=StopCause.INTERRUPTED), "told to stop"),
        (Child(error=FileNotFoundError("python")), "FileNotFoundError"),
        (
            Child(['{"export": {"state": "failed", "why": "RuntimeError: x"}}'], returncode=1),
            "RuntimeError: x",
        ),
        (
            Child(['{"export": {"state": "failed", "why": "onnx is not installed", "missing": "onnx"}}']),
            "add onnx to voice.packages",
        ),
        (Child(['{"export": {"state": "made", "why": null}}']), "FileNotFoundError"),
        (made({"onnx": 7}), "TypeError"),
        (made(card(onnx={"size": len(_VOICE), "sha256": "0"})), "does not match its description"),
    ],
)
def test_an_export_that_fails_warns(root: Path, log: Log, child: Child, word: str) -> None:
    """A failed export is a warning and leaves no partial voice among the outputs."""
    record = export(root, log, child)
    assert record["state"] == "failed"
    (warning,) = log.events("warning")
    assert word in warning["message"]
    assert not list((root / "working").rglob("voice.*"))


def test_a_voice_that_onnx_cannot_hold_is_no_trouble(root: Path, log: Log) -> None:
    """It is printed, but not as a warning, since nothing can be done about it."""
    child = Child(['{"export": {"state": "unsupported", "why": "its speakers are vectors"}}'])
    assert export(root, log, child)["state"] == "unsupported"
    assert "its speakers are vectors" in log.text
    assert not log.events("warning")


@pytest.mark.parametrize(
    ("changes", "warned", "said"),
    [
        ({"check": {**_CHECK, "state": "failed", "why": "it hums"}}, True, "it hums"),
        (
            {"check": {**_CHECK, "state": "not_made", "why": "onnxruntime is not installed"}},
            False,
            "onnxruntime",
        ),
        ({"text": {"speakable": False, "why": "phonemes"}}, True, "phonemes"),
    ],
)
def test_a_voice_with_a_flaw_is_kept(
    root: Path,
    log: Log,
    *,
    changes: dict[str, Any],
    warned: bool,
    said: str,
) -> None:
    """voice.json and the log say what is wrong with it."""
    assert export(root, log, made(card(**changes)))["state"] == "made"
    assert bool(log.events("warning")) == warned
    assert said in log.text


def test_the_outputs_keep_their_limit(root: Path, log: Log) -> None:
    """A voice that does not fit into the limit is not added to the outputs."""
    put(root / "working" / "big", b"x" * 1000)
    record = export(root, log, made(), disk_limit=50_004_000)
    assert "only 3.0 kB may still be written" in str(record["why"])
    assert not (root / "working" / "voice" / "voice.onnx").exists()
    assert free_bytes(root / "working", None) > free_bytes(root / "working", 10_000)


def test_which_model_is_exported_and_which_are_heard() -> None:
    """The newest best model is exported; it and the newest checkpoint speak, once if they are the same."""

    def checkpoint(step: int, *, best: bool) -> Checkpoint:
        return Checkpoint(Path(f"{step}.pth"), step, best=best)

    old, best, newest = checkpoint(2, best=True), checkpoint(4, best=True), checkpoint(9, best=False)
    assert voice_checkpoint([old, best, newest]) == best
    assert voice_checkpoint([newest]) == newest
    assert voice_checkpoint([]) is None
    assert checkpoints_to_hear([old, best, newest]) == [newest, best]
    assert checkpoints_to_hear([best, checkpoint(4, best=False)]) == [checkpoint(4, best=False)]
    assert checkpoints_to_hear([]) == []


_EXPORT = f"""
import json, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
(folder / "voice.onnx").write_bytes({_VOICE!r})
(folder / "voice.json").write_text({json.dumps(card())!r})
print(json.dumps({{"export": {{"state": "made", "why": None}}}}))
"""


def test_a_session_leaves_its_voice(root: Path, log: Log) -> None:
    """The export runs between training and samples; state.json and the manifest list the voice."""
    programs = {**PROGRAMS, "finish/export_program.py": _EXPORT}
    played = Played(root, log, HEAD + TRAINS, programs=programs, voice=_VOICE_ON, session_budget_s=119)
    assert played.code == 0
    names = [event["name"] for event in log.events("stage") if event["state"] == "done"]
    assert names[-4:] == ["train", "export", "samples", "outputs"]
    assert played.state["export"]["global_step"] == 4
    assert played.state["export"]["state"] == "made"
    assert "base" not in played.state["export"]  # There was no time for that.
    manifest = json.loads((root / "working" / "manifest.json").read_text())
    voice = {item["path"] for item in manifest["files"] if item["path"].startswith("voice/")}
    assert voice == {"voice/voice.onnx", "voice/voice.json"}


def test_what_the_export_lacks_costs_a_warning(root: Path, log: Log) -> None:
    """Without internet nothing is installed, and the export says what is missing."""
    programs = {**PROGRAMS, "finish/export_program.py": _EXPORT}
    voice = {"onnx": True, "packages": ["no-such-package-of-kgtts>=1"]}
    played = Played(root, log, HEAD + TRAINS, programs=programs, voice=voice, internet=False)
    assert (played.code, played.state["export"]["state"]) == (0, "made")
    (warning,) = log.events("warning")
    assert "no-such-package-of-kgtts>=1 is not installed" in warning["message"]


def test_a_short_session_does_without(root: Path, log: Log) -> None:
    """Samples come first; no process is started that would be cut off, and no warning is given."""
    played = Played(root, log, HEAD + TRAINS, voice=_VOICE_ON, session_budget_s=39)
    assert played.code == 0
    expected = {"state": "skipped", "why": "the session has no time left for it"}
    assert played.state["export"] == expected
    assert not log.events("warning")
    assert (root / "working" / "validation_samples" / "step_4" / "01.wav").is_file()


def test_other_architectures_are_not_exported(root: Path, log: Log) -> None:
    """No process is started for other architectures."""
    from tests.kernel.kit import base_config, mount_inputs  # noqa: PLC0415 - stays beside its one use.

    mount_inputs(root / "input", script=HEAD + TRAINS, config=base_config(model="glow_tts"))
    played = Played(root, log, "", training={"model": "glow_tts"}, voice=_VOICE_ON)
    assert played.code == 0
    assert played.state["export"]["why"] == "Coqui cannot export glow_tts models to ONNX"
    assert "voice" not in {path.name for path in (root / "working").iterdir()}
