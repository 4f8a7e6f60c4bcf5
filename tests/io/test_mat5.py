from __future__ import annotations

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from brainof.errors import ReadError
from brainof.io.mat5 import check_mat5

VALUES = {
    "x": np.arange(6.0).reshape(2, 3),
    "small": np.int8(3),
    "z": np.array([1 + 2j, 3]),
    "text": "Fp1 µV",
    "cells": np.array([np.arange(3), "a", np.array([])], dtype=object),
    "record": {"a": 1.0, "deep": {"b": np.array(["x", "yz"], dtype=object)}},
    "none": np.zeros((0, 3)),
    "sparse": scipy.sparse.csc_array(np.diag([1.0, 0, 3])),
    "flag": np.array([True, False]),
}


@pytest.mark.parametrize("compressed", [False, True])
def test_whole_files_pass(tmp_path, compressed):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, VALUES, do_compression=compressed)
    check_mat5(path, 10**6)
    scipy.io.savemat(path, {"x": VALUES["x"]}, format="4")
    check_mat5(path, 10**6)  # version 4 is left to scipy


def test_sizes_are_checked_before_memory_is_taken(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.zeros(10**6)}, do_compression=True)
    assert path.stat().st_size < 10_000
    check_mat5(path, 10**7)
    with pytest.raises(ReadError, match="damaged compressed element"):
        check_mat5(path, 10**6)


def test_text_shorter_than_it_says_is_found(tmp_path):
    """Its 2 GB of characters would be taken before any is read; UTF-8 has at least a byte for each."""
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"text": "Fp1 C3"})
    content = path.read_bytes()
    sizes = np.array([1, 6], "<i4").tobytes()
    assert content.count(sizes) == 1
    path.write_bytes(content.replace(sizes, np.array([1, 2**31 - 1], "<i4").tobytes()))
    with pytest.raises(ReadError, match="damaged text"):
        check_mat5(path, 10**6)


@pytest.mark.parametrize("compressed", [False, True])
def test_every_cut_is_found(tmp_path, compressed):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": VALUES["x"], "record": VALUES["record"]}, do_compression=compressed)
    content = path.read_bytes()
    found = 0
    for end in range(1, len(content), 7):
        path.write_bytes(content[:end])
        try:
            check_mat5(path, 10**6)
        except ReadError:
            found += 1
        else:  # a cut between two variables leaves a whole file
            assert len(scipy.io.whosmat(path)) < 2
    assert found > 0.9 * len(range(1, len(content), 7))
