"""One optimizer step from several batches, for a card that is too small for the whole batch at once.

The loader's batches come in groups, and a group is one step: its gradient is the mean over its batches, so a
step sees as many samples as before. Of a GAN each batch goes through the discriminator's half and then the
generator's; at the last batch each optimizer steps behind its own half, as it always does. The generator's
loss also reaches the discriminator's weights: what it leaves there is not its to leave, and is dropped.

The trainer (0.4.0) accumulates for models with one optimizer only.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any


class Group(dict[str, Any]):
    """The batches of one step; once they are done, also the content of the last, for the trainer's plots."""

    def __init__(self, batches: list[Any]) -> None:
        super().__init__()
        self.batches = batches


class Accumulator:
    """Makes the trainer's step take a group of batches.

    Args:
        size: batches in a group; an epoch's last one may have fewer.
        arm: told before each batch whether its gradients complete a step.
    """

    def __init__(self, size: int, arm: Callable[[bool], None]) -> None:
        self.size = size
        self._arm = arm
        self._results: list[Any] = []

    def groups(self, batches: Iterator[Any]) -> Iterator[Group]:
        """`batches` in groups."""
        while group := list(itertools.islice(batches, self.size)):
            yield Group(group)

    def steps(self, batches: int) -> int:
        """How many groups so many batches make."""
        return -(-batches // self.size)

    # ---- Hooks of the Trainer

    def format_batch(self, original: Callable[..., Any], trainer: Any, batch: Any) -> Any:
        """A group is formatted batch by batch, when each one's turn comes."""
        return batch if isinstance(batch, Group) else original(trainer, batch)

    def optimize(  # noqa: PLR0913 - the shape of the trainer's own.
        self,
        original: Callable[..., Any],
        trainer: Any,
        batch: Any,
        optimizer: Any,
        scaler: Any,
        *rest: Any,
        optimizer_idx: int | None = None,
        step_optimizer: bool = True,
        num_optimizers: int = 1,
    ) -> Any:
        """Do all of the group when its first optimizer is due, and answer for each."""
        if not isinstance(batch, Group):
            return original(
                trainer,
                batch,
                optimizer,
                scaler,
                *rest,
                optimizer_idx=optimizer_idx,
                step_optimizer=step_optimizer,
                num_optimizers=num_optimizers,
            )
        if not optimizer_idx:
            self._results = self._all(original, trainer, batch, scaler, step=step_optimizer)
        return self._results[optimizer_idx or 0]

    def _all(
        self, original: Callable[..., Any], trainer: Any, group: Group, scaler: Any, *, step: bool
    ) -> list[Any]:
        """The group's outputs, losses and seconds, one of each optimizer."""
        count, many = len(group.batches), len(trainer.optimizer)
        found: list[list[Any]] = [[] for _ in trainer.optimizer]
        divisor, trainer.grad_accum_steps = trainer.grad_accum_steps, trainer.grad_accum_steps * count
        try:
            for number in range(count):
                # Each is let go once it is done: memory is why they come one by one.
                formatted = trainer.format_batch(group.batches[number])
                group.batches[number] = None
                last = number == count - 1
                self._arm(last)
                for index, optimizer in enumerate(trainer.optimizer):
                    aside = _put_aside(trainer.model, optimizer)
                    outputs, losses, seconds = original(
                        trainer,
                        formatted,
                        optimizer,
                        scaler,
                        trainer.criterion[index],
                        trainer.scheduler[index],
                        optimizer_idx=index if many > 1 else None,
                        step_optimizer=step and last,
                        num_optimizers=many,
                    )
                    found[index].append((outputs if last else None, losses, seconds))
                    for parameter, gradient in aside:
                        parameter.grad = gradient
        finally:
            trainer.grad_accum_steps = divisor
            self._arm(True)
        group.update(formatted)
        return [_merged(results) for results in found]


def _put_aside(model: Any, optimizer: Any) -> list[tuple[Any, Any]]:
    """The gradients that are not this optimizer's, taken off their parameters."""
    own = {id(item) for group in optimizer.param_groups for item in group["params"]}
    others = [item for item in model.parameters() if id(item) not in own]
    aside = [(item, item.grad) for item in others]
    for item in others:
        item.grad = None
    return aside


def _merged(results: list[Any]) -> tuple[Any, dict[str, Any], float]:
    """The last outputs, the mean losses, and all seconds."""
    losses: dict[str, list[Any]] = {}
    for _, told, _ in results:
        for name, value in told.items():
            losses.setdefault(name, []).append(value)
    merged = {}
    for name, values in losses.items():
        total = sum(values[1:], start=values[0])
        # The trainer has divided the loss itself by the number of batches already.
        divided = name == "loss" or name.removeprefix("loss_").isdecimal()
        merged[name] = total if divided else total / len(values)
    return results[-1][0], merged, sum(seconds for _, _, seconds in results)
