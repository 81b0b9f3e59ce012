"""One optimizer step from several batches, for a GPU that is too small for the whole batch at once.

The loader's batches come in groups, and a group is one step: its gradient is the mean over its batches, so a
step sees as many samples as before. With a GAN, each batch goes through the discriminator's half and then the
generator's; in the last batch each optimizer steps after its own half, as it always does. The generator's
loss also reaches the discriminator's weights; that gradient is dropped.

The trainer (0.4.0) accumulates only for models with one optimizer.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from kernel_template.host.coqui import Trainer


class Group(dict[str, Any]):
    """The batches of one step; afterwards also the content of the last one, for the trainer's plots."""

    def __init__(self, batches: list[Any]) -> None:
        super().__init__()
        self.batches = batches


class Accumulator:
    """Makes the trainer's step take a group of batches.

    Args:
        size: batches in a group; an epoch's last one may have fewer.
        set_sync: called before each batch with whether it completes a step.
    """

    def __init__(self, size: int, set_sync: Callable[[bool], None]) -> None:
        self.size = size
        self._set_sync = set_sync
        self._results: list[Any] = []

    def groups(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Return `batches` in groups; as they are if a group is one batch."""
        if self.size == 1:
            return batches
        return (Group(group) for group in iter(lambda: list(itertools.islice(batches, self.size)), []))

    def steps(self, batches: int) -> int:
        """Return how many groups `batches` batches make."""
        return -(-batches // self.size)

    # ---- Hooks of the Trainer

    def format_batch(self, original: Callable[..., Any], trainer: Trainer, batch: Any) -> Any:
        """Hook: leave a group as it is; each of its batches is formatted when its turn comes."""
        return batch if isinstance(batch, Group) else original(trainer, batch)

    def optimize(  # noqa: PLR0913, PLR0917 - the trainer's signature.
        self,
        original: Callable[..., Any],
        trainer: Trainer,
        batch: Any,
        optimizer: Any,
        scaler: Any,
        criterion: Any,
        scheduler: Any,
        optimizer_idx: int | None = None,
        step_optimizer: bool = True,  # noqa: FBT001, FBT002 - as above.
        num_optimizers: int = 1,
    ) -> Any:
        """Hook: run the whole group when its first optimizer is due, then return each optimizer's results."""
        if not isinstance(batch, Group):
            return original(
                *(trainer, batch, optimizer, scaler, criterion, scheduler),
                optimizer_idx=optimizer_idx,
                step_optimizer=step_optimizer,
                num_optimizers=num_optimizers,
            )
        if not optimizer_idx:
            self._results = self._run(original, trainer, batch, scaler, step=step_optimizer)
        return self._results[optimizer_idx or 0]

    def _run(
        self, original: Callable[..., Any], trainer: Trainer, group: Group, scaler: Any, *, step: bool
    ) -> list[Any]:
        """Return the group's outputs, losses and seconds for each optimizer."""
        count, optimizers = len(group.batches), len(trainer.optimizer)
        found: list[list[Any]] = [[] for _ in trainer.optimizer]
        divisor, trainer.grad_accum_steps = trainer.grad_accum_steps, trainer.grad_accum_steps * count
        formatted: Any = None
        try:
            for number in range(count):
                formatted = trainer.format_batch(group.batches[number])
                group.batches[number] = None  # Memory is why they come one by one.
                last = number == count - 1
                self._set_sync(last)
                for index, optimizer in enumerate(trainer.optimizer):
                    others = _take_gradients(trainer.model, optimizer)
                    outputs, losses, seconds = original(
                        *(trainer, formatted, optimizer, scaler),
                        *(trainer.criterion[index], trainer.scheduler[index]),
                        optimizer_idx=index if optimizers > 1 else None,
                        step_optimizer=step and last,
                        num_optimizers=optimizers,
                    )
                    found[index].append((outputs if last else None, losses, seconds))
                    for parameter, gradient in others:
                        parameter.grad = gradient
        finally:
            trainer.grad_accum_steps = divisor
            self._set_sync(True)
        group.update(formatted)
        return [_merged(results) for results in found]


def _take_gradients(model: Any, optimizer: Any) -> list[tuple[Any, Any]]:
    """Remove the gradients of parameters that are not this optimizer's. Returns them, to be put back."""
    own = {id(item) for group in optimizer.param_groups for item in group["params"]}
    others = [item for item in model.parameters() if id(item) not in own]
    taken = [(item, item.grad) for item in others]
    for item in others:
        item.grad = None
    return taken


def _merged(results: list[Any]) -> tuple[Any, dict[str, Any], float]:
    """Return the last outputs, the mean losses and the sum of the seconds."""
    losses: dict[str, list[Any]] = {}
    for _, of_batch, _ in results:
        for name, value in of_batch.items():
            losses.setdefault(name, []).append(value)
    merged = {}
    for name, values in losses.items():
        total = sum(values[1:], start=values[0])
        # The trainer has divided the loss itself by the number of batches already.
        divided = name == "loss" or name.removeprefix("loss_").isdecimal()
        merged[name] = total if divided else total / len(values)
    return results[-1][0], merged, sum(seconds for _, _, seconds in results)
