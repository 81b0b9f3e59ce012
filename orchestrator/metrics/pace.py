"""How long an epoch is in steps, from the counts that a trainer prints.

trainer 0.0.36 prints the number of steps of an epoch, 0.4.0 one less; neither says where an epoch ends. Both
count an epoch's steps from 0, so a step's global count less its own is where its epoch began.
"""


class Pace:
    """Follows the counts of one log."""

    def __init__(self) -> None:
        self._began: int | None = None  # The global step at which the present epoch began.
        self._epoch: int | None = None
        self._printed = 0  # The epoch's steps, as printed.
        self._done = 0  # The highest global step that was printed.
        self._less_one = False

    def announced(self, epoch: int, epochs: int) -> None:
        """An epoch's header: the last epoch's number reaches a total only where totals are less one."""
        if epoch == epochs:
            self._less_one = True

    def stepped(self, epoch: int | None, step: int, steps: int, global_step: int) -> int | None:
        """A step's header; gives the step at which the epoch before it ended, where it is the next one's."""
        began, ended = global_step - step, None
        if self._began is not None:
            ended = self.likely_end()
            if began - self._began == self._printed + 1 and epoch != self._epoch:
                self._less_one = True
            if self.may_end_at(began):
                ended = began
        self._began, self._epoch, self._printed, self._done = began, epoch, steps, global_step
        return ended

    def may_end_at(self, step: int) -> bool:
        """Whether the present epoch can have ended at a global step."""
        return self._began is not None and 0 <= step - self._began - self._printed <= 1 and step >= self._done

    def likely_end(self) -> int | None:
        """Where the present epoch ends, as far as the log has told by now."""
        if self._began is None:
            return None
        return max(self._done, self._began + self._printed + self._less_one)

    def forget_place(self) -> None:
        """The trainer starts anew: what follows need not be the next epoch."""
        self._began = self._epoch = None
