"""Patches Coqui's Trainer so that it stops in time, saves only whole files, and resumes exactly.

What the trainer (0.4.0) does by itself and why that is not enough: it knows no time limit; it writes
checkpoints in place, so that a second interrupt truncates them; an exception deletes a run folder that has no
checkpoint yet; at the end of the last epoch it saves only if that was the best.
"""

import sys
import time
import types
from collections.abc import Callable
from functools import partial
from typing import Any

from kernel_template.host.coqui import Trainer, is_coqui, missing_parts, patch
from kernel_template.host.counters import StepCounters
from kernel_template.host.disk import DiskBudget, link_best_model
from kernel_template.host.loop import TrainingLoop
from kernel_template.host.protocol import Control
from kernel_template.host.ranks import RankHooks
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.report import Reporter
from kernel_template.host.resume import Resume
from kernel_template.host.sample_filter import SampleFilter
from kernel_template.host.speed import SpeedHooks
from kernel_template.host.stopping import StopRules, TimeBudget


class TrainerHost:
    """The hooks of one training process.

    Args:
        control: what the session asks for.
        reporter: the log and the report.
        rendezvous: which rank this is.
        began: when this process started, by `time.monotonic`.
    """

    def __init__(self, control: Control, reporter: Reporter, rendezvous: Rendezvous, *, began: float) -> None:
        budget = TimeBudget(time.monotonic, began, control.budget_s, control.seconds_per_epoch)
        self._reporter = reporter
        self._counters = StepCounters(time.monotonic, began)
        self._resume = Resume(control, reporter)
        self._ranks = RankHooks(control, rendezvous, reporter)
        self._disk = DiskBudget(control.disk, reporter)
        self._filter = SampleFilter(control.data, rendezvous, reporter)
        self._speed = SpeedHooks(control.speed)
        self._loop = TrainingLoop(
            budget=budget,
            rules=StopRules(control, budget, ignore_signals=rendezvous.rank > 0),
            counters=self._counters,
            resume=self._resume,
            ranks=self._ranks,
            rendezvous=rendezvous,
            disk=self._disk,
            reporter=reporter,
        )

    def install(self, package: types.ModuleType) -> None:
        """Patch the package that has just been imported, if it is a known release of Coqui's."""
        if not is_coqui(package):
            self._ranks.train_alone("The script's module `trainer` is not Coqui's")
            return
        if missing := missing_parts(package):
            self._ranks.train_alone("This release of the trainer package is unknown")
            self._reporter.warn(
                f"This release of the trainer package has no {', '.join(missing)} as kgtts expects them: the "
                "training runs without hooks. Only an interrupt stops it, and it resumes as the trainer does."
            )
            return
        core, io = sys.modules["trainer.trainer"], sys.modules["trainer.io"]
        loop, resume = self._loop, self._resume
        hooks: list[tuple[Any, str, Callable[..., Any]]] = [
            (package.Trainer, "__init__", self._make),
            (package.Trainer, "_fit", loop.fit),
            (package.Trainer, "_restore_best_loss", resume.restore_best_loss),
            (package.Trainer, "save_best_model", loop.checkpoints.save_best_model),
            (package.Trainer, "save_checkpoint", loop.checkpoints.save_checkpoint),
            (package.Trainer, "train_epoch", loop.train_epoch),
            (package.Trainer, "train_step", loop.train_step),
            (package.Trainer, "eval_epoch", loop.eval_epoch),
            (package.Trainer, "get_train_dataloader", partial(self._make_loader, "train")),
            (package.Trainer, "get_eval_dataloader", partial(self._make_loader, "eval")),
            (io, "save_fsspec", loop.checkpoints.save_file),
            (io, "get_last_checkpoint", resume.last_checkpoint),
            (core, "get_last_checkpoint", resume.last_checkpoint),
            (core, "load_fsspec", resume.load),
            (core, "remove_experiment_folder", lambda _original, _path: None),
            *self._ranks.hooks(package.Trainer, core),
        ]
        if hasattr(io, "fsspec"):
            hooks.append((io.fsspec.get_filesystem_class("file"), "copy", link_best_model))
        for owner, name, hook in hooks:
            patch(owner, name, hook)
        self._speed.install(package.Trainer)

    def _make(self, original: Callable[..., None], trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Hook of `Trainer.__init__`."""
        arguments = kwargs.get("args", args[0] if args else None)
        config = kwargs.get("config", args[1] if len(args) > 1 else None)
        if not self._loop.started:
            self._resume.set_arguments(arguments)
        self._ranks.before_trainer(arguments)
        with self._counters.making_data():
            kwargs = self._filter.apply(config, kwargs)
        original(trainer, *args, **kwargs)
        self._ranks.after_trainer(trainer)
        self._speed.after_trainer(trainer)
        self._disk.set_kept_checkpoints(trainer.config)
        self._reporter.write(hooks=True)

    def _make_loader(
        self, kind: str, original: Callable[..., Any], trainer: Trainer, *args: Any, **kwargs: Any
    ) -> Any:
        """Hook of `get_train_dataloader` and `get_eval_dataloader`."""
        self._resume.note_loader(kind)
        with self._counters.making_data():
            return self._ranks.make_loader(kind, partial(original, trainer, *args, **kwargs), trainer)
