"""Small files of every format with flipped bits, overwritten stretches and cut ends: a Recording or a named error.

`BRAINOF_FUZZ=500` tries more files of each format than the few that fit a test run.
"""

from __future__ import annotations

import os
import tracemalloc
import warnings
from pathlib import Path

import edfio
import eeglabio.raw
import mne
import nibabel as nib
import numpy as np
import pybv
import pytest
import scipy.io
from nibabel import cifti2

from brainof.errors import BrainOFError
from brainof.io import ReadOptions, read
from brainof.recording import Recording

TRIES = int(os.environ.get("BRAINOF_FUZZ", "12"))
MAX_BYTES, MOST_MEMORY = 20_000_000, 120_000_000

NAMES = ["Fp1", "C3", "O2"]
DATA = np.random.default_rng(0).normal(0, 20, (3, 200))
ARRAY = {"variable": "x", "units": "uV", "sfreq": 100, "time_axis": 1, "channel_names": NAMES}


def _edf(path: Path, vendor) -> None:
    kind, file = (edfio.EdfSignal, edfio.Edf) if path.suffix == ".edf" else (edfio.BdfSignal, edfio.Bdf)
    rows = zip(NAMES, DATA, strict=True)
    file([kind(row, 100, label=n, physical_dimension="uV", physical_range=(-200, 200)) for n, row in rows]).write(path)


def _vhdr(path: Path, vendor) -> None:
    events = np.array([[20, 1, 1]])
    pybv.write_brainvision(
        data=DATA * 1e-6, sfreq=100, ch_names=NAMES, fname_base=path.stem, folder_out=path.parent, events=events
    )


def _fif(path: Path, vendor) -> None:
    info = mne.create_info(NAMES, 100.0, "eeg")
    mne.io.RawArray(DATA * 1e-6, info, verbose="error").save(path, verbose="error", overwrite=True)


def _nifti(path: Path, vendor) -> None:
    image = nib.Nifti1Image(np.random.default_rng(0).normal(100, 1, (4, 4, 3, 8)).astype(np.float32), np.eye(4) * 3)
    image.header.set_zooms((3, 3, 3, 2))
    nib.save(image, path)


def _cifti(path: Path, vendor) -> None:
    axis = cifti2.BrainModelAxis.from_mask(np.ones((2, 2, 2), bool), name="ThalamusLeft", affine=np.eye(4))
    values = np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32)
    cifti2.Cifti2Image(values, header=(cifti2.SeriesAxis(0, 1, 10), axis)).to_filename(path)
    label = cifti2.LabelAxis(["x"], [{1: ("one", (0, 0, 0, 1))}])
    cifti2.Cifti2Image(np.ones((1, 8), np.float32), header=(label, axis)).to_filename(path.with_name("a.dlabel.nii"))


def _gifti(path: Path, vendor) -> None:
    arrays = [nib.gifti.GiftiDataArray(row.astype(np.float32)) for row in np.random.default_rng(0).normal(size=(8, 10))]
    nib.save(nib.GiftiImage(darrays=arrays), path)
    labels = nib.gifti.GiftiDataArray(np.arange(10, dtype=np.int32) % 3, intent="NIFTI_INTENT_LABEL")
    nib.save(nib.GiftiImage(darrays=[labels]), path.with_name("atlas.label.gii"))


def _hdf5(path: Path, vendor) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["x"] = DATA


def _fmriprep(path: Path, vendor) -> None:
    """An image with an atlas, its table, a mask, confounds and a JSON file; one of them is spoiled."""
    image = path.with_name("sub-1_task-x_desc-preproc_bold.nii.gz")
    _nifti(image, vendor)
    nib.save(
        nib.Nifti1Image(np.arange(48).reshape(4, 4, 3).astype(np.int16) % 4, np.eye(4) * 3),
        path.with_name("atlas.nii.gz"),
    )
    nib.save(
        nib.Nifti1Image(np.ones((4, 4, 3), np.uint8), np.eye(4) * 3),
        path.with_name("sub-1_task-x_desc-brain_mask.nii.gz"),
    )
    path.with_name("labels.tsv").write_text(
        "index\tname\tx\ty\tz\n" + "".join(f"{i}\tr{i}\t{i}\t0\t9.5\n" for i in (1, 2, 3))
    )
    columns = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    rows = ["\t".join(f"{value:.3f}" for value in row) for row in np.random.default_rng(0).normal(size=(8, 6))]
    path.with_name("sub-1_task-x_desc-confounds_timeseries.tsv").write_text(
        "\n".join(["\t".join(columns), *rows]) + "\n"
    )
    path.with_name("sub-1_task-x_desc-preproc_bold.json").write_text('{"RepetitionTime": 2.0}')


