"""OpenAI's own client: every format, streaming, errors, and sound that is that of `kgtts say`."""

import base64
import hashlib
import io
import json
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from orchestrator.serve import Access, Limits, Server, open_voices
from orchestrator.voice import SynthesisOptions, open_voice
from orchestrator.voice.speech import speak
from tests.serve.making import TEXT, TOKEN, client_of, eventually, held_voices, running, tiny_voices
from tests.support import REPOSITORY, Later
from tests.voice.making import RATE, graph, put_voice

if TYPE_CHECKING:
    import openai
else:
    openai = Later("openai")

pytestmark = pytest.mark.xdist_group("openai")


def said(voice: Path, folder: Path, text: str = TEXT, speed: float = 1.0) -> bytes:
    """What `kgtts say` writes of a text, without noise."""
    speak(open_voice(voice), text, folder / "said.wav", SynthesisOptions(speed, 0.0))
    with wave.open(str(folder / "said.wav")) as sound:
        return bytes(sound.readframes(sound.getnframes()))


def frames(data: bytes) -> bytes:
    """The samples of a WAV file, streamed or not."""
    assert data[:4] == b"RIFF"
    assert data[36:40] == b"data"
    return data[44:]


def test_wav_is_what_say_writes(server: Server, voice_folder: Path, tmp_path: Path) -> None:
    """A WAV file has the samples of `kgtts say`, at any speed; read as a stream or as a whole."""
    for speed in (1.0, 1.5):
        expected = said(voice_folder / "voice.json", tmp_path, speed=speed)
        answer = client_of(server).audio.speech.create(
            model="tts-1", voice="asha", input=TEXT, response_format="wav", speed=speed
        )
        assert answer.response.headers["content-type"] == "audio/wav"
        assert frames(answer.content) == expected
        samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="int16")
        assert (samples.tobytes(), rate) == (expected, RATE)
    whole = client_of(server).audio.speech.create(
        model="asha", voice="default", input=TEXT, response_format="wav", extra_body={"stream": False}
    )
    with wave.open(io.BytesIO(whole.content)) as sound:
        assert sound.readframes(sound.getnframes()) == said(voice_folder / "voice.json", tmp_path)
    assert int(whole.response.headers["content-length"]) == len(whole.content)


@pytest.mark.parametrize("how", ["streamed", "whole"])
@pytest.mark.parametrize("kind", ["mp3", "flac", "opus", "pcm"])
def test_every_other_format_has_the_same_sound(
    server: Server, voice_folder: Path, tmp_path: Path, kind: Any, how: str
) -> None:
    """MP3, FLAC, Opus and PCM last as long and are as loud as the WAV file."""
    answer = client_of(server).audio.speech.create(
        model="tts-1",
        voice="asha",
        input=TEXT,
        response_format=kind,
        extra_body={"stream": how == "streamed"},
    )
    expected = np.frombuffer(said(voice_folder / "voice.json", tmp_path), "<i2") / 32_768
    rate = 24_000 if kind == "pcm" else RATE
    if kind == "pcm":
        samples, found = np.frombuffer(answer.content, "<i2") / 32_768, 24_000
    else:
        samples, found = soundfile.read(io.BytesIO(answer.content))
    assert found == rate
    # MP3 as a stream keeps the silence that LAME puts around the sound.
    longer = 0.27 if kind == "mp3" and how == "streamed" else 0.002
    assert 0 <= len(samples) / rate - len(expected) / RATE + 0.001 < longer
    assert np.abs(samples).mean() * len(samples) / rate == pytest.approx(
        np.abs(expected).mean() * len(expected) / RATE, rel=0.2
    )
    if kind == "flac":
        assert (samples * 32_768).astype("<i2").tobytes() == said(voice_folder / "voice.json", tmp_path)


def test_mp3_is_the_default(server: Server) -> None:
    """Without a format it is MP3, as from OpenAI."""
    answer = client_of(server).audio.speech.create(model="tts-1", voice="asha", input=TEXT)
    assert answer.response.headers["content-type"] == "audio/mpeg"


