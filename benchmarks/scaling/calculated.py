"""How long an epoch takes on GPUs and nodes that we do not have: calculated, not measured.

    step  = computing * (1 + I) + 2 (N - 1) / N * S / B
    epoch = ceil(U / (N * b)) * step + F

N ranks, S bytes of gradients, B bytes a second of the slowest link in the ring, U utterances, b of them in a
rank's batch, I what the longest rank of each step has more than the mean, F what does not get shorter. It is
the worst case of a ring: no byte is sent while the backward pass still computes, which torch does as far as
it can. With several nodes each node's network carries what one rank sends, so B is the network's.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from benchmarks.scaling.sharding import Shares, count_shares, real_lengths
from benchmarks.scaling.sync import ring_bytes

GRADIENTS = 332_191_428  # Bytes that a step of the whole VITS averages, as `sync` counts them.


@dataclass(frozen=True, slots=True)
class Card:
    """A training on one GPU that was measured."""

    name: str
    computing_s: float  # A step's seconds.
    batch: int
    fixed_s: float  # Of an epoch, outside steps.
    bus: float  # Bytes a second between the GPUs of one machine: assumed.


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch takes."""

    step_s: float
    synchronising_s: float  # Of `step_s`.
    epoch_s: float


# The public run: 0.59 s of 0.74 s are the step. Kaggle's two T4 exchange through the host's PCIe 3.
T4 = Card("T4, batch 8", 0.59, 8, 630 * 0.15, 5e9)
# Of lengths seen before (benchmarks/README.md). What an epoch needs beside steps was not measured.
H200 = Card("H200, batch 16", 0.388, 16, 0.0, 300e9)
_CARDS = (T4, H200)
# What a network carries in practice: 80 % of its name.
NETWORKS = {f"{gigabits} Gbit/s": 0.8 * gigabits * 1e9 / 8 for gigabits in (1, 10, 25, 100)}
_BUCKETS = 8  # The default of `speed.length_buckets`.


def epoch_of(card: Card, *, gpus: int, nodes: int = 1, network: float = math.inf) -> Epoch:
    """Calculate an epoch.

    Args:
        card: what was measured on one.
        gpus: in each node.
        nodes: how many.
        network: bytes a second between nodes.
    """
    ranks = gpus * nodes
    link = min(card.bus, network) if nodes > 1 else card.bus
    synchronising = ring_bytes(GRADIENTS, ranks) / link
    shares = _shares(ranks, card.batch)
    step = card.computing_s * (1 + shares.slowest) + synchronising
    return Epoch(step, synchronising, shares.steps * step + card.fixed_s)


@cache
def _shares(ranks: int, batch: int) -> Shares:
    return count_shares(real_lengths(), ranks=ranks, batch=batch, buckets=_BUCKETS)


def table() -> Iterator[str]:
    """Yield the lines of the table; each figure in it is calculated."""
    cells = " | ".join(f"{card.name}: a step | an epoch | speed" for card in _CARDS)
    yield f"| calculated: machines x GPUs | network | {cells} |"
    places = [(1, gpus, "") for gpus in (1, 2, 4, 8)]
    for nodes, gpus in ((2, 1), (4, 1), (2, 4), (4, 4)):
        places += [(nodes, gpus, network) for network in NETWORKS]
    for nodes, gpus, network in places:
        link = NETWORKS.get(network, math.inf)
        cells = " | ".join(_cells(card, gpus, nodes, link) for card in _CARDS)
        yield f"| {nodes} x {gpus} | {network} | {cells} |"


def _cells(card: Card, gpus: int, nodes: int, network: float) -> str:
    one = epoch_of(card, gpus=gpus, nodes=nodes, network=network)
    speed = epoch_of(card, gpus=1).epoch_s / one.epoch_s
    return f"{one.step_s:.2f} s | {one.epoch_s:.0f} s | {speed:.2f}"
