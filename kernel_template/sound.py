"""Sound as 16 bits a sample. Sessions, `kgtts say` and the server write the same bytes for equal samples."""

from typing import Any

SAMPLE_BYTES = 2
_LOUDEST = 32_767  # The largest 16-bit sample.


def pcm16(samples: Any, silence_s: float, sample_rate: int) -> bytes:
    """Samples, and the silence after them, as 16-bit little-endian PCM.

    The voice's own loudness is kept, so that two voices can be compared; what is louder than 1 is clipped.

    Args:
        samples: a numpy array of float32, from -1 to 1.
        silence_s: the silence in seconds.
        sample_rate: samples per second.
    """
    loud = (samples.clip(-1.0, 1.0) * _LOUDEST).round().astype("<i2").tobytes()
    return bytes(loud) + bytes(SAMPLE_BYTES * round(silence_s * sample_rate))
