"""The order in which workers take what is to be spoken."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.serve import Limits
from orchestrator.serve.speech import Studio
from tests.serve.making import PATIENCE_S, tiny_voices


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """A studio with one worker."""
    made = Studio(tiny_voices(tmp_path), Limits(workers=1))
    yield made
    made.close()


def test_first_sentences_go_before_others(studio: Studio) -> None:
    """While the worker is busy, what is urgent overtakes what is not; both keep their order."""
    done: list[str] = []
    free = threading.Event()

    async def all_of_it() -> None:
        def busy() -> None:
            assert free.wait(PATIENCE_S)

        works = [asyncio.ensure_future(studio.work(busy))]
        for name, urgent in (("a2", False), ("b2", False), ("c1", True), ("a3", False), ("d1", True)):
            works.append(asyncio.ensure_future(studio.work(done.append, name, urgent=urgent)))
        await asyncio.sleep(0)
        free.set()
        await asyncio.gather(*works)

    asyncio.run(all_of_it())
    assert done == ["c1", "d1", "a2", "b2", "a3"]


def test_one_that_leaves_passes_its_turn_on(studio: Studio) -> None:
    """Cancelled before, while and after it gets its turn: the worker is free again each time."""
    done: list[str] = []
    free = threading.Event()

    async def all_of_it() -> None:
        def busy() -> None:
            assert free.wait(PATIENCE_S)

        works = [asyncio.ensure_future(studio.work(busy))]
        works += [asyncio.ensure_future(studio.work(done.append, name)) for name in "abc"]
        await asyncio.sleep(0)
        works[1].cancel()
        studio._urgent[1].set_result(None)  # Its turn has come,
        works[2].cancel()  # and it leaves before it takes it.
        works[0].cancel()
        free.set()
        await asyncio.gather(*works, return_exceptions=True)
        await studio.work(done.append, "d")

    asyncio.run(all_of_it())
    assert done == ["c", "d"]
