from __future__ import annotations

import json

import numpy as np

from brainof.utils.values import ceil_div, finite, listed


def test_ceil_div():
    assert [ceil_div(n, 4) for n in (0, 1, 4, 5, -1)] == [0, 1, 1, 2, 0]
    assert ceil_div(10**18 + 1, 10**9) == 10**9 + 1  # where floats are too coarse


def test_finite_is_valid_json():
    values = {"a": np.float64("nan"), 1: [np.inf, np.int64(3), np.arange(2)], "b": (1.23456789, True, None, "x")}
    found = finite(values)
    assert found == {"a": None, "1": [None, 3, [0, 1]], "b": [1.234568, True, None, "x"]}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_listed():
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c", "d"], 2) == "a, b and 2 more"
