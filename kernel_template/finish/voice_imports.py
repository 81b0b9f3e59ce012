"""Imports what programs that load a voice have in common; `tools.forks` does so once for all of them."""

import librosa.filters  # noqa: F401
import TTS.config
import TTS.tts.models.vits
import TTS.utils.synthesizer  # noqa: F401
