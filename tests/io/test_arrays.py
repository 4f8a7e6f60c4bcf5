from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from brainof.errors import ReadError
from brainof.io.arrays import open_arrays


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_pickled_objects_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    (np.savez if suffix == ".npz" else np.save)(path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(ReadError, match="Python objects"):
        arrays = open_arrays(path, 10**9)
        arrays.load(next(iter(arrays.shapes)))


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_announced_sizes_are_checked_before_memory_is_taken(tmp_path, suffix):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f8", "fortran_order": False, "shape": (100_000, 1_000_000)}
    )
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        path.write_bytes(stream.getvalue())
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", stream.getvalue())
    with pytest.raises(ReadError, match="bytes of data|GB of samples"):
        open_arrays(path, 10**9)


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.mat", "a.h5", "a.csv"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01 nonsense \xff\xfe" * 20])
def test_damaged_files_are_refused_in_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ReadError, match=name.replace(".", r"\.")) as caught:
        open_arrays(path, 10**9)
    assert "\n" not in str(caught.value)


def test_text_layouts(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\ufeffa;b;\n1;2;\n3;n/a;\n")
    arrays = open_arrays(path, 10**9)
    assert arrays.columns == ("a", "b")
    np.testing.assert_array_equal(arrays.load("a"), [[1, 2], [3, np.nan]])
    path.write_text("1 2\n3 four\n")
    with pytest.raises(ReadError, match="not numeric"):
        open_arrays(path, 10**9)
