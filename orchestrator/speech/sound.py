"""Writing sound."""

import os
import tempfile
import wave
from collections.abc import Iterable
from pathlib import Path

from orchestrator.errors import LocalError

_WIDTH = 2  # Bytes a sample.


def write_wav(path: Path, sample_rate: int, parts: Iterable[bytes]) -> float:
    """Write mono 16-bit samples to `path`, whole or not at all; the parts are written as they come.

    Returns:
        The seconds of sound.

    Raises:
        LocalError: the folder cannot be written to, or is full; `path` is as it was.
    """
    written = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file, wave.open(file, "wb") as sound:
                sound.setnchannels(1)
                sound.setsampwidth(_WIDTH)
                sound.setframerate(sample_rate)
                for part in parts:
                    sound.writeframes(part)
                    written += len(part)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise LocalError(f"Could not write {path}: {error.strerror or error}.") from error
    return written / _WIDTH / sample_rate
