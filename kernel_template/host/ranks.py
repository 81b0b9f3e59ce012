"""What is different for a Trainer that is one of several: hooks around how it is made, fed and ended.

A rank above 0 runs the script as far as `fit`, with a run folder that nobody keeps; it neither evaluates nor
saves, and ends behind `fit`, so that what a script does there is done once.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from kernel_template.host.accumulate import Accumulator
from kernel_template.host.batches import as_if_alone, make_loader, set_epoch
from kernel_template.host.coqui import optimizes_itself, wrap
from kernel_template.host.peers import Peers, free_memory, is_out_of_memory
from kernel_template.host.protocol import Control, HostReport
from kernel_template.host.rendezvous import Rendezvous


class RankHooks:
    """This process among the ranks, as the host sees it.

    Args:
        control: what the kernel asks: a `Control` of host_pace.py.
        rendezvous: which process this is: a `Rendezvous` of host_rank.py.
        report: how it went, for the kernel: a `HostReport`.
        say: writes a line to the log.
        warn: tells the kernel and the log.
    """

    def __init__(
        self,
        *,
        control: Control,
        rendezvous: Rendezvous,
        report: HostReport,
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._control = control
        self._rendezvous = rendezvous
        self._report = report
        self._say = say
        self._warn = warn
        self._has_failed = False
        self.peers = Peers(rendezvous)
        self.groups = Accumulator(max(1, control.accumulate), self.peers.arm)

    def install(self, trainer: Any, core: Any) -> None:
        """Wrap what several ranks, or steps of several batches, need wrapped."""
        if self.peers.size > 1:
            wrap(trainer, "_model_train_step", self.peers.model_train_step)
        if self.groups.size > 1:
            wrap(trainer, "format_batch", self.groups.format_batch)
            wrap(trainer, "optimize", self.groups.optimize)
        if self.peers.size > 1:
            wrap(trainer, "fit", self._fit)
        if self.peers.rank:
            wrap(core, "get_experiment_folder_path", self._private_folder)

    def alone(self, why: str) -> None:
        """Train with this process alone: one that is not rank 0 has nothing to do, and is gone at once."""
        if self.peers.size == 1:
            return
        if self.peers.rank:
            self._leave(0)  # Within `fit` the trainer would make a failure of SystemExit.
        self.peers.train_alone()
        self._warn(f"{why}: the training runs on one card.")

    def _private_folder(self, _original: Callable[..., Any], *_args: Any, **_kwargs: Any) -> Any:
        """Only rank 0 has a run folder that is kept."""
        return self._rendezvous.private_folder() / "run"

    def _fit(self, original: Callable[..., None], trainer: Any) -> None:
        """What a script does behind `fit` is done once, by rank 0; a rank that fails is gone at once.

        An orderly exit would wait for work that is shared with ranks which may be waiting for this one. So
        would one that has saved what stands after it had no memory; the kernel runs the script again.
        """
        code: Any = 0
        try:
            original(trainer)
        except SystemExit as ended:
            code = ended.code
            if not self._has_failed:
                raise
        if self.peers.rank or self._has_failed or self.peers.abandoned:
            self._leave(code if isinstance(code, int) else 1)

    @staticmethod
    def _leave(code: int) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    # ---- How a Trainer is made and fed

    def before_made(self, arguments: Any) -> None:
        """By its rank the trainer knows who neither plots nor saves; it is the first to use the card."""
        self._rendezvous.restore_gpu()
        if self.peers.rank and hasattr(arguments, "rank"):
            arguments.rank = self.peers.rank

    def made(self, trainer: Any) -> None:
        """A card that has run out of memory gets smaller batches than the configuration says."""
        if (batch := self._control.batch_size) is not None:
            trainer.config.batch_size = batch
            trainer.config.eval_batch_size = min(trainer.config.eval_batch_size or batch, batch)

    def gather(self, trainer: Any) -> None:
        """Meet the other ranks, if the model is one whose gradients can be shared; share what there is."""
        if optimizes_itself(trainer):
            self.alone("The model takes its optimizer steps by itself")
            self._ungroup(trainer)
        elif self.peers.size > 1:
            self._join(trainer)
        if trainer.train_loader is not None:  # The script has made it.
            trainer.train_loader = self._shared(trainer.train_loader, trainer)

    def _ungroup(self, trainer: Any) -> None:
        """Let each batch be a step: a model that takes its steps by itself knows no groups."""
        if self.groups.size > 1:
            self.groups.size = 1
            self._warn(
                f"The model takes its optimizer steps by itself: a step now sees {trainer.config.batch_size} "
                "samples, as many as fit into the card's memory."
            )

    def _join(self, trainer: Any) -> None:
        self.peers.join(trainer)
        self._report.write(ranks=self.peers.size)
        self._say(
            f"{self.peers.size} processes train together: a step sees "
            f"{self.peers.size * self.groups.size * trainer.config.batch_size} samples"
        )

    def loader(self, kind: str, make: Callable[[], Any], trainer: Any) -> Any:
        """A loader of the script's own; that of the training is shared among the ranks."""
        with as_if_alone():
            loader = make()
            return self._shared(loader, trainer) if kind == "train" else loader

    def _shared(self, loader: Any, trainer: Any) -> Any:
        """The training's loader with this rank's part, in the order that is asked for."""
        peers, seed = self.peers, trainer.config.training_seed
        asked = self._control.speed
        return make_loader(loader, asked, peers.rank, peers.size, seed, accumulate=self.groups.size)

    def epoch_begins(self, trainer: Any) -> int:
        """Tell the loader which epoch it is. Returns how many steps it has."""
        set_epoch(trainer.train_loader, trainer.epochs_done)
        return self.groups.steps(len(trainer.train_loader))

    # ---- Memory

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether `error` says that there is no memory."""
        return is_out_of_memory(error)

    def ran_out(self, error: BaseException) -> bool:
        """Whether the training stops here for want of memory, on all ranks or on this one."""
        mine = self.out_of_memory(error)
        if not self.peers.joined or self.peers.all_know:
            return mine
        if mine:
            self._rendezvous.failed(out_of_memory=True)
        # On the way back a rank that has run out cannot tell the others, who find it gone. Rank 0 saves
        # (where it does not wait on its card for the one that is gone); the kernel starts all of them again.
        self.peers.abandon()
        return self.peers.rank == 0 and bool(mine or self._rendezvous.memory_ran_out())

    def free_memory(self) -> None:
        """Give the card's unused memory back."""
        free_memory()

    def failed(self, error: BaseException) -> None:
        """Note for launch.py who failed first."""
        self._has_failed = self.peers.size > 1
        self._rendezvous.failed(out_of_memory=self.out_of_memory(error))
