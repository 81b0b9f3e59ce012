"""What is different for a Trainer that is one of several: hooks around how it is made, fed and ended.

A rank above 0 runs the script as far as `fit`, with a run folder that nobody keeps; it neither evaluates nor
saves, and ends behind `fit`, so that what a script does there is done once.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn


class Company:
    """This process among the ranks, as the host sees it.

    Args:
        control: what the kernel asks: a `Control` of host_pace.py.
        meeting: which process this is: a `Meeting` of host_rank.py.
        report: how it went, for the kernel: a `HostReport`.
        say: writes a line to the log.
        warn: tells the kernel and the log.
        load: loads a program of the same folder as a module.
    """

    def __init__(  # noqa: PLR0913 - it stands between all of these.
        self,
        *,
        control: Any,
        meeting: Any,
        report: Any,
        say: Callable[[str], None],
        warn: Callable[[str], None],
        load: Callable[[str], Any],
    ) -> None:
        self._control = control
        self._meeting = meeting
        self._report = report
        self._say = say
        self._warn = warn
        self._has_failed = False
        self._wrapping = load("host_wrap")
        self._batches = load("host_batches")
        self._parallel = load("host_parallel")
        self.team = self._parallel.Team(meeting)
        self.groups = load("host_accumulate").Accumulator(max(1, control.accumulate), self.team.arm)

    def install(self, trainer: Any, core: Any) -> None:
        """Wrap what several ranks, or steps of several batches, need wrapped."""
        wrap = self._wrapping.wrap
        if self.team.size > 1:
            wrap(trainer, "_model_train_step", self.team.model_train_step)
        if self.groups.size > 1:
            wrap(trainer, "format_batch", self.groups.format_batch)
            wrap(trainer, "optimize", self.groups.optimize)
        if self.team.size > 1:
            wrap(trainer, "fit", self._fit)
        if self.team.rank:
            wrap(core, "get_experiment_folder_path", self._private_folder)

    def alone(self, why: str) -> None:
        """Train with this process alone: one that is not rank 0 has nothing to do, and is gone at once."""
        if self.team.size == 1:
            return
        if self.team.rank:
            self._leave(0)  # Within `fit` the trainer would make a failure of SystemExit.
        self.team.dissolve()
        self._warn(f"{why}: the training runs on one card.")

    def _private_folder(self, _original: Callable[..., Any], *_args: Any, **_kwargs: Any) -> Any:
        """Only rank 0 has a run folder that is kept."""
        return self._meeting.private_folder() / "run"

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
        if self.team.rank or self._has_failed or self.team.forsaken:
            self._leave(code if isinstance(code, int) else 1)

    @staticmethod
    def _leave(code: int) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    # ---- How a Trainer is made and fed

    def before_made(self, arguments: Any) -> None:
        """By its rank the trainer knows who neither plots nor saves; it is the first to use the card."""
        self._meeting.keep_card()
        if self.team.rank and hasattr(arguments, "rank"):
            arguments.rank = self.team.rank

    def made(self, trainer: Any) -> None:
        """A card that has run out of memory gets smaller batches than the configuration says."""
        if (batch := self._control.batch_size) is not None:
            trainer.config.batch_size = batch
            trainer.config.eval_batch_size = min(trainer.config.eval_batch_size or batch, batch)

    def gather(self, trainer: Any) -> None:
        """Meet the other ranks, if the model is one whose gradients can be shared; share what there is."""
        if self._wrapping.optimizes_itself(trainer):
            self.alone("The model takes its optimizer steps by itself")
            self._ungroup(trainer)
        elif self.team.size > 1:
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
        self.team.join(trainer)
        self._report.write(ranks=self.team.size)
        self._say(
            f"{self.team.size} processes train together: a step sees "
            f"{self.team.size * self.groups.size * trainer.config.batch_size} samples"
        )

    def loader(self, kind: str, make: Callable[[], Any], trainer: Any) -> Any:
        """A loader of the script's own; that of the training is shared among the ranks."""
        with self._batches.as_if_alone():
            loader = make()
            return self._shared(loader, trainer) if kind == "train" else loader

    def _shared(self, loader: Any, trainer: Any) -> Any:
        """The training's loader with this rank's part, in the order that is asked for."""
        team, seed = self.team, trainer.config.training_seed
        asked = self._control.speed
        return self._batches.make_loader(
            loader, asked, team.rank, team.size, seed, accumulate=self.groups.size
        )

    def epoch_begins(self, trainer: Any) -> int:
        """Tell the loader which epoch it is. Returns how many steps it has."""
        self._batches.set_epoch(trainer.train_loader, trainer.epochs_done)
        steps: int = self.groups.steps(len(trainer.train_loader))
        return steps

    # ---- Memory

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether `error` says that there is no memory."""
        found: bool = self._parallel.is_out_of_memory(error)
        return found

    def ran_out(self, error: BaseException) -> bool:
        """Whether the training stops here for want of memory, on all ranks or on this one."""
        mine = self.out_of_memory(error)
        if not self.team.joined or self.team.all_know:
            return mine
        if mine:
            self._meeting.failed(out_of_memory=True)
        # On the way back a rank that has run out cannot tell the others, who find it gone. Rank 0 saves
        # (where it does not wait on its card for the one that is gone); the kernel starts all of them again.
        self.team.forsake()
        return self.team.rank == 0 and bool(mine or self._meeting.memory_ran_out())

    def free_memory(self) -> None:
        """Give the card's unused memory back."""
        self._parallel.free_memory()

    def failed(self, error: BaseException) -> None:
        """Note for launch.py who failed first."""
        self._has_failed = self.team.size > 1
        self._meeting.failed(out_of_memory=self.out_of_memory(error))
