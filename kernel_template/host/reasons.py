"""Why to stop: the step or the patience that was asked for, the time that is left, a signal.

Nothing here needs torch.
"""

import contextlib
import signal
import types
from collections.abc import Iterator
from typing import Any


class Reasons:
    """Knows of each reason to stop, at the places where the training may.

    Args:
        control: what the kernel asks: a `Control` of host_pace.py.
        pace: the clock: a `Pace`.
        deaf: whether signals are another process's to hear.
    """

    def __init__(self, control: Any, pace: Any, *, deaf: bool) -> None:
        self._control = control
        self._pace = pace
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
        return None if self._pace.step_fits(last=last) else "budget"

    def between_epochs(self, steps: int, bad_evals: int) -> str | None:
        """Why no other epoch is to be begun, whatever the time."""
        control = self._control
        if control.until_step is not None and steps >= control.until_step:
            return "until_step"
        if control.patience is not None and bad_evals >= control.patience:
            return "no_improvement"
        return "signal" if self._signalled else None
