from __future__ import annotations

from collections import Counter
from itertools import islice, takewhile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainof.corpus import BatchSampler
from brainof.corpus.sampler import numbers
from brainof.errors import ConfigError, CorpusError


@st.composite
def groups(draw):
    """Up to eight groups of windows of some modality, dataset and shape."""
    modalities = draw(st.lists(st.sampled_from(["eeg", "meg", "fmri"]), min_size=1, max_size=8))
    return [
        {
            "modality": modality,
            "dataset": draw(st.sampled_from("abc")),
            "n_channels": draw(st.sampled_from([3, 5])),
            "n_times": draw(st.sampled_from([60, 64, 65, 200])),
            "sfreq": draw(st.sampled_from([0.5, 256.0])),
            "count": draw(st.integers(1, 40)),
        }
        for modality in modalities
    ]


def _flat(batches):
    return [row for batch in batches for row in batch]


def _shape(index, row):
    one = index.loc[row]
    return one["modality"], one["sfreq"], one["n_channels"], -(-one["n_times"] // 64)


@settings(max_examples=25, deadline=None)
@given(groups=groups(), batch_size=st.integers(1, 17), seed=st.integers(0, 5), epoch=st.integers(0, 9))
def test_an_epoch_holds_every_window_once_in_batches_of_one_shape(make, groups, batch_size, seed, epoch):
    index = make.index(groups)
    index = index.set_index(np.random.default_rng(seed).permutation(3 * len(index))[: len(index)])  # a selection
    sampler = BatchSampler(index, batch_size, seed=seed)
    batches = sampler.batches(epoch)
    assert sorted(_flat(batches)) == sorted(index.index)
    assert len(batches) == len(sampler)
    assert max(map(len, batches)) <= batch_size
    for batch in batches:
        assert len({_shape(index, row) for row in batch}) == 1
    # a pure function of seed and epoch: neither the history of the object nor another object matters
    assert BatchSampler(index, batch_size, seed=seed).batches(epoch) == batches
    sampler.batches(epoch + 1)
    assert sampler.batches(epoch) == batches


@settings(max_examples=25, deadline=None)
@given(groups=groups(), batch_size=st.integers(1, 17), n_batches=st.integers(3, 30), epoch=st.integers(0, 9))
def test_a_weighted_epoch_has_the_batches_asked_for_and_every_modality(make, groups, batch_size, n_batches, epoch):
    index = make.index(groups)
    sampler = BatchSampler(index, batch_size, {"modality": "equal"}, seed=1, batches_per_epoch=n_batches)
    batches = sampler.batches(epoch)
    assert len(batches) == len(sampler) == n_batches
    assert set(index.loc[_flat(batches), "modality"]) == set(index["modality"])
    for batch in batches:
        assert len({_shape(index, row) for row in batch}) == 1
    assert (
        BatchSampler(index, batch_size, {"modality": "equal"}, seed=1, batches_per_epoch=n_batches).batches(epoch)
        == batches
    )


def test_seeds_and_epochs_differ(make):
    index = make.index([{"modality": "eeg", "dataset": "a", "count": 50}])
    orders = [_flat(BatchSampler(index, 5, seed=seed).batches(epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(map(tuple, orders))) == 4


def test_datasets_and_shapes_alternate_anew_in_each_epoch(make):
    """Which dataset, and which shape, comes when: another series in every epoch, whatever was asked for before."""
    shapes = [(dataset, n) for dataset in "abc" for n in (3, 5)]
    index = make.index([{"modality": "eeg", "dataset": name, "n_channels": n, "count": 20} for name, n in shapes])

    def series(sampler, epoch):
        batches = sampler.batches(epoch)
        datasets = [tuple(index.loc[row, "dataset"] for row in batch) for batch in batches]
        of_shape = {
            n: [d for b, d in zip(batches, datasets, strict=True) if index.loc[b[0], "n_channels"] == n] for n in (3, 5)
        }
        return [index.loc[batch[0], "n_channels"] for batch in batches], of_shape[3], of_shape[5]

    sampler = BatchSampler(index, 4, seed=2)
    epochs = [series(sampler, epoch) for epoch in range(4)]
    for part in range(3):
        assert len({str(epoch[part]) for epoch in epochs}) == 4
    assert series(BatchSampler(index, 4, seed=2), 3) == epochs[3]
    assert series(sampler, 1) == epochs[1]
    other = series(BatchSampler(index, 4, seed=3), 1)
    assert all(mine != theirs for mine, theirs in zip(epochs[1], other, strict=True))


THREE = [
    {"modality": "eeg", "dataset": "big", "count": 900},
    {"modality": "eeg", "dataset": "small", "count": 30},
    {"modality": "fmri", "dataset": "few", "count": 20, "sfreq": 0.5},
]


def test_weights_are_met(make):
    index = make.index(THREE)
    weights = {"modality": {"eeg": 3, "fmri": 1}, "dataset": {"big": 2, "small": 1, "few": 1}}
    sampler = BatchSampler(index, 10, weights, batches_per_epoch=40)
    counts = Counter(index.loc[_flat(_flat(sampler.batches(epoch) for epoch in range(5))), "dataset"])
    assert counts == {"big": 1000, "small": 500, "few": 500}


def test_small_datasets_are_repeated_evenly_and_large_ones_visited_in_turn(make):
    index = make.index(THREE)
    sampler = BatchSampler(index, 10, {"dataset": "equal"}, batches_per_epoch=60)
    rows = Counter(_flat(sampler.batches(0)))
    for dataset, low in (("small", 6), ("few", 10)):
        counts = {rows[row] for row in index.index[index["dataset"] == dataset]}
        assert counts <= {low, low + 1}
    # 200 of 900 windows an epoch: none twice before all were seen, up to the rounding of batches
    big = Counter(_flat(_flat(sampler.batches(epoch) for epoch in range(9))))
    counts = [big[row] for row in index.index[index["dataset"] == "big"]]
    assert sum(counts) == 1800
    assert min(counts) >= 1
    assert np.mean(np.array(counts) == 2) > 0.95


def test_rare_shapes_are_visited_in_the_long_run(make):
    sizes = [{"modality": "eeg", "dataset": "a", "n_channels": n, "count": 6} for n in range(1, 41)]
    index = make.index(sizes)
    sampler = BatchSampler(index, 6, {"dataset": "equal"}, batches_per_epoch=4)
    visits = Counter(index.loc[batch[0], "n_channels"] for epoch in range(50) for batch in sampler.batches(epoch))
    assert sum(visits.values()) == 200
    assert set(visits.values()) <= {3, 4, 5, 6, 7}


def test_modalities_and_datasets_are_interleaved(make):
    index = make.index(THREE)
    batches = BatchSampler(index, 10).batches(0)
    modality = [index.loc[batch[0], "modality"] for batch in batches]
    places = [place for place, name in enumerate(modality) if name == "fmri"]
    assert places[0] < len(batches) / 2 <= places[1]  # two fMRI batches, one in each half
    small = [sum(index.loc[row, "dataset"] == "small" for row in batch) for batch in batches]
    assert max(small) <= 2  # 30 windows over 93 EEG batches


def test_rare_modalities_get_a_batch_each_and_the_others_the_rest(make):
    """1 % and 20 % of 4 batches: one each, which leaves 2; raising the first takes the second below one."""
    names = {"eeg": 790, "meg": 200, "fmri": 10}
    index = make.index([{"modality": name, "dataset": name, "count": count} for name, count in names.items()])
    weights = {"dataset": {"eeg": 0.7, "meg": 0.26, "fmri": 0.04}}
    for epoch in range(3):
        batches = BatchSampler(index, 1, weights, batches_per_epoch=4).batches(epoch)
        assert Counter(index.loc[batch[0], "modality"] for batch in batches) == {"eeg": 2, "meg": 1, "fmri": 1}


def test_rare_modalities_are_not_next_to_each_other(make):
    names = {"eeg": 8, "meg": 1, "fmri": 1}
    index = make.index([{"modality": name, "dataset": "a", "count": count} for name, count in names.items()])
    series = [index.loc[batch[0], "modality"] for batch in BatchSampler(index, 1).batches(0)]
    distance = abs(series.index("meg") - series.index("fmri"))
    assert min(distance, 10 - distance) > 2


def test_offsets_of_thirteen_epochs_fill_the_circle(make):
    """Golden-ratio steps leave gaps of at most 1 / phi^5 = 0.0902; random ones of 0.24 on average."""
    sampler = BatchSampler(make.index(THREE), 10, batches_per_epoch=10)
    offsets = np.sort([sampler._offset("name", epoch) for epoch in range(13)])
    assert np.diff(offsets, append=offsets[0] + 1).max() == pytest.approx(0.0902, abs=1e-4)


def test_large_windows_make_smaller_batches(make):
    index = make.index(
        [
            {"modality": "meg", "dataset": "a", "n_channels": 300, "n_times": 100, "count": 20},
            {"modality": "eeg", "dataset": "a", "n_channels": 20, "n_times": 128, "count": 20},
            {"modality": "fmri", "dataset": "a", "n_channels": 4000, "n_times": 128, "count": 2},
        ]
    )
    sizes = Counter(
        (index.loc[batch[0], "modality"], len(batch))
        for batch in BatchSampler(index, 16, tokens_per_batch=300 * 2 * 4).batches(0)
    )
    assert sizes == {("meg", 4): 5, ("eeg", 16): 1, ("eeg", 4): 1, ("fmri", 1): 2}


def test_padding_is_reported(make):
    index = make.index([{"modality": "eeg", "dataset": "a", "n_times": 96, "count": 3}])
    assert BatchSampler(index, 2).padding == pytest.approx(0.25)
    assert BatchSampler(index, 2, patch=32).padding == 0


def test_settings_that_cannot_be_met(make):
    index = make.index(THREE)
    with pytest.raises(CorpusError, match="no window"):
        BatchSampler(index[:0], 4)
    with pytest.raises(ConfigError, match="batch_size"):
        BatchSampler(index, 0)
    with pytest.raises(ConfigError, match="seed"):
        BatchSampler(index, 1, seed=-1)
    with pytest.raises(ConfigError, match="at least 2: every epoch visits every modality"):
        BatchSampler(index, 4, batches_per_epoch=1)


def test_one_process_goes_on_from_where_it_starts():
    assert list(islice(numbers(5), 3)) == [5, 6, 7]


def test_ranks_and_workers_share_one_series(make):
    index = make.index(THREE)
    sampler = BatchSampler(index, 10)
    series = [sampler.batches(number // len(sampler))[number % len(sampler)] for number in range(3 * len(sampler))]
    start, world, workers = 7, 6, 4
    dealt = {}
    for rank in range(world):
        for worker in range(workers):
            for number in numbers(start, rank, world, worker, workers):
                if number >= len(series):
                    break
                assert number not in dealt
                dealt[number] = (rank, worker)
    assert sorted(dealt) == list(range(start, len(series)))
    # one turn of all ranks takes consecutive batches: no rank is ahead of another
    assert [dealt[start + i][0] for i in range(2 * world)] == 2 * list(range(world))


def test_the_published_size_is_visited_once_by_64_ranks_and_by_48_after_a_resume():
    size = 5_870_984
    counts = np.array([0.833, 0.150]) * size
    counts = [*counts.astype(int), size - int(counts.astype(int).sum())]
    codes = np.repeat(np.arange(3, dtype=np.int8), counts)
    names = ["eeg", "meg", "fmri"]
    index = pd.DataFrame(
        {
            "modality": pd.Categorical.from_codes(codes, pd.Index(names)),
            "dataset": pd.Categorical.from_codes(codes, pd.Index(["tueg", "camcan", "adni"])),
            "sfreq": np.array([256.0, 256.0, 0.5])[codes],
            "n_channels": np.array([19, 306, 246], np.int32)[codes],
            "n_times": np.array([2560, 512, 200], np.int32)[codes],
        },
        copy=False,
    )
    sampler = BatchSampler(index, 32, seed=3)
    first, length = sampler.plan(0), len(sampler)
    seen = np.zeros(size, np.uint8)

    def visit(start: int, world: int, steps: int) -> int:
        """Everything that `steps` steps of `world` ranks with 8 workers each visit in epoch 0; where they stop."""
        stop = min(start + steps * world, length)
        for rank in range(world):
            for worker in range(8):
                for number in takewhile(lambda n: n < stop, numbers(start, rank, world, worker, 8)):
                    seen[first[number]] += 1
        return start + steps * world

    position = visit(0, 64, steps=1000)
    assert seen.sum() == 64_000 * 32 - sum(32 - len(first[n]) for n in range(64_000))
    assert seen.max() == 1
    position = visit(position, 48, steps=-(-(length - position) // 48))
    assert (seen == 1).all()
    assert divmod(position, length)[0] == 1  # the last step reaches into the next epoch


@pytest.mark.parametrize("weights", [None, {"modality": "equal"}, {"dataset": {"temperature": 2.0}}])
def test_a_span_of_batches_holds_every_modality(make, weights):
    index = make.index(THREE)
    sampler = BatchSampler(index, 10, weights, batches_per_epoch=None if weights is None else 60)
    batches = [batch for epoch in range(3) for batch in sampler.batches(epoch)]
    modality = [index.loc[batch[0], "modality"] for batch in batches]
    runs = [set(modality[i : i + sampler.span]) for i in range(len(batches) - sampler.span + 1)]
    assert all(run == {"eeg", "fmri"} for run in runs)
    shorter = [set(modality[i : i + sampler.span - 1]) for i in range(len(batches) - sampler.span + 2)]
    assert any(run != {"eeg", "fmri"} for run in shorter)
    if weights == {"modality": "equal"}:
        assert sampler.span == 2


def test_a_span_of_three_equal_modalities_is_three(make):
    equal = [{"modality": name, "dataset": name, "count": 100} for name in ("eeg", "fmri", "meg")]
    assert BatchSampler(make.index(equal), 10).span == 3


def test_padding_is_bounded_and_joins_lengths(make):
    lengths = [(64 * n, 5) for n in range(1, 11)]
    index = make.index([{"modality": "eeg", "dataset": "a", "n_times": t, "count": n} for t, n in lengths])
    exact, joined = BatchSampler(index, 8), BatchSampler(index, 8, max_padding=0.25)
    assert (exact.padding, len(exact)) == (0.0, 10)
    assert len(joined) < len(exact)
    for batch in joined.batches(0):
        times = index.loc[batch, "n_times"]
        assert times.min() >= 0.75 * times.max()
    assert sorted(_flat(joined.batches(0))) == list(index.index)
    # by hand, in patches: 10, 9, 8 | 7, 6 | 5, 4 | 3 | 2 | 1
    assert joined.padding == pytest.approx(1 - 55 / (3 * 10 + 2 * 7 + 2 * 5 + 3 + 2 + 1))


def test_limits_bound_a_dataset_and_go_round(make):
    index = make.index(THREE)
    sampler = BatchSampler(index, 10, limits={"big": 300})
    visits = Counter()
    for epoch in range(3):
        rows = _flat(sampler.batches(epoch))
        counts = Counter(index.loc[rows, "dataset"])
        assert counts == {"big": 300, "small": 30, "few": 20}
        visits.update(rows)
    assert {visits[row] for row in index.index[index["dataset"] == "big"]} == {1}  # 3 x 300 of 900
    weighted = BatchSampler(index, 10, {"dataset": "proportional"}, limits={"big": 30}, batches_per_epoch=40)
    counts = Counter(index.loc[_flat(weighted.batches(0)), "dataset"])
    assert abs(counts["big"] - counts["small"]) <= 10
    with pytest.raises(ConfigError, match="limits.bigg: is not in the corpus; did you mean 'big'"):
        BatchSampler(index, 10, limits={"bigg": 3})


def test_mixed_shards_are_visited_in_turn(make):
    groups = [{"modality": "eeg", "dataset": "a", "shard": f"a-{i:02d}", "count": 20} for i in range(30)]
    index = make.index(groups)
    sampler = BatchSampler(index, 10, mix_shards=3, seed=1)
    orders = []
    for epoch in range(2):
        batches = sampler.batches(epoch)
        assert sorted(_flat(batches)) == list(index.index)
        shards = [index.loc[row, "shard"] for row in _flat(batches)]
        pools = [shards[i : i + 60] for i in range(0, 600, 60)]
        assert all(len(set(pool)) == 3 for pool in pools)
        assert len({tuple(pool[i] for i in range(20)) for pool in pools}) == 10  # mixed within the pool
        orders.append([sorted(set(pool)) for pool in pools])
    assert orders[0] != orders[1]
    assert BatchSampler(index, 10, mix_shards=3, seed=1).batches(1) == batches


MIXED = [
    {"modality": "eeg", "dataset": "a", "n_channels": 19, "n_times": 640, "count": 400},
    {"modality": "meg", "dataset": "b", "n_channels": 306, "n_times": 128, "count": 100},
    {"modality": "fmri", "dataset": "c", "n_channels": 4000, "n_times": 64, "count": 2},
]


def test_a_token_budget_makes_steps_of_equal_cost(make):
    index = make.index(MIXED)
    sampler = BatchSampler(index, tokens_per_batch=3100)
    for batch in sampler.batches(0):
        tokens = (index.loc[batch, "n_channels"] * -(-index.loc[batch, "n_times"] // 64)).sum()
        assert tokens <= 3100 or len(batch) == 1  # a window that is larger than the budget comes alone
    sizes = Counter((index.loc[batch[0], "modality"], len(batch)) for batch in sampler.batches(0))
    assert sizes == {("eeg", 16): 25, ("meg", 5): 20, ("fmri", 1): 2}
    cut = BatchSampler(index, tokens_per_batch=3100, tokens_per_window=155)  # of a window, no more is used than that
    sizes = Counter((index.loc[batch[0], "modality"], len(batch)) for batch in cut.batches(0))
    assert sizes == {("eeg", 20): 20, ("meg", 20): 5, ("fmri", 2): 1}
    capped = BatchSampler(index, 8, tokens_per_batch=3100)
    assert max(len(batch) for batch in capped.batches(0)) == 8
    weighted = BatchSampler(index, tokens_per_batch=3100, weights={"modality": "equal"}, batches_per_epoch=30)
    windows = Counter(index.loc[_flat(_flat(weighted.batches(epoch) for epoch in range(9))), "modality"])
    assert windows["eeg"] == pytest.approx(windows["meg"], rel=0.1)  # weights stay fractions of windows
    with pytest.raises(ConfigError, match="batch_size or tokens_per_batch"):
        BatchSampler(index)
    with pytest.raises(ConfigError, match="tokens_per_batch: is too small"):
        BatchSampler(index, tokens_per_batch=0)
