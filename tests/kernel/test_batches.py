"""The order of samples: properties for all sizes, and torch's DataLoader with it."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_template.host.batches import LengthBucketSampler, not_distributed, prepare_loader, set_epoch
from tests.kernel.hosting import ForkServer, Toy, same_training, step_of
from tests.support import WITH_TORCH

pytestmark = WITH_TORCH


def samplers(world: int, **changes: Any) -> list[Any]:
    """Make one sampler for each rank."""
    facts = {"names": None, "lengths": None, "size": 4, "seed": 54321, "buckets": 2, "world": world}
    return [LengthBucketSampler(**{**facts, "rank": rank, **changes}) for rank in range(world)]


shapes = st.fixed_dictionaries(
    {
        "count": st.integers(1, 150),
        "size": st.integers(1, 9),
        "buckets": st.integers(0, 5),
        "seed": st.integers(0, 9),
        "accumulate": st.integers(1, 4),
    }
)


@given(shapes, st.integers(1, 4), st.integers(0, 5))
def test_every_rank_has_as_many_batches_and_no_sample_is_left_out(
    shape: dict[str, int], world: int, epoch: int
) -> None:
    """All batches but those of the last step have one size; fewer samples than there are ranks come twice."""
    lengths = [float(index % 17) for index in range(shape["count"])]
    seen, steps = [], []
    for sampler in samplers(world, **shape, lengths=lengths):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert all(len(batch) == shape["size"] for batch in batches[:-1])
        assert all(batches)
        steps.append([len(batch) for batch in batches])
        seen += [index for batch in batches for index in batch]
    assert all(step == steps[0] for step in steps)
    assert set(seen) == set(range(shape["count"]))
    assert len(seen) - shape["count"] < world


@given(shapes, st.integers(1, 3))
def test_the_order_is_that_of_seed_and_epoch(shape: dict[str, int], world: int) -> None:
    """The order depends only on seed and epoch, not on the epochs seen before."""
    one, other = samplers(world, **shape)[-1], samplers(world, **shape)[-1]
    one.set_epoch(7)
    list(one)
    for each in (one, other):
        each.set_epoch(3)
    assert list(one) == list(other)


@given(st.integers(1, 150), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_half_the_batch_twice_is_the_same_step(count: int, size: int, world: int, buckets: int) -> None:
    """After running out of memory, each step still has the samples it would have had."""
    lengths = [float(index % 13) for index in range(count)]
    for rank in range(world):
        whole, halves = (
            samplers(
                world, count=count, lengths=lengths, size=size * 2 // parts, accumulate=parts, buckets=buckets
            )[rank]
            for parts in (1, 2)
        )
        small: list[list[int]] = list(halves)
        joined = [[*chain(*small[at : at + 2])] for at in range(0, len(small), 2)]
        assert joined == list(whole)


def test_each_epoch_and_seed_has_an_order_of_its_own() -> None:
    """Another epoch or another seed mixes the samples into other batches."""
    lengths = [float(index) for index in range(200)]
    orders = []
    for seed, epoch in ((1, 0), (1, 1), (2, 0)):
        (sampler,) = samplers(1, count=200, lengths=lengths, seed=seed)
        sampler.set_epoch(epoch)
        orders.append({frozenset(batch) for batch in sampler})
    assert orders[0].isdisjoint(orders[1])
    assert orders[0].isdisjoint(orders[2])


def test_batches_are_of_similar_length() -> None:
    """Eight buckets need far less padding than a plain shuffle, and the ranks have about equal work."""
    lengths = [float(1 + (index * 37) % 101) for index in range(960)]

    def padding(buckets: int) -> float:
        (sampler,) = samplers(1, count=960, size=16, lengths=lengths, buckets=buckets)
        spent: float = sum(max(lengths[index] for index in batch) * len(batch) for batch in sampler)
        return spent / sum(lengths) - 1

    assert padding(0) > 0.8
    assert padding(8) < 0.15
    one, other = samplers(2, count=960, size=16, lengths=lengths, buckets=8)
    for mine, theirs in zip(one, other, strict=True):
        assert abs(max(lengths[i] for i in mine) - max(lengths[i] for i in theirs)) <= 3


def test_names_make_the_order_the_same_where_samples_stand_otherwise() -> None:
    """Ranks whose datasets are in different order still share all samples without a gap."""
    names = [f"{number:03}.wav" for number in range(50)]
    turned = names[::-1]
    one, other = samplers(2, count=50, names=names)[0], samplers(2, count=50, names=turned)[1]
    seen = [names[index] for batch in one for index in batch]
    seen += [turned[index] for batch in other for index in batch]
    assert set(seen) == set(names)


def test_a_last_step_can_be_left_out_and_the_longest_put_first() -> None:
    """Coqui's drop_last and start_by_longest are respected; a dataset smaller than one step is used."""
    lengths = [float(index) for index in range(30)]
    (sampler,) = samplers(1, count=30, lengths=lengths, drop_last=True, longest_first=True)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 7
    top = max(index for batch in batches for index in batch)
    assert top in batches[0]
    (small,) = samplers(1, count=3, drop_last=True)
    assert [sorted(batch) for batch in small] == [[0, 1, 2]]


# ---- Over torch's DataLoader


def loader(count: int = 20, **options: Any) -> Any:
    """Make a loader with samples in Coqui's form."""
    torch = pytest.importorskip("torch")

    class Data(torch.utils.data.Dataset[Any]):  # type: ignore[misc,name-defined] # torch is imported late.
        def __init__(self) -> None:
            self.samples = [
                {"audio_file": f"{index}.wav", "text": "ক", "audio_length": index * 7 % count}
                for index in range(count)
            ]

        def __len__(self) -> int:
            return len(self.samples)

        def __getitem__(self, index: int) -> int:
            return index

    return torch.utils.data.DataLoader(Data(), **{"batch_size": 4, **options})


