"""What the host changes in Coqui's `TTS` package, at the moment when the script imports each module."""

import os
import sys
import tempfile
import types
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernel_template.host.compat import Compatibility
from kernel_template.host.coqui import patch
from kernel_template.host.metadata import MetadataMender
from kernel_template.host.protocol import Control
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.report import Reporter
from kernel_template.tools.espeak import with_espeak

ESPEAK = "TTS.tts.utils.text.phonemizers.espeak_wrapper"  # It looks for eSpeak NG when it is imported.

After = Callable[[types.ModuleType], None]


class TtsHooks:
    """Old calls are translated, metadata is corrected, and recordings are read that would end the training.

    Args:
        control: where the report is written.
        reporter: the log and the report.
        rendezvous: which rank this is; rank 0 speaks.
    """

    def __init__(self, control: Control, reporter: Reporter, rendezvous: Rendezvous) -> None:
        quiet = rendezvous.rank > 0
        self.say = (lambda _text: None) if quiet else reporter.say
        self._folder = control.report.parent
        self.compat = Compatibility(self.say)
        self._mender = MetadataMender(self._folder, reporter, quiet=quiet)

    def modules(self) -> dict[str, After]:
        """Return what to do when each module has been imported."""
        found = self.compat.modules()
        translate, vits = found["TTS.tts.datasets"], found["TTS.tts.models.vits"]

        def datasets(module: types.ModuleType) -> None:
            patch(module, "load_tts_samples", self._mender.load_tts_samples)
            translate(module)  # Outside, so that the mender sees today's form.

        def models(module: types.ModuleType) -> None:
            if not reads_sound(sys.modules.get("torchaudio")):
                sys.modules["torchaudio"].load = load_with_soundfile  # type: ignore[attr-defined]
                self.say(
                    "torchcodec finds no FFmpeg here: soundfile reads the recordings, with the same result"
                )
            if hasattr(module, "load_audio"):
                patch(module, "load_audio", load_audio)
            vits(module)

        return {**found, "TTS.tts.datasets": datasets, "TTS.tts.models.vits": models}

    def provide_espeak(self) -> None:
        """Put a program `espeak-ng` on the path, if there is none but the package espeakng-loader.

        Call it before Coqui's phonemizer is imported.
        """
        env = with_espeak(os.environ, self._folder / "bin")
        if env["PATH"] == os.environ.get("PATH", os.defpath):
            return
        os.environ["PATH"] = env["PATH"]
        self.say("phonemes come from eSpeak NG by way of espeakng-loader")


def reads_sound(torchaudio: types.ModuleType | None) -> bool:
    """Whether torchaudio can read a file: from 2.9 on it needs torchcodec, and that FFmpeg's libraries.

    torchcodec looks for them only when it reads, so a file is read.
    """
    if torchaudio is None or not hasattr(torchaudio, "load_with_torchcodec"):
        return True
    with tempfile.TemporaryDirectory(prefix="kgtts-") as folder:
        place = Path(folder, "silence.wav")
        with wave.open(str(place), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(22_050)
            sound.writeframes(bytes(4_410))
        try:
            torchaudio.load(str(place))
        except (ImportError, OSError, RuntimeError):
            return False
    return True


def load_with_soundfile(
    uri: Any, frame_offset: int = 0, num_frames: int = -1, *_ignored: Any, **_options: Any
) -> tuple[Any, int]:
    """Read sound as `torchaudio.load` does: floats in [-1, 1], shaped (channel, frame); the rate in Hz."""
    import soundfile  # noqa: PLC0415 - Coqui brings it, and torch.
    import torch  # noqa: PLC0415 - as above.

    frames, rate = soundfile.read(uri, start=frame_offset, frames=num_frames, dtype="float32", always_2d=True)
    return torch.from_numpy(frames).T.contiguous(), int(rate)


def load_audio(original: Callable[[Any], Any], path: Any) -> Any:
    """Hook of `load_audio` of TTS.tts.models.vits: scale a recording down instead of ending the training.

    Coqui (0.28) asserts that no sample is beyond full scale. Float WAV, MP3 and Vorbis sometimes are.
    """
    try:
        return original(path)
    except AssertionError:
        samples, rate = sys.modules["torchaudio"].load(path)
        return samples / samples.abs().max(), rate