def test_the_first_sentence_comes_before_the_second_is_made(tmp_path: Path) -> None:
    """A streaming response is readable while the voice is still at work."""
    voices, held = held_voices(tmp_path)
    with running(voices) as server:
        create = client_of(server).audio.speech.with_streaming_response.create
        with create(model="tts-1", voice="asha", input=TEXT, response_format="wav") as answer:
            parts = answer.iter_bytes()
            data = next(parts)
            eventually(lambda: held.asked == 2)
            assert len(data) > 1_000
            held.more.release(10)
            data += b"".join(parts)
    assert frames(data) == said(tmp_path / "voice.json", tmp_path)


def test_events_carry_sound_and_text(server: Server, voice_folder: Path, tmp_path: Path) -> None:
    """`stream_format="sse"` gives OpenAI's events, with each sentence as it was spoken."""
    answer = client_of(server).audio.speech.create(
        model="tts-1", voice="asha", input=TEXT, response_format="wav", stream_format="sse"
    )
    events = [json.loads(part.partition("data: ")[2]) for part in answer.text.strip().split("\n\n")]
    assert [event["type"] for event in events] == ["speech.audio.delta"] * 4 + ["speech.audio.done"]
    assert [event["text"] for event in events[:-1]] == ["আমি আমি।", "তুমি?", "বাব আমি!", "আমি"]
    sound = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert frames(sound) == said(voice_folder / "voice.json", tmp_path)


def test_many_at_once_sound_as_alone(tmp_path: Path) -> None:
    """Twelve different texts at the same time each give the sound that they give alone."""
    texts = [f"{'আমি ' * number}তুমি। বাব {'ক' * number}।" for number in range(1, 13)]
    alone = [said(put_voice(tmp_path, graph()), tmp_path, text) for text in texts]
    with running(tiny_voices(tmp_path), limits=Limits(workers=4)) as server, ThreadPoolExecutor(12) as pool:
        speech = client_of(server).audio.speech
        answers = pool.map(
            lambda text: speech.create(model="tts-1", voice="asha", input=text, response_format="wav"), texts
        )
        assert [frames(answer.content) for answer in answers] == alone


def test_without_noise_a_lively_voice_sounds_the_same_each_time(tmp_path: Path) -> None:
    """`noise` is the voice's variation: 0 gives the same sound twice, the default does not."""
    with running(open_voices([("asha", put_voice(tmp_path, graph(noisy=True)))])) as server:

        def sounds(**more: Any) -> set[bytes]:
            create = client_of(server).audio.speech.create
            body = {"model": "tts-1", "voice": "asha", "input": TEXT, "response_format": "wav"}
            return {create(**body, extra_body=more).content for _ in range(2)}  # type: ignore[arg-type]

        assert (len(sounds()), len(sounds(noise=0))) == (2, 1)


def test_voices_and_speakers_are_listed_and_chosen(tmp_path: Path) -> None:
    """Each voice is a model; several speakers are voices of it; names that do not fit are refused."""
    one = put_voice(tmp_path / "one", graph())
    two = put_voice(
        tmp_path / "two",
        graph(speakers=True),
        onnx={**_onnx(tmp_path / "one"), "inputs": ["input", "input_lengths", "scales", "sid"]},
        speakers={"rina": 0, "mita": 5},
    )
    _mend(two)
    with running(open_voices([("asha", one), ("duo", two)])) as server:
        client = client_of(server)
        assert [model.id for model in client.models.list()] == ["asha", "duo", "kgtts"]
        assert client.models.retrieve("duo").id == "duo"
        with pytest.raises(openai.NotFoundError, match="choose asha, duo/rina, duo/mita"):
            client.models.retrieve("nobody")

        def sound(model: str, voice: str) -> bytes:
            return client.audio.speech.create(
                model=model, voice=voice, input="আ", response_format="wav"
            ).content

        assert sound("tts-1", "duo/mita") == sound("duo", "mita") == sound("kgtts", "mita")
        assert sound("tts-1", "duo/mita") != sound("duo", "default") == sound("tts-1", "rina")
        assert sound("kgtts", "default") == sound("asha", "default")
        with pytest.raises(openai.BadRequestError, match="no voice 'alloy'"):
            sound("tts-1", "alloy")
        with pytest.raises(openai.BadRequestError, match="no voice 'mita'"):
            sound("asha", "mita")
        with pytest.raises(openai.NotFoundError, match="no model 'x'"):
            sound("x", "asha")


