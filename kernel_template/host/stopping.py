"""When to stop the training: at a step, for lack of improvement, on a signal, or because time runs out."""

import contextlib
import math
import signal
import types
from collections import deque
from collections.abc import Callable, Iterator

from kernel_template.contract import HostStop
from kernel_template.host.protocol import Control

_MARGIN = 1.05  # The next epoch may take this much longer than the slowest of the last three.
_EPOCHS_KEPT = 3
_STEPS_KEPT = 20
_DISK_BYTES_PER_S = 50e6  # Assumed until a checkpoint has been written.


class TimeBudget:
    """Measures epochs, steps and saves, and predicts what still fits before the deadline.

    Args:
        clock: monotonic seconds.
        began: when this process started, by that clock.
        budget_s: seconds from then to the deadline; None for no deadline.
        seconds_per_epoch: what an epoch took in the previous session.
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
        self._tails: deque[float] = deque(maxlen=_EPOCHS_KEPT)  # From the last step to the epoch's end.
        self._epoch_began = self._train_began = self._step_began = self._train_ended = began
        self._steps_here = 0
        self._first_step: float | None = None
        self._saved_in_step = 0.0
        self._save_known = False

    def begin(self, checkpoint_bytes: int) -> None:
        """Note that the training begins; a checkpoint will have about `checkpoint_bytes`."""
        now = self.clock()
        self._session_s = self.deadline - now  # What a session like this one has for training.
        self.save_s = checkpoint_bytes / _DISK_BYTES_PER_S
        self._epoch_began = self._train_began = self._train_ended = now

    def epoch_began(self) -> None:
        """Note that an epoch begins."""
        self._epoch_began = self._train_began = self._train_ended = self.clock()
        self._steps_here = 0

    def train_began(self) -> None:
        """Note that this session's first batch of the epoch comes next; earlier ones have been skipped."""
        self._train_began = self._step_began = self._train_ended = self.clock()
        self._saved_in_step = 0.0

    def step_done(self) -> None:
        """Note that a step ended, including an evaluation that was due after it; saves are counted apart."""
        now = self.clock()
        seconds = max(0.0, now - self._step_began - self._saved_in_step)
        if self._first_step is None:
            self._first_step = seconds
        elif self._steps_here == 1 and len(self._steps) == 1:
            self._steps.clear()  # The first step compiles and warms up: not a usual one.
        self._steps.append(seconds)
        self._step_began = now
        self._saved_in_step = 0.0
        self._steps_here += 1

    def train_ended(self) -> None:
        """Note that the epoch's last step ended."""
        self._train_ended = self.clock()

    def epoch_ended(self, batches: int | None) -> None:
        """Note that an epoch of `batches` steps ended; an earlier session may have done some of them."""
        now = self.clock()
        self._tails.append(now - self._train_ended)
        if not self._steps_here:
            return  # It only evaluated.
        whole = now - self._epoch_began
        # The epochs to come have no first step that compiles and warms up.
        warm_up = (
            max(0.0, (self._first_step or 0.0) - max(self._steps, default=0.0)) if not self._epochs else 0.0
        )
        if batches and 0 < self._steps_here < batches:
            per_step = (self._train_ended - self._train_began - warm_up) / self._steps_here
            whole = per_step * batches + self._tails[-1] + warm_up
        self._epochs.append(whole - warm_up)

    def saved(self, seconds: float) -> None:
        """Note that writing a checkpoint took `seconds`."""
        self._saved_in_step += seconds
        self.save_s = max(self.save_s, seconds) if self._save_known else seconds
        self._save_known = True

    def seconds_per_epoch(self, batches: int | None) -> float | None:
        """Return the mean of the last three epochs, or an estimate from the steps of the first one."""
        if self._epochs:
            return sum(self._epochs) / len(self._epochs)
        if self._earlier is not None or not self._steps or not batches:
            return self._earlier
        return sum(self._steps) / len(self._steps) * batches

    def epoch_fits(self) -> bool:
        """Whether to begin another epoch.

        An epoch that is longer than a whole session is begun in any case, and stopped at a step.
        """
        slowest = max(self._epochs, default=self._earlier)
        if slowest is None:
            return True
        needed = slowest * _MARGIN + self.save_s
        if self.clock() + needed <= self.deadline:
            return True
        return needed > self._session_s and self.step_fits(last=False)

    def step_fits(self, *, last: bool) -> bool:
        """Whether what follows this step fits: another step, or after the epoch's `last` one its end."""
        coming = max(self._tails if last else self._steps, default=0.0)
        return self.clock() + coming * _MARGIN + self.save_s <= self.deadline


class StopRules:
    """Checks the reasons to stop, at the points where the training may.

    Args:
        control: the target step and the patience.
        budget: the time.
        ignore_signals: whether SIGINT is meant for another rank.
    """

    def __init__(self, control: Control, budget: TimeBudget, *, ignore_signals: bool) -> None:
        self._control = control
        self._budget = budget
        self._ignore_signals = ignore_signals
        self._signalled = False
        self.stopped: HostStop | None = None

    @contextlib.contextmanager
    def catching_signals(self) -> Iterator[None]:
        """Let SIGINT, however often it comes, stop the training after the next step and interrupt nothing.

        This also holds for a SIGINT that comes when everything is saved and the script is about to end.
        """

        def note(_number: int, _frame: types.FrameType | None) -> None:
            self._signalled = True

        try:
            old = signal.signal(signal.SIGINT, signal.SIG_IGN if self._ignore_signals else note)
        except ValueError:  # Not the main thread.
            yield
            return
        try:
            yield
        finally:
            if self.stopped is None:
                signal.signal(signal.SIGINT, old)

    def after_step(self, steps: int, *, last: bool) -> HostStop | None:
        """Return why to stop after a step; `last` if it is the epoch's last."""
        until = self._control.until_step
        if self._signalled:
            return HostStop.SIGNAL
        # The evaluation after the epoch's last step belongs to it.
        if until is not None and steps >= until and not last:
            return HostStop.UNTIL_STEP
        return None if self._budget.step_fits(last=last) else HostStop.BUDGET

    def before_training(self, steps: int, bad_evals: int) -> HostStop | None:
        """Return why not to train at all, whatever the time."""
        control = self._control
        if control.until_step is not None and steps >= control.until_step:
            return HostStop.UNTIL_STEP
        if control.patience is not None and bad_evals >= control.patience:
            return HostStop.NO_IMPROVEMENT
        return HostStop.SIGNAL if self._signalled else None

    def before_epoch(self, steps: int, bad_evals: int) -> HostStop | None:
        """Return why not to begin another epoch."""
        return self.before_training(steps, bad_evals) or (
            None if self._budget.epoch_fits() else HostStop.BUDGET
        )
