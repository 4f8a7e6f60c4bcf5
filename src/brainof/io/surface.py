"""Places on the cortical surface and in the volume: coordinates of grayordinates, centroids of parcels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ReadError
from .atlas import find_file
from .nifti_header import load_image
from .options import AtlasOptions

LEFT, RIGHT = "CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"


def read_surfaces(options: AtlasOptions, root: Path, recording: Path) -> dict[str, np.ndarray]:
    """Vertex coordinates by structure, shape (n_vertices, 3), metres; empty where the options name no surface.

    Raises
    ------
    ReadError
        A file is missing, no surface, or does not tell its hemisphere.
    """
    surfaces = {}
    for name in options.surfaces:
        path = find_file(name, root, recording, "atlas.surfaces")
        image = load_image(path)
        coordinates = image.agg_data("pointset") if hasattr(image, "agg_data") else None
        if coordinates is None or np.ndim(coordinates) != 2:
            raise ReadError("is no surface", file=path, field="atlas.surfaces", fix="give .surf.gii files")
        surfaces[hemisphere(image, path, "atlas.surfaces")] = np.asarray(coordinates, dtype=np.float64) / 1000
    return surfaces


def hemisphere(image: Any, path: Path, field: str) -> str:
    """The structure a GIFTI file belongs to, by its metadata or its name.

    Raises
    ------
    ReadError
        Neither tells.
    """
    told = [image.meta.get("AnatomicalStructurePrimary", "")]
    told += [array.meta.get("AnatomicalStructurePrimary", "") for array in image.darrays]
    for text in told:
        if "left" in text.lower():
            return LEFT
        if "right" in text.lower():
            return RIGHT
    if re.search(r"hemi-L|[._]L[._]|^lh\.|left", path.name):
        return LEFT
    if re.search(r"hemi-R|[._]R[._]|^rh\.|right", path.name):
        return RIGHT
    raise ReadError("tells no hemisphere", file=path, field=field, fix="name it with hemi-L or hemi-R")


def surface_frame(options: AtlasOptions, *paths: Path) -> str:
    """Frame of coordinates on surfaces: what the options say, MNI where a file name says so, else unknown."""
    if options.space is not None:
        return options.space
    names = " ".join([*options.surfaces, *(path.name for path in paths)])
    return "mni" if re.search(r"mni|fs_?lr|fsaverage", names, flags=re.IGNORECASE) else "unknown"


def mean_place(coordinates: np.ndarray) -> np.ndarray:
    """Centroid of some places; NaN where one of them is unknown, or there is none."""
    return coordinates.mean(axis=0) if len(coordinates) else np.full(3, np.nan)


def vertex_places(surfaces: dict[str, np.ndarray], structure: str, vertices: np.ndarray, path: Path) -> np.ndarray:
    """Coordinates of vertices, shape (n, 3); NaN where the surface is not given.

    Raises
    ------
    ReadError
        The surface has fewer vertices.
    """
    if structure not in surfaces:
        return np.full((len(vertices), 3), np.nan)
    surface = surfaces[structure]
    if len(vertices) and int(np.max(vertices)) >= len(surface):
        raise ReadError(
            f"vertex {int(np.max(vertices))} is not on the surface ({len(surface)} vertices)",
            file=path,
            field="atlas.surfaces",
            fix="give surfaces of the same mesh",
        )
    return surface[vertices]
