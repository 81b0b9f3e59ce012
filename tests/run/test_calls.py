"""How many calls to Kaggle a command makes: each answer about a kernel carries its whole source."""

from collections.abc import Callable

import pytest

from orchestrator.run.context import RunContext
from orchestrator.run.outlook import outlook_of
from orchestrator.run.status import report_session
from orchestrator.run.target import find_target
from tests.run.conftest import Play

After = Callable[..., Play]


def kinds(play: Play) -> list[str]:
    """Return the first word of each call, in order."""
    return [call.split()[0] for call in play.kaggle.asked]


def reported(play: Play, *, text: str | None = None) -> list[str]:
    """Return the calls of `kgtts status`."""
    play.kaggle.asked.clear()
    with play.ledger() as ledger:
        context = RunContext(play.kaggle, ledger, play.clock)
        snapshot = context.snapshot()
        target = find_target(context, text, snapshot=snapshot, only_shows=True)
        report = report_session(context, target, snapshot=snapshot)
        assert outlook_of(context, report, lambda: play.settings, snapshot) is not None
    return kinds(play)


def test_a_first_push_asks_in_three_ways_whether_there_is_a_run(play: Play) -> None:
    """It looks twice, each time at the account's list too; then at the inputs and at both kernels."""
    play.kaggle.save("asha/something-else")
    play.kaggle.asked.clear()
    play.pushed()
    assert kinds(play) == [
        *("quota", "kernel", "kernels", "kernel", "kernels"),
        *("dataset", "model", "variations"),
        *("kernel", "kernels", "status", "kernel", "status", "push", "kernel"),
    ]


def test_a_further_push_looks_three_times(after: After) -> None:
    """It reads both kernels, their sessions and the newest state twice, then looks for newer ones."""
    play = after(100, 200)
    play.kaggle.asked.clear()
    play.pushed()
    assert kinds(play) == [
        *("quota", "kernel", "kernel", "status", "output", "status"),
        *("kernel", "kernel", "status", "output", "status"),
        *("dataset", "model", "variations"),
        *("kernel", "kernel", "status", "kernel", "kernel", "status", "push", "kernel"),
    ]


def test_a_run_that_is_over_is_reported_with_four_calls(after: After) -> None:
    """The kernel, the state, state.json and the log are read; the sibling and the quota are not."""
    play = after(100)
    play.machine, play.changes["run.patience"] = "laptop", 3
    version = play.pushed()
    play.kaggle.complete(version, 200, done=True, done_reason="no_improvement")
    assert reported(play) == ["kernel", "status", "log", "output"]


@pytest.mark.parametrize("ends", [(200,), (100, 200)])
def test_a_fresh_machine_reports_a_run_that_is_over_with_one_call_more(
    after: After, ends: tuple[int, ...]
) -> None:
    """The account's list tells which of the run's kernels ran last; named itself, four calls do."""
    play, done = after(*ends), {"done": True, "done_reason": "no_improvement"}
    play.changes["run.patience"] = 3
    newest = f"asha/bangla-tts-{'ab'[len(ends) - 1]}"
    play.kaggle.complete(f"{newest}/1", 200, **done)
    assert reported(play, text="asha/bangla-tts") == ["kernels", "kernel", "status", "output", "log"]
    assert reported(play, text=newest) == ["kernel", "status", "log", "output"]


def test_both_kernels_are_read_to_show_a_run_that_is_not_over(after: After) -> None:
    """The list alone is believed only with a state that says that the run is over."""
    play = after(100, 200)
    assert reported(play, text="asha/bangla-tts") == [
        *("kernels", "kernel", "status", "output", "kernel", "kernel", "status", "log", "quota"),
    ]


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_run_that_goes_on_is_reported_with_few_calls(after: After, *, is_alive: bool) -> None:
    """The quota and both kernels are needed for the forecast."""
    play = after(100)
    play.machine = "laptop"
    version = play.pushed()
    if not is_alive:
        play.kaggle.complete(version, 200)
    assert len(reported(play)) <= 7
    asked = [call for call in play.kaggle.asked if call.startswith("kernel")]
    assert len(asked) == 2
