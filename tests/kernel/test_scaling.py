"""What benchmarks.scaling counts and calculates."""

from typing import Any

import pytest

from benchmarks.scaling.sync import StepBytes, ring_bytes
from tests.support import NEEDS_TORCH, Later

pytestmark = NEEDS_TORCH
calculated: Any = Later("benchmarks.scaling.calculated")
sharding: Any = Later("benchmarks.scaling.sharding")  # The product's loader is torch's.


def test_shares_of_two_ranks() -> None:
    """Seven utterances on two ranks: the third step lacks one, and the longest rank of each step counts."""
    one = sharding.count_shares([2.0] * 7, ranks=2, batch=1, buckets=8)
    assert (one.steps, one.least, one.most, one.twice, one.left_out, one.last) == (4, 4, 4, 1, 0, 2)
    assert one.padded == one.slowest == 0
    # A step lasts as long as its 3 s; the ranks have 2 s on average.
    uneven = sharding.count_shares([1.0, 3.0], ranks=2, batch=1, buckets=8)
    assert uneven.slowest == pytest.approx(0.5)
    padded = sharding.count_shares([1.0, 3.0], ranks=1, batch=2, buckets=8)
    assert padded.padded == pytest.approx(1 / 3)


def test_bytes_of_a_step() -> None:
    """A step reduces gradients, four bytes a tensor, and decisions; a ring sends that twice, less a share."""
    step = StepBytes.of([{"tensors": 2, "bytes": 400}, {"tensors": 3, "bytes": 600}])
    assert (step.gradients, step.marks, step.decisions, step.total) == (1000, 20, 64, 1084)
    assert [ring_bytes(1000, ranks) for ranks in (1, 2, 4)] == [0, 1000, 1500]


def test_calculated_epochs() -> None:
    """One T4 takes what the public run took; two H200 with 1 Gbit/s in between are slower than one."""
    assert calculated.epoch_of(calculated.T4, gpus=1).epoch_s == pytest.approx(630 * 0.74)
    slow = calculated.epoch_of(calculated.H200, gpus=1, nodes=2, network=calculated.NETWORKS["1 Gbit/s"])
    assert (
        slow.epoch_s
        > calculated.epoch_of(calculated.H200, gpus=1).epoch_s
        > calculated.epoch_of(calculated.H200, gpus=2).epoch_s
    )
    assert slow.synchronising_s == pytest.approx(3.32, abs=0.01)
