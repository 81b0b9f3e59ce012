"""Where the seconds go (steps, waiting for batches, making loaders), and how many samples were trained on."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_REPORT_EVERY_S = 15.0


class StepCounters:
    """Counts for the report.

    Args:
        clock: monotonic seconds.
        began: when this process started, by that clock.
    """

    def __init__(self, clock: Callable[[], float], began: float) -> None:
        self._clock = clock
        self._began = self._reported_at = began
        self._data_s = self._steps_s = self._waiting_s = self._saving_s = 0.0
        self._first_at: float | None = None
        self._first_s = 0.0
        self._first_reported = False
        self._samples = 0

    @contextlib.contextmanager
    def making_data(self) -> Iterator[None]:
        """Time the making of a loader."""
        began = self._clock()
        yield
        self._data_s += self._clock() - began

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time the wait for a batch."""
        began = self._clock()
        yield
        self._waiting_s += self._clock() - began

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """Time a step; a failed one does not count."""
        began = self._clock()
        self._saving_s = 0.0
        yield
        now = self._clock()
        spent = now - began - self._saving_s
        self._steps_s += spent
        if self._first_at is None:
            self._first_at, self._first_s = now - self._began, spent

    def saved(self, seconds: float) -> None:
        """Take the time of writing a checkpoint out of the step in which the trainer did it."""
        self._saving_s += seconds

    def trained(self, samples: int) -> None:
        """Count the samples of a step."""
        self._samples += samples

    def due(self) -> bool:
        """Whether the report is due: 15 s after the last one, and after the first step."""
        first = self._first_at is not None and not self._first_reported
        return first or self._clock() - self._reported_at >= _REPORT_EVERY_S

    def values(self) -> dict[str, Any]:
        """Return these fields of the `HostReport`."""
        self._reported_at = self._clock()
        self._first_reported = self._first_at is not None
        return {
            "data_s": round(self._data_s, 3),
            "first_step_at": None if self._first_at is None else round(self._first_at, 3),
            "first_step_s": round(self._first_s, 3),
            "counted_at": round(self._reported_at - self._began, 3),
            "step_seconds_total": round(self._steps_s, 3),
            "loader_wait_s_total": round(self._waiting_s, 3),
            "samples_total": self._samples,
        }


def count_samples(batch: Any) -> int:
    """Return how many samples a batch or a group of batches holds: the length of its first tensor or list."""
    if hasattr(batch, "batches"):
        return sum(count_samples(item) for item in batch.batches)
    if isinstance(batch, Mapping):
        return next((count for item in batch.values() if (count := count_samples(item))), 0)
    if isinstance(batch, list | tuple):
        # Tensors side by side are a batch in parts; a list of anything else has one entry per sample.
        return next((count for item in batch if (count := _rows(item))), len(batch))
    return _rows(batch)


def _rows(item: Any) -> int:
    return int(item.shape[0]) if getattr(item, "shape", None) else 0
