"""When the host stops: what still fits into the session, on a fake clock."""

import json
import math
from pathlib import Path

import pytest

from kernel_template.host.protocol import Control
from kernel_template.host.report import Reporter
from kernel_template.host.stopping import TimeBudget
from tests.fakes.clock import FakeClock


def epoch(
    budget: TimeBudget, clock: FakeClock, *, steps: int = 10, step_s: float = 1.0, tail_s: float = 2.0
) -> None:
    """Train an epoch."""
    budget.epoch_began()
    budget.train_began()
    for _ in range(steps):
        clock.advance(step_s)
        budget.step_done()
    budget.train_ended()
    clock.advance(tail_s)
    budget.epoch_ended(10)


def started(clock: FakeClock, budget_s: float | None, **more: float) -> TimeBudget:
    """Make a time budget in which writing a checkpoint takes no time."""
    budget = TimeBudget(clock, clock(), budget_s, **more)
    budget.begin(0)
    return budget


def test_an_epoch_fits_with_five_percent_to_spare(clock: FakeClock) -> None:
    """After one epoch of 12 s, another needs 12.6 s before the deadline, and no less."""
    for seconds, fits in ((24.5, False), (24.7, True)):
        budget = started(clock, seconds)
        epoch(budget, clock)
        assert budget.epoch_fits() is fits


def test_the_slowest_of_the_last_three_counts(clock: FakeClock) -> None:
    """A slow epoch is remembered for three epochs."""
    for fast, fits in ((2, False), (3, True)):
        budget = started(clock, 1000.0)
        for step_s in (1.0, 5.0, *[1.0] * fast):
            epoch(budget, clock, step_s=step_s)
        clock.advance_to(budget.deadline - 50)
        assert budget.epoch_fits() is fits
    assert budget.seconds_per_epoch(10) == pytest.approx(12.0)


def test_the_save_has_to_fit_too(clock: FakeClock) -> None:
    """A checkpoint is expected to be written at 50 MB/s until some were measured; then the slowest counts."""
    budget = TimeBudget(clock, clock(), 100.0)
    budget.begin(1_000_000_000)
    clock.advance(81)
    assert not budget.step_fits(last=False)
    budget.saved(3.0)
    assert budget.step_fits(last=False)
    budget.saved(20.0)
    budget.saved(3.0)
    assert not budget.step_fits(last=False)


def test_an_epoch_longer_than_a_session_is_begun(clock: FakeClock) -> None:
    """An epoch that is longer than any session is started and stopped at a step."""
    budget = started(clock, 20.0)
    epoch(budget, clock, steps=4, step_s=2.0)  # The rest of an epoch: 22 s in all.
    assert budget.seconds_per_epoch(10) == pytest.approx(22.0)
    assert budget.epoch_fits()
    clock.advance(8.5)
    assert not budget.step_fits(last=False)
    assert not budget.epoch_fits()


def test_an_epoch_that_fits_the_next_session_waits_for_it(clock: FakeClock) -> None:
    """The previous session's epochs count until one has been measured."""
    budget = started(clock, 100.0, seconds_per_epoch=60.0)
    assert budget.seconds_per_epoch(None) == 60.0
    clock.advance(50)
    assert not budget.epoch_fits()


def test_a_warm_up_is_no_measure(clock: FakeClock) -> None:
    """A long first step, which compiles, affects no estimate of later steps or epochs."""
    budget = started(clock, 100.0)
    budget.epoch_began()
    budget.train_began()
    for seconds in (20.0, 1.0, 1.0, 1.0):
        clock.advance(seconds)
        budget.step_done()
    budget.train_ended()
    budget.epoch_ended(4)
    assert budget.seconds_per_epoch(4) == pytest.approx(4.0)
    clock.advance_to(budget.deadline - 2)
    assert budget.step_fits(last=False)


def test_after_the_last_step_the_evaluation_has_to_fit(clock: FakeClock) -> None:
    """The end of an epoch is expected to take as long as the one before."""
    budget = started(clock, 100.0)
    epoch(budget, clock, tail_s=30.0)
    clock.advance_to(budget.deadline - 10)
    assert budget.step_fits(last=False)
    assert not budget.step_fits(last=True)


def test_saving_is_not_part_of_a_step(clock: FakeClock) -> None:
    """The time of a save within a step does not count as part of the step."""
    budget = started(clock, 1000.0)
    budget.epoch_began()
    budget.train_began()
    clock.advance(1)
    budget.step_done()
    clock.advance(1)
    budget.step_done()
    clock.advance(21)
    budget.saved(20.0)
    budget.step_done()
    clock.advance_to(budget.deadline - 22)
    assert budget.step_fits(last=False)


def test_without_a_deadline_everything_fits(clock: FakeClock) -> None:
    """Without a budget nothing stops the training."""
    budget = started(clock, None)
    epoch(budget, clock, step_s=10_000.0)
    assert (budget.deadline, budget.epoch_fits(), budget.step_fits(last=True)) == (math.inf, True, True)


def test_control_takes_what_is_there(tmp_path: Path) -> None:
    """Only the report's path is required, and unknown keys are ignored."""
    control = Control.read({"report": str(tmp_path / "r.json"), "until_step": 5, "later": 1})
    assert (control.until_step, control.patience, control.budget_s) == (5, None, None)


def test_the_report_is_whole_or_absent(tmp_path: Path) -> None:
    """The file is replaced atomically; if its folder is missing, only the report is lost."""
    report = Reporter(tmp_path / "HOST_REPORT.json")
    report.write(global_step=3)
    assert json.loads((tmp_path / "HOST_REPORT.json").read_text())["global_step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["HOST_REPORT.json"]
    Reporter(tmp_path / "gone" / "HOST_REPORT.json").write(global_step=4)
