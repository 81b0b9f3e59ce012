"""The batches of an epoch as the trainer gets them, and how a session goes on in the middle of one."""

from collections.abc import Callable, Iterator
from typing import Any


class EpochFeed:
    """Feeds the training loop.

    Args:
        states: host_state.py.
        past: what is continued: a `Continuation` of host_resume.py.
        place: where the training stands: a `Place` of host_state.py.
        pace: the clock: a `Pace` of host_pace.py.
        tally: where the seconds go: a `Tally` of host_tally.py.
        team: the ranks: a `Team` of host_parallel.py.
        groups: how many batches make a step: an `Accumulator` of host_accumulate.py.
        after_step: called behind each step; it may leave the loop.
    """

    def __init__(  # noqa: PLR0913 - the loop's every batch concerns all of these.
        self,
        *,
        states: Any,
        past: Any,
        place: Any,
        pace: Any,
        tally: Any,
        team: Any,
        groups: Any,
        after_step: Callable[[], None],
    ) -> None:
        self._states = states
        self._past = past
        self._place = place
        self._pace = pace
        self._tally = tally
        self._team = team
        self._groups = groups
        self._after_step = after_step
        self.trainer: Any = None
        self.pending: dict[str, Any] | None = None  # The record of an epoch that is entered in the middle.
        self.epoch_rng: dict[str, Any] | None = None  # The random states at the epoch's start.

    def batches(self, loader: Any) -> Iterator[Any]:
        """The epoch's batches; those that are done already are fetched, so that all is drawn, and dropped."""
        record, self.pending = self.pending, None
        if record is not None:
            self._states.restore_random(record["epoch_rng"])
        self.epoch_rng = self._states.random_states()
        epoch, seed = self.trainer.epochs_done, self.trainer.config.training_seed
        self._team.reseed(seed, epoch, 0)
        batches: Iterator[Any] = iter(loader)
        if self._groups.size > 1:
            batches = self._groups.groups(batches)
        if record is not None:
            for number in range(record["batch"]):
                self._team.reseed(seed, epoch, number)
                next(batches, None)
            self._place.batch = self._place.skipped = record["batch"]
            self._past.restore_middle(self.trainer, record)
        self._pace.train_began()
        while True:
            self._team.reseed(seed, epoch, self._place.batch)
            with self._tally.waiting():
                batch = next(batches, None)
            if batch is None:
                return
            samples = self._tally.count(batch) * self._team.size  # The other ranks have as many.
            yield batch
            self._tally.trained(samples)
            self._place.trained = True
            self._place.batch += 1
            self._pace.step_done()
            self._after_step()
