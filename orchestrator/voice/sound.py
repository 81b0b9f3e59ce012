"""Writing sound."""

import wave
from collections.abc import Iterable
from pathlib import Path

from orchestrator.files import replacing

_WIDTH = 2  # Bytes a sample.


def write_wav(path: Path, sample_rate: int, parts: Iterable[bytes]) -> float:
    """Write mono 16-bit samples to `path`, whole or not at all; the parts are written as they come.

    Returns:
        The seconds of sound.

    Raises:
        LocalError: the folder cannot be written to, or is full; `path` is as it was.
    """
    written = 0
    with replacing(path) as file, wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(_WIDTH)
        sound.setframerate(sample_rate)
        for part in parts:
            sound.writeframes(part)
            written += len(part)
    return written / _WIDTH / sample_rate
