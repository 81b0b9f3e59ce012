"""Several processes that train one model: gradients are averaged, and rank 0 decides.

The trainer's own way (trainer 0.4.0) calls `train_step` on the bare module, so that DistributedDataParallel
(DDP) never runs and every process trains a model of its own. Here each optimizer's parameters get a DDP
reducer, and the optimizer's loss passes through it before the backward pass. A reducer through which no loss
has passed does nothing: that of the discriminator while the generator's loss goes back through it, and all of
them in every batch of a step but the last.

A step's gradient is the mean over the ranks of each one's mean over its batch. The loss scaler of mixed
precision sees the same gradients everywhere, so all ranks skip the same steps.
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

from kernel_template.contract import HostStop
from kernel_template.host.coqui import Trainer
from kernel_template.host.rendezvous import Rendezvous

_TIMEOUT = dt.timedelta(minutes=30)  # Rank 0 evaluates and saves while the others wait for it.
_REASONS: tuple[HostStop | None, ...] = (None, *HostStop)
_HAS_LOSS, _NO_LOSS, _OUT_OF_MEMORY = range(3)
_MEMORY_WORDS = (
    "out of memory",
    "_ALLOC_FAILED",  # Of cuBLAS, cuDNN and cuFFT; so is the next.
    "_ALLOCATION_FAILED",
    # These do not speak of memory, but come when a library finds none for its work space.
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "CUFFT_INTERNAL_ERROR",
    "nable to find a valid cuDNN algorithm",
    "nable to find an engine to execute",
)


class PeerOutOfMemoryError(RuntimeError):
    """Another rank has no memory for this batch; all of them stop here."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU, here or of another rank, ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError | PeerOutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _MEMORY_WORDS)


def free_memory() -> None:
    """Return the GPU's unused memory to the system."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class _LossGate(nn.Module):
    """Holds the parameters of one optimizer; a loss that passes through its DDP makes that average them."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.held = nn.ParameterList(parameters)

    def forward(self, loss: torch.Tensor) -> torch.Tensor:
        return loss


