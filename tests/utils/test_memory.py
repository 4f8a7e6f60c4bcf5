"""Arrays under a memory budget, and long channels in blocks: the same numbers in less memory."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from tests import ranks

from brainof import io
from brainof.channels import Channels
from brainof.corpus import CorpusWriter
from brainof.errors import ConfigError, StorageError
from brainof.prepare import WindowOptions, cut, default_chain
from brainof.recording import Recording
from brainof.simulate.bids import write_brainvision
from brainof.utils import memory
from brainof.utils.memory import blocks, empty, in_memory, memory_budget, parse_bytes, release

CHAIN = {"notch": {"freqs": [50]}, "reference": {}}


def recording(n_times: int, sfreq: float, n_channels: int = 20) -> Recording:
    data = np.random.default_rng(0).standard_normal((n_channels, n_times)).cumsum(axis=1).astype(np.float32) * 1e-6
    data[2, n_times // 2] = np.nan
    channels = Channels(tuple(f"c{row}" for row in range(n_channels)), ("eeg",) * n_channels)
    return Recording(data, sfreq, "eeg", channels)


@pytest.mark.parametrize("sfreq", [500.0, 512.0, 300.307495])
def test_blocks_change_nothing(monkeypatch, sfreq):
    raw = recording(60_000, sfreq)
    whole = default_chain("eeg", CHAIN).apply(raw)
    monkeypatch.setattr(memory, "BLOCK", 3_000)
    assert len(blocks(raw.n_times)) == 20
    pieces = default_chain("eeg", CHAIN).apply(raw)
    assert pieces.bads == whole.bads
    np.testing.assert_allclose(pieces.data, whole.data, atol=2e-5)


def test_the_disk_gives_the_same_numbers_as_memory(monkeypatch, tmp_path):
    raw = recording(20_000, 500.0)
    expected = default_chain("eeg", CHAIN).apply(raw).data
    monkeypatch.setattr(memory, "OVERHEAD", 0)
    with memory_budget(1000, tmp_path):
        found = default_chain("eeg", CHAIN).apply(raw).data
        assert isinstance(found.base, np.memmap)
        assert not list(tmp_path.iterdir())  # the files have no name
    np.testing.assert_array_equal(found, expected)
    assert type(empty((1000, 1000)).base) is not np.memmap


def test_release_keeps_the_values(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "OVERHEAD", 0)
    with memory_budget(1000, tmp_path):
        array = empty((100, 100))
    array[:] = np.arange(100)
    release(array, array[3:5].T, memoryview(array[3]), np.ones(3), None)
    np.testing.assert_array_equal(array[7], np.arange(100))


def test_views_of_a_file_are_copied_and_others_are_not(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "OVERHEAD", 0)
    with memory_budget(1000, tmp_path):
        array = empty((5, 100))
    array[:] = np.arange(500).reshape(5, 100)
    first, second = in_memory([array[:, :40], array[:, 40:70]])
    array[:] = 0
    np.testing.assert_array_equal(first, np.arange(500).reshape(5, 100)[:, :40])
    np.testing.assert_array_equal(second, np.arange(500).reshape(5, 100)[:, 40:70])
    plain = [np.ones((5, 3))]
    assert in_memory(plain) is plain


@pytest.mark.parametrize(("n", "overlap"), [(0, 0), (5, 0), (2**20, 0), (5 * 2**20 + 3, 999), (2**21, 2**19)])
def test_blocks_cover_everything_once(n, overlap):
    pieces = blocks(n, overlap)
    assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])]
    assert pieces[-1][1] == n
    assert all(stop - start >= min(n, 4 * overlap) for start, stop in pieces)


@pytest.mark.parametrize(("text", "n"), [("2GB", 2 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("12", 12)])
def test_sizes(text, n):
    assert parse_bytes(text) == n


def test_wrong_sizes(tmp_path):
    with pytest.raises(ConfigError, match="memory: 'much'; write a size"):
        parse_bytes("much")
    with (
        pytest.raises(ConfigError, match="less than the program itself needs; give at least 0.8GB"),
        memory_budget(10**6),
    ):
        pass
    with pytest.raises(StorageError, match="no room for"), memory_budget(10**9, tmp_path / "nowhere"):
        empty((10**9,))


def peak(pipe, path: str, folder: str, budget: int | None) -> None:
    """MB above what the process has before it prepares the file."""
    for name in ("mne", "scipy.signal"):
        importlib.import_module(name)  # what is loaded on use is no part of the work
    memory.OVERHEAD = 0
    before = status("VmRSS")
    with memory_budget(budget, folder), CorpusWriter(f"{folder}/corpus-{budget}") as writer:
        prepared = default_chain("eeg").apply(io.read(path))
        row = {"dataset": "x", "modality": "eeg", "subject": "1", "recording": "r", "config": "c", "sfreq": 256.0}
        writer.add(row, prepared.channels, cut(prepared, WindowOptions(length=4)))
        writer.flush()
    pipe.send(status("VmHWM") - before)


def status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.timeout(300)
def test_peak_memory_stays_below_the_budget(tmp_path):
    """128 channels x 200 s at 1 kHz are 102 MB in float32: whole, two at a time; with 96 MB, never one."""
    n_channels, n_times = 128, 200_000
    data = np.random.default_rng(0).standard_normal((n_channels, n_times)).astype(np.float32) * 2e-5
    names = tuple(f"E{n}" for n in range(n_channels))
    write_brainvision(Recording(data, 1000.0, "eeg", Channels(names, ("eeg",) * n_channels)), tmp_path / "a.vhdr")
    peaks = {}
    for budget in (None, 96 * 10**6):
        here, there = ranks.CONTEXT.Pipe(duplex=False)
        ranks.CONTEXT.Process(target=peak, args=(there, str(tmp_path / "a.vhdr"), str(tmp_path), budget)).start()
        there.close()
        peaks[budget] = here.recv()
    assert peaks[None] > 200
    assert peaks[96 * 10**6] < 120  # MB; beside the arrays there are the pieces that MNE decodes and numpy's own
