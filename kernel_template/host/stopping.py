"""When to stop: the target step, the patience, a signal, or the time that is left.

Nothing here needs torch.
"""

import contextlib
import math
import signal
import types
from collections import deque
from collections.abc import Callable, Iterator

from kernel_template.host.protocol import Control

_MARGIN = 1.05  # The next epoch may take this much longer than the slowest of the last.
_EPOCHS_KEPT = 3
_STEPS_KEPT = 20
_DISK_BYTES_PER_S = 50e6  # How fast a checkpoint is taken to be written until one has been.


class TimeBudget:
    """Measures epochs, steps and saves, and says what still fits before the deadline.

    Args:
        clock: seconds of a clock that never goes back.
        began: when the process was started, by that clock.
        budget_s: seconds from then to the deadline; None for no deadline.
        seconds_per_epoch: what an epoch is known to take from an earlier session.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        began: float,
        budget_s: float | None,
        seconds_per_epoch: float | None = None,
    ) -> None:
        self.clock = clock
        self.deadline = math.inf if budget_s is None else began + budget_s
        self.save_s = 0.0
        self._session_s = math.inf
        self._earlier = seconds_per_epoch
        self._epochs: deque[float] = deque(maxlen=_EPOCHS_KEPT)
        self._steps: deque[float] = deque(maxlen=_STEPS_KEPT)
        self._tails: deque[float] = deque(maxlen=_EPOCHS_KEPT)  # Evaluation, test and best model.
        self._epoch_began = self._train_began = self._step_began = self._train_ended = began
        self._steps_here = 0
        self._first_step: float | None = None
        self._saved_in_step = 0.0
        self._save_known = False

    def begin(self, checkpoint_bytes: int) -> None:
        """The training begins; a checkpoint will have about `checkpoint_bytes`."""
        now = self.clock()
        self._session_s = self.deadline - now  # What another session like this one has for training.
        self.save_s = checkpoint_bytes / _DISK_BYTES_PER_S
        self._epoch_began = self._train_began = self._train_ended = now

    def epoch_began(self) -> None:
        """An epoch begins."""
        self._epoch_began = self._train_began = self._train_ended = self.clock()
        self._steps_here = 0

    def train_began(self) -> None:
        """The first batch of this session is about to be fetched: earlier ones have been passed over."""
        self._train_began = self._step_began = self._train_ended = self.clock()
        self._saved_in_step = 0.0

    def step_done(self) -> None:
        """A step is done, with the evaluation in its wake if one was due; saving is counted on its own."""
        now = self.clock()
        seconds = max(0.0, now - self._step_began - self._saved_in_step)
        if self._first_step is None:
            self._first_step = seconds
        elif self._steps_here == 1 and len(self._steps) == 1:
            self._steps.clear()  # What the first step took is known by now not to be a step's usual time.
        self._steps.append(seconds)
        self._step_began = now
        self._saved_in_step = 0.0
        self._steps_here += 1

    def train_ended(self) -> None:
        """The epoch's last step is done."""
        self._train_ended = self.clock()

    def epoch_ended(self, batches: int | None) -> None:
        """An epoch has ended that has `batches` steps; not all of them need have been made here."""
        now = self.clock()
        self._tails.append(now - self._train_ended)
        whole = now - self._epoch_began
        # A process's first step compiles and warms up; the epochs to come have none such.
        warm_up = (
            max(0.0, (self._first_step or 0.0) - max(self._steps, default=0.0)) if not self._epochs else 0.0
        )
        if batches and 0 < self._steps_here < batches:
            per_step = (self._train_ended - self._train_began - warm_up) / self._steps_here
            whole = per_step * batches + self._tails[-1] + warm_up
        self._epochs.append(whole - warm_up)

    def saved(self, seconds: float) -> None:
        """A checkpoint took `seconds` to write."""
        self._saved_in_step += seconds
        self.save_s = max(self.save_s, seconds) if self._save_known else seconds
        self._save_known = True

    def seconds_per_epoch(self, batches: int | None) -> float | None:
        """The mean of the last epochs; of an unfinished first one, what its steps lead to expect."""
        if self._epochs:
            return sum(self._epochs) / len(self._epochs)
        if self._earlier is not None or not self._steps or not batches:
            return self._earlier
        return sum(self._steps) / len(self._steps) * batches

    def epoch_fits(self) -> bool:
        """Whether to begin another epoch.

        One that would not fit into a whole session is begun all the same, and ended at a step.
        """
        slowest = max(self._epochs, default=self._earlier)
        if slowest is None:
            return True
        needed = slowest * _MARGIN + self.save_s
        if self.clock() + needed <= self.deadline:
            return True
        return needed > self._session_s and self.step_fits(last=False)

    def step_fits(self, *, last: bool) -> bool:
        """Whether what comes after this step fits: another step, or after the last one the epoch's end."""
        coming = max(self._tails if last else self._steps, default=0.0)
        return self.clock() + coming * _MARGIN + self.save_s <= self.deadline


class StopRules:
    """Knows of each reason to stop, at the places where the training may.

    Args:
        control: what the kernel asks for.
        budget: the time.
        deaf: whether signals are another process's to hear.
    """

    def __init__(self, control: Control, budget: TimeBudget, *, deaf: bool) -> None:
        self._control = control
        self._budget = budget
        self._deaf = deaf
        self._signalled = False
        self.stopped: str | None = None

    @contextlib.contextmanager
    def interrupts(self) -> Iterator[None]:
        """SIGINT, however often, asks for the next step boundary; it breaks nothing off.

        Nor does one that comes when all is saved already and the script is about to end.
        """

        def note(_number: int, _frame: types.FrameType | None) -> None:
            self._signalled = True

        try:
            old = signal.signal(signal.SIGINT, signal.SIG_IGN if self._deaf else note)
        except ValueError:  # Not the main thread.
            yield
            return
        try:
            yield
        finally:
            if self.stopped is None:
                signal.signal(signal.SIGINT, old)

    def after_step(self, steps: int, *, last: bool) -> str | None:
        """Why to stop behind a step, the epoch's last or another."""
        until = self._control.until_step
        if self._signalled:
            return "signal"
        # After the epoch's last step, its evaluation belongs to it.
        if until is not None and steps >= until and not last:
            return "until_step"
        return None if self._budget.step_fits(last=last) else "budget"

    def between_epochs(self, steps: int, bad_evals: int) -> str | None:
        """Why no other epoch is to be begun, whatever the time."""
        control = self._control
        if control.until_step is not None and steps >= control.until_step:
            return "until_step"
        if control.patience is not None and bad_evals >= control.patience:
            return "no_improvement"
        return "signal" if self._signalled else None
