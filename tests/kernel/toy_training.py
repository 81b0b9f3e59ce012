"""A training script for the tests: a GAN with a few hundred weights on Coqui's real Trainer.

It draws from every generator: samples shuffled when the dataset is made, noise from numpy in each sample,
a shuffling loader, dropout, random segments. `--config_path` and `--continue_path` are taken as Coqui's own
scripts take them. The `toy` options in the configuration make it misbehave.
"""

import functools
import math
import os
import random
import signal
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trainer.trainer as core
import watching  # type: ignore[import-not-found] # It stands beside this script.
from torch import nn
from torch.utils.data import DataLoader, Dataset
from trainer import Trainer, TrainerArgs, TrainerConfig, TrainerModel


@dataclass
class ToyConfig(TrainerConfig):  # type: ignore[misc] # The trainer ships no type information.
    """The toy's configuration."""

    model: str = "toy"
    samples: int = 12
    num_loader_workers: int = 0
    step_s: float = 0.0  # Seconds that a step takes,
    slow_rank: int | None = None  # and ten times as many on this rank.
    save_s: float = 0.0  # Seconds that a save takes.
    die_at: int | None = None  # SIGKILL itself when this many steps are done.
    interrupt_at: int | None = None  # SIGINT itself after so many steps.
    interrupt_in_save: bool = False  # SIGINT itself twice within each save.
    worse_after: int | None = None  # Evaluations get worse after so many steps.
    plain: bool = False  # Losses that are means over samples; nothing is drawn but the order.
    unsynchronised: bool = False  # Several ranks do not average their gradients.
    fault_rank: int = 0  # The rank that the faults befall.
    memory_at: int | None = None  # From this step on there is memory for `memory_for` samples.
    memory_for: int = 0
    memory_in: str = "forward"  # Where it runs out: "forward", "backward" or "eval".
    hangs: bool = False  # In the backward pass the other ranks wait for one without memory, as GPUs do.
    draws: int = 0  # So many random numbers before the training.
    optimizes: bool = False  # The model takes its optimizer steps by itself.
    scaled: bool = False  # With a loss scaler, as on a GPU,
    scale: float = 1024.0  # that begins with this scale.
    overflow_at: int | None = None  # The step in which the loss is infinite.
    nan_at: int | None = None  # From this step on losses are NaN in mixed precision,
    nan_always: bool = False  # and in full precision too,
    nan_above: float = 0.0  # if the loss scale is larger than this.
    nan_kills: bool = False  # A NaN is an exception, as in some of Coqui's layers.
    caches: bool = False  # What a step needs is made once and kept, as Coqui keeps its mel basis.
    start_with_eval: bool = False
    own_lr: float | None = None  # The script sets it itself, whatever the file says.
    lr: float = 0.01
    optimizer: str = "AdamW"
    lr_scheduler: str = "ExponentialLR"
    lr_scheduler_params: dict[str, Any] = field(default_factory=lambda: {"gamma": 0.9})


@dataclass
class Arguments(TrainerArgs):  # type: ignore[misc] # As above.
    """The trainer's arguments and Coqui's own."""

    config_path: str | None = field(default=None, metadata={"help": "The configuration."})


