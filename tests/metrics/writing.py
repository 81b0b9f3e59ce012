"""Writes what Coqui's trainers write, in both styles, with what stands between the lines of real logs."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from orchestrator.metrics import Kind, Row

_LOSSES = (
    *("loss_disc", "loss_disc_real_0", "loss_disc_real_1", "loss_disc_real_2", "loss_disc_real_3"),
    *("loss_disc_real_4", "loss_disc_real_5", "loss_0", "grad_norm_0", "loss_gen", "loss_kl", "loss_feat"),
    *("loss_mel", "loss_duration", "loss_1", "grad_norm_1", "current_lr_0", "step_time", "loader_time"),
)
_CLOCK = datetime(2026, 11, 22, 7, 31, 47, tzinfo=UTC)
_BETWEEN = (
    "/usr/local/lib/python3.12/site-packages/torch/functional.py:681: UserWarning: stft with return_complex",
    "আমার সোনার বাংলা, আমি তোমায় ভালোবাসি।",
    " 12%|█▏        | 75/630 [00:44<05:20,  1.73it/s]\r 13%|█▎        | 80/630 [00:47<05:17,  1.73it/s]",
    "> কে বলেছে: ৩.১৪ (২.৭১)",
    "-->",
    " | > Num. of CPUs: 4",
    "",
)


@dataclass(frozen=True, slots=True)
class Style:
    """How a trainer prints, and what became of it.

    Attributes:
        less_one: whether totals are printed less one (trainer 0.4.0).
        coloured: whether colours and indentation are there still.
        mixed: whether other output stands between the lines.
        averages_rates: whether a learning rate has a mean too, as in trainer 0.4.0.
        dated: whether a step's header has the time, which the trainers of 2021 lack.
    """

    less_one: bool
    coloured: bool
    mixed: bool = False
    averages_rates: bool = True
    dated: bool = True


CURRENT = Style(less_one=True, coloured=True)
KEPT = Style(less_one=False, coloured=False, mixed=True, averages_rates=False)


@dataclass(slots=True)
class Writing:
    """A training of some epochs, as a log and as the rows that it must be read as.

    Attributes:
        style: how it is printed.
        first: the global step of the first step of all.
        print_every: how many steps there are between two that are printed.
    """

    style: Style
    epochs: int = 50
    steps: int = 630
    first: int = 0
    print_every: int = 25
    seed: int = 1
    rows: list[Row] = field(default_factory=list)
    events: list[dict[str, object]] = field(default_factory=list)
    _random: random.Random = field(default_factory=random.Random)

    def lines(self) -> Iterator[str]:
        """The log's lines; rows and events are filled as they are made."""
        self._random.seed(self.seed)
        style = self.style
        yield from (" > Training Environment:", " | > Backend: Torch", " | > Num. of CPUs: 4", "")
        for epoch in range(self.epochs):
            yield ""
            yield self._bold(f" > EPOCH: {epoch}/{self.epochs - style.less_one}", under=True)
            yield " --> /kaggle/working/training/vits-November-22-2026_07+31AM-0000000"
            begin = self.first + epoch * self.steps
            yield self._bold(f" > TRAINING ({self._clock(begin)}) ")
            for step in range(self.steps):
                if (begin + step) % self.print_every == 0:
                    yield from self._step(epoch, step, begin + step)
            yield self._bold(" > EVALUATION ")
            if style.coloured:
                yield from (self._bold("   --> STEP: 0"), "     | > loss_mel: 99.0  (99.0)", "")
            yield from self._evaluation(epoch, begin + self.steps)

    def text(self) -> str:
        """The whole log."""
        return "".join(f"{line}\n" for line in self.lines())

    def _step(self, epoch: int, step: int, done: int) -> Iterator[str]:
        total = self.steps - self.style.less_one
        yield ""
        time = f"TIME: {self._clock(done)} -- " if self.style.dated else ""
        yield self._bold(f"   --> {time}STEP: {step}/{total} -- GLOBAL_STEP: {done}")
        means = {}
        for name in _LOSSES:
            value, mean = self._number(), self._number()
            if name.startswith("grad_norm"):
                value, mean = round(value, 4), round(mean, 4)
                said = f"tensor({value}, device='cuda:0')  (tensor({mean}, device='cuda:0'))"
            elif name.startswith("current_lr") and not self.style.averages_rates:
                said, mean = f"{value} ", value
            else:
                said = f"{value}  ({mean})"
            means[name] = mean
            yield from self._value(name, said)
        begin = self.first + epoch * self.steps
        self._measured(Kind.STEP, epoch, done, means, self._seconds(done if self.style.dated else begin))
        yield ""
        if self.style.mixed:
            yield self._random.choice(_BETWEEN)

    def _evaluation(self, epoch: int, done: int) -> Iterator[str]:
        yield self._bold("  --> EVAL PERFORMANCE")
        values = {}
        for name in ("avg_loader_time", "avg_loss_disc", "avg_loss_mel", "avg_loss_1"):
            value = values[name] = self._number()
            change = self._number() - 10
            colour = "92" if change < 0 else "91"
            said = f"{value} ({change:+})"
            coloured = f"\x1b[{colour}m {value} \x1b[0m({change:+})"
            yield from self._value(name, coloured if self.style.coloured else said)
        last = max((row.time or 0.0 for row in self.rows), default=0.0)
        self._measured(Kind.EVAL, epoch, done, values, last)
        yield ""
        if epoch % 7 == 0:
            yield f" > BEST MODEL : /kaggle/working/training/vits/best_model_{done}.pth"

    def _value(self, name: str, said: str) -> Iterator[str]:
        if self.style.mixed and self._random.random() < 0.01:
            yield self._random.choice(_BETWEEN)
        indent = "     " if self.style.coloured else ""
        space = "" if said.startswith("\x1b") else " "
        yield f"{indent}| > {name}:{space}{said}"

    def _measured(self, kind: Kind, epoch: int, step: int, values: dict[str, float], seconds: float) -> None:
        self.rows += [Row(seconds, 1, epoch, step, kind.split, name, value) for name, value in values.items()]
        event = "eval" if kind is Kind.EVAL else "progress"
        place = {"t": seconds, "epoch": epoch, "global_step": step, "session": 1}
        self.events.append({"event": event, **place, "losses": values})

    def _bold(self, text: str, *, under: bool = False) -> str:
        if not self.style.coloured:
            return text.strip()
        begin = "\x1b[4m\x1b[1m" if under else "\x1b[1m"
        return f"{begin}{text}\x1b[0m"

    def _number(self) -> float:
        return self._random.random() * 10.0 ** self._random.randint(-6, 2)

    def _seconds(self, step: int) -> float:
        return float(int((step - self.first) * 0.74))

    def _clock(self, step: int) -> str:
        return f"{_CLOCK + timedelta(seconds=self._seconds(step)):%Y-%m-%d %H:%M:%S}"


def as_events(writing: Writing) -> str:
    """The training's `metrics.jsonl`."""
    writing.text()
    return "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in writing.events)


def as_stored(text: str) -> str:
    """A log as Kaggle stores it: pieces of it, some cut within a line."""
    pieces, place = [], 0
    sizes = random.Random(2)  # noqa: S311  # Nothing secret: where a text is cut.
    while place < len(text):
        end = text.find("\n", place) + 1 or len(text)
        if sizes.random() < 0.05:
            end = min(len(text), place + sizes.randint(1, 60))
        pieces.append({"stream_name": "stderr", "time": 200.0, "data": text[place:end]})
        place = end
    return "[" + ",\n".join(json.dumps(piece) for piece in pieces) + "\n]"
