"""Regions for fMRI images without an atlas: cubes of a regular grid inside the brain mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..utils.values import ceil_div

#: share of the bright end (98th percentile) of the mean image above which a voxel counts as brain
BRAIN_SHARE = 0.3


def brain_mask(mean_volume: np.ndarray) -> np.ndarray:
    """Voxels brighter than 30 % of the 98th percentile of the positive mean image.

    A fixed threshold works on slices and coarse grids, where morphological masks find nothing.

    Parameters
    ----------
    mean_volume : ndarray, shape (nx, ny, nz)
    """
    finite = np.nan_to_num(mean_volume)
    positive = finite[finite > 0]
    if not positive.size:
        return np.zeros(mean_volume.shape, bool)
    return finite > BRAIN_SHARE * np.percentile(positive, 98)


def cube_labels(mask: np.ndarray, zooms: Sequence[float], grid_mm: float, min_coverage: float) -> np.ndarray:
    """Label of the cube each brain voxel lies in.

    The edge is rounded to whole voxels (at least one) along each axis, so that `grid_mm` equal to the voxel size gives
    one region per voxel. Cubes count from the corner of the image, x slowest; their labels depend only on the shape of
    the image and the edge, so that the same cube has the same label in every run.

    Parameters
    ----------
    mask : ndarray of bool, shape (nx, ny, nz)
    zooms : sequence of 3 floats
        Voxel edges in millimetres.
    grid_mm : float
    min_coverage : float
        Cubes of which a smaller share is brain are left out.

    Returns
    -------
    labels : ndarray of int32, shape (nx, ny, nz)
        0 outside; otherwise 1 + number of the cube.
    """
    edges = [max(1, round(grid_mm / zoom)) for zoom in zooms]
    cubes = [ceil_div(size, edge) for size, edge in zip(mask.shape, edges, strict=True)]
    x, y, z = np.ogrid[tuple(slice(size) for size in mask.shape)]
    number = ((x // edges[0]) * cubes[1] + y // edges[1]) * cubes[2] + z // edges[2]
    whole = np.bincount(number.ravel(), minlength=int(np.prod(cubes)))
    brain = np.bincount(number[mask], minlength=len(whole))
    enough = (brain > 0) & (brain >= min_coverage * whole)
    return np.where(mask & enough[number], number + 1, 0).astype(np.int32)