class Peers:
    """The ranks of one training, of which this process is one.

    Args:
        rendezvous: which rank this is, and where the others are met.
    """

    def __init__(self, rendezvous: Rendezvous) -> None:
        self.rank = rendezvous.rank
        self.size = rendezvous.size
        self.all_out_of_memory = False  # All ranks know that memory ran out, so none waits for another.
        self.abandoned = False
        self._sync = True
        self._rendezvous = rendezvous
        self._reducers: list[Any] = []
        self._decisions: Any = None  # The process group for what rank 0 decides.
        self.sync_bytes = 0  # Gradients that are averaged in each step.

    @property
    def joined(self) -> bool:
        """Whether the ranks have met."""
        return bool(self._reducers)

    def join(self, trainer: Trainer) -> None:
        """Meet the others, take rank 0's weights, and average the gradients of each optimizer from now on."""
        on_gpu = next(trainer.model.parameters()).is_cuda
        dist.init_process_group(
            "nccl" if on_gpu and not self._rendezvous.shared_gpu else "gloo",
            **self._rendezvous.group(),
            rank=self.rank,
            world_size=self.size,
            timeout=_TIMEOUT,
        )
        atexit.register(self.leave)
        # Decisions are small and must not wait for a GPU.
        self._decisions = dist.new_group(backend="gloo", timeout=_TIMEOUT)
        for optimizer in trainer.optimizer:
            parameters = [item for group in optimizer.param_groups for item in group["params"]]
            trained = [item for item in parameters if item.requires_grad]
            self.sync_bytes += sum(item.numel() * item.element_size() for item in trained)
            self._reducers.append(
                nn.parallel.DistributedDataParallel(_LossGate(trained), find_unused_parameters=True)
            )

    def set_sync(self, enabled: bool) -> None:  # noqa: FBT001 - a callback with one meaning.
        """Say whether the next loss completes a step; until one does, each rank keeps its gradients."""
        self._sync = enabled

    def leave_together(self) -> None:
        """Leave the group once all ranks have come here."""
        if self.joined:
            dist.barrier(group=self._decisions)
        self.leave()

    def abandon(self) -> None:
        """Stop waiting for peers: they are gone, and what was begun with them cannot be completed."""
        self._reducers = []
        self.abandoned = True

    def leave(self) -> None:
        """Leave the group, whatever the others do."""
        self._reducers = []
        if dist.is_initialized() and not self.abandoned:
            with contextlib.suppress(Exception):
                dist.destroy_process_group()

    # ---- Steps

    def model_train_step(
        self,
        original: Callable[..., Any],
        trainer: Trainer,
        batch: Any,
        criterion: Any,
        optimizer_idx: int | None = None,
    ) -> Any:
        """Hook: run the model's step of one optimizer; the backward pass of its loss then averages gradients.

        Raises:
            PeerOutOfMemoryError: another rank has run out of memory in this very step.
        """
        if not self.joined:
            return original(trainer, batch, criterion, optimizer_idx)
        outputs: Any = None
        losses: Any = None
        failure: RuntimeError | None = None
        try:
            outputs, losses = original(trainer, batch, criterion, optimizer_idx)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failure = error
        count = self._count(_OUT_OF_MEMORY if failure else _HAS_LOSS if losses else _NO_LOSS)
        self.all_out_of_memory = bool(count[_OUT_OF_MEMORY])
        if failure is not None:
            raise failure
        if self.all_out_of_memory:
            raise PeerOutOfMemoryError("Another rank is out of memory.")
        if not count[_HAS_LOSS] or not self._sync:
            return outputs, losses
        reducer = self._reducers[optimizer_idx or 0]
        if not losses:
            # The others average their gradients, so this rank must take part: with zeros.
            losses = {"loss": sum(item.flatten()[:0].sum() for item in reducer.parameters())}
        losses["loss"] = reducer(losses["loss"])
        return outputs, losses

    def _count(self, outcome: int) -> list[int]:
        """Return how many ranks had each outcome."""
        count = torch.zeros(3, dtype=torch.int64)
        count[outcome] = 1
        dist.all_reduce(count, group=self._decisions)
        found: list[int] = count.tolist()
        return found

    def check_steps(self, steps: int) -> None:
        """Check that all ranks have the same number of steps in this epoch; else they wait for each other.

        Raises:
            RuntimeError: they have not.
        """
        if not self.joined:
            return
        found = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(found, torch.tensor([steps]), group=self._decisions)
        counts = [int(item.item()) for item in found]
        if len(set(counts)) > 1:
            raise RuntimeError(
                f"The processes have {' and '.join(map(str, counts))} steps in an epoch: the script gives "
                f"each of "
                "them other samples. Let it make the same list everywhere, or set speed.gpus = 1."
            )

    def agree_to_stop(self, reason: HostStop | None) -> HostStop | None:
        """Return rank 0's reason to stop here, on all ranks; another one's only if losses are not finite."""
        if not self.joined:
            return reason
        codes = torch.zeros(2, dtype=torch.int64)
        if not self.rank or reason is HostStop.NOT_FINITE:
            codes[min(self.rank, 1)] = _REASONS.index(reason)
        dist.all_reduce(codes, dist.ReduceOp.MAX, group=self._decisions)
        first, others = (int(code) for code in codes.tolist())
        return _REASONS[first or others]

    def broadcast_buffers(self, model: Any) -> None:
        """Take rank 0's buffers, such as the running statistics of norms, which have no gradients."""
        if not self.joined:
            return
        with torch.no_grad():
            for buffer in model.buffers():
                dist.broadcast(buffer, 0, group=None if buffer.is_cuda else self._decisions)

    def reseed(self, seed: Any, epoch: int, batch: int) -> None:
        """Give a rank above 0 random numbers of its own, the same ones whenever the training comes here.

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
