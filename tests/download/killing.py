"""Kills a pull at random moments, and shows what the next one does; for tests and the benchmark."""

import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import REPOSITORY


@dataclass(frozen=True)
class Order:
    """What is downloaded: the emulator's address, its login, the kernel, and the folder."""

    url: str
    user: str
    key: str
    ref: str
    folder: Path
    counter: Path


def begin(order: Order) -> subprocess.Popen[str]:
    """Start a pull; returns it when it has loaded its code."""
    words = (order.url, order.user, order.key, order.ref, str(order.folder), str(order.counter))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.download.kill_driver", *words],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "HOME": str(order.folder.parent)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def received(order: Order) -> int:
    """Return the bytes that all pulls of an order received, killed ones too."""
    return int(struct.unpack("q", order.counter.read_bytes())[0])


def pulled_in(order: Order) -> float:
    """Pull to the end; gives the seconds that took.

    Raises:
        AssertionError: it failed.
    """
    with begin(order) as process:
        start = time.perf_counter()
        assert process.wait(120) == 0
        return time.perf_counter() - start


def killed(order: Order, within: float, times: int, seed: int) -> Iterator[float]:
    """Kill a pull after random parts of `within` seconds, this many times; returns each part."""
    draw = random.Random(seed)  # noqa: S311  # No secret.
    for _ in range(times):
        after = draw.uniform(0, within)
        with begin(order) as process:
            time.sleep(after)
            process.kill()
        yield after
