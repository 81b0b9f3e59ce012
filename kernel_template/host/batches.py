"""Which samples each rank sees in which order: batches of similar length, mixed anew in every epoch.

A step of all ranks is cut from the epoch's order as one group and then dealt out, so that every rank gets as
many batches as the others, of about the same length. What depends on (seed, epoch) alone is the same on all
ranks and in every session, so nothing has to be told or saved. The ranks' data sets may hold their samples
in different orders: where samples name their recordings, the order is made from those names.
"""

import contextlib
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_PLAIN_SAMPLERS = frozenset({"SequentialSampler", "RandomSampler"})


class Batches:
    """A batch sampler: the epoch's samples, shuffled and sorted by length within buckets.

    Args:
        count: how many samples there are.
        names: what each sample is called, so that the order is the same everywhere; None without names.
        lengths: how long each sample is, in any unit; None where that is not known: then only shuffled.
        size: samples in a batch of one rank.
        rank: which of the ranks.
        world: how many ranks there are.
        seed: of the training.
        buckets: steps' worth of shuffled samples that are sorted at a time; 0 sorts nothing.
        drop_last: leave out a last step that is not full.
        longest_first: begin each epoch with the longest samples, which need the most memory.
        accumulate: batches of a rank that make a step. Half the size twice is the same step: a session that
            runs out of memory in the middle of an epoch goes on with the samples that are left of it.
    """

    def __init__(  # noqa: PLR0913 - each is a fact of the loader or of the ranks.
        self,
        *,
        count: int,
        names: Sequence[str] | None,
        lengths: Sequence[float] | None,
        size: int,
        rank: int,
        world: int,
        seed: int,
        buckets: int,
        drop_last: bool = False,
        longest_first: bool = False,
        accumulate: int = 1,
    ) -> None:
        self._order = sorted(range(count), key=lambda index: (names[index] if names else "", index))
        self._lengths = lengths
        self._size = size
        self._rank = rank
        self._world = world
        self._seed = seed
        self._buckets = buckets
        self._drop_last = drop_last
        self._longest_first = longest_first
        self._accumulate = accumulate
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Another epoch, another order."""
        self._epoch = epoch

    @property
    def _step(self) -> int:
        """Samples of a step, of all ranks together."""
        return self._size * self._accumulate * self._world

    def __len__(self) -> int:
        whole, rest = divmod(len(self._order), self._step)
        last = 0 if self._cut(whole) else math.ceil(rest / (self._size * self._world))
        return whole * self._accumulate + last

    def __iter__(self) -> Iterator[list[int]]:
        for group in self.groups():
            share = group[self._rank :: self._world]
            yield from (share[at : at + self._size] for at in range(0, len(share), self._size))

    def groups(self) -> list[list[int]]:
        """The steps of the epoch: the samples of all ranks together."""
        draw = random.Random(f"{self._seed}/{self._epoch}")  # noqa: S311 - an order, no secret.
        order = list(self._order)
        draw.shuffle(order)
        step = self._step
        whole = len(order) // step
        rest = order[whole * step :]
        groups: list[list[int]] = []
        bucket = step * self._buckets or step
        for start in range(0, whole * step, bucket):
            groups += self._sorted_groups(order[start : min(start + bucket, whole * step)], step, draw)
        if self._longest_first and groups:
            longest = max(groups, key=lambda group: max(map(self._length, group)))
            groups.remove(longest)
            groups.insert(0, longest)
        if rest and not self._cut(whole):
            # Every rank needs as many samples as the others; the first ones are taken twice.
            while len(rest) % self._world:
                rest += order[: self._world - len(rest) % self._world]
            groups.append(rest)
        return groups

    def _cut(self, whole: int) -> bool:
        return self._drop_last and whole > 0

    def _length(self, index: int) -> float:
        return self._lengths[index] if self._lengths is not None else 0.0

    def _sorted_groups(self, bucket: list[int], step: int, draw: random.Random) -> list[list[int]]:
        if self._buckets and self._lengths is not None:
            bucket.sort(key=self._length)
        groups = [bucket[at : at + step] for at in range(0, len(bucket), step)]
        if self._buckets:
            draw.shuffle(groups)
        return groups


class Dealt:
    """A batch sampler of the script's own, whose batches are dealt out among the ranks.

    Args:
        batches: gives an epoch's batches; the same ones on all ranks under the same random states.
        rank: which of the ranks.
        world: how many there are.
        seed: of the training.
    """

    def __init__(self, batches: Any, rank: int, world: int, seed: int) -> None:
        self._batches = batches
        self._rank = rank
        self._world = world
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Another epoch, another order."""
        self._epoch = epoch
        _tell(epoch, self._batches, getattr(self._batches, "sampler", None))

    def __len__(self) -> int:
        return math.ceil(len(self._batches) / self._world)

    def __iter__(self) -> Iterator[Any]:
        drawn = _drawn_alike(lambda: list(self._batches), f"{self._seed}/{self._epoch}")
        wanted = len(self) * self._world
        if not drawn:
            return
        while len(drawn) < wanted:
            drawn += drawn[: wanted - len(drawn)]
        yield from drawn[self._rank : wanted : self._world]


