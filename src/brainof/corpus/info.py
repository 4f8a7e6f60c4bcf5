"""What a corpus holds: disk, windows, hours, subjects, and how long an epoch over it takes."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from ..errors import BrainOFError
from .index import LABEL, subjects

#: Windows read to measure the speed that epoch times are computed with, and the most seconds spent on it
PROBE, PROBE_SECONDS = 128, 2.0


def corpus_info(corpus: Any) -> dict[str, Any]:
    """Disk, windows, hours and subjects, in all and per modality, dataset and view: plain values, ready for JSON.

    Views may cover the same time, so hours are per view. `epoch_seconds` is how long reading every window once takes on
    this machine, checked and as float32 batches, by the speed of a random sample of windows (`megabytes_per_second`,
    None where nothing could be read); training adds its own time.
    """
    labels = [name for name in corpus.column_names if name.startswith(LABEL)]
    names = ["dataset", "modality", "view", "subject", "recording", "n_channels", "n_times", "sfreq", *labels]
    index = corpus.columns(names)
    table = index.assign(
        who=subjects(index),
        hours=index["n_times"] / index["sfreq"] / 3600,
        megabytes=2e-6 * index["n_channels"].astype(np.int64) * index["n_times"],
    )
    speed = read_speed(corpus)

    def counts(part: pd.DataFrame) -> dict[str, Any]:
        megabytes = float(part["megabytes"].sum())
        return {
            "windows": len(part),
            "subjects": int(part["who"].nunique()),
            "hours": round(float(part["hours"].sum()), 3),
            "epoch_seconds": None if speed is None else round(megabytes / speed, 3),
            "megabytes": round(megabytes, 3),
        }

    groups = [
        {
            "modality": str(modality),
            "dataset": str(dataset),
            "view": str(view),
            **counts(part),
            "recordings": int(part["recording"].nunique()),
            "n_channels": [int(part["n_channels"].min()), int(part["n_channels"].max())],
            "n_times": [int(part["n_times"].min()), int(part["n_times"].max())],
            "sfreq": sorted(float(rate) for rate in part["sfreq"].unique()),
            "labels": [name.removeprefix(LABEL) for name in labels if part[name].notna().any()],
        }
        for (modality, dataset, view), part in table.groupby(["modality", "dataset", "view"], observed=True)
    ]
    n_bytes = 0
    for path in () if corpus.remote else corpus.root.rglob("*"):
        with suppress(FileNotFoundError):  # renamed or removed by a writer meanwhile
            n_bytes += path.stat().st_size if path.is_file() else 0
    whole = counts(table)
    megabytes = whole.pop("megabytes")
    return {
        "corpus": str(corpus.folder),
        "version": corpus.version,
        "shards": len(corpus.shard_names()) or len(corpus.columns(["shard"])["shard"].cat.categories),
        **whole,
        "disk_megabytes": megabytes if corpus.remote else round(n_bytes / 1e6, 3),
        "megabytes_per_second": None if speed is None else round(speed, 1),
        "groups": groups,
        "failures": corpus.failures,
        "notes": corpus.notes,
    }


def read_speed(corpus: Any) -> float | None:
    """MB/s (of float16) of reading and casting a random sample; None if remote (whole shards would come) or damaged."""
    if corpus.remote or not len(corpus):
        return None
    rows = np.random.default_rng(0).permutation(len(corpus))[:PROBE].tolist()
    n_bytes, begun = 0, time.perf_counter()
    try:
        for row in rows:
            n_bytes += corpus.read(row).astype(np.float32).nbytes // 2
            if time.perf_counter() - begun > PROBE_SECONDS:
                break
    except BrainOFError:  # what is damaged is for `verify` to say
        return None
    return n_bytes / 1e6 / max(time.perf_counter() - begun, 1e-9)
