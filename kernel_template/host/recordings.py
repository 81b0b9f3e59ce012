"""What the speaker's recordings are like: the voice's own sentences are checked against them."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from kernel_template.text.speaking import spoken

_MOST = 40  # Recordings, evenly over the list: enough for a median.
_LIMIT_S = 10.0  # Kaggle's inputs are on a network.


def describe_recordings(
    samples: Sequence[Any], clock: Callable[[], float] = time.monotonic
) -> dict[str, Any] | None:
    """Measure some recordings. Returns a `sound_check.Reference` as JSON; None if none could be measured.

    Args:
        samples: Coqui's samples, which were checked.
        clock: monotonic seconds.
    """
    try:
        import soundfile  # noqa: PLC0415 - Coqui brings it, and numpy.

        from kernel_template.sound_check import Measures, Reference, measure  # noqa: PLC0415 - as above.
    except ImportError:
        return None
    found: list[tuple[Measures, str]] = []
    began = clock()
    for sample in samples[:: max(1, len(samples) // _MOST)][:_MOST]:
        if clock() - began > _LIMIT_S:
            break
        try:
            sound, rate = soundfile.read(str(sample["audio_file"]), dtype="float32", always_2d=True)
            found.append((measure(sound.mean(axis=1), int(rate)), spoken(str(sample["text"])).text))
        except Exception:  # noqa: BLE001, S112 - a damaged recording is the training's to report.
            continue
    reference = Reference.of(found)
    return None if reference is None else reference.as_json()
