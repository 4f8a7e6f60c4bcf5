"""4-D NIfTI images -> Recording: one channel per region of an atlas or cube of a grid, in a fixed order."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..channels import Channels
from ..errors import BrainOFError, ReadError
from ..recording import Recording
from .atlas import Atlas, label_centroids, load_atlas, space_of
from .checks import listed
from .confounds import read_confounds, remove_confounds
from .grid import brain_mask, cube_labels
from .names import kept, renamed
from .nifti_header import open_nifti
from .options import AtlasOptions, ReadOptions

#: magnitudes above this are damage, not signal
_MAX_VALUE = 1e10


def read_nifti(
    path: Path,
    format_name: str,
    *,
    modality: str | None,
    options: ReadOptions,
    entities: Mapping[str, str] | None,
    root: Path,
) -> Recording:
    """Read a 4-D image through an atlas (`options.atlas.image`) or a grid (`options.atlas.grid_mm`).

    Voxels that are not finite, or zero throughout, do not count. Regions with no voxel left hold 0 and are bad;
    regions of which less than `min_coverage` is left are bad.

    Raises
    ------
    ReadError
        The image is damaged, not 4-D or too large, the TR is missing or impossible, or no atlas is given.
    """
    if modality not in (None, "fmri"):
        raise ReadError(f"a NIfTI image holds no {modality}", file=path, field="modality")
    image, t_r, notes = open_nifti(path, options, root)
    atlas_options = options.atlas or AtlasOptions()
    if atlas_options.image is None and atlas_options.grid_mm is None:
        raise ReadError(
            "is needed for a 4-D image", file=path, field="atlas", fix="give an atlas image with labels, or grid_mm"
        )
    data = _voxels(image, path)
    affine = image.affine
    flawed = ~np.isfinite(data).all(axis=-1) | (np.abs(data).max(axis=-1) > _MAX_VALUE)
    if flawed.any():
        notes.append(f"{int(flawed.sum())} voxels are not finite or beyond {_MAX_VALUE:g} and were left out")
        data[flawed] = 0.0
    usable = (data != 0).any(axis=-1)
    if atlas_options.grid_mm is not None:
        labels, channels = _grid(data, usable, image, atlas_options, path, root)
        coverage, provenance = np.ones(len(channels)), {"name": channels.atlas, "n_regions": len(channels)}
    else:
        atlas = load_atlas(atlas_options, root, path)
        assert atlas is not None
        labels, coverage = _atlas_on_image(atlas, data.shape[:3], affine, usable, path)
        channels, provenance = atlas.channels(), atlas.provenance()
        if atlas.frame == "mni" and space_of(path, image) != "mni":
            notes.append("neither the name nor the header says that the image is in MNI space, where the atlas is")
    signals = _region_means(data, affine, labels, channels.labels)
    bad = coverage < atlas_options.min_coverage
    names = renamed(channels.names, options, path)
    channels = Channels(**{**channels.__dict__, "names": tuple(names)})
    lost = [name for name, covered in zip(names, coverage, strict=True) if covered == 0]
    if lost:
        notes.append(f"{len(lost)} of {len(names)} regions have no voxel in the image: {listed(lost)}")
    partly = [name for name, covered, is_bad in zip(names, coverage, bad, strict=True) if is_bad and covered > 0]
    if partly:
        share = f"{100 * atlas_options.min_coverage:g} %"
        notes.append(f"{len(partly)} regions are covered by less than {share} and bad: {listed(partly)}")
    if options.confounds is not None:
        table = read_confounds(options.confounds, path, root, signals.shape[1])
        signals = np.where(coverage[:, None] > 0, remove_confounds(signals.T, table).T, 0.0)
        notes.append(f"{table.shape[1]} confounds were removed")
    rows = kept(names, options, path)
    return Recording(
        data=signals[rows].astype(np.float32),
        sfreq=1 / t_r,
        modality="fmri",
        channels=channels.take(rows),
        entities=dict(entities or {}),
        bads=tuple(names[row] for row in rows if bad[row]),
        provenance={
            "file": str(path),
            "format": "nifti",
            "truncated": False,
            "atlas": provenance,
            "coverage": {names[row]: round(float(coverage[row]), 4) for row in rows if coverage[row] < 1},
            "notes": notes,
        },
    )


def _voxels(image: Any, path: Path) -> np.ndarray:
    try:
        return np.array(image.get_fdata(dtype=np.float32, caching="unchanged"))
    except MemoryError:
        raise
    except Exception as error:  # gzip, zlib and nibabel each have their own word for a cut file
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ReadError(f"data cannot be read ({reason})", file=path, fix="the file is cut; copy it again") from error


def _grid(
    data: np.ndarray, usable: np.ndarray, image: Any, options: AtlasOptions, path: Path, root: Path
) -> tuple[np.ndarray, Channels]:
    assert options.grid_mm is not None
    mask = usable & (_mask_file(options.mask, root, path, image) if options.mask else brain_mask(data.mean(axis=-1)))
    zooms = [float(zoom) for zoom in image.header.get_zooms()[:3]]
    labels = cube_labels(mask, zooms, options.grid_mm, options.min_coverage)
    ids = np.unique(labels[labels != 0])
    if not len(ids):
        raise ReadError("no region lies in the brain mask", file=path, field="atlas.grid_mm", fix="give a smaller edge")
    width = len(str(int(ids.max())))
    channels = Channels(
        tuple(f"cube-{number:0{width}d}" for number in ids),
        ("roi",) * len(ids),
        label_centroids(labels, image.affine, ids),
        labels=ids,
        order=ids - 1,
        frame=options.space or space_of(path, image) or "scanner",
        atlas=options.name or f"grid-{options.grid_mm:g}mm",
    )
    return labels, channels


def _mask_file(name: str | None, root: Path, recording: Path, image: Any) -> np.ndarray:
    import nibabel

    assert name is not None
    for folder in (root, Path(), recording.parent):
        if (folder / name).is_file():
            mask: Any = nibabel.load(folder / name)
            if mask.shape[:3] != image.shape[:3] or not np.allclose(mask.affine, image.affine, atol=1e-2):
                raise ReadError("is not on the grid of the image", file=folder / name, field="atlas.mask")
            return np.squeeze(np.asanyarray(mask.dataobj)).reshape(image.shape[:3]) > 0
    raise ReadError("file not found", file=root / name, field="atlas.mask")


def _atlas_on_image(
    atlas: Atlas, shape: tuple[int, ...], affine: np.ndarray, usable: np.ndarray, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Labels on the grid of the image (usable voxels only), and the share of each region that is there."""
    from nilearn.image import resample_img

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            resampled = resample_img(
                atlas.image,
                target_affine=affine,
                target_shape=shape,
                interpolation="nearest",
                force_resample=True,
                copy_header=True,
            )
        except BrainOFError:
            raise
        except Exception as error:
            raise ReadError(f"atlas {atlas.name} does not fit ({error})", file=path, field="atlas") from error
    labels = np.where(usable, np.rint(np.asanyarray(resampled.dataobj)), 0).astype(np.int32)
    labels[~np.isin(labels, atlas.ids)] = 0
    original = np.asanyarray(atlas.image.dataobj)
    sizes = [abs(np.linalg.det(a[:3, :3])) for a in (affine, atlas.image.affine)]
    largest = int(max(atlas.ids.max(), original.max(), labels.max())) + 1
    there = np.bincount(labels[labels > 0], minlength=largest)[atlas.ids] * sizes[0]
    whole = np.bincount(original[original > 0], minlength=largest)[atlas.ids] * sizes[1]
    if not there.any():
        raise ReadError(
            f"no region of {atlas.name} lies in the image", file=path, field="atlas", fix="bring both to one space"
        )
    return labels, np.clip(np.divide(there, whole, out=np.zeros(len(whole)), where=whole > 0), 0, 1)


def _region_means(data: np.ndarray, affine: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mean signal of each label (n_regions, n_times), in the order of `ids`; 0 where a label has no voxel."""
    import nibabel
    from nilearn.maskers import NiftiLabelsMasker

    masker = NiftiLabelsMasker(
        nibabel.Nifti1Image(labels, affine), standardize=False, resampling_target="data", keep_masked_labels=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        columns = masker.fit_transform(nibabel.Nifti1Image(data, affine))
    # the masker drops labels without a voxel and orders the rest: go back by label id
    signals = np.zeros((len(ids), data.shape[-1]))
    row_of = {int(label): row for row, label in enumerate(ids)}
    for column, label in masker.region_ids_.items():
        if column != "background":
            signals[row_of[int(label)]] = columns[:, int(column)]
    return signals
