from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open

from brainof.corpus.shards import Shard, write_shard
from brainof.errors import CorpusError


@pytest.fixture
def shard(tmp_path, make):
    windows = [window.data.astype(np.float16) for window in make.windows(0)]
    rows = [{"key": f"{i:05d}", "n_channels": 5, "n_times": 100, "crc32c": i} for i in range(len(windows))]
    path = tmp_path / "a.safetensors"
    write_shard(path, rows, windows)
    return path, windows


def test_the_safetensors_library_reads_the_same(shard):
    path, windows = shard
    with safe_open(path, "numpy") as file:
        assert file.metadata()["format"] == "brainof-corpus"
        for i, window in enumerate(windows):
            np.testing.assert_array_equal(file.get_tensor(f"{i:05d}"), window)


def test_windows_and_rows_come_back(shard):
    path, windows = shard
    opened = Shard(path)
    for i, window in enumerate(windows):
        np.testing.assert_array_equal(opened.window(f"{i:05d}", (5, 100)), window)
    assert opened.table()["crc32c"].to_pylist() == [0, 1, 2, 3]
    assert not opened.window("00000", (5, 100)).flags.writeable


@pytest.mark.parametrize("size", [0, 5, 100, -1, -2000])
def test_a_cut_shard_is_named(shard, size):
    path, _ = shard
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorpusError, match=r"a\.safetensors: shard is (cut|damaged)") as caught:
        Shard(path)
    assert "\n" not in str(caught.value)


def test_a_longer_shard_is_named(shard):
    path, _ = shard
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CorpusError, match="bytes too many"):
        Shard(path)


def test_a_header_that_claims_more_than_there_is_takes_no_memory(shard):
    path, _ = shard
    path.write_bytes((2**60).to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(CorpusError, match="header is not complete"):
        Shard(path)


def test_a_window_of_another_shape_is_refused(shard):
    path, _ = shard
    for key, shape in (("00000", (100, 5)), ("99999", (5, 100))):
        with pytest.raises(CorpusError, match="holds no window"):
            Shard(path).window(key, shape)


def test_offsets_outside_the_file_are_refused(tmp_path):
    header = json.dumps({"00000": {"dtype": "F16", "shape": [2, 1], "data_offsets": [8, 4]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    with pytest.raises(CorpusError, match="header cannot be read"):
        Shard(path)
