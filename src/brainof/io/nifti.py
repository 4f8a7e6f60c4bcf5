"""4-D NIfTI images -> Recording: one channel per region of an atlas or cube of a grid, in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..channels import Channels
from ..errors import ReadError
from ..recording import Recording
from ..utils.values import ceil_div, counted
from .atlas import Atlas, label_centroids, load_atlas, mask_file, notes_on, open_atlas, space_of
from .nifti_header import TIME_UNITS, check_file_size, check_shape, checked_tr, load_image, voxels
from .options import AtlasOptions, ReadRequest
from .regions import coverage_of, recording_of_regions, region_channels, region_means, usable_places

#: magnitudes above this are damage, not signal
_MAX_VALUE = 1e10
#: share of the bright end (98th percentile) of the mean image above which a voxel counts as brain
BRAIN_SHARE = 0.3


def read_nifti(request: ReadRequest) -> Recording:
    """Read a 4-D image through an atlas (`options.atlas.image`) or a grid (`options.atlas.grid_mm`).

    Voxels that are not finite, or zero throughout, do not count. Regions with no voxel left hold 0 and are bad;
    regions of which less than `min_coverage` is left are bad.
    """
    image = load_image(request.path)
    check_shape(image, request.path, request.options)
    check_file_size(image, request.path)
    return recording_of_image(image, request)


def recording_of_image(image: Any, request: ReadRequest) -> Recording:
    """A 4-D image whose header was checked -> Recording."""
    unit = TIME_UNITS.get(int(image.header["xyzt_units"]) & 0x38, np.nan)  # a frequency, or no code at all
    t_r, notes = checked_tr(float(image.header.get_zooms()[3]) * unit, "pixdim[4]", request)
    path, root, options = request.path, request.root, request.options.atlas or AtlasOptions()
    atlas: Atlas | None = None
    if options.grid_mm is None:
        atlas = load_atlas(options, root, path)
        if atlas is None or atlas.image is None:
            if options.name is not None and options.image is None and options.labels is None:
                open_atlas(options.name)  # says how to fetch it, or what is known
            fix = "give a label image with atlas.image=, or cubes with atlas.grid_mm="
            raise ReadError("is needed for a 4-D image", file=path, field="atlas", fix=fix)
    data = np.array(voxels(image, path, np.float32))
    usable, flawed = usable_places(data, _MAX_VALUE)
    if flawed:
        notes.append(f"{counted(flawed, 'voxel', 'are')} not finite or beyond {_MAX_VALUE:g}: left out")
    if options.mask is not None:
        usable &= _mask(options.mask, root, path, image)
    if atlas is None:
        labels, channels = _grid(data, usable, image, options, path)
        coverage, provenance = np.ones(len(channels)), {"name": channels.atlas, "n_regions": len(channels)}
    else:
        labels, coverage = _atlas_on_image(atlas, data.shape[:3], image.affine, usable, path)
        channels, provenance = atlas.channels(), atlas.provenance()
        notes += notes_on(atlas)
        if atlas.frame == "mni" and space_of(path, image) != "mni":
            notes.append("neither the name nor the header says that the image is in MNI space, where the atlas is")
    means = region_means(data, labels, channels.labels)
    return recording_of_regions(means, channels, coverage, t_r, request=request, atlas=provenance, notes=notes)


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
    names = [f"cube-{number:0{width}d}" for number in ids]
    frame = options.space or space_of(path, image) or "scanner"
    name = options.name or f"grid-{options.grid_mm:g}mm"
    return labels, region_channels(names, ids, label_centroids(labels, image.affine, ids), frame, name, order=ids - 1)


def brain_mask(mean_volume: np.ndarray) -> np.ndarray:
    """Voxels brighter than 30 % of the 98th percentile of the positive mean image (nx, ny, nz).

    A fixed threshold works on slices and coarse grids, where morphological masks find nothing.
    """
    finite = np.nan_to_num(mean_volume)
    positive = finite[finite > 0]
    return finite > (BRAIN_SHARE * np.percentile(positive, 98) if positive.size else np.inf)


def cube_labels(mask: np.ndarray, zooms: Sequence[float], grid_mm: float, min_coverage: float) -> np.ndarray:
    """1 + number of the cube that each brain voxel (`mask`) lies in, int32; 0 outside.

    The edge is rounded to whole voxels (at least one) along each axis (`zooms` are their edges in millimetres), so that
    `grid_mm` equal to the voxel size gives one region per voxel. Cubes count from the corner of the image, x slowest;
    their labels depend only on the shape of the image and the edge, so that the same cube has the same label in every
    run. Cubes of which a smaller share than `min_coverage` is brain are left out.
    """
    sizes = zip(mask.shape, zooms, strict=True)
    # along an axis that is no longer than the edge there is one cube, however small (or damaged) its voxels are
    edges = [max(1, round(grid_mm / zoom)) if grid_mm < zoom * size else size for size, zoom in sizes]
    cubes = [ceil_div(size, edge) for size, edge in zip(mask.shape, edges, strict=True)]
    x, y, z = np.ogrid[tuple(slice(size) for size in mask.shape)]
    number = ((x // edges[0]) * cubes[1] + y // edges[1]) * cubes[2] + z // edges[2]
    whole = np.bincount(number.ravel(), minlength=int(np.prod(cubes)))
    brain = np.bincount(number[mask], minlength=len(whole))
    enough = (brain > 0) & (brain >= min_coverage * whole)
    return np.where(mask & enough[number], number + 1, 0).astype(np.int32)


def _mask(name: str, root: Path, recording: Path, image: Any) -> np.ndarray:
    file = mask_file(name, root, recording)
    mask = load_image(file)
    if mask.shape[:3] != image.shape[:3] or not np.allclose(mask.affine, image.affine, atol=1e-2):
        raise ReadError("is not on the grid of the image", file=file, field="atlas.mask")
    return voxels(mask, file, field="atlas.mask").reshape(image.shape[:3]) > 0


def _atlas_on_image(
    atlas: Atlas, shape: tuple[int, ...], affine: np.ndarray, usable: np.ndarray, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Labels on the grid of the image (usable voxels only), and the fraction of each region that is there.

    Each voxel takes the label of the voxel that contains its centre, 0 outside. Interpolating resamplers lose the outer
    half voxel of the label image; this does not.
    """
    original = np.asanyarray(atlas.image.dataobj)
    step = np.linalg.inv(atlas.image.affine) @ affine
    grid = np.ogrid[tuple(slice(size) for size in shape)]
    index, inside = [], usable.copy()
    for axis in range(3):
        place = sum(step[axis, k] * grid[k] for k in range(3)) + step[axis, 3]
        # a centre on the border of two voxels must not depend on rounding errors
        whole = np.broadcast_to(np.floor(np.round(place, 6) + 0.5), shape).astype(np.int64)
        inside &= (whole >= 0) & (whole < original.shape[axis])
        index.append(np.clip(whole, 0, original.shape[axis] - 1))
    labels = np.where(inside, original[tuple(index)], 0)
    sizes = abs(np.linalg.det(affine[:3, :3])), abs(np.linalg.det(atlas.image.affine[:3, :3]))
    coverage = coverage_of(labels, original, atlas.ids, sizes)
    if not coverage.any():
        problem = f"no region of {atlas.name} lies in the image"
        raise ReadError(problem, file=path, field="atlas", fix="bring both to one space")
    return labels, coverage
