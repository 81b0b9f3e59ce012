"""The voice's export: the kernel's side with the program played, and Coqui's real small voice through it."""

import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import kernel_template
from kernel_template.checkpoints import Checkpoint
from kernel_template.export import VoiceExporter, room_in, voice_checkpoint
from kernel_template.files import write_atomic
from kernel_template.process import ChildPlan, Cut
from kernel_template.programs.voice_text import text_ids
from kernel_template.samples import checkpoints_to_hear
from kernel_template.voice_program import VoiceProgram
from orchestrator.emulator import inputs
from orchestrator.emulator.standins import standin_path
from orchestrator.speech import Manner, open_voice, sound_of
from tests.kernel.kit import Child, Log, paths_in, put, reporter
from tests.kernel.sessions import HEAD, PROGRAMS, TRAINS, Played

_PROGRAMS = Path(kernel_template.__file__).parent / "programs"
_VOICE = b"onnx" * 1000
_VOICE_ON = {"onnx": True, "packages": []}
_CHECK = {"state": "passed", "why": None, "tolerance": 1e-3, "difference": 1e-6, "sentences": 2, "samples": 9}


def card(**changes: Any) -> dict[str, Any]:
    """What the program writes into voice.json."""
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
    """Plays the program: leaves both files in its `--out`."""

    def before(plan: ChildPlan) -> None:
        folder = Path(plan.command[list(plan.command).index("--out") + 1])
        put(folder / "voice.onnx", _VOICE)
        put(folder / "voice.json", json.dumps(described))

    return before


def made(described: Any = None) -> Child:
    """A program that succeeds."""
    line = json.dumps({"export": {"state": "made", "why": None}})
    return Child(["a library greets", line], before=writes(described or card()))


def export(root: Path, log: Log, child: Child, **more: Any) -> dict[str, Any]:
    """Export a best model of step 8."""
    paths = paths_in(root)
    exporter = VoiceExporter(
        program=VoiceProgram(child, root / "export.py", "python", {}, root, write_atomic),
        paths=paths,
        report=reporter(log),
        write=write_atomic,
        **more,
    )
    checkpoint = Checkpoint(paths.training / "v" / "best_model_8.pth", 8, best=True)
    return exporter.export(checkpoint, root / "config.json", ["আ"], {"run": {"id": "3f9c"}})


def test_a_voice_comes_with_its_description(root: Path, log: Log) -> None:
    """Both files, the run's stamp and the model's step in the second; nothing is left behind."""
    record = export(root, log, made())
    place = root / "working" / "voice"
    assert sorted(path.name for path in place.iterdir()) == ["voice.json", "voice.onnx"]
    written = json.loads((place / "voice.json").read_text())
    source = {"checkpoint": "training/v/best_model_8.pth", "global_step": 8, "best": True}
    assert written == {**card(), "run": {"id": "3f9c"}, **source}
    assert (place / "voice.onnx").read_bytes() == _VOICE
    assert record["state"] == "made"
    assert record["sha256"] == written["onnx"]["sha256"]
    assert record["check"] == _CHECK
    (event,) = log.events("export")
    assert event["file"] == "voice/voice.onnx"
    assert not log.events("warning")
    assert list((root / "temp").iterdir()) == []


@pytest.mark.parametrize(
    ("child", "word"),
    [
        (Child(["ImportError: no torch"], returncode=1), "exit code 1: ImportError: no torch"),
        (Child(cut=Cut.TIME_LIMIT), "not done after 5 min"),
        (Child(cut=Cut.INTERRUPTED), "told to stop"),
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
        (made(card(onnx={"size": len(_VOICE), "sha256": "0"})), "not what was described"),
    ],
)
def test_an_export_that_fails_warns(root: Path, log: Log, child: Child, word: str) -> None:
    """No failure is raised, and no half of a voice is among the outputs."""
    record = export(root, log, child)
    assert record["state"] == "failed"
    (warning,) = log.events("warning")
    assert word in warning["message"]
    assert not list((root / "working").rglob("voice.*"))


def test_a_voice_that_onnx_cannot_hold_is_no_trouble(root: Path, log: Log) -> None:
    """It is said, and is no warning: nothing can be done about it."""
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
    """Its description says what is wrong, and so does the log."""
    assert export(root, log, made(card(**changes)))["state"] == "made"
    assert bool(log.events("warning")) == warned
    assert said in log.text


