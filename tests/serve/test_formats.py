"""Encoders by themselves: every rate, in pieces and whole, has the same sound."""

import io
import wave
from typing import Any

import numpy as np
import pytest
import soundfile

from orchestrator.serve.formats import open_encoder, wav_header

RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000)
TONE_HZ, SECONDS = 440, 3


@pytest.mark.parametrize("how", ["pieces", "whole"])
@pytest.mark.parametrize("kind", ["wav", "pcm", "mp3", "opus", "flac"])
def test_a_tone_stays_a_tone_at_every_rate(kind: Any, how: str) -> None:
    """Three seconds in three pieces are three seconds of the same tone, whatever reads them."""
    for rate in RATES[::3] if kind == "opus" else RATES:  # Opus takes long.
        tone = (np.sin(np.arange(SECONDS * rate) / rate * 2 * np.pi * TONE_HZ) * 16_000).astype("<i2")
        encoder = open_encoder(kind, rate, whole=how == "whole")
        parts = [encoder.add(piece.tobytes()) for piece in np.split(tone, SECONDS)]
        data = b"".join([*parts, encoder.end()])
        if kind == "pcm":
            samples, found = np.frombuffer(data, "<i2") / 32_768, 24_000
        else:
            samples, found = soundfile.read(io.BytesIO(data))
        # A streamed MP3 keeps the silence that LAME puts around the sound: at most three frames.
        longer = 3 * 1_152 / rate if kind == "mp3" and how == "pieces" else 0.001
        assert -0.001 < len(samples) / found - SECONDS < longer, (rate, len(samples) / found)
        heard = samples[found : 2 * found]
        peak = np.abs(np.fft.rfft(heard * np.hanning(found))).argmax()
        assert abs(peak - TONE_HZ) <= 1, rate
        assert np.sqrt((heard**2).mean()) == pytest.approx(16_000 / 32_768 / np.sqrt(2), rel=0.06), rate
        streamed = [bool(part) for part in parts]
        assert streamed == [kind != "flac" and (how == "pieces" or kind == "pcm")] * SECONDS, rate


def test_a_wav_header_is_read_by_others() -> None:
    """Python's own reader takes the header of a stream and that of a whole file."""
    for length in (None, 200):
        with wave.open(io.BytesIO(wav_header(8_000, length) + bytes(200))) as sound:
            assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (8_000, 1, 2)
            assert len(sound.readframes(10**9)) == 200