def prepare(own: Any, buckets: int, rank: int, world: int, seed: int) -> Any:
    """Prepare the loader of one rank."""
    return prepare_loader(own, buckets=buckets, rank=rank, world=world, seed=seed)


def drawn(found: Any) -> list[int]:
    """Return everything that a loader yields."""
    return [int(index) for batch in found for index in batch]


def test_a_loader_stays_as_it_is_where_there_is_nothing_to_do() -> None:
    """With one process, a loader without buckets or with its own order is not replaced."""
    torch = pytest.importorskip("torch")
    plain = loader()
    assert prepare(plain, 0, 0, 1, 1) is plain
    weighted = loader(sampler=torch.utils.data.WeightedRandomSampler([1.0] * 20, 20))
    assert prepare(weighted, 2, 0, 1, 1) is weighted


def test_a_loader_gets_batches_by_length_and_keeps_the_rest() -> None:
    """A replaced loader keeps dataset, collation and workers; its order uses no global random numbers."""
    torch = pytest.importorskip("torch")
    own = loader(collate_fn=list, num_workers=0)
    made = prepare(own, 2, 0, 1, 1)
    assert (made.dataset, made.collate_fn, len(made)) == (own.dataset, own.collate_fn, 5)
    orders = []
    for epoch in (0, 1):
        set_epoch(made, epoch)
        before = torch.get_rng_state()
        batches = list(made.batch_sampler)
        assert torch.equal(before, torch.get_rng_state())
        assert sorted(drawn(made)) == list(range(20))
        orders.append(batches)
    assert orders[0] != orders[1]
    lengths = [sample["audio_length"] for sample in own.dataset.samples]
    spans = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in list(orders[0])[:4]]
    assert max(spans) < 15


def test_ranks_share_a_shuffled_loader_without_buckets() -> None:
    """With `length_buckets = 0`, several ranks get a plain shuffle, different in each epoch."""
    both = [prepare(loader(), 0, rank, 2, 5) for rank in (0, 1)]
    first = [drawn(each) for each in both]
    assert sorted(first[0] + first[1]) == list(range(20))
    for each in both:
        set_epoch(each, 1)
    assert [drawn(each) for each in both] != first


def test_several_ranks_begin_with_the_longest() -> None:
    """The longest samples come first, so that a lack of memory shows before any step can be lost."""
    for epoch in range(4):
        alone = prepare(loader(60), 2, 0, 1, 5)
        both = [prepare(loader(60), 2, rank, 2, 5) for rank in (0, 1)]
        firsts = []
        for each in (alone, *both):
            set_epoch(each, epoch)
            lengths = [sample["audio_length"] for sample in each.dataset.samples]
            firsts.append(max(lengths[index] for index in next(iter(each.batch_sampler))))
        assert max(firsts[1:]) == 59
        assert min(firsts[1:]) > 50
        if firsts[0] < 59:
            return
    raise AssertionError("one process began with the longest in each epoch")


def test_a_samplers_own_batches_are_divided() -> None:
    """Weighted samples stay weighted, and both ranks draw the same order whatever their random states."""
    torch = pytest.importorskip("torch")
    weights = [0.0] * 10 + [1.0] * 10
    shares = []
    for rank in (0, 1):
        own = loader(sampler=torch.utils.data.WeightedRandomSampler(weights, 10, replacement=False))
        torch.manual_seed(rank)
        before = torch.get_rng_state()
        made = prepare(own, 2, rank, 2, 1)
        shares.append(list(made.batch_sampler))
        assert torch.equal(before, torch.get_rng_state())
    assert [len(share) for share in shares] == [2, 2]
    assert {index for share in shares for batch in share for index in batch} == set(range(10, 20))


def test_what_cannot_be_shared_is_refused() -> None:
    """An iterable dataset cannot be divided between ranks; one process trains on it unchanged."""
    torch = pytest.importorskip("torch")

    class Stream(torch.utils.data.IterableDataset[int]):  # type: ignore[misc,name-defined] # As above.
        def __iter__(self) -> Any:
            return iter(range(9))

    own = torch.utils.data.DataLoader(Stream(), batch_size=3)
    assert prepare(own, 2, 0, 1, 1) is own
    with pytest.raises(ValueError, match="gpus = 1"):
        prepare(own, 2, 0, 2, 1)


def test_coqui_does_not_share_by_itself_while_a_loader_is_made() -> None:
    """While a loader is made, torch reports one process, and the real number afterwards."""
    distributed: Any = pytest.importorskip("torch").distributed
    before = distributed.is_initialized
    with not_distributed():
        assert distributed.is_initialized() is False
        assert distributed.is_initialized is not before
    assert distributed.is_initialized is before


# ---- Coqui's real Trainer


@pytest.mark.parametrize("ranks", [1, 2])
def test_sessions_in_buckets_are_one_training(fork_server: ForkServer, tmp_path: Path, ranks: int) -> None:
    """Sessions that stop within and between epochs see the same batches in the same order as one session."""
    buckets = {"length_buckets": 2}
    whole = Toy(fork_server, tmp_path / "whole", {"epochs": 3}, ranks)
    whole.session(control=buckets)
    parts = Toy(fork_server, tmp_path / "parts", {"epochs": 3}, ranks)
    each = 4 // ranks
    for target in (each - 1, 2 * each, None):
        parts.session(control={**buckets, "until_step": target})
        assert parts.code == 0
    assert step_of(parts.newest() or Path()) == 3 * each
    assert parts.batches() == whole.batches()
    epochs = [whole.batches()[at : at + each] for at in range(0, 3 * each, each)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert same_training(whole.newest(), parts.newest()) is None
