"""Which samples each rank sees in which order: batches of similar length, shuffled again in every epoch.

A step of all ranks is taken from the epoch's order as one group and then divided, so that every rank gets as
many batches as the others, of about the same length. The order depends only on seed and epoch: it is the same
on all ranks and in every session, so nothing has to be sent or saved. The ranks' datasets may hold their
samples in different orders; if samples name their recordings, the order is made from those names.
"""

import contextlib
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PLAIN_SAMPLERS = frozenset({"SequentialSampler", "RandomSampler"})


@dataclass(kw_only=True, eq=False)
class LengthBucketSampler:
    """A batch sampler: the epoch's samples, shuffled and sorted by length within buckets."""

    count: int  # Samples.
    names: Sequence[str] | None  # One for each sample, so that the order is the same everywhere.
    lengths: Sequence[float] | None  # In any unit; without them samples are only shuffled.
    size: int  # Samples in a batch of one rank.
    rank: int
    world: int  # Ranks.
    seed: int
    buckets: int  # Steps' worth of shuffled samples that are sorted at a time; 0 sorts nothing.
    drop_last: bool = False  # Leave out a last step that is not full.
    longest_first: bool = False  # Begin each epoch with the longest samples, which need the most memory.
    # Batches of a rank that make a step. Half the size twice is the same step, so that a training that ran
    # out of memory in the middle of an epoch resumes with the rest of its samples.
    accumulate: int = 1
    epoch: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        names = self.names
        self._order = sorted(range(self.count), key=lambda index: (names[index] if names else "", index))

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, and with it the order."""
        self.epoch = epoch

    @property
    def _step(self) -> int:
        """Samples in a step of all ranks together."""
        return self.size * self.accumulate * self.world

    def __len__(self) -> int:
        whole, rest = divmod(len(self._order), self._step)
        last = 0 if self._drops_rest(whole) else math.ceil(rest / (self.size * self.world))
        return whole * self.accumulate + last

    def __iter__(self) -> Iterator[list[int]]:
        for group in self.groups():
            share = group[self.rank :: self.world]
            yield from (share[at : at + self.size] for at in range(0, len(share), self.size))

    def groups(self) -> list[list[int]]:
        """Return the steps of the epoch: the samples of all ranks together."""
        draw = random.Random(f"{self.seed}/{self.epoch}")  # noqa: S311 - an order, no secret.
        order = list(self._order)
        draw.shuffle(order)
        step = self._step
        whole = len(order) // step
        rest = order[whole * step :]
        groups: list[list[int]] = []
        bucket = step * self.buckets or step
        for start in range(0, whole * step, bucket):
            groups += self._sorted_groups(order[start : min(start + bucket, whole * step)], step, draw)
        if self.longest_first and groups:
            longest = max(groups, key=lambda group: max(map(self._length, group)))
            groups.remove(longest)
            groups.insert(0, longest)
        if rest and not self._drops_rest(whole):
            # Every rank needs as many samples as the others, so the first ones are used twice.
            while len(rest) % self.world:
                rest += order[: self.world - len(rest) % self.world]
            groups.append(rest)
        return groups

    def _drops_rest(self, whole: int) -> bool:
        return self.drop_last and whole > 0

    def _length(self, index: int) -> float:
        return self.lengths[index] if self.lengths is not None else 0.0

    def _sorted_groups(self, bucket: list[int], step: int, draw: random.Random) -> list[list[int]]:
        if self.buckets and self.lengths is not None:
            bucket.sort(key=self._length)
        groups = [bucket[at : at + step] for at in range(0, len(bucket), step)]
        if self.buckets:
            draw.shuffle(groups)
        return groups


class SharedBatchSampler:
    """A batch sampler of the script's own, whose batches are divided among the ranks.

    Args:
        batches: yields an epoch's batches, the same ones on all ranks if the random states are the same.
        rank: this rank.
        world: number of ranks.
        seed: the training's seed.
    """

    def __init__(self, batches: Any, rank: int, world: int, seed: int) -> None:
        self._batches = batches
        self._rank = rank
        self._world = world
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, and with it the order."""
        self._epoch = epoch
        _set_epoch(epoch, self._batches, getattr(self._batches, "sampler", None))

    def __len__(self) -> int:
        return math.ceil(len(self._batches) / self._world)

    def __iter__(self) -> Iterator[Any]:
        drawn = _with_seed(lambda: list(self._batches), f"{self._seed}/{self._epoch}")
        wanted = len(self) * self._world
        if not drawn:
            return
        while len(drawn) < wanted:
            drawn += drawn[: wanted - len(drawn)]
        yield from drawn[self._rank : wanted : self._world]


