"""How fast windows are written and read: corpus against HDF5, sharded Zarr and the bare disk, all float16, all warm.

Every store holds the same windows and hands them out as arrays, one after the other in the same random order. The
corpus compares each with its checksum, which plain HDF5 does not: HDF5 with its own checksum (fletcher32) and the
corpus without are measured as well, so that like stands beside like. Passes over the stores alternate and the best of
each is compared, because other work on the machine slows whole stretches of time.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch

from brainof.channels import Channels
from brainof.corpus import BatchSampler, Corpus, CorpusWriter, Loader
from brainof.model import BrainOF
from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.masking import Masking, Planner
from brainof.pretraining.objective import Objective
from brainof.pretraining.optimizer import Schedule
from brainof.pretraining.trainer import Trainer

from . import corpus_index

#: modality, sensor type, channels, samples, windows: about 200 MB, at the published mean of 240 kB a window
SHAPES = [
    ("eeg", "eeg", 20, 2560, 200),
    ("eeg", "eeg", 64, 2560, 250),
    ("meg", "mag", 306, 512, 250),
    ("fmri", "roi", 246, 300, 100),
]
PASSES = 9
BATCH, STEPS = 32, 20


@dataclass(frozen=True)
class _Window:
    data: np.ndarray
    onset: float = 0.0
    labels: dict = field(default_factory=dict)
    view: str = "pretrain"


def run() -> Iterator[tuple[str, float, str]]:
    """Yield (name, value, unit)."""
    random = np.random.default_rng(0)
    signals = [random.standard_normal((n, channels, times)).astype(np.float32) for *_, channels, times, n in SHAPES]
    megabytes = sum(signal.nbytes for signal in signals) / 2e6
    with tempfile.TemporaryDirectory(prefix="brainof-bench-") as folder:
        root = Path(folder)
        writers: dict[str, Callable[[], object]] = {
            "corpus": lambda: _write_corpus(Path(tempfile.mkdtemp(dir=root)), signals),
            "raw": lambda: _write_raw(root / "raw", signals),
        }
        written = {name: megabytes / seconds for name, seconds in _alternate(writers, 3).items()}
        yield "corpus_write", written["corpus"], "MB/s"
        yield "corpus_write_vs_disk", written["corpus"] / written["raw"], "ratio"
        _write_corpus(root / "corpus", signals)

        corpus = Corpus(root / "corpus")
        order = random.permutation(len(corpus)).tolist()
        places = [(shape, i) for shape, signal in enumerate(signals) for i in range(len(signal))]
        random_places = [places[row] for row in order]
        readers: dict[str, Callable[[], object]] = {
            "corpus": lambda: _each(corpus.read, order),
            "corpus_unchecked": lambda: _each(lambda row: np.array(corpus.view(row)), order),
            "corpus_sequential": lambda: _each(corpus.read, range(len(corpus))),
            "raw_sequential": lambda: _read_raw(root / "raw", signals),
        }
        for name, checksum in (("hdf5", False), ("hdf5_checked", True)):
            _write_hdf5(root / f"{name}.h5", signals, checksum)
            readers[name] = partial(_read_hdf5, root / f"{name}.h5", random_places)
        if importlib.util.find_spec("zarr"):
            _write_zarr(root / "zarr", signals)
            readers["zarr"] = partial(_read_zarr, root / "zarr", random_places)
        else:
            print("benchmarks: corpus_vs_zarr is left out: zarr is not installed (pip install zarr)", file=sys.stderr)
        speeds = {name: megabytes / seconds for name, seconds in _alternate(readers).items()}
        for name, speed in speeds.items():
            yield f"{name}_read", speed, "MB/s"
        for name in ("hdf5", "hdf5_checked", "zarr"):
            if name in speeds:
                yield f"corpus_vs_{name}", speeds["corpus"] / speeds[name], "ratio"
        yield "corpus_unchecked_vs_hdf5", speeds["corpus_unchecked"] / speeds["hdf5"], "ratio"
        yield "corpus_sequential_vs_raw", speeds["corpus_sequential"] / speeds["raw_sequential"], "ratio"

        yield from _loader(corpus)
    yield from corpus_index.run()


def _loader(corpus: Corpus) -> Iterator[tuple[str, float, str]]:
    """The loader alone, and beside steps of computing on one thread."""
    sampler = BatchSampler(corpus.index, BATCH)
    for name, dtype in (("loader", torch.float32), ("loader_half", torch.float16)):
        batches = islice(Loader(corpus, sampler, dtype=dtype, prefetch=0), len(sampler))
        seconds = _seconds(partial(_exhaust, batches))
        yield f"{name}_per_batch", 1000 * seconds / len(sampler), "ms"
    yield "loader_wait_pct", 100 * _waiting(corpus, sampler), "%"


def _waiting(corpus: Corpus, sampler: BatchSampler) -> float:
    """Share of the time that training `tiny` waits for its next batch."""
    model = BrainOF.from_preset("tiny")
    planner = Planner(
        Masking(MaskConfig(), 64, max_tokens=320), corpus, 0, per_epoch=len(sampler), per_step=1, steps=STEPS
    )
    loader = Loader(corpus, sampler, transform=planner)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    schedule = Schedule(lr=1e-4, warmup=0.05, steps=STEPS)
    trainer = Trainer(Objective(model, ObjectiveConfig()), optimizer, schedule, clip=1.0)
    begun, waited = 0.0, 0.0
    for step in trainer.steps(iter(loader)):
        if step.number == 1:  # the first step opens files and allocates
            begun, waited = time.perf_counter(), loader.waited
    return (loader.waited - waited) / (time.perf_counter() - begun)


def _write_corpus(root: Path, signals: list[np.ndarray]) -> None:
    with CorpusWriter(root) as writer:
        for (modality, kind, n_channels, _, _), signal in zip(SHAPES, signals, strict=True):
            channels = Channels(tuple(f"{kind}{i}" for i in range(n_channels)), (kind,) * n_channels)
            for start in range(0, len(signal), 25):
                name = f"{modality}-{n_channels}-{start}"
                recording = {"dataset": "bench", "modality": modality, "subject": name, "recording": name}
                windows = [_Window(data) for data in signal[start : start + 25]]
                writer.add(recording | {"config": name, "sfreq": 256.0}, channels, windows)


def _write_raw(path: Path, signals: list[np.ndarray]) -> None:
    with open(path, "wb") as file:
        for signal in signals:
            file.write(torch.from_numpy(signal).half().numpy().data)
        file.flush()
        os.fsync(file.fileno())


def _read_raw(path: Path, signals: list[np.ndarray]) -> None:
    with open(path, "rb") as file:
        for signal in signals:
            for window in signal:
                np.frombuffer(file.read(window.nbytes // 2), np.float16).reshape(window.shape)


def _write_hdf5(path: Path, signals: list[np.ndarray], checksum: bool) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for number, signal in enumerate(signals):
            chunk = (1, *signal.shape[1:])
            half = torch.from_numpy(signal).half().numpy()
            file.create_dataset(str(number), data=half, chunks=chunk, fletcher32=checksum)


def _read_hdf5(path: Path, places: list[tuple[int, int]]) -> None:
    import h5py

    with h5py.File(path, "r") as file:
        sets = [file[str(number)] for number in range(len(SHAPES))]
        for number, i in places:
            sets[number][i]


def _write_zarr(path: Path, signals: list[np.ndarray]) -> None:
    import zarr

    group = zarr.open_group(path, mode="w")
    for number, signal in enumerate(signals):
        one, many = (1, *signal.shape[1:]), (32, *signal.shape[1:])
        array = group.create_array(
            str(number), shape=signal.shape, chunks=one, shards=many, dtype="float16", compressors=None
        )
        array[:] = torch.from_numpy(signal).half().numpy()


def _read_zarr(path: Path, places: list[tuple[int, int]]) -> None:
    import zarr

    group = zarr.open_group(path, mode="r")
    arrays = [cast("zarr.Array", group[str(number)]) for number in range(len(SHAPES))]
    for number, i in places:
        arrays[number][i]


def _each(read: Callable[[int], np.ndarray], rows: Iterable[int]) -> None:
    for row in rows:
        read(row)


def _exhaust(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


def _seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def _alternate(actions: dict[str, Callable[[], object]], passes: int = PASSES) -> dict[str, float]:
    """Best seconds of each action over alternating passes."""
    times = [{name: _seconds(action) for name, action in actions.items()} for _ in range(passes)]
    return {name: min(each[name] for each in times) for name in actions}
