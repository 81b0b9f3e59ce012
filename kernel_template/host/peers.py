"""Several processes that train one model: gradients are averaged, decisions are rank 0's.

The trainer's own way (trainer 0.4.0) calls `train_step` on the bare module, so that DistributedDataParallel
never runs and every process trains a model of its own. Here each optimizer's parameters get a reducer of
torch's own (DDP), and the loss of that optimizer passes through it before it is taken backwards. A reducer
that has not been armed by a loss stays silent: that of the discriminator while the generator's loss goes
back through it, and all of them in the batches of a step but the last.

A step's gradient is the mean over the ranks of each one's mean over its batch. The loss scaler of mixed
precision sees gradients that are the same everywhere, so all ranks skip the same steps.
"""

import atexit
import contextlib
import datetime as dt
import hashlib
import random
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from kernel_template.host.rendezvous import Rendezvous

# Rank 0 evaluates and saves while the others wait for it.
_TIMEOUT = dt.timedelta(minutes=30)
_REASONS = (None, "signal", "until_step", "budget", "no_improvement", "oom")
_HAS_LOSS, _NO_LOSS, _OUT_OF_MEMORY = range(3)
# The second and third are those of cuBLAS, cuDNN and cuFFT.
_MEMORY_WORDS = ("out of memory", "_ALLOC_FAILED", "_ALLOCATION_FAILED")


class PeerOutOfMemoryError(RuntimeError):
    """Another rank has no memory for this batch; all of them stop here."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a card, or a rank beside us, ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError | PeerOutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _MEMORY_WORDS)


class _Armed(nn.Module):
    """Holds the parameters of one optimizer; through its DDP a loss arms their reducer."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.held = nn.ParameterList(parameters)

    def forward(self, loss: torch.Tensor) -> torch.Tensor:
        return loss


class Peers:
    """The ranks of one training, of which this process is one.

    Args:
        rendezvous: who and where: a `Rendezvous` of host_rank.py.
    """

    def __init__(self, rendezvous: Rendezvous) -> None:
        self.rank = rendezvous.rank
        self.size = rendezvous.size
        self.all_know = False  # That memory has run out, and so nobody waits for anybody.
        self.abandoned = False
        self._armed = True
        self._rendezvous = rendezvous
        self._shares: list[Any] = []
        self._control: Any = None

    @property
    def joined(self) -> bool:
        """Whether there are others, and they have met."""
        return bool(self._shares)

    def join(self, trainer: Any) -> None:
        """Meet the others, take rank 0's weights, and share the gradients of each optimizer from now on."""
        on_card = next(trainer.model.parameters()).is_cuda
        dist.init_process_group(
            "nccl" if on_card else "gloo",
            init_method=self._rendezvous.file("store").as_uri(),
            rank=self.rank,
            world_size=self.size,
            timeout=_TIMEOUT,
        )
        atexit.register(self.leave)
        # Decisions are small and must not wait for a card.
        self._control = dist.new_group(backend="gloo", timeout=_TIMEOUT)
        for optimizer in trainer.optimizer:
            parameters = [item for group in optimizer.param_groups for item in group["params"]]
            trained = [item for item in parameters if item.requires_grad]
            self._shares.append(
                nn.parallel.DistributedDataParallel(_Armed(trained), find_unused_parameters=True)
            )

    def arm(self, complete: bool) -> None:  # noqa: FBT001 - a callback with one meaning.
        """Whether the next loss completes a step; gradients are kept to each rank until one does."""
        self._armed = complete

    def train_alone(self) -> None:
        """Go on as a training of one process."""
        self.size = 1

    def leave_together(self) -> None:
        """Part when all have come here."""
        if self.joined:
            dist.barrier(group=self._control)
        self.leave()

    def abandon(self) -> None:
        """Others are gone: nobody is waited for any more, and what was begun with them is left as it is."""
        self._shares = []
        self.abandoned = True

    def leave(self) -> None:
        """Part, whatever the others do."""
        self._shares = []
        if dist.is_initialized() and not self.abandoned:
            with contextlib.suppress(Exception):
                dist.destroy_process_group()

    # ---- Steps

    def model_train_step(
        self,
        original: Callable[..., Any],
        trainer: Any,
        batch: Any,
        criterion: Any,
        optimizer_idx: int | None = None,
    ) -> Any:
        """The model's step of one optimizer, with its loss made to average the gradients.

        Raises:
            PeerOutOfMemoryError: another rank has run out of memory in this very step.
        """
        if not self.joined:
            return original(trainer, batch, criterion, optimizer_idx)
        outputs: Any = None
        losses: Any = None
        failure: BaseException | None = None
        try:
            outputs, losses = original(trainer, batch, criterion, optimizer_idx)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failure = error
        kind = _OUT_OF_MEMORY if failure else _HAS_LOSS if losses else _NO_LOSS
        count = self._count(kind)
        self.all_know = bool(count[_OUT_OF_MEMORY])
        if failure is not None:
            raise failure
        if count[_OUT_OF_MEMORY]:
            raise PeerOutOfMemoryError("Another rank is out of memory.")
        if not count[_HAS_LOSS] or not self._armed:
            return outputs, losses
        share = self._shares[optimizer_idx or 0]
        if not losses:
            # The others' gradients still want an answer: nothing from here.
            losses = {"loss": sum(item.flatten()[:0].sum() for item in share.parameters())}
        losses["loss"] = share(losses["loss"])
        return outputs, losses

    def _count(self, kind: int) -> list[int]:
        """How many ranks have which kind of outcome."""
        count = torch.zeros(3, dtype=torch.int64)
        count[kind] = 1
        dist.all_reduce(count, group=self._control)
        found: list[int] = count.tolist()
        return found

    def agree(self, reason: str | None) -> str | None:
        """Rank 0's reason to stop here, or None, for all."""
        if not self.joined:
            return reason
        code = torch.tensor([_REASONS.index(reason)])
        dist.broadcast(code, 0, group=self._control)
        return _REASONS[int(code)]

    def share_buffers(self, model: Any) -> None:
        """Take rank 0's buffers, such as the running statistics of norms, which no gradient carries."""
        if not self.joined:
            return
        with torch.no_grad():
            for buffer in model.buffers():
                dist.broadcast(buffer, 0, group=None if buffer.is_cuda else self._control)

    def reseed(self, seed: Any, epoch: int, batch: int) -> None:
        """Random numbers of this rank's own, the same ones whenever the training passes here.

        Rank 0 draws as a single process does, and its states are those in the checkpoint.
        """
        if not self.rank or not self.joined:
            return
        text = f"{seed}/{epoch}/{batch}/{self.rank}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        random.seed(number)
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed(number)
        torch.manual_seed(number)


def free_memory() -> None:
    """Give the card's unused memory back."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
