"""A tiny voice through onnxruntime: what it says, and what is refused."""

import importlib.util
import json
import sys
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.errors import KgttsError, LocalError, UsageError
from orchestrator.voice import SynthesisOptions, Voice, check_format, open_voice, pcm16, write_sound
from tests.voice.making import HOP, RATE, card, graph, put_voice, rules

if TYPE_CHECKING:
    from kernel_template.text.sentences import Reading

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="needs onnx and onnxruntime",
)


def opened(folder: Path, data: bytes, *, seed: int | None = None, **changes: Any) -> Voice:
    """Write a voice and open it."""
    return open_voice(put_voice(folder, data, **changes), seed=seed)


def test_every_id_is_heard(tmp_path: Path) -> None:
    """Every id gives its samples, with blanks between and around."""
    (said,) = opened(tmp_path, graph()).say("আমি")
    assert said.samples.shape == (7 * HOP,)
    assert [round(100 * float(said.samples[HOP * at])) for at in range(7)] == [3, 4, 3, 5, 3, 6, 3]
    assert (said.seconds, said.unknown) == (7 * HOP / RATE, ())


def test_a_text_is_said_sentence_by_sentence(tmp_path: Path) -> None:
    """A text is spoken in sentences with pauses; what cannot be said is named, and a wrapped line goes on."""
    noted: list[Reading] = []
    said = list(opened(tmp_path, graph()).say("আমি। ☺☺ ?\nz\n\nতুমি", noted=noted.append))
    assert [item.text for item in said] == ["আমি।", "z", "তুমি"]
    assert [item.unknown for item in said] == [(), ("z",), ()]
    assert [len(item.samples) > 0 for item in said] == [True, False, True]
    assert [round(item.pause_s, 2) for item in said] == [0.3, 0.0, 0.0]
    assert [loss.character for reading in noted for loss in reading.said.lost] == ["☺", "z"]


def test_only_what_is_asked_for_is_spoken(tmp_path: Path) -> None:
    """The first sentence of a long text comes before the others are synthesised."""
    said = opened(tmp_path, graph()).say("আমি। " * 10_000)
    assert next(said).text == "আমি।"
    said.close()  # type: ignore[attr-defined]  # It is a generator.


def test_threads_share_a_voice(tmp_path: Path) -> None:
    """Sixteen threads speak with one voice at the same time, each as if it were alone."""
    voice = opened(tmp_path, graph())
    texts = ["আমি। তুমি" * count for count in range(1, 17)]

    def speak(text: str) -> list[bytes]:
        return [item.samples.tobytes() for item in voice.say(text)]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(speak, texts)) == [speak(text) for text in texts]


def test_speed_and_noise_are_scales(tmp_path: Path) -> None:
    """Double speed halves the length and the pauses; without noise a sentence is always the same."""
    voice = opened(tmp_path, graph(noisy=True))
    (plain,) = voice.say("আমি", SynthesisOptions(noise=0.0))
    fast = list(voice.say("আমি।আমি", SynthesisOptions(speed=2.0, noise=0.0)))
    assert 2 * len(fast[1].samples) == len(plain.samples)
    assert fast[0].pause_s == 0.15
    (again,) = voice.say("আমি", SynthesisOptions(noise=0.0))
    (noisy,) = voice.say("আমি")
    assert (plain.samples == again.samples).all()
    assert (plain.samples != noisy.samples).any()


def test_a_seed_repeats_the_noise(tmp_path: Path) -> None:
    """The same seed gives the same sound, another seed another one."""
    data = graph(noisy=True)
    one, same, other = (opened(tmp_path, data, seed=seed) for seed in (7, 7, 8))
    sounds = [[item.samples.tobytes() for item in voice.say("আমি। তুমি")] for voice in (one, same, other)]
    assert sounds[0] == sounds[1] != sounds[2]