def test_the_outputs_keep_their_limit(root: Path, log: Log) -> None:
    """A voice for which there is no room is not brought among them."""
    put(root / "working" / "big", b"x" * 1000)
    record = export(root, log, made(), disk_limit=50_004_000)
    assert "no room" in record["why"]
    assert not (root / "working" / "voice" / "voice.onnx").exists()
    assert room_in(root / "working", None) > room_in(root / "working", 10_000)


def test_which_model_is_exported_and_which_are_heard() -> None:
    """The newest best model is exported; it is heard beside the newest checkpoint unless they are one."""

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
    """Between training and samples; state.json and the manifest know of it."""
    programs = {**PROGRAMS, "export.py": _EXPORT}
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
    """Without internet nothing is brought; the export itself says what it needs."""
    programs = {**PROGRAMS, "export.py": _EXPORT}
    voice = {"onnx": True, "packages": ["no-such-package-of-kgtts>=1"]}
    played = Played(root, log, HEAD + TRAINS, programs=programs, voice=voice, internet=False)
    assert (played.code, played.state["export"]["state"]) == (0, "made")
    (warning,) = log.events("warning")
    assert "no-such-package-of-kgtts>=1 is not there" in warning["message"]


def test_a_short_session_does_without(root: Path, log: Log) -> None:
    """The samples come first: no process is started that would be cut off; it is no warning."""
    played = Played(root, log, HEAD + TRAINS, voice=_VOICE_ON, session_budget_s=39)
    assert played.code == 0
    expected = {"state": "skipped", "why": "the session has no time left for it"}
    assert played.state["export"] == expected
    assert not log.events("warning")
    assert (root / "working" / "validation_samples" / "step_4" / "01.wav").is_file()


def test_other_architectures_are_not_exported(root: Path, log: Log) -> None:
    """No process is started for them; the program here would fail."""
    from tests.kernel.kit import base_config, mount_inputs  # noqa: PLC0415 - stays beside its one use.

    mount_inputs(root / "input", script=HEAD + TRAINS, config=base_config(model="glow_tts"))
    played = Played(root, log, "", training={"model": "glow_tts"}, voice=_VOICE_ON)
    assert played.code == 0
    assert played.state["export"]["why"] == "Coqui exports no glow_tts model to ONNX"
    assert "voice" not in {path.name for path in (root / "working").iterdir()}


training = [
    pytest.mark.training,
    pytest.mark.xdist_group("training"),
    pytest.mark.skipif(
        find_spec("TTS") is None or find_spec("onnx") is None, reason="needs the extra `local`"
    ),
]


