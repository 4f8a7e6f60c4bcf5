from __future__ import annotations

import mne
import numpy as np
import pandas as pd
import pytest

from brainof.errors import ConfigError, DependencyError
from brainof.inference.embeddings import Embeddings
from brainof.interop import to_metadata, to_xarray


@pytest.fixture
def embeddings() -> Embeddings:
    table = pd.DataFrame(
        {"onset": [0.0, 2.0, 6.0], "duration": [2.0, 2.0, 1.0], "modality": "eeg", "subject": ["01", "01", None]}
    )
    return Embeddings(np.arange(12, dtype=np.float32).reshape(3, 4), table)


@pytest.fixture
def epochs() -> mne.Epochs:
    raw = mne.io.RawArray(np.zeros((1, 1000)), mne.create_info(["Cz"], 100.0, "eeg"), first_samp=500, verbose="error")
    samples = 500 + np.array([10, 250, 450, 699])  # 0.1, 2.5, 4.5 (in no window) and 6.99 s after the start
    events = np.stack([samples, [0] * 4, [1] * 4], axis=1)
    metadata = pd.DataFrame({"trial": [1, 2, 3, 4]})
    return mne.Epochs(raw, events, tmin=0, tmax=0.1, baseline=None, metadata=metadata, verbose="error")


def test_xarray_has_times_and_origin_and_can_be_saved(embeddings, tmp_path):
    xarray = pytest.importorskip("xarray")
    array = to_xarray(embeddings)
    assert array.dims == ("window", "feature")
    assert array.onset.attrs == {"units": "s"}
    assert array.sel(feature="e0002").values.tolist() == [2, 6, 10]
    assert array.where(array.onset >= 2, drop=True).shape == (2, 4)
    assert array.subject.values.tolist() == ["01", "01", ""]
    array.to_netcdf(tmp_path / "e.nc", engine="h5netcdf" if _has("h5netcdf") else "scipy")
    again = xarray.load_dataarray(tmp_path / "e.nc")
    np.testing.assert_array_equal(again.values, embeddings.values)


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def test_without_xarray(embeddings, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    with pytest.raises(DependencyError, match=r"to_xarray: needs the package xarray"):
        to_xarray(embeddings)


def test_one_window_per_epoch(embeddings, epochs):
    found = to_metadata(embeddings, epochs[:3], prefix="brainof_")
    assert found.metadata["brainof_e0003"].tolist() == [3, 7, 11]
    assert found.metadata["trial"].tolist() == [1, 2, 3]
    assert len(found["brainof_e0000 > 1"]) == 2
    assert "brainof_e0000" not in epochs.metadata
    with pytest.raises(ConfigError, match="3 windows for 4 epochs; embed the epochs"):
        to_metadata(embeddings, epochs)
    with pytest.raises(ConfigError, match="'brainof_e0000' is in the metadata already; give a prefix"):
        to_metadata(embeddings, found, prefix="brainof_")