def test_speakers_have_names_and_numbers(tmp_path: Path) -> None:
    """A speaker is chosen by name or id, by default the first; an unknown one is an error with a list."""
    data = graph(speakers=True)
    onnx = {**card(data)["onnx"], "inputs": ["input", "input_lengths", "scales", "sid"]}
    voice = opened(tmp_path, data, onnx=onnx, speakers={"asha": 20, "b\x1b[2J": 10})

    def first(speaker: str | None) -> int:
        (said,) = voice.say("আ", SynthesisOptions(speaker=speaker))
        return round(100 * float(said.samples[0]))

    assert [first(speaker) for speaker in (None, "asha", "20", "10")] == [13, 23, 23, 13]
    with pytest.raises(UsageError, match=r"no speaker 'rahim'.*20 \(asha\)") as caught:
        first("rahim")
    assert caught.value.message.isprintable()
    with pytest.raises(UsageError, match="only one speaker"):
        list(opened(tmp_path / "other", graph()).say("আ", SynthesisOptions(speaker="asha")))


def test_sound_is_16_bit_and_clipped(tmp_path: Path) -> None:
    """The sound is 16-bit PCM at the voice's own loudness, clipped at full scale."""
    (said,) = opened(tmp_path, graph(factor=0.2)).say("মি।")
    place = tmp_path / "a" / "x.wav"
    seconds = write_sound(place, RATE, [pcm16(said.samples, said.pause_s, RATE)])
    with wave.open(str(place)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, RATE)
        frames = memoryview(sound.readframes(sound.getnframes())).cast("h")
    assert seconds == len(frames) / RATE == said.seconds
    assert [frames[HOP * at] for at in range(3)] == [round(0.6 * 32_767), 32_767, round(0.6 * 32_767)]


@pytest.mark.parametrize(
    ("name", "magic"), [("x.flac", b"fLaC"), ("x.OGG", b"OggS"), ("x.mp3", b"\xff"), ("x", b"RIFF")]
)
def test_the_ending_decides_about_the_format(tmp_path: Path, name: str, magic: bytes) -> None:
    """FLAC, Ogg Vorbis and MP3 hold the same sound as WAV, written block by block."""
    soundfile, numpy = pytest.importorskip("soundfile"), importlib.import_module("numpy")
    time = numpy.arange(10 * RATE) / RATE
    tone = (0.5 * numpy.sin(2 * numpy.pi * 440 * time)).astype(numpy.float32)
    seconds = write_sound(tmp_path / name, RATE, [pcm16(tone[:100], 0.0, RATE), pcm16(tone[100:], 0.5, RATE)])
    assert seconds == 10.5
    assert (tmp_path / name).read_bytes().startswith(magic)
    heard, rate = soundfile.read(tmp_path / name)
    assert rate == RATE
    assert len(heard) / rate == pytest.approx(10.5, abs=0.2)
    assert float(numpy.sqrt(numpy.mean(numpy.square(heard[RATE : 9 * RATE])))) == pytest.approx(
        0.354, abs=0.01
    )


def test_a_format_that_cannot_hold_the_rate_is_said(tmp_path: Path) -> None:
    """MP3 has no rate of 1000 samples: the error names it, and no file is left."""
    pytest.importorskip("soundfile")
    with pytest.raises(LocalError, match="as MP3 with 1000 samples per second"):
        write_sound(tmp_path / "x.mp3", 1000, [b"\0\0"])
    assert not list(tmp_path.iterdir())


def test_more_than_a_wav_can_hold_is_said(tmp_path: Path) -> None:
    """A WAV file cannot have more than 4 GB; nothing is left of it."""
    with pytest.raises(UsageError, match="too long") as caught:
        write_sound(tmp_path / "x.wav", RATE, [bytes(600), bytes(600)], largest_wav=1000)
    assert caught.value.hint == f"--out {tmp_path / 'x.flac'}"
    assert not list(tmp_path.iterdir())


