"""Small files that the tests of reading write for themselves."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import edfio
import nibabel as nib
import numpy as np
import pytest

SFREQ, SECONDS = 100, 6


@pytest.fixture
def microvolts() -> np.ndarray:
    """Three channels of 6 s at 100 Hz, about 20 uV."""
    return np.random.default_rng(0).normal(0, 20, (3, SFREQ * SECONDS))


@pytest.fixture
def edf(tmp_path: Path, microvolts: np.ndarray) -> Callable[..., Path]:
    """Writes an EDF file; `patches` overwrite bytes of it, `keep` cuts it."""

    def write(labels=("Fp1", "C3", "O2"), units=None, patches=(), keep=None, name="rec.edf") -> Path:
        units = units or ["uV"] * len(labels)
        signals = [
            edfio.EdfSignal(microvolts[i % 3], SFREQ, label=label, physical_dimension=unit, physical_range=(-200, 200))
            for i, (label, unit) in enumerate(zip(labels, units, strict=True))
        ]
        path = tmp_path / name
        edfio.Edf(signals, annotations=[edfio.EdfAnnotation(1.0, 0.5, "left")]).write(path)
        content = bytearray(path.read_bytes())
        for start, text in patches:
            content[start : start + len(text)] = text
        path.write_bytes(bytes(content[:keep]))
        return path

    return write


@pytest.fixture
def nifti(tmp_path: Path) -> Callable[..., Path]:
    """Writes a NIfTI image of given values."""

    def write(values, t_r=2.0, zoom=3.0, name="bold.nii.gz", patches=(), affine=None) -> Path:
        affine = np.diag([zoom, zoom, zoom, 1.0]) if affine is None else affine
        image = nib.Nifti1Image(np.asarray(values), affine)
        if image.ndim == 4:
            image.header.set_zooms((zoom,) * 3 + (t_r,))
            image.header.set_xyzt_units("mm", "sec")
        path = tmp_path / name
        nib.save(image, path)
        if patches:
            content = bytearray(path.read_bytes())
            for start, piece in patches:
                content[start : start + len(piece)] = piece
            path.write_bytes(bytes(content))
        return path

    return write


@pytest.fixture
def bold() -> np.ndarray:
    """8 x 8 x 4 voxels, 20 volumes, bright everywhere."""
    return np.random.default_rng(1).normal(1000, 10, (8, 8, 4, 20)).astype(np.float32)


@pytest.fixture(scope="session")
def vendor() -> ModuleType:
    """The writers of vendor_files.py (tests are no package)."""
    spec = importlib.util.spec_from_file_location("vendor_files", Path(__file__).with_name("vendor_files.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
