"""Where the seconds go: steps, waiting for batches, making loaders; and how many samples were trained on.

Nothing here needs torch.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_TELL_EVERY_S = 15.0


class StepCounters:
    """Counts for HOST_REPORT.json.

    Args:
        clock: seconds of a clock that never goes back.
        began: when the process was started, by that clock.
    """

    def __init__(self, clock: Callable[[], float], began: float) -> None:
        self._clock = clock
        self._began = self._told = began
        self._data_s = self._steps_s = self._waiting_s = self._saving_s = 0.0
        self._first: float | None = None
        self._first_s = 0.0
        self._first_told = False
        self._samples = 0

    @contextlib.contextmanager
    def making_data(self) -> Iterator[None]:
        """While a loader is made."""
        began = self._clock()
        yield
        self._data_s += self._clock() - began

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While a batch is waited for."""
        began = self._clock()
        yield
        self._waiting_s += self._clock() - began

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """While a step is made; one that fails does not count."""
        began = self._clock()
        self._saving_s = 0.0
        yield
        now = self._clock()
        spent = now - began - self._saving_s
        self._steps_s += spent
        if self._first is None:
            self._first, self._first_s = now - self._began, spent

    def saved(self, seconds: float) -> None:
        """A checkpoint was written; the trainer does so within a step, and it is no part of that."""
        self._saving_s += seconds

    @staticmethod
    def count(batch: Any) -> int:
        """How many samples a batch or a group of them holds."""
        return count_samples(batch)

    def trained(self, samples: int) -> None:
        """A step on so many samples is done."""
        self._samples += samples

    def due(self) -> bool:
        """Whether the report has not been written for a while, or not since the first step."""
        news = self._first is not None and not self._first_told
        return news or self._clock() - self._told >= _TELL_EVERY_S

    def values(self) -> dict[str, Any]:
        """What the report tells of all this."""
        self._told = self._clock()
        self._first_told = self._first is not None
        return {
            "data_s": round(self._data_s, 3),
            "first_step_at": None if self._first is None else round(self._first, 3),
            "first_step_s": round(self._first_s, 3),
            "counted_at": round(self._told - self._began, 3),
            "step_seconds_total": round(self._steps_s, 3),
            "loader_wait_s_total": round(self._waiting_s, 3),
            "samples_total": self._samples,
        }


def count_samples(batch: Any) -> int:
    """How many samples a batch or a group of them holds: as many as its first tensor or list is long."""
    if hasattr(batch, "batches"):
        return sum(count_samples(item) for item in batch.batches)
    if isinstance(batch, Mapping):
        return next((count for item in batch.values() if (count := count_samples(item))), 0)
    if getattr(batch, "shape", None):
        return int(batch.shape[0])
    if isinstance(batch, list | tuple):
        # A tuple of tensors is a batch in parts; a list of anything else has a sample an entry.
        return next((count for item in batch if (count := _rows(item))), len(batch))
    return 0


def _rows(item: Any) -> int:
    return int(item.shape[0]) if getattr(item, "shape", None) else 0