def _with_seed(draw: Callable[[], list[Any]], seed: str) -> list[Any]:
    """Return what `draw` returns with random states made from `seed`; afterwards they are as before."""
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
    """Return a name for each sample, of its recording and text; None if a sample has no recording."""
    found = [_file_of(sample) for sample in samples]
    if any(name is None for name in found):
        return None
    return [f"{name}\0{sample.get('text')}" for name, sample in zip(found, samples, strict=True)]


def _lengths(samples: Sequence[Any]) -> list[float] | None:
    """Return the length of each sample, as Coqui measured it or else the size of its file."""
    found: list[float] = []
    for sample in samples:
        length = sample.get("audio_length") if isinstance(sample, Mapping) else None
        if length is not None:
            found.append(float(length))
            continue
        name = _file_of(sample)
        try:
            found.append(float(Path(name or "").stat().st_size))
        except OSError:
            return None
        if name is None:
            return None
    return found


def prepare_loader(  # noqa: PLR0913 - each is a fact of the training or of the ranks.
    loader: Any, *, buckets: int, rank: int, world: int, seed: int, accumulate: int = 1
) -> Any:
    """Give the training's loader this rank's part of the samples, in batches of similar length.

    Args:
        loader: the DataLoader that the script made. Its samples, workers and all else stay as they are.
        buckets: steps' worth of samples that are sorted by length at a time; 0 sorts nothing.
        rank: this rank.
        world: number of ranks.
        seed: the training's seed.
        accumulate: batches that make a step.

    Returns:
        A new loader; the same one if there is nothing to do: one process without buckets, or with an order of
        the script's own, such as a weighted sampler's.

    Raises:
        ValueError: the loader has no batches that could be divided among several processes.
    """
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
            "The script's data loader cannot be divided among several GPUs: it has no batch sampler, or its "
            "dataset has no length. Set speed.gpus = 1."
        )
    else:
        sampler = SharedBatchSampler(loader.batch_sampler, rank, world, seed)
    torch: Any = sys.modules["torch"]
    return torch.utils.data.DataLoader(
        loader.dataset,
        batch_sampler=sampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        # From pinned memory a batch is copied while the GPU works on the one before.
        pin_memory=loader.pin_memory or torch.cuda.is_available(),
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )


def _is_plain(loader: Any) -> bool:
    """Whether the loader yields each sample once an epoch, in batches of one size."""
    sampler: Any = getattr(loader, "sampler", None)
    return (
        type(sampler).__name__ in _PLAIN_SAMPLERS
        and loader.batch_size is not None
        and not getattr(sampler, "replacement", False)
        and len(sampler) == len(loader.dataset)
    )


def _batches(loader: Any, *, buckets: int, **facts: int) -> LengthBucketSampler:
    dataset = loader.dataset
    samples = getattr(dataset, "samples", None)
    if not isinstance(samples, Sequence) or len(samples) != len(dataset):
        samples = None
    return LengthBucketSampler(
        count=len(dataset),
        names=_names(samples) if samples is not None else None,
        lengths=_lengths(samples) if samples is not None and buckets else None,
        size=int(loader.batch_size),
        buckets=buckets,
        **facts,
        drop_last=bool(loader.drop_last),
        # If a rank runs out of memory in its backward pass, the other GPU waits for it and cannot save. That
        # should happen before there is anything to lose.
        longest_first=facts["world"] > 1 or getattr(dataset, "start_by_longest", False) is True,
    )


@contextlib.contextmanager
def not_distributed() -> Iterator[None]:
    """Make torch say that there is one process, while a loader is made.

    Coqui's models would otherwise divide the samples themselves and wait for all ranks, in the evaluation
    too, which only rank 0 does; and none of their samplers shuffles again.
    """
    distributed: Any = sys.modules["torch"].distributed
    original = distributed.is_initialized
    distributed.is_initialized = lambda: False
    try:
        yield
    finally:
        distributed.is_initialized = original


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell the loader's samplers which epoch begins, if they take one."""
    _set_epoch(epoch, getattr(loader, "batch_sampler", None), getattr(loader, "sampler", None))


def _set_epoch(epoch: int, *samplers: Any) -> None:
    for sampler in samplers:
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
