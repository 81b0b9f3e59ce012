"""Hooks for a Trainer that is one of several, or that makes a step from several batches.

A rank above 0 runs the script as far as `fit`, with a run folder that nobody keeps. It neither evaluates nor
saves, and its process ends with `fit`, so that what the script does after that is done once.
"""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from kernel_template.host.accumulate import Accumulator
from kernel_template.host.batches import not_distributed, prepare_loader, set_epoch
from kernel_template.host.coqui import Arguments, Trainer, has_own_optimize
from kernel_template.host.peers import Peers, is_out_of_memory
from kernel_template.host.protocol import Control
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.report import Reporter

_SAMPLES = ("train_samples", "eval_samples")
_NEVER = 2**31 - 1  # Steps until the loss scaler raises its scale.


class RankHooks:
    """This process among the ranks.

    Args:
        control: batch size, accumulation and length buckets.
        rendezvous: which rank this is.
        reporter: the log and the report.
    """

    def __init__(self, control: Control, rendezvous: Rendezvous, reporter: Reporter) -> None:
        self._control = control
        self._rendezvous = rendezvous
        self._reporter = reporter
        self._failed = False
        self._made = 0  # Trainers.
        self.peers = Peers(rendezvous)
        self.accumulator = Accumulator(max(1, control.accumulate), self.peers.set_sync)

    def hooks(self, trainer: type, core: Any) -> list[tuple[Any, str, Callable[..., Any]]]:
        """Return what is to be patched: owner, name and hook."""
        found: list[tuple[Any, str, Callable[..., Any]]] = []
        if self.accumulator.size > 1:
            found += [
                (trainer, "format_batch", self.accumulator.format_batch),
                (trainer, "optimize", self.accumulator.optimize),
            ]
        if self.peers.size > 1:
            found += [
                (trainer, "_model_train_step", self.peers.model_train_step),
                (trainer, "fit", self._fit),
            ]
        if self.peers.rank:
            # Only rank 0 has a run folder that is kept.
            run = self._rendezvous.private_folder() / "run"
            found.append((core, "get_experiment_folder_path", lambda *_args, **_kwargs: run))
        return found

    def train_alone(self, why: str) -> None:
        """Train in rank 0 only; any other rank ends at once."""
        if self.peers.size == 1:
            return
        if self.peers.rank:
            self._exit(0)  # Within `fit` the trainer would turn SystemExit into a failure.
        self.peers.size = 1
        self._reporter.warn(f"{why}: the training runs on one GPU.")

    def _fit(self, original: Callable[..., None], trainer: Trainer) -> None:
        """Hook of `Trainer.fit`: return to the script in rank 0 only, and only after a success.

        A failed rank exits without cleaning up, which would wait for ranks that may be waiting for this one.
        So does rank 0 after it lost a peer to lack of memory and saved; the session runs the script again.
        """
        code: Any = 0
        try:
            original(trainer)
        except SystemExit as ended:
            code = ended.code
            if not self._failed:
                raise
        if self.peers.rank or self._failed or self.peers.abandoned:
            self._exit(code if isinstance(code, int) else 1)

    @staticmethod
    def _exit(code: int) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    # ---- Making and feeding the Trainer

    def before_trainer(self, arguments: Arguments | None) -> None:
        """Prepare for `Trainer.__init__`, which is the first to use the GPU and asks for the rank."""
        self._rendezvous.restore_gpu()
        if self.peers.rank and arguments is not None and hasattr(arguments, "rank"):
            arguments.rank = self.peers.rank

    def share_samples(self, named: dict[str, Any]) -> dict[str, Any]:
        """Return the Trainer's keyword arguments with rank 0's samples, of which each rank takes a part.

        A script may draw them at random, or list files in the order of the disk.

        Raises:
            TimeoutError: rank 0 has not written its samples.
        """
        if self.peers.size == 1 or not (
            present := {name: named[name] for name in _SAMPLES if named.get(name)}
        ):
            return named
        self._made += 1
        name = f"samples-of-rank0-{self._made}"
        if not self.peers.rank:
            # Nothing if they are of a kind that cannot be sent; their number is compared.
            self._rendezvous.put(name, self._rendezvous.pack(present))
            return named
        data = self._rendezvous.get(name, "rank 0's samples")
        return {**named, **self._rendezvous.unpack(data)} if data else named

    def after_trainer(self, trainer: Trainer) -> None:
        """Set the batch size and the precision that the session has found to work."""
        if self._control.full_precision:
            trainer.config.mixed_precision = False
            trainer.use_amp_scaler, trainer.scaler = False, None
        elif (scale := self._control.loss_scale) is not None and trainer.scaler is not None:
            # A checkpoint keeps both, so the sessions after this one go on with them.
            trainer.scaler.load_state_dict(
                {**trainer.scaler.state_dict(), "scale": scale, "growth_interval": _NEVER}
            )
        if (batch := self._control.batch_size) is not None:
            trainer.config.batch_size = batch
            trainer.config.eval_batch_size = min(trainer.config.eval_batch_size or batch, batch)

    def join(self, trainer: Trainer, record: Mapping[str, Any] | None) -> None:
        """Join the other ranks, if the model's gradients can be averaged, and take a part of the samples.

        Raises:
            RuntimeError: another machine has other settings, or resumes from another step (`record`).
        """
        if has_own_optimize(trainer):
            why = "The model takes its optimizer steps by itself"
            self.train_alone(why)
            if self.accumulator.size > 1:
                self.accumulator.size = 1
                self._reporter.warn(
                    f"{why}: a step now sees {trainer.config.batch_size} samples, as many as fit into the "
                    "GPU's memory."
                )
        elif self.peers.size > 1:
            self._rendezvous.check_same(self._control, trainer, record)
            self.peers.join(trainer)
            size, sync = self.peers.size, self.peers.sync_bytes
            self._reporter.write(ranks=size, sync_bytes=sync)
            self._reporter.say(
                f"{size} processes train together: a step sees {self.step_samples(trainer)} samples and "
                f"averages {sync:,} bytes of gradients"
            )
        if trainer.train_loader is not None:  # The script has made it.
            trainer.train_loader = self._prepare(trainer.train_loader, trainer)

    def make_loader(self, kind: str, make: Callable[[], Any], trainer: Trainer) -> Any:
        """Make the loader `train` or `eval`; that of the training gets this rank's part of the samples."""
        with not_distributed():
            loader = make()
            return self._prepare(loader, trainer) if kind == "train" else loader

    def _prepare(self, loader: Any, trainer: Trainer) -> Any:
        return prepare_loader(
            loader,
            buckets=self._control.length_buckets,
            rank=self.peers.rank,
            world=self.peers.size,
            seed=trainer.config.training_seed,
            accumulate=self.accumulator.size,
        )

    def step_samples(self, trainer: Trainer) -> int:
        """Return how many samples a step of all ranks sees."""
        return self.peers.size * self.accumulator.size * int(trainer.config.batch_size)

    def begin_epoch(self, trainer: Trainer) -> int:
        """Tell the loader which epoch begins. Returns the number of steps in it."""
        set_epoch(trainer.train_loader, trainer.epochs_done)
        steps = self.accumulator.steps(len(trainer.train_loader))
        self.peers.check_steps(steps)
        return steps

    # ---- Failures

    def stops_for_memory(self, error: RuntimeError) -> bool:
        """Whether this rank should save and stop because it or another one is out of GPU memory."""
        mine = is_out_of_memory(error)
        if not self.peers.joined or self.peers.all_out_of_memory:
            return mine
        if mine:
            self._rendezvous.failed(out_of_memory=True)
        # A rank that runs out in the backward pass cannot tell the others, which find it gone. Rank 0 saves,
        # unless it waits on its GPU for the one that is gone; the session starts all of them again.
        self.peers.abandon()
        return self.peers.rank == 0 and (mine or self._rendezvous.any_out_of_memory())

    def failed(self, error: BaseException) -> None:
        """Note for launch.py which rank failed first."""
        self._failed = self.peers.size > 1
        self._rendezvous.failed(out_of_memory=is_out_of_memory(error))