def test_formats_that_are_not_written_are_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown ending is refused with those that are known; without soundfile the extra is named."""
    with pytest.raises(UsageError, match=r"\.wav, \.flac, \.ogg, \.mp3") as refused:
        check_format(tmp_path / "x.opus")
    assert refused.value.hint == f"--out {tmp_path / 'x.wav'}"
    monkeypatch.setitem(sys.modules, "soundfile", None)
    check_format(tmp_path / "x.wav")
    with pytest.raises(LocalError, match="MP3 files needs the package soundfile") as missing:
        check_format(tmp_path / "x.mp3")
    assert 'pip install "kgtts[speak]"' in (missing.value.hint or "")


def test_a_wav_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """If the speech fails, the existing file stays and no partial file is left."""
    place = tmp_path / "x.wav"
    place.write_bytes(b"before")

    def parts() -> Any:
        yield b"\0\0"
        raise UsageError("broken")

    with pytest.raises(UsageError, match="broken"):
        write_sound(place, RATE, parts())
    assert [item.read_bytes() for item in tmp_path.iterdir()] == [b"before"]
    with pytest.raises(LocalError, match="Could not write"):
        write_sound(place / "below.wav", RATE, [])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "voice.onnx").write_bytes(b"x"), "has 1 bytes instead of"),
        (lambda folder: (folder / "voice.onnx").unlink(), "cannot be read"),
        (
            lambda folder: (folder / "voice.onnx").write_bytes((folder / "voice.onnx").read_bytes()[::-1]),
            "SHA-256",
        ),
        (lambda folder: put_voice(folder, b"rubbish"), "cannot load voice.onnx"),
        (lambda folder: put_voice(folder, graph(speakers=True)), "not those in voice.json"),
        (
            lambda folder: put_voice(folder, graph(), text=rules(speakable=False, why="pho\x1b[2Jnemes")),
            "phonemes",
        ),
    ],
    ids=["short", "gone", "damaged", "rubbish", "inputs", "unspeakable"],
)
def test_a_voice_that_cannot_speak_is_refused(tmp_path: Path, spoil: Any, words: str) -> None:
    """A voice that cannot speak is refused when it is opened, with the reason."""
    place = put_voice(tmp_path, graph())
    spoil(tmp_path)
    with pytest.raises(UsageError, match=words) as caught:
        open_voice(place)
    assert caught.value.hint
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("factor", "scales", "words"),
    [(float("nan"), 1.0, "are not finite"), (0.01, 9.99, "more than 600 s")],
)
def test_what_is_no_speech_is_refused(tmp_path: Path, factor: float, scales: float, words: str) -> None:
    """Samples that are not finite, and sound without an end, are errors."""
    length = {"noise": 0.0, "length": scales, "duration_noise": 0.0}
    audio = {"sample_rate": 1000 if scales > 1 else RATE, "hop_length": HOP}
    voice = opened(tmp_path, graph(factor=factor), scales=length, audio=audio)
    with pytest.raises(UsageError, match=words):
        list(voice.say("আ" * 240, SynthesisOptions(speed=0.05)))


def test_a_model_says_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Onnxruntime would print names of the file, escapes included; no sound at all is an error too."""
    onnx = importlib.import_module("onnx")
    made = onnx.load_model_from_string(graph())
    made.graph.node[0].name = "\x1b[2J" * 3
    made.graph.initializer[0].int64_data[:] = [-5]
    with pytest.raises(UsageError, match="the model fails"):
        list(opened(tmp_path / "a", made.SerializeToString()).say("আমি"))
    (empty,) = [item for item in made.graph.initializer if item.name == "hop"]
    empty.int64_data[:] = [0]
    with pytest.raises(UsageError, match="no sound for a sentence"):
        list(opened(tmp_path / "b", made.SerializeToString()).say("আমি"))
    assert capfd.readouterr() == ("", "")


def test_ids_that_the_model_fails_on_are_a_sentence(tmp_path: Path) -> None:
    """An error of onnxruntime becomes one line."""
    with pytest.raises(UsageError, match="the model fails") as caught:
        opened(tmp_path, graph()).samples([], [0.0, -1.0, 0.0])
    assert "\n" not in caught.value.message


def test_text_rules_that_grow_without_bound_are_an_error(tmp_path: Path) -> None:
    """A hostile description cannot take all memory."""
    steps = [["replace", "আ", "আ" * 60]] * 60
    with pytest.raises(UsageError, match="grow without bound"):
        list(opened(tmp_path, graph(), text=rules(steps=steps)).say("আ" * 100))


def test_without_the_extra_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxruntime, the error says what to install."""
    place = put_voice(tmp_path, graph())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(LocalError, match="onnxruntime") as caught:
        open_voice(place)
    assert caught.value.hint == 'pip install "kgtts[speak]"'


def test_a_description_of_a_newer_kgtts_is_no_crash(tmp_path: Path) -> None:
    """A description of a later kgtts is an error, not a crash."""
    place = put_voice(tmp_path, graph())
    place.write_text(json.dumps({"schema": 3}))
    with pytest.raises(KgttsError, match="later kgtts"):
        open_voice(place)
