from __future__ import annotations

import io
import zipfile

import h5py
import numpy as np
import pytest

from brainof.errors import ReadError
from brainof.io import read
from brainof.io.arrays import open_arrays


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_pickled_objects_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    (np.savez if suffix == ".npz" else np.save)(path, np.array([{"a": 1}], dtype=object))

    def load():
        arrays = open_arrays(path, 10**9)
        return arrays.load(next(iter(arrays.shapes)))

    with pytest.raises(ReadError, match="Python objects"):
        load()


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
    with pytest.raises(ReadError, match=r"bytes of data|GB of samples"):
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


@pytest.mark.parametrize("kind", ["link", "virtual", "storage"])
@pytest.mark.parametrize("name", ["in/a.h5", "in/a.mat", "in/a.set"])
def test_an_hdf5_file_cannot_name_another_file(tmp_path, kind, name):
    """h5py opens what a link, a virtual dataset or external storage names, wherever it lies."""
    values, path = np.random.default_rng(0).normal(size=(3, 500)), tmp_path / name
    path.parent.mkdir()
    values.tofile(tmp_path / "values.bin")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = values
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("EEG")
        if kind == "link":
            group["data"] = h5py.ExternalLink("../other.h5", "x")
        elif kind == "storage":
            place = (str(tmp_path / "values.bin"), 0, h5py.h5f.UNLIMITED)
            group.create_dataset("data", values.shape, values.dtype, external=[place])
        else:
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[:] = h5py.VirtualSource("../other.h5", "x", values.shape)
            group.create_virtual_dataset("data", layout)
    with pytest.raises(ReadError, match=r"EEG/data: keeps its values in another file"):
        read(path, modality="eeg", sfreq=100, units="uV")


def test_a_virtual_dataset_of_the_same_file_is_read(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 500))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["parts"] = values
        layout = h5py.VirtualLayout(values.shape, values.dtype)
        layout[:] = h5py.VirtualSource(file["parts"])
        file.create_virtual_dataset("whole", layout)
    recording = read(tmp_path / "a.h5", modality="eeg", variable="whole", sfreq=100, units="uV")
    np.testing.assert_allclose(recording.data, values * 1e-6, rtol=1e-6)