def _drawn_alike(draw: Callable[[], list[Any]], seed: str) -> list[Any]:
    """What `draw` gives under random states made from `seed`; the states themselves are left as they were."""
    number = random.Random(seed).getrandbits(32)  # noqa: S311 - as above.
    torch: Any = sys.modules["torch"]
    numpy: Any = sys.modules.get("numpy")
    python, of_torch = random.getstate(), torch.get_rng_state()
    of_numpy = numpy.random.get_state() if numpy is not None else None
    random.seed(number)
    torch.manual_seed(number)
    if numpy is not None:
        numpy.random.seed(number)
    try:
        return draw()
    finally:
        random.setstate(python)
        torch.set_rng_state(of_torch)
        if numpy is not None:
            numpy.random.set_state(of_numpy)


def _file_of(sample: Any) -> str | None:
    return str(sample["audio_file"]) if isinstance(sample, Mapping) and sample.get("audio_file") else None


def _names(samples: Sequence[Any]) -> list[str] | None:
    """The recordings and texts of all samples, or None if some have none."""
    found = [_file_of(sample) for sample in samples]
    if any(name is None for name in found):
        return None
    return [f"{name}\0{sample.get('text')}" for name, sample in zip(found, samples, strict=True)]


def _lengths(samples: Sequence[Any]) -> list[float] | None:
    """How long all samples are: as Coqui has measured them, or else the sizes of their files."""
    found: list[float] = []
    for sample in samples:
        told = sample.get("audio_length") if isinstance(sample, Mapping) else None
        if told is not None:
            found.append(float(told))
            continue
        name = _file_of(sample)
        try:
            found.append(float(Path(name or "").stat().st_size))
        except OSError:
            return None
        if name is None:
            return None
    return found


def make_loader(  # noqa: PLR0913 - each is a fact of the training or of the ranks.
    loader: Any, settings: Mapping[str, Any], rank: int, world: int, seed: int, *, accumulate: int = 1
) -> Any:
    """The training's loader with this rank's part of the samples, in batches of similar length.

    Args:
        loader: the DataLoader that the script made. Its samples, workers and the rest stay as they are.
        settings: the `speed` section of the kernel's settings.
        rank: this process.
        world: how many train together.
        seed: `training_seed` of the configuration.
        accumulate: batches that make a step.

    Returns:
        A new loader; the same one where there is nothing to do: one process without buckets, or with an order
        of the script's own, such as a weighted sampler's.

    Raises:
        ValueError: the loader has no batches that could be dealt out among several processes.
    """
    buckets = int(settings.get("length_buckets") or 0)
    if world == 1 and not buckets:
        return loader
    if _is_plain(loader):
        sampler: Any = _batches(
            loader, rank=rank, world=world, seed=seed, buckets=buckets, accumulate=accumulate
        )
    elif world == 1:
        return loader
    elif getattr(loader, "batch_sampler", None) is None or not hasattr(loader.dataset, "__len__"):
        raise ValueError(
            "The script's training data come in an order that cannot be shared among several cards: "
            "set speed.gpus = 1."
        )
    else:
        sampler = Dealt(loader.batch_sampler, rank, world, seed)
    torch: Any = sys.modules["torch"]
    return torch.utils.data.DataLoader(
        loader.dataset,
        batch_sampler=sampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )


def _is_plain(loader: Any) -> bool:
    """Whether the loader gives each sample once an epoch, in batches of one size."""
    sampler: Any = getattr(loader, "sampler", None)
    return (
        type(sampler).__name__ in _PLAIN_SAMPLERS
        and loader.batch_size is not None
        and not getattr(sampler, "replacement", False)
        and len(sampler) == len(loader.dataset)
    )


def _batches(loader: Any, *, buckets: int, **facts: int) -> Batches:
    dataset = loader.dataset
    samples = getattr(dataset, "samples", None)
    if not isinstance(samples, Sequence) or len(samples) != len(dataset):
        samples = None
    return Batches(
        count=len(dataset),
        names=_names(samples) if samples is not None else None,
        lengths=_lengths(samples) if samples is not None and buckets else None,
        size=int(loader.batch_size),
        buckets=buckets,
        **facts,
        drop_last=bool(loader.drop_last),
        # A rank without memory on its way back is waited for by the other's card, which then cannot save
        # either: that has to come before there is anything to lose.
        longest_first=facts["world"] > 1 or getattr(dataset, "start_by_longest", False) is True,
    )


@contextlib.contextmanager
def as_if_alone() -> Iterator[None]:
    """While a loader is made: Coqui's models would share the samples themselves, and wait for all ranks.

    They would do so for the evaluation too, which only rank 0 makes; and none of their samplers reshuffles.
    """
    distributed: Any = sys.modules["torch"].distributed
    told = distributed.is_initialized
    distributed.is_initialized = lambda: False
    try:
        yield
    finally:
        distributed.is_initialized = told


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell the loader's samplers which epoch begins; those that take none are left alone."""
    _tell(epoch, getattr(loader, "batch_sampler", None), getattr(loader, "sampler", None))


def _tell(epoch: int, *samplers: Any) -> None:
    for sampler in samplers:
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
