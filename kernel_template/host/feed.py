"""The batches of an epoch as the trainer gets them, and how a session goes on in the middle of one."""

from collections.abc import Callable, Iterator
from typing import Any

from kernel_template.host.accumulate import Accumulator
from kernel_template.host.counters import StepCounters
from kernel_template.host.peers import Peers
from kernel_template.host.resume import Continuation
from kernel_template.host.state import Place, random_states, restore_random
from kernel_template.host.stopping import TimeBudget


class EpochFeed:
    """Feeds the training loop.

    Args:
        past: what is continued: a `Continuation` of host_resume.py.
        place: where the training stands: a `Place` of host_state.py.
        budget: the clock: a `TimeBudget` of host_pace.py.
        counters: where the seconds go: a `StepCounters` of host_tally.py.
        peers: the ranks: a `Peers` of host_parallel.py.
        groups: how many batches make a step: an `Accumulator` of host_accumulate.py.
        after_step: called behind each step; it may leave the loop.
    """

    def __init__(  # noqa: PLR0913 - the loop's every batch concerns all of these.
        self,
        *,
        past: Continuation,
        place: Place,
        budget: TimeBudget,
        counters: StepCounters,
        peers: Peers,
        groups: Accumulator,
        after_step: Callable[[], None],
    ) -> None:
        self._past = past
        self._place = place
        self._budget = budget
        self._counters = counters
        self._peers = peers
        self._groups = groups
        self._after_step = after_step
        self.trainer: Any = None
        self.pending: dict[str, Any] | None = None  # The record of an epoch that is entered in the middle.
        self.epoch_rng: dict[str, Any] | None = None  # The random states at the epoch's start.

    def batches(self, loader: Any) -> Iterator[Any]:
        """The epoch's batches; those that are done already are fetched, so that all is drawn, and dropped."""
        record, self.pending = self.pending, None
        if record is not None:
            restore_random(record["epoch_rng"])
        self.epoch_rng = random_states()
        epoch, seed = self.trainer.epochs_done, self.trainer.config.training_seed
        self._peers.reseed(seed, epoch, 0)
        batches: Iterator[Any] = iter(loader)
        if self._groups.size > 1:
            batches = self._groups.groups(batches)
        if record is not None:
            for number in range(record["batch"]):
                self._peers.reseed(seed, epoch, number)
                next(batches, None)
            self._place.batch = self._place.skipped = record["batch"]
            self._past.restore_middle(self.trainer, record)
        self._budget.train_began()
        while True:
            self._peers.reseed(seed, epoch, self._place.batch)
            with self._counters.waiting():
                batch = next(batches, None)
            if batch is None:
                return
            samples = self._counters.count(batch) * self._peers.size  # The other ranks have as many.
            yield batch
            self._counters.trained(samples)
            self._place.trained = True
            self._place.batch += 1
            self._budget.step_done()
            self._after_step()