FMRIPREP = {
    "atlas": {"image": "atlas.nii.gz", "labels": "labels.tsv", "mask": "bids"},
    "confounds": {"strategy": ["motion"], "motion": "basic"},
}

SIDECARS = (
    "atlas.nii.gz",
    "labels.tsv",
    "sub-1_task-x_desc-brain_mask.nii.gz",
    "sub-1_task-x_desc-confounds_timeseries.tsv",
    "sub-1_task-x_desc-preproc_bold.json",
)

#: file -> how it is written, options, and the file to read where it is another one
FORMATS = {
    "a.edf": (_edf, {}),
    "a.bdf": (_edf, {}),
    "a.vhdr": (_vhdr, {}),
    "a.vmrk": (_vhdr, {}),
    "a.set": (lambda path, vendor: eeglabio.raw.export_set(str(path), DATA * 1e-6, 100, NAMES), {}),
    "a_raw.fif": (_fif, {}),
    "v1.gdf": (lambda path, vendor: vendor.write_gdf(path, DATA, NAMES, 100, version="1.25"), {}),
    "v2.gdf": (lambda path, vendor: vendor.write_gdf(path, DATA, NAMES, 100), {}),
    "a.cnt": (lambda path, vendor: vendor.write_cnt(path, DATA, NAMES, 100), {}),
    "a.raw": (lambda path, vendor: vendor.write_egi(path, DATA, 100), {}),
    "nihon.eeg": (lambda path, vendor: vendor.write_nihon(path, DATA, NAMES, 100), {}),
    "a.lay": (lambda path, vendor: vendor.write_persyst(path, DATA, NAMES, 100), {}),
    "a.nii": (_nifti, {"atlas": {"grid_mm": 6}}),
    "a.nii.gz": (_nifti, {"atlas": {"grid_mm": 6}}),
    "a.dtseries.nii": (_cifti, {"atlas": {"image": "a.dlabel.nii"}}),
    "hemi-L.func.gii": (_gifti, {"atlas": {"image": "atlas.label.gii"}, "t_r": 1}),
    "a.npz": (lambda path, vendor: np.savez(path, x=DATA), ARRAY),
    "a.npy": (lambda path, vendor: np.save(path, DATA), ARRAY),
    "a.mat": (lambda path, vendor: scipy.io.savemat(path, {"x": DATA}), ARRAY),
    "a.h5": (_hdf5, ARRAY),
    "a.csv": (lambda path, vendor: np.savetxt(path, DATA.T, delimiter=",", header="Fp1,C3,O2", comments=""), ARRAY),
    **dict.fromkeys(SIDECARS, (_fmriprep, FMRIPREP, "sub-1_task-x_desc-preproc_bold.nii.gz")),
}


def _spoiled(content: bytes, random: np.random.Generator) -> bytes:
    """Flipped bits, an overwritten stretch, or a cut end; half of the damage lies in the first kilobyte."""
    out = bytearray(content)
    end = min(len(out), 1024) if random.random() < 0.5 else len(out)
    kind = random.integers(4)
    if kind == 0:
        return bytes(out[: int(random.integers(len(out)))])
    if kind == 1:
        start, length = int(random.integers(end)), int(random.integers(1, 17))
        out[start : start + length] = random.bytes(len(out[start : start + length]))
    elif kind == 2:
        start = int(random.integers(end))
        out[start : start + 4] = random.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"9999"])[
            : len(out) - start
        ]
    else:
        for place in random.integers(end, size=int(random.integers(1, 9))):
            out[place] ^= 1 << int(random.integers(8))
    return bytes(out)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMATS)
def test_damage_gives_a_recording_or_a_named_error(name, tmp_path, vendor):
    make, values, *other = FORMATS[name]
    spoiled = tmp_path / name
    make(spoiled, vendor)
    path = tmp_path / other[0] if other else spoiled
    content, random = spoiled.read_bytes(), np.random.default_rng(len(name))
    options = ReadOptions.parse({**values, "max_bytes": MAX_BYTES})
    modality = "eeg" if "variable" in values else None
    assert read(path, options=options, modality=modality).n_channels > 0
    said: list[str] = []
    for number in range(TRIES):
        spoiled.write_bytes(_spoiled(content, random))
        tracemalloc.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert isinstance(read(path, options=options, modality=modality), Recording)
        except BrainOFError as error:
            said.append(str(error))
        except Exception as error:
            raise AssertionError(f"file {number} of {name}: {type(error).__name__}: {error}") from error
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MOST_MEMORY, f"file {number} of {name} took {peak / 1e6:.0f} MB"
    assert not [line for line in said if "\n" in line]
