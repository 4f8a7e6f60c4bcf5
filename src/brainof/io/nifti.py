"""4-D NIfTI images -> Recording: one channel per region of an atlas or cube of a grid, in a fixed order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..channels import Channels
from ..errors import ReadError
from ..recording import Recording
from .atlas import Atlas, find_file, label_centroids, space_of
from .atlas_store import load_atlas, open_atlas
from .grid import brain_mask, cube_labels
from .known_atlases import KNOWN
from .nifti_header import load_image, open_nifti, voxels
from .options import AtlasOptions
from .regions import label_counts, recording_of_regions, region_means
from .request import ReadRequest

#: magnitudes above this are damage, not signal
_MAX_VALUE = 1e10


def read_nifti(request: ReadRequest) -> Recording:
    """Read a 4-D image through an atlas (`options.atlas.image`) or a grid (`options.atlas.grid_mm`).

    Voxels that are not finite, or zero throughout, do not count. Regions with no voxel left hold 0 and are bad;
    regions of which less than `min_coverage` is left are bad.

    Raises ReadError: the image is damaged, not 4-D or too large, the TR is missing or impossible, or no atlas is given.
    """
    if request.modality not in (None, "fmri"):
        raise ReadError(f"a NIfTI image holds no {request.modality}", file=request.path, field="modality")
    image, t_r, notes = open_nifti(request)
    return recording_of_image(image, t_r, request, notes)


def recording_of_image(
    image: Any, t_r: float, request: ReadRequest, notes: list[str], atlas: Atlas | None = None
) -> Recording:
    """A 4-D image whose header was checked -> Recording; `atlas` takes the place of `options.atlas.image`."""
    path, root = request.path, request.root
    atlas_options = request.options.atlas or AtlasOptions()
    if atlas is None and atlas_options.grid_mm is None:
        atlas = load_atlas(atlas_options, root, path)
    if (atlas is None or atlas.image is None) and atlas_options.grid_mm is None:
        if atlas_options.name in KNOWN and atlas_options.image is None:
            open_atlas(str(atlas_options.name))  # says how to fetch it
        raise ReadError(
            "is needed for a 4-D image",
            file=path,
            field="atlas",
            fix="give a label image with atlas.image=, or cubes with atlas.grid_mm=",
        )
    data = np.array(voxels(image, path, np.float32))
    flawed = ~np.isfinite(data).all(axis=-1) | (np.abs(data).max(axis=-1) > _MAX_VALUE)
    if flawed.any():
        notes.append(f"{int(flawed.sum())} voxels are not finite or beyond {_MAX_VALUE:g} and were left out")
        data[flawed] = 0.0
    usable = (data != 0).any(axis=-1)
    if atlas_options.mask is not None:
        usable &= _mask_file(atlas_options.mask, root, path, image)
    if atlas is None:
        labels, channels = _grid(data, usable, image, atlas_options, path)
        coverage, provenance = np.ones(len(channels)), {"name": channels.atlas, "n_regions": len(channels)}
    else:
        labels, coverage = _atlas_on_image(atlas, data.shape[:3], image.affine, usable, path)
        channels, provenance = atlas.channels(), atlas.provenance()
        notes += atlas.notes()
        if atlas.frame == "mni" and space_of(path, image) != "mni":
            notes.append("neither the name nor the header says that the image is in MNI space, where the atlas is")
    return recording_of_regions(
        region_means(data, labels, channels.labels),
        channels,
        coverage,
        t_r,
        request=request,
        atlas=provenance,
        notes=notes,
    )


def _grid(
    data: np.ndarray, usable: np.ndarray, image: Any, options: AtlasOptions, path: Path
) -> tuple[np.ndarray, Channels]:
    assert options.grid_mm is not None
    mask = usable if options.mask else usable & brain_mask(data.mean(axis=-1))
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


def _mask_file(name: str, root: Path, recording: Path, image: Any) -> np.ndarray:
    file = find_file(_bids_mask(recording) if name == "bids" else name, root, recording, "atlas.mask")
    mask = load_image(file)
    if mask.shape[:3] != image.shape[:3] or not np.allclose(mask.affine, image.affine, atol=1e-2):
        raise ReadError("is not on the grid of the image", file=file, field="atlas.mask")
    return voxels(mask, file, field="atlas.mask").reshape(image.shape[:3]) > 0


def _bids_mask(recording: Path) -> str:
    """fMRIPrep's name of the brain mask of an image: the same entities but desc-brain, suffix mask."""
    parts = [part for part in recording.name.split(".")[0].split("_")[:-1] if not part.startswith("desc-")]
    return str(recording.parent / ("_".join([*parts, "desc-brain", "mask"]) + ".nii.gz"))


def _atlas_on_image(
    atlas: Atlas, shape: tuple[int, ...], affine: np.ndarray, usable: np.ndarray, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Labels on the grid of the image (usable voxels only), and the fraction of each region that is there."""
    original = np.asanyarray(atlas.image.dataobj)
    labels = np.where(usable, nearest_labels(original, atlas.image.affine, shape, affine), 0)
    sizes = [abs(np.linalg.det(a[:3, :3])) for a in (affine, atlas.image.affine)]
    there, whole = label_counts(labels, atlas.ids) * sizes[0], label_counts(original, atlas.ids) * sizes[1]
    if not there.any():
        raise ReadError(
            f"no region of {atlas.name} lies in the image", file=path, field="atlas", fix="bring both to one space"
        )
    return labels, np.clip(np.divide(there, whole, out=np.zeros(len(whole)), where=whole > 0), 0, 1)


def nearest_labels(
    labels: np.ndarray, labels_affine: np.ndarray, shape: tuple[int, ...], affine: np.ndarray
) -> np.ndarray:
    """Labels on another grid: each voxel takes the label of the voxel that contains its centre, 0 outside.

    Interpolating resamplers lose the outer half voxel of the label image; this does not.

    Parameters
    ----------
    labels : ndarray of int, shape (mx, my, mz)
    labels_affine, affine : ndarray, shape (4, 4)
        Voxel indices to millimetres, of the labels and of the new grid.
    shape : tuple of 3 int
        Of the new grid.
    """
    step = np.linalg.inv(labels_affine) @ affine
    grid = np.ogrid[tuple(slice(size) for size in shape)]
    index, inside = [], np.ones(shape, bool)
    for axis in range(3):
        place = sum(step[axis, k] * grid[k] for k in range(3)) + step[axis, 3]
        # a centre on the border of two voxels must not depend on rounding errors
        whole = np.broadcast_to(np.floor(np.round(place, 6) + 0.5), shape).astype(np.int64)
        inside &= (whole >= 0) & (whole < labels.shape[axis])
        index.append(np.clip(whole, 0, labels.shape[axis] - 1))
    return np.where(inside, labels[tuple(index)], 0)