def coqui(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python where TTS can be imported."""
    path = os.pathsep.join(filter(None, (str(standin_path(sys.executable) or ""), str(_PROGRAMS))))
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=200)


@pytest.fixture(scope="module")
def small_voice(voice_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's voice, exported by the real program."""
    folder = tmp_path_factory.mktemp("voice")
    model = inputs.provide_demo_inputs(folder / "kaggle", "owner", cache=voice_cache).model / "model"
    sentences = put(folder / "sentences.json", json.dumps(list(inputs.SENTENCES[:2])))
    command = [str(_PROGRAMS / "export.py"), "--config", str(model / "config.json")]
    command += ["--checkpoint", str(model / "model_file.pth"), "--sentences", str(sentences)]
    done = coqui(*command, "--out", str(folder))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


class TestSmallVoice:
    """Coqui's own VITS, small."""

    pytestmark = training

    def test_it_speaks_as_torch_does(self, small_voice: Path) -> None:
        """The comparison was made, on several texts, and found next to nothing."""
        check = json.loads((small_voice / "voice.json").read_text())["check"]
        assert check["state"] == "passed"
        assert check["difference"] < 1e-4 < check["tolerance"]
        assert check["sentences"] == 3
        assert check["samples"] > 22_050

    def test_the_description_gives_the_tokenizers_ids(self, small_voice: Path) -> None:
        """For the sentences, and for texts full of traps; the hash is the file's."""
        voice = json.loads((small_voice / "voice.json").read_text())
        assert voice["text"]["speakable"] is True
        assert len(voice["text"]["examples"]) > 5
        for example in voice["text"]["examples"]:
            assert text_ids(example["text"], voice["text"])[0] == example["ids"]
        data = (small_voice / "voice.onnx").read_bytes()
        assert voice["onnx"]["sha256"] == hashlib.sha256(data).hexdigest()
        assert voice["onnx"]["inputs"] == ["input", "input_lengths", "scales"]
        assert voice["audio"]["sample_rate"] == 22_050
        assert voice["language"] == "bn-Bangladesh"

    def test_it_speaks_without_torch(self, small_voice: Path) -> None:
        """voice.json and onnxruntime are enough; without noise a sentence sounds the same twice."""
        onnxruntime, numpy = importlib.import_module("onnxruntime"), importlib.import_module("numpy")
        voice = json.loads((small_voice / "voice.json").read_text())
        session = onnxruntime.InferenceSession(str(small_voice / "voice.onnx"))
        ids, unknown = text_ids("আমি বাংলায় গান গাই।", voice["text"])
        assert unknown == []
        scales = [0.0, voice["scales"]["length"], 0.0]
        asked = {
            "input": numpy.array([ids]),
            "input_lengths": numpy.array([len(ids)]),
            "scales": numpy.array(scales, dtype=numpy.float32),
        }
        one, other = (session.run(None, asked)[0] for _ in range(2))
        assert one.shape[-1] % voice["audio"]["hop_length"] == 0
        assert numpy.array_equal(one, other)
        assert 0 < float(numpy.abs(one).max()) <= 1

    def test_kgtts_say_speaks_as_torch_does(self, small_voice: Path) -> None:
        """The same samples as the model's own for the text's ids by Coqui's tokenizer, in the WAV too."""
        numpy = importlib.import_module("numpy")
        text = "আমি বাংলায় গান গাই, তুমিও গাও।"
        model = next(small_voice.rglob("model_file.pth")).parent
        heard = small_voice / "torch.npy"
        done = coqui("-c", _TORCH_SPEECH, str(model), text, str(heard))
        assert done.returncode == 0, done.stderr[-2000:]
        torch_says = numpy.load(heard)
        voice = open_voice(small_voice / "voice.json")
        (said,) = voice.say(text, Manner(noise=0.0))
        tolerance = json.loads((small_voice / "voice.json").read_text())["check"]["tolerance"]
        assert said.samples.shape == torch_says.shape
        loudest = float(numpy.abs(torch_says).max())
        assert float(numpy.abs(said.samples - torch_says).max()) <= tolerance * loudest
        written = numpy.frombuffer(sound_of(said, voice.card.audio.sample_rate), dtype="<i2") / 32_767
        assert float(numpy.abs(written - torch_says).max()) <= tolerance * loudest + 0.51 / 32_767


_TORCH_SPEECH = """
import pathlib, sys
import numpy
import export
folder, text, out = sys.argv[1:]
model = export.load_voice(pathlib.Path(folder, "config.json"), pathlib.Path(folder, "model_file.pth"))
ids = model.tokenizer.text_to_ids(text, "bn-Bangladesh")
numpy.save(out, export.torch_speech(model, ids, ["input", "input_lengths", "scales"]))
"""
_CLEANERS = """
from TTS.tts.utils.text import cleaners
from voice_text import _EVERYTHING, clean, cleaner_steps
names = "no basic transliteration basic_german basic_turkish multilingual portuguese multilingual_phoneme"
for name in [f"{name}_cleaners" for name in names.split()]:
    for language in (None, "bn-Bangladesh", "en-US", "el", "ca", "fr", "it", "pt"):
        for text in _EVERYTHING:
            wanted = getattr(cleaners, name)(text, lang=language and language.split("-")[0])
            assert clean(text, cleaner_steps(name, language)) == wanted, (name, language, text)
"""


class TestCleaners:
    """Coqui's own text cleaners."""

    pytestmark = training

    def test_the_steps_are_the_cleaners(self) -> None:
        """Each that is written down, in each language that has symbols of its own."""
        done = coqui("-c", _CLEANERS)
        assert done.returncode == 0, done.stderr[-2000:]
