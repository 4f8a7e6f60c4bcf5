"""An index of the published size (5.87 million windows), generated; opened and shuffled in a process of its own.

Proportions follow the publication: 42 datasets, 32,278 people, 83 % EEG, 15 % MEG, 1.7 % fMRI."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from brainof.corpus.index import COLUMNS, FORMAT, VERSION, write_index

WINDOWS, PEOPLE, WINDOWS_PER_SHARD = 5_870_984, 32_278, 520
#: modality, share of the windows, datasets, shapes (channels, samples, Hz)
PARTS = [
    ("eeg", 0.833, 26, [(19, 2560, 256.0), (64, 2560, 256.0), (32, 1280, 128.0)]),
    ("meg", 0.150, 6, [(306, 512, 256.0), (248, 512, 256.0)]),
    ("fmri", 0.017, 10, [(246, 300, 0.5), (246, 176, 1 / 0.72)]),
]


def generate(root: Path, windows: int = WINDOWS) -> None:
    """A corpus that is all index: `index.parquet` and what must stand beside it, no shards."""
    random = np.random.default_rng(0)
    sizes = [
        (modality, f"{modality}{number:02d}", max(20, int(windows * share * part)), shapes[number % len(shapes)])
        for modality, share, datasets, shapes in PARTS
        for number, part in enumerate(_skewed(datasets))
    ]
    sizes.sort(key=lambda size: size[1])
    short = windows - sum(n for _, _, n, _ in sizes)
    sizes[0] = (*sizes[0][:2], sizes[0][2] + short, sizes[0][3])
    counts = np.array([n for *_, n, _ in sizes])
    dataset = np.repeat(np.arange(len(sizes)), counts)
    place = np.arange(windows) - np.repeat(np.cumsum(counts) - counts, counts)
    recording = np.repeat(np.cumsum(-(-counts // 40)) - -(-counts // 40), counts) + place // 40
    n_recordings = int(recording[-1]) + 1
    starts = np.flatnonzero(np.diff(dataset, prepend=-1))
    # every dataset has people of its own, numbered from one, a few recordings each
    per_person = max(1.0, n_recordings / PEOPLE)
    subject = ((recording - recording[starts][dataset]) / per_person).astype(np.int64)
    shard = np.repeat(np.cumsum(-(-counts // WINDOWS_PER_SHARD)) - -(-counts // WINDOWS_PER_SHARD), counts)
    shard = shard + place // WINDOWS_PER_SHARD
    shapes = np.array([shape for *_, shape in sizes])[dataset]
    shards = [
        f"{sizes[dataset[i]][1]}-20260101T{i:012d}-0123456789ab" for i in np.flatnonzero(np.diff(shard, prepend=-1))
    ]

    def text(codes: np.ndarray, values: list[str]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values, pa.string()))

    names = [name for _, name, *_ in sizes]
    zero = np.zeros(windows, np.int32)
    columns = {
        "shard": text(shard, shards),
        "key": text(place % WINDOWS_PER_SHARD, [f"{i:05d}" for i in range(WINDOWS_PER_SHARD)]),
        "n_channels": pa.array(shapes[:, 0].astype(np.int32)),
        "n_times": pa.array(shapes[:, 1].astype(np.int32)),
        "dtype": text(zero, ["float16"]),
        "crc32c": pa.array(random.integers(0, 2**32, windows, np.uint32)),
        "dataset": text(dataset, names),
        "modality": text(
            np.array([["eeg", "fmri", "meg"].index(m) for m, *_ in sizes])[dataset], ["eeg", "fmri", "meg"]
        ),
        "subject": text(subject, [f"sub-{i:05d}" for i in range(int(subject.max()) + 1)]),
        "session": text(recording % 3, ["ses-1", "ses-2", "ses-3"]),
        "task": text(dataset, [f"task-{name}" for name in names]),
        "run": text(recording % 2, ["1", "2"]),
        "recording": text(recording, [f"sub-{i:06d}/eeg/sub-{i:06d}_task-rest.edf" for i in range(n_recordings)]),
        "config": text(recording, [f"{i:032x}" for i in range(n_recordings)]),
        "view": text(zero, ["pretrain"]),
        "onset": pa.array((place % 40) * 10.0),
        "sfreq": pa.array(shapes[:, 2].astype(np.float64)),
        "channel_set": text(dataset, [f"{i:064x}" for i in range(len(names))]),
        "good": text(recording % 500, [format(i, "0300b") for i in range(500)]),
        "label.state": text(place % 2, ["rest", "task"]),
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "corpus.json").write_text(json.dumps({"format": FORMAT, "version": VERSION}))
    (root / "shards").mkdir(exist_ok=True)
    assert set(COLUMNS) <= set(columns)
    write_index(root / "index.parquet", pa.table(columns), shards, ordered=True)


def _skewed(count: int) -> np.ndarray:
    """Shares that sum to one, the first several times the last, as in the publication (one dataset holds 78 %)."""
    shares = 0.5 ** np.minimum(np.arange(count), 8)
    return shares / shares.sum()


def measure(root: Path) -> Iterator[tuple[str, float, str]]:
    """Yield (name, value, unit) of opening and shuffling, in this process."""
    import pandas  # noqa: F401  (what is imported is not what is measured)
    import torch  # noqa: F401

    from brainof.corpus import BatchSampler, Corpus
    from brainof.pretraining.data import COLUMNS as USED

    before = _resident("VmRSS")
    begun, cpu = time.perf_counter(), time.process_time()
    corpus = Corpus(root)
    index = corpus.columns(USED)
    yield "index_open_seconds", time.perf_counter() - begun, "s"
    yield "index_open_cpu_seconds", time.process_time() - cpu, "s"
    yield "index_open_mb", _resident("VmRSS") - before, "MB"
    yield "index_open_peak_mb", _resident("VmHWM") - before, "MB"
    begun, cpu = time.perf_counter(), time.process_time()
    sampler = BatchSampler(index, 32)
    plan = sampler.plan(0)
    yield "index_shuffle_seconds", time.perf_counter() - begun, "s"
    yield "index_shuffle_cpu_seconds", time.process_time() - cpu, "s"
    yield "index_batches", len(plan), "batches"
    yield "padding_fraction", sampler.padding, "ratio"
    begun, cpu = time.perf_counter(), time.process_time()
    _ = corpus.index
    yield "index_all_columns_cpu_seconds", time.process_time() - cpu, "s"
    yield "index_all_columns_mb", _resident("VmRSS") - before, "MB"


def run() -> Iterator[tuple[str, float, str]]:
    """Yield (name, value, unit), measured in a fresh process: memory that others left must not count."""
    with tempfile.TemporaryDirectory(prefix="brainof-bench-") as folder:
        command = [sys.executable, "-m", "benchmarks.corpus_index", folder]
        subprocess.run([*command, "generate"], check=True)
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    for line in lines:
        name, value, unit = line.split()
        yield name, float(value), unit


def _resident(field: str) -> float:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    if sys.argv[2:] == ["generate"]:
        generate(Path(sys.argv[1]))
    else:
        for name, value, unit in measure(Path(sys.argv[1])):
            print(name, value, unit)
