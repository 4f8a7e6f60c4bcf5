"""The order of the published corpus on 1 to 512 ranks, simulated: an index of all its windows is generated, no data.

    RECIPE_index_seconds, RECIPE_index_mb    the index that every rank holds
    RECIPE_plan_seconds, RECIPE_plan_mb      the order of an epoch
    RECIPE_batches, RECIPE_span              batches of an epoch, and in how many consecutive ones every modality is
    RECIPE_wait_RANKS                        time that ranks wait for the slowest of a step, by the FLOPs of each
    RECIPE_read_mean_RANKS, _read_most_RANKS MB that a rank reads in a step: mean, and the 99th percentile
    RECIPE_shards_RANKS                      shards of 128 MB that a rank opens in an epoch
    RECIPE_differs                           0: the ranks together see every window once

Batches of a step go to the ranks in turn; more ranks than batches share the windows of each.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pandas as pd

from brainof.corpus import BatchSampler
from brainof.datasets.catalogue import published_index
from brainof.pretraining import PretrainConfig, find_config
from brainof.pretraining.plan import batches_of

Line = tuple[str, float, str]
RANKS = (1, 8, 64, 512)
SHARD_BYTES = 128e6


def run(*names: str) -> Iterator[Line]:
    """The lines of this benchmark, for some recipes."""
    kinds = published_index()
    for name in names or ("base", "giant"):
        for line, value, unit in simulate(find_config(name), kinds):
            yield f"{name}_{line}", value, unit


def simulate(config: PretrainConfig, kinds: pd.DataFrame, ranks: tuple[int, ...] = RANKS) -> Iterator[Line]:
    """The lines of one recipe over kinds of windows."""
    start = time.perf_counter()
    index, kind = generate(kinds)
    yield "index_seconds", time.perf_counter() - start, "s"
    yield "index_mb", index.memory_usage(deep=True).sum() / 1e6, "MB"
    model = config.architecture
    start = time.perf_counter()
    options = {"tokens_per_batch": config.tokens_per_batch, "patch": model.patch}
    sampler = BatchSampler(index, config.batch_size, config.sampling.weights or None, config.seed, **options)
    order = cast("Any", sampler.plan(0))
    yield "plan_seconds", time.perf_counter() - start, "s"
    yield "plan_mb", sum(part.nbytes for part in (order._rows, order._starts, order._ends)) / 1e6, "MB"
    yield "batches", len(order), "batches"
    yield "span", sampler.span, "batches"

    costs = batches_of(config, model, kinds)
    of_batch = kind[order._rows[order._starts]]
    windows = order._ends - order._starts
    flops = (costs["flops"] / costs["windows"]).to_numpy()[of_batch]
    size = (2 * kinds["n_channels"] * kinds["n_times"]).to_numpy()[of_batch]
    # windows of a dataset fill its shards in the order of the index
    shard = np.cumsum((2 * kinds["n_channels"] * kinds["n_times"]).to_numpy()[kind]) // SHARD_BYTES
    steps = len(order) // config.accumulate
    for world in ranks:
        share = max(1, world // config.accumulate)  # ranks of a batch
        largest = -(-windows // share)
        taken = (flops * largest)[: steps * config.accumulate].reshape(steps, -1)
        turns = min(world, config.accumulate)
        slowest = taken.reshape(steps, -1, turns).sum(1).max(1)
        ideal = (flops * windows)[: steps * config.accumulate].reshape(steps, -1).sum(1) / world
        yield f"wait_{world}", 1 - float(ideal.sum() / slowest.sum()), "fraction"
        read = (size * largest)[: steps * config.accumulate].reshape(steps, -1, turns).sum(1) / 1e6
        yield f"read_mean_{world}", float(read.mean()), "MB"
        yield f"read_most_{world}", float(np.percentile(read, 99)), "MB"
        mine = [order[number][::share] for number in range(0, len(order), turns)]
        yield f"shards_{world}", len(np.unique(shard[np.concatenate(mine)])), "shards"
    together = [order[number] for rank in range(8) for number in range(rank, len(order), 8)]
    seen = np.sort(np.concatenate(together))
    yield "differs", float(not np.array_equal(seen, np.arange(len(index)))), "(0: every window once)"


def generate(kinds: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """An index of all windows with the columns that a sampler looks at, and the kind of each."""
    kind = np.repeat(np.arange(len(kinds)), kinds["count"])
    columns = {
        name: pd.Categorical.from_codes(codes[kind], values)  # type: ignore[arg-type]
        for name in ("modality", "dataset")
        for codes, values in [pd.factorize(kinds[name])]
    }
    numbers = {name: kinds[name].to_numpy()[kind] for name in ("sfreq", "n_channels", "n_times")}
    return pd.DataFrame({**columns, **numbers}), kind
