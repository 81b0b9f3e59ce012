"""What the measurements warn of, and what they do not."""

import math
import random
from collections.abc import Sequence

import pytest

from orchestrator.metrics import Finding, FindingKind, Kind, MetricsTable, Moment, find_warnings, watched_loss

NOISE = random.Random(3)  # noqa: S311  # The same noise each time.


def trained(kind: Kind = Kind.STEP, /, **series: Sequence[float]) -> MetricsTable:
    """A table of some series with 25 steps between values; the second half is session 2."""
    table = MetricsTable()
    count = len(next(iter(series.values())))
    for index in range(count):
        moment = Moment(kind, float(index), 1 + (index >= count / 2), index, index * 25)
        table.add(moment, tuple(series), [values[index] for values in series.values()])
    return table


def falling(count: int = 100, start: float = 40.0) -> list[float]:
    """A good loss: it falls, with noise."""
    return [start / (1 + index / 20) * NOISE.uniform(0.7, 1.4) for index in range(count)]


def only(table: MetricsTable) -> Finding:
    """The only finding."""
    (finding,) = find_warnings(table)
    return finding


def test_a_good_training_warns_of_nothing() -> None:
    """Noise, norms that overflow in fp16, and changing learning rates are not findings."""
    norm = [math.inf if index % 30 == 7 else NOISE.uniform(1, 900) for index in range(100)]
    table = trained(
        loss_mel=falling(),
        loss_disc=[NOISE.uniform(2.0, 3.0) for _ in range(100)],
        loss_gen=[NOISE.uniform(1.5, 2.5) for _ in range(100)],
        loss_kl=[NOISE.uniform(-0.2, 0.9) for _ in range(100)],
        grad_norm_0=norm,
        amp_scaler=[2.0 ** NOISE.randint(0, 16) for _ in range(100)],
        step_time=[0.5] * 50 + [9.0] * 50,
    )
    assert find_warnings(table) == []
    assert find_warnings(MetricsTable()) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number(bad: float) -> None:
    """The finding says where the loss first was not finite, and how often."""
    finding = only(trained(loss_mel=[*falling(60), bad, bad, 3.0]))
    assert (finding.kind, finding.name, finding.step, finding.session) == (
        FindingKind.NOT_FINITE,
        "loss_mel",
        1500,
        2,
    )
    assert "2 times" in finding.message
    assert "step 1,500" in finding.message


def test_a_loss_that_explodes_and_stays() -> None:
    """An explosion is reported once, where it begins; a single bad batch is not one."""
    finding = only(trained(loss_mel=[*falling(60), *[4e4, 5e4, 6e6] * 5]))
    assert (finding.kind, finding.step, finding.value) == (FindingKind.EXPLODING, 1500, 4e4)
    assert find_warnings(trained(loss_mel=[*falling(60), 4e4, *falling(20)])) == []
    assert find_warnings(trained(loss_kl=[0.001] * 50 + [0.5] * 50)) == []


@pytest.mark.parametrize("listed", [True, False])
def test_a_discriminator_that_wins(*, listed: bool) -> None:
    """A discriminator wins if its loss stays near 0 and the generator's near its maximum."""
    disc = [2.4] * 50 + [0.2] * 30
    gen = [1.9] * 50 + [5.7] * 30
    real = {f"loss_disc_real_{number}": [0.1] * 80 for number in range(6)} if listed else {}
    finding = only(trained(loss_disc=disc, loss_gen=gen, **real))
    assert (finding.kind, finding.step) == (FindingKind.DISCRIMINATOR_WINS, 1250)
    assert find_warnings(trained(loss_disc=[2.4] * 50 + [0.2] * 5, loss_gen=gen[:55], **real)) == []
    # One discriminator has a loss of that size when it is well.
    well = trained(loss_disc=[0.5] * 80, loss_gen=[0.3] * 80, loss_disc_real_0=[0.2] * 80)
    assert find_warnings(well) == []


def test_an_evaluation_that_gets_worse() -> None:
    """The finding points at the best evaluation; a noisy plateau and a short rise are not findings."""
    finding = only(
        trained(Kind.EVAL, avg_loss_mel=[20, 18, 17, 16, 16.5, 17, 17.5, 18, 18.5], avg_loss_gen=[2.0] * 9)
    )
    assert (finding.kind, finding.name, finding.step, finding.value) == (
        FindingKind.EVAL_WORSE,
        "avg_loss_mel",
        75,
        16,
    )
    assert find_warnings(trained(Kind.EVAL, avg_loss_mel=[20, 16, 16.1, 16.2, 16.1, 16.2, 16.1])) == []
    assert find_warnings(trained(Kind.EVAL, avg_loss_mel=[20, 16, 19, 20, 21])) == []
    assert find_warnings(trained(Kind.EVAL, avg_loss_mel=[16, 30, 29, 25, 22, 19, 18, 17])) == []


def test_the_kernels_own_warnings_come_once() -> None:
    """Each warning of the kernel is reported once, in its words and in the order of steps."""
    table = trained(loss_mel=[*falling(20), math.nan])
    for step in (None, 7, 7):
        table.add_event(
            "warning", Moment(Kind.SYSTEM, None, 1, None, step), {"message": f"3 samples are silent {step}"}
        )
    table.add_event("warning", Moment(Kind.SYSTEM, None, 1, None, None), {"message": 3})
    kinds = [finding.kind for finding in find_warnings(table)]
    assert kinds == [FindingKind.KERNEL, FindingKind.NOT_FINITE, FindingKind.KERNEL]


def test_the_loss_that_is_watched() -> None:
    """The mel loss comes first; without it, any loss is watched."""
    assert watched_loss(["avg_loss_1", "avg_loss_mel"]) == "avg_loss_mel"
    assert watched_loss(["x_loss", "a_loss", "avg_time"]) == "a_loss"
    assert watched_loss(["avg_time"]) is None
