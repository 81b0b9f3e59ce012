"""Coqui's real small voice through the export, and its text cleaners against our written-down steps."""

import hashlib
import importlib
import json
import wave
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from kernel_template.text.front_ends import sherpa_tokens
from kernel_template.text.tokens import text_ids
from kernel_template.text.vocabulary import count_letters, preferred_spelling
from orchestrator.emulator.demo import inputs
from orchestrator.voice import SynthesisOptions, open_voice
from orchestrator.voice.facts import VoiceFacts
from orchestrator.voice.packaging import VoiceDetails, package_contents
from orchestrator.voice.speech import speak
from tests.kernel.hosting import ForkServer
from tests.kernel.kit import put
from tests.voice.bangla import piper_says, sherpa_says

training = [
    pytest.mark.training,
    pytest.mark.xdist_group("training"),
    pytest.mark.skipif(
        find_spec("TTS") is None or find_spec("onnx") is None, reason="needs the extra `local`"
    ),
]


@pytest.fixture(scope="module")
def small_voice(
    vits_fork_server: ForkServer, voice_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The demo's voice, exported by the real program, with the letters of the demo's texts."""
    folder = tmp_path_factory.mktemp("voice")
    model = inputs.provide_demo_inputs(folder / "kaggle", "owner", cache=voice_cache).model / "model"
    sentences = put(folder / "sentences.json", json.dumps(list(inputs.SENTENCES[:2])))
    letters = put(folder / "letters.json", json.dumps(count_letters(inputs.SENTENCES)))
    command = ["-m", "kernel_template.finish.export_program", "--config", str(model / "config.json")]
    command += ["--checkpoint", str(model / "model_file.pth"), "--sentences", str(sentences)]
    command += ["--letters", str(letters), "--out", str(folder)]
    code, said = vits_fork_server.python(command, folder)
    assert code == 0, said[-3000:]
    return folder


class TestSmallVoice:
    """A small VITS of Coqui's."""

    pytestmark = training

    def test_it_speaks_as_torch_does(self, small_voice: Path) -> None:
        """The export compared several texts with torch's output and found almost no difference."""
        check = json.loads((small_voice / "voice.json").read_text())["check"]
        assert check["state"] == "passed"
        assert check["difference"] < 1e-4 < check["tolerance"]
        assert check["sentences"] == 3
        assert check["samples"] > 22_050

    def test_the_description_gives_the_tokenizers_ids(self, small_voice: Path) -> None:
        """voice.json gives the tokenizer's ids for sentences and difficult texts, and the file's hash."""
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
        assert voice["text"]["counts"] == count_letters(inputs.SENTENCES)
        assert voice["text"]["spelling"] == preferred_spelling(voice["text"]["counts"])
        assert (small_voice / "tokens.txt").read_text(encoding="utf-8") == sherpa_tokens(voice["text"])

    def test_it_speaks_without_torch(self, small_voice: Path) -> None:
        """voice.json and onnxruntime suffice; without noise a sentence sounds the same twice."""
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

    def test_its_weights_take_half_the_room_and_sound_the_same(self, small_voice: Path) -> None:
        """16 bits are stored, and the comparison with 32 is far above the limit."""
        voice = json.loads((small_voice / "voice.json").read_text())
        assert voice["weights"]["stored"] == "float16"
        assert voice["weights"]["snr_db"] > 60 > voice["weights"]["lowest_snr_db"]
        assert (small_voice / "voice.onnx").stat().st_size < 900_000

    def test_sherpa_onnx_and_piper_say_the_same(self, small_voice: Path, tmp_path: Path) -> None:
        """Both speak its package with the samples of `kgtts say`, sentence by sentence."""
        numpy = importlib.import_module("numpy")
        contents = package_contents(small_voice / "voice.json", VoiceFacts(), VoiceDetails("demo"))
        assert contents.notes == ()
        for name, data in contents.files.items():
            put(tmp_path / name, data)
        text = "আমার সোনার বাংলা, আমি তোমায় ভালোবাসি। মৌমাছি বড় ভালো, ১২টি গান।"
        voice = open_voice(tmp_path / "voice.json")
        here = [piece.samples for piece in voice.say(text, SynthesisOptions(noise=0.0))]
        (there,) = sherpa_says(tmp_path, [text], rules="bangla.fst")
        assert len(here) == 2
        assert there.shape == numpy.concatenate(here).shape
        loudest = float(numpy.abs(numpy.concatenate(here)).max())
        assert float(numpy.abs(there - numpy.concatenate(here)).max()) < 1e-3 * loudest
        piper = piper_says(tmp_path, "আমার সোনার বাংলা, আমি তোমায় ভালোবাসি।")
        assert piper.shape == here[0].shape
        assert float(numpy.abs(piper - here[0]).max()) < 1e-3 * loudest

    def test_kgtts_say_sounds_like_the_samples(
        self, vits_fork_server: ForkServer, small_voice: Path, tmp_path: Path
    ) -> None:
        """`kgtts say` gives a session's sample: read, split and paused alike, nothing cut off."""
        numpy = importlib.import_module("numpy")
        text = "মা রান্নাঘরে মাছ\nভাজছেন। তুমি কি ৳২৫ দিলে? হ্যাঁ | না\n\nনতুন অনুচ্ছেদ!"
        model = next(small_voice.rglob("model_file.pth"))
        config = json.loads(model.with_name("config.json").read_text())
        # Durations of this untrained voice are near whole frames, which two programs may round differently.
        quiet = {"inference_noise_scale": 0, "inference_noise_scale_dp": 0, "length_scale": 1.5}
        config["model_args"] |= quiet
        config["audio"]["do_trim_silence"] = True
        files = {
            "--checkpoint": model,
            "--config": put(tmp_path / "config.json", json.dumps(config)),
            "--sentences": put(tmp_path / "sentences.json", json.dumps([text])),
            "--out": tmp_path,
        }
        arguments = [str(part) for item in files.items() for part in item]
        program = "kernel_template.finish.speak_program"
        code, printed = vits_fork_server.python(["-m", program, *arguments], tmp_path)
        assert code == 0, printed[-2000:]
        card = json.loads((small_voice / "voice.json").read_text())
        card["scales"]["length"] = 1.5
        del card["text"]["counts"], card["text"]["spelling"]  # The program above was given no letters.
        slow = put(small_voice / "slow.json", json.dumps(card))
        speak(open_voice(slow), text, tmp_path / "said.wav", SynthesisOptions(noise=0.0))
        sample, said = (samples_of(tmp_path / name) for name in ("01.wav", "said.wav"))
        assert len(sample) == len(said) > 4 * 22_050
        tolerance = card["check"]["tolerance"]
        assert numpy.abs(sample - said).max() <= 1 + tolerance * numpy.abs(sample).max()


def samples_of(file: Path) -> Any:
    """The samples of a WAV file."""
    with wave.open(str(file)) as sound:
        return importlib.import_module("numpy").frombuffer(sound.readframes(10**7), dtype="<i2").astype(int)


_CLEANERS = """
from TTS.tts.utils.text import cleaners
from kernel_template.text.tokens import _EVERYTHING, clean, cleaner_steps
names = "no basic transliteration basic_german basic_turkish multilingual portuguese multilingual_phoneme"
for name in [f"{name}_cleaners" for name in names.split()]:
    for language in (None, "bn-Bangladesh", "en-US", "el", "ca", "fr", "it", "pt"):
        for text in _EVERYTHING:
            wanted = getattr(cleaners, name)(text, lang=language and language.split("-")[0])
            assert clean(text, cleaner_steps(name, language)) == wanted, (name, language, text)
"""


_EXPORTER = """
import torch
from kernel_template.finish import export_program as export
def exporter(model, dynamo=True): return model, dynamo
torch.onnx.export = exporter
export.trace_by_default()
assert torch.onnx.export("m") == ("m", False)
assert torch.onnx.export("m", dynamo=True) == ("m", True)
torch.onnx.export = lambda model: model
export.trace_by_default()
assert torch.onnx.export("m") == "m"
"""


class TestExporter:
    """torch's own exporters."""

    pytestmark = training

    def test_a_release_that_does_not_choose_gets_the_one_that_traces(
        self, vits_fork_server: ForkServer, tmp_path: Path
    ) -> None:
        """If Coqui chooses no exporter, as in 0.27, the tracing one is used; its choice is kept."""
        code, said = vits_fork_server.python(["-c", _EXPORTER], tmp_path)
        assert code == 0, said[-2000:]


class TestCleaners:
    """Coqui's own text cleaners."""

    pytestmark = training

    def test_the_steps_are_the_cleaners(self, vits_fork_server: ForkServer, tmp_path: Path) -> None:
        """Every cleaner that is written down gives Coqui's text in each language with its own symbols."""
        code, said = vits_fork_server.python(["-c", _CLEANERS], tmp_path)
        assert code == 0, said[-2000:]
