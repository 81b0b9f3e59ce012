"""Patches Coqui's Trainer so that it stops in time, saves only whole files, and resumes exactly.

What the trainer (0.4.0) does by itself and why that is not enough: it knows no time limit; it writes
checkpoints in place, so that a second interrupt truncates them; an exception deletes a run folder that has no
checkpoint yet; at the end of the last epoch it saves only if that was the best.
"""

import re
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kernel_template.contract import WITHOUT_HOOKS
from kernel_template.host.compat import Compatibility
from kernel_template.host.coqui import Trainer, is_coqui, missing_parts, patch, set_in_config
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

_OVERRIDE = re.compile(r"--coqpit\.(?P<key>[\w.]+)=(?P<value>.*)", re.DOTALL)
_OUTPUT = 2  # The position of `output_path` among the Trainer's arguments.


class TrainerHost:
    """The hooks of one training process.

    Args:
        control: what the session asks for.
        reporter: the log and the report.
        rendezvous: which rank this is.
        compat: translates arguments that the Trainer no longer has.
        prepared: called once the script has prepared its data.
        began: when this process started, by `time.monotonic`.
    """

    def __init__(  # noqa: PLR0913 - it connects all these.
        self,
        control: Control,
        reporter: Reporter,
        rendezvous: Rendezvous,
        compat: Compatibility,
        prepared: Callable[[], None],
        *,
        began: float,
    ) -> None:
        budget = TimeBudget(time.monotonic, began, control.budget_s, control.seconds_per_epoch)
        self._control = control
        self._reporter = reporter
        self._rendezvous = rendezvous
        self._compat = compat
        self._prepared = prepared
        self._counters = StepCounters(time.monotonic, began)
        self._resume = Resume(control, reporter, quiet=rendezvous.rank > 0)
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
            save_every_s=control.save_every_s,
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
                f"training runs without hooks. {WITHOUT_HOOKS}"
            )
            return
        core, io = sys.modules["trainer.trainer"], sys.modules["trainer.io"]
        loop, resume = self._loop, self._resume
        hooks: list[tuple[Any, str, Callable[..., Any]]] = [
            (package.Trainer, "__init__", self._make),
            (package.Trainer, "_fit", loop.fit),
            (package.Trainer, "_restore_best_loss", resume.restore_best_loss),
            (package.Trainer, "restore_model", resume.restore_model),
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
        package.Trainer.init_training = staticmethod(
            partial(self._init_training, package.Trainer.init_training)
        )
        self._speed.install(package.Trainer)

    def _make(self, original: Callable[..., None], trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Hook of `Trainer.__init__`."""
        self._prepared()
        kwargs = self._compat.trainer(kwargs)
        arguments = kwargs.get("args", args[0] if args else None)
        config = kwargs.get("config", args[1] if len(args) > 1 else None)
        if not self._loop.started:
            self._resume.set_arguments(arguments)
            self._resume.keep_own_settings(config)
        self._ranks.before_trainer(arguments)
        args, kwargs = self._redirect(config, args, kwargs)
        self._place_phonemes(config)
        with self._counters.making_data():
            kwargs = self._filter.apply(config, kwargs)
            kwargs = self._ranks.share_samples(kwargs)
        original(trainer, *args, **kwargs)
        self._rendezvous.request_ranks()
        self._ranks.after_trainer(trainer)
        self._speed.after_trainer(trainer)
        self._disk.set_kept_checkpoints(trainer.config)
        self._reporter.write(hooks=True)

    @staticmethod
    def _init_training(
        original: Callable[..., Any], arguments: Any, overrides: list[str], config: Any = None
    ) -> Any:
        """Replace `Trainer.init_training`: set settings from the command line without Coqui's parser.

        That fails with an IndexError if any list of the configuration is empty while its default is not.
        """
        own = [match for item in overrides if (match := _OVERRIDE.fullmatch(item))]
        others = [item for item in overrides if not _OVERRIDE.fullmatch(item)]
        if not any(item.startswith("--coqpit.") for item in others):
            others = []  # What is left are options that only the script knows.
        made, fields = original(arguments, others, config)
        for match in own:
            set_in_config(made, match["key"], match["value"])
        return made, fields

    def _redirect(
        self, config: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with an output path that is kept: many scripts write beside themselves.

        What lies elsewhere is lost with the session, and the inputs cannot be written at all.
        """
        kept, output = self._control.disk.folder, self._control.output
        if kept is None or output is None:
            return args, kwargs
        asked = kwargs.get("output_path") or (args[2] if len(args) > _OUTPUT else None)
        asked = asked or getattr(config, "output_path", None)
        if asked is None or Path(str(asked)).resolve().is_relative_to(Path(kept).resolve()):
            return args, kwargs
        if not self._rendezvous.rank:
            self._reporter.say(f"the script's output path {asked} is not kept: using {output}")
        if config is not None and hasattr(config, "output_path"):
            config.output_path = output
        kwargs = {**kwargs, "output_path": output}
        return args[:_OUTPUT], kwargs

    def _place_phonemes(self, config: Any) -> None:
        """Put the cache of phonemes where it can be written; without a place for it Coqui fails."""
        if not getattr(config, "use_phonemes", False) or not hasattr(config, "phoneme_cache_path"):
            return
        folder = self._control.report.parent
        asked = config.phoneme_cache_path
        if not asked or not Path(str(asked)).resolve().is_relative_to(folder.resolve()):
            config.phoneme_cache_path = str(folder / "phoneme_cache")

    def _make_loader(
        self, kind: str, original: Callable[..., Any], trainer: Trainer, *args: Any, **kwargs: Any
    ) -> Any:
        """Hook of `get_train_dataloader` and `get_eval_dataloader`."""
        self._resume.note_loader(kind)
        with self._counters.making_data():
            return self._ranks.make_loader(kind, partial(original, trainer, *args, **kwargs), trainer)