def _onnx(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "voice.json").read_text(encoding="utf-8"))["onnx"]
    return found


def _mend(place: Path) -> None:
    """Write the size and hash of the ONNX file beside a description into it."""
    card = json.loads(place.read_text(encoding="utf-8"))
    data = place.with_suffix(".onnx").read_bytes()
    card["onnx"].update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    place.write_text(json.dumps(card), encoding="utf-8")


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"response_format": "aac"}, "unsupported_format", "ask for mp3, opus, flac, wav or pcm"),
        ({"response_format": "mp4"}, "invalid_value", "response_format"),
        ({"speed": 9.0}, "invalid_value", "speed"),
        ({"speed": "fast"}, "invalid_value", "speed"),
        ({"input": " \n"}, "empty_text", "nothing to say"),
        ({"input": "আ" * 1_001}, "text_too_long", "1,001 characters, and this server takes 1,000"),
        ({"input": "☺☺"}, "nothing_to_say", "WHITE SMILING FACE"),
        ({"instructions": "sing"}, "unsupported_instructions", "instructions"),
        ({"extra_body": {"vioce": "x"}}, "unknown_field", "did you mean `voice`?"),
        ({"voice": {"id": "nobody"}}, "voice_not_found", "nobody"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_spoken_is_a_sentence(
    server: Server, fields: dict[str, Any], code: str, words: str
) -> None:
    """The client raises its own error, with a word for programs and a sentence for people."""
    asked = {"model": "tts-1", "voice": "asha", "input": TEXT, **fields}
    with pytest.raises(openai.BadRequestError) as raised:
        client_of(server).audio.speech.create(**asked)
    assert raised.value.code == code
    assert words in str(raised.value)


def test_what_is_left_out_is_told(server: Server) -> None:
    """A header names the characters that the voice could not say."""
    answer = client_of(server).audio.speech.create(model="tts-1", voice="asha", input="আমি ☺\r\nX: y ঞ")
    assert answer.response.headers["kgtts-left-out"].startswith("%E2%98%BA")


def test_a_token_opens_the_server(tmp_path: Path) -> None:
    """With a token, the client's key must be it; no metric or error repeats what was given."""
    with running(tiny_voices(tmp_path), Access(token=TOKEN)) as server:
        assert client_of(server, TOKEN).audio.speech.create(model="tts-1", voice="asha", input=TEXT).content
        for wrong in ("made-up-token-012345678", f"{TOKEN}0", "টোকেন-টোকেন-টোকেন"):
            with pytest.raises((openai.AuthenticationError, UnicodeEncodeError)) as raised:
                client_of(server, wrong).audio.speech.create(model="tts-1", voice="asha", input=TEXT)
            if isinstance(raised.value, openai.AuthenticationError):
                assert wrong not in str(raised.value)


def test_a_full_server_says_when_to_come_back(tmp_path: Path) -> None:
    """One request more than places gives 429 with Retry-After; a place that is free again is given."""
    voices, held = held_voices(tmp_path)
    with running(voices, limits=Limits(places=1)) as server:
        create = client_of(server).audio.speech.with_streaming_response.create
        with create(model="tts-1", voice="asha", input=TEXT, response_format="wav") as first:
            parts = first.iter_bytes()
            assert next(parts)
            with pytest.raises(openai.RateLimitError, match="All 1 places are taken") as raised:
                client_of(server).audio.speech.create(model="tts-1", voice="asha", input="আ")
            assert raised.value.response.headers["retry-after"] == "1"
            held.more.release(10)
            assert b"".join(parts)
        eventually(lambda: server.studio.busy == 0)
        assert client_of(server).audio.speech.create(model="tts-1", voice="asha", input="আ").content


def test_the_documents_example_works(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python example of docs/serve.md writes an MP3 file."""
    text = (REPOSITORY / "docs" / "serve.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    exec(code.replace("http://127.0.0.1:8123", server.url), names)  # noqa: S102 - our own page.
    names["client"].close()
    assert soundfile.info(str(tmp_path / "said.mp3")).duration > 0.1