class ToyData(Dataset[torch.Tensor]):
    """Numbers with noise, in an order that was shuffled once."""

    def __init__(self, samples: list[int], *, noise: bool = True) -> None:
        self.samples = list(samples)
        self.noise = noise
        random.shuffle(self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> torch.Tensor:
        if not self.noise:
            return torch.arange(8) * 0.1 + float(self.samples[index]) / 10
        noise = np.random.rand(8).astype(np.float32)  # noqa: NPY002 - the legacy generator, as Coqui uses it.
        return torch.full((8,), float(self.samples[index]) / 10) + torch.from_numpy(noise)


class SlowToSave:
    """Makes saving slow, and interrupts it, while the file is being written."""

    def __init__(self, config: ToyConfig) -> None:
        self.config = config

    def __reduce__(self) -> Any:
        if self.config.interrupt_in_save:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(self.config.save_s)
        if self.config.interrupt_in_save:
            os.kill(os.getpid(), signal.SIGINT)
        return (OrderedDict, ())


class _InTheBackwardPass(torch.autograd.Function):
    """Does nothing in the forward pass."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()


class OutOfMemory(_InTheBackwardPass):
    """Runs out of memory in the backward pass."""

    @staticmethod
    def backward(ctx: Any, *_gradients: torch.Tensor) -> Any:
        """Raise what a GPU raises."""
        raise torch.OutOfMemoryError(OUT_OF_MEMORY)


class Hang(_InTheBackwardPass):
    """Hangs in the backward pass."""

    @staticmethod
    def backward(ctx: Any, *_gradients: torch.Tensor) -> Any:
        """Hang as a GPU does in a collective that a rank has left."""
        time.sleep(600)


BASIS: dict[str, torch.Tensor] = {}
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 20.00 MiB."


class Toy(TrainerModel):  # type: ignore[misc] # As above.
    """A generator and a discriminator."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        between = [nn.Tanh()] if config.plain else [nn.BatchNorm1d(16), nn.Dropout(0.3)]
        self.rate = config.lr
        self.generator = nn.Sequential(nn.Linear(4, 16), *between, nn.Linear(16, 4))
        self.discriminator = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        self.seen_nan = False

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The generator."""
        made: torch.Tensor = self.generator(values)
        return made

    def train_step(self, batch: dict[str, Any], criterion: Any, optimizer_idx: int) -> Any:
        """One optimizer's half of a step, on a random segment."""
        values = batch["values"]
        start = 2 if self.config.plain else int(torch.randint(0, 5, (1,)))
        segment = values[:, start : start + 4]
        if optimizer_idx == 1 and self.training:
            segment = self._faulty(segment)
        if optimizer_idx == 0:
            self.made = self.generator(segment)
            if self.config.caches:
                BASIS.setdefault("basis", torch.full((4,), 1.5))
                self.made = self.made * BASIS["basis"]
            real, made = self.discriminator(segment), self.discriminator(self.made.detach())
            return {"real": real}, {"loss": (real - 1).pow(2).mean() + made.pow(2).mean()}
        loss = (self.discriminator(self.made) - 1).pow(2).mean() + (self.made - segment).abs().mean()
        return {"made": self.made}, {"loss": loss}

    def _faulty(self, segment: torch.Tensor) -> torch.Tensor:
        """Return the segment, unless a fault is to be simulated."""
        config = self.config
        if config.fault_rank != watching.rank():
            if config.hangs and self._no_memory(segment, "backward"):
                self.made = Hang.apply(self.made)  # type: ignore[no-untyped-call] # torch does not say.
            return segment
        if config.nan_at is not None and self.steps >= config.nan_at:
            if self.scale > config.nan_above and (config.mixed_precision or config.nan_always):
                self.made = self.made * float("nan")
            if self.seen_nan and config.nan_kills:
                raise ValueError("a text length that is NaN")
            self.seen_nan = bool(self.made.isnan().any())
        if config.overflow_at == self.steps:
            self.made = self.made * float("inf")
        if self._no_memory(segment, "forward"):
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        if self._no_memory(segment, "backward"):
            self.made = OutOfMemory.apply(self.made)  # type: ignore[no-untyped-call] # torch does not say.
        return segment

    def _no_memory(self, segment: torch.Tensor, where: str) -> bool:
        config = self.config
        due = config.memory_at is not None and self.steps >= config.memory_at
        return due and config.memory_in == where and len(segment) > config.memory_for

    @torch.no_grad()
    def eval_step(self, batch: dict[str, Any], criterion: Any, optimizer_idx: int) -> Any:
        """Evaluate; uses random numbers, as VITS does."""
        if self._no_memory(batch["values"], "eval"):
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        outputs, losses = self.train_step(batch, criterion, optimizer_idx)
        worse_after = self.config.worse_after
        if worse_after is not None and self.steps >= worse_after:
            losses["loss"] = losses["loss"] * 0 + 1000.0 + self.steps
        return outputs, losses

    def on_train_step_end(self, trainer: Any) -> None:
        """Simulate the configured fault; called after the step was counted."""
        self.steps = trainer.total_steps_done
        self.scale = trainer.scaler.get_scale() if trainer.scaler is not None else math.inf
        time.sleep(self.config.step_s * (10 if self.config.slow_rank == watching.rank() else 1))
        if self.config.interrupt_at == self.steps:
            os.kill(os.getpid(), signal.SIGINT)
        if self.config.die_at == self.steps and self.config.fault_rank == watching.rank():
            os.kill(os.getpid(), signal.SIGKILL)

    steps = 0
    scale = math.inf

    def get_data_loader(self, config: ToyConfig, *, is_eval: bool, samples: Any, verbose: bool) -> Any:
        """Return a loader that shuffles."""
        data = ToyData(samples, noise=not self.config.plain)
        print(f"ORDER {'eval' if is_eval else 'train'} {data.samples}", flush=True)  # noqa: T201 - the test reads it.
        return DataLoader(
            data, batch_size=config.batch_size, shuffle=not is_eval, num_workers=config.num_loader_workers
        )

    def format_batch(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the batch in the trainer's form."""
        if self.training:
            print("BATCH", round(float(batch.double().sum()), 6), flush=True)  # noqa: T201 - as above.
        return {"values": batch}

    def get_criterion(self) -> Any:
        """Return None; no criterion is needed."""
        return nn.Identity()

    def get_optimizer(self) -> list[torch.optim.Optimizer]:
        """Return the discriminator's and the generator's optimizer."""
        return [
            torch.optim.AdamW(self.discriminator.parameters(), lr=self.rate),
            torch.optim.AdamW(self.generator.parameters(), lr=self.rate),
        ]

    def get_lr(self) -> list[float]:
        """Return both learning rates."""
        return [self.config.lr, self.config.lr]

    def get_scheduler(self, optimizer: Any) -> Any:
        """Return both schedulers."""
        return [torch.optim.lr_scheduler.ExponentialLR(each, 0.9) for each in optimizer]


class OwnSteps(Toy):
    """A model that takes its own optimizer steps, which the trainer allows."""

    def optimize(self, batch: dict[str, Any], trainer: Any) -> Any:
        """Take one step of both optimizers."""
        for index, optimizer in enumerate(trainer.optimizer):
            outputs, losses = self.train_step(batch, None, index)
            optimizer.zero_grad()
            losses["loss"].backward()
            optimizer.step()
        return outputs, losses


def prepared(config: ToyConfig) -> tuple[Arguments, Path]:
    """Read the command line and the configuration that it names; returns both."""
    arguments = Arguments()
    options, _ = arguments.init_argparse(arg_prefix="").parse_known_args()
    arguments.parse_args(options)
    config.load_json(options.config_path)
    config.lr = config.own_lr or config.lr
    arguments.start_with_eval = config.start_with_eval
    torch.manual_seed(1)
    torch.set_num_threads(1)
    return arguments, Path(options.config_path)


def main() -> None:
    """Train."""
    config = ToyConfig()
    arguments, _ = prepared(config)
    torch.use_deterministic_algorithms(mode=True)
    if config.scaled:
        core.GradScaler = functools.partial(torch.amp.GradScaler, "cpu", init_scale=config.scale)
        config.use_grad_scaler, config.precision = True, "bf16"
    model = (OwnSteps if config.optimizes else Toy)(config)
    trainer = Trainer(
        arguments,
        config,
        config.output_path,
        model=model,
        train_samples=list(range(config.samples)),
        eval_samples=list(range(2, 6)),
        parse_command_line_args=False,
    )
    if config.unsynchronised:
        watching.unsynchronised()
    watching.watch(trainer)
    if config.save_s or config.interrupt_in_save:
        plain = config.to_dict
        config.to_dict = lambda: {**plain(), "slow": SlowToSave(config)}
    for _ in range(config.draws):
        random.random()  # noqa: S311 - no secret.
    trainer.fit()
    print("SCRIPT WENT ON", flush=True)  # noqa: T201 - as above.


if __name__ == "__main__":
    main()
