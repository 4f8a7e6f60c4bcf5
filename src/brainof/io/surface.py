"""GIFTI files, checked before they are decoded, and places on the cortical surface."""

from __future__ import annotations

import base64
import math
import re
import zlib
from os.path import abspath, normpath
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ..errors import ReadError
from .atlas import find_file
from .checks import check_size, damage_named
from .nifti_header import load_image
from .options import DEFAULT_MAX_BYTES, AtlasOptions

LEFT, RIGHT = "CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"

#: bytes of one value of a GIFTI data type
_WIDTHS = {"NIFTI_TYPE_UINT8": 1, "NIFTI_TYPE_INT32": 4, "NIFTI_TYPE_FLOAT32": 4, "NIFTI_TYPE_FLOAT64": 8}


def load_gifti(path: Path, root: Path, max_bytes: int, field: str) -> Any:
    """A GIFTI image whose arrays fit `max_bytes` and lie inside `root`; ReadError where they do not, or are damaged."""
    import nibabel

    if path.is_file():  # a pipe would be waited for
        check_size(path.stat().st_size, max_bytes, path, "the file")
        with damage_named(path, fix="the file is damaged or no GIFTI"):
            _check_arrays(path, root, max_bytes)
    image = load_image(path)
    if not isinstance(image, nibabel.GiftiImage):
        raise ReadError(f"{type(image).__name__} is not a GIFTI file", file=path, field=field)
    return image


def _check_arrays(path: Path, root: Path, max_bytes: int) -> None:
    announced, number = 0.0, 0
    for event, element in ElementTree.iterparse(path, ("start", "end")):
        if element.tag != "DataArray":
            continue
        dims = [float(size) for key, size in element.items() if key.startswith("Dim") and key[3:].isdigit()]
        n_values = math.prod(dims)
        if event == "start":
            number, announced = number + 1, announced + n_values
            check_size(announced * 4, max_bytes, path)
            if name := element.get("ExternalFileName", ""):
                _check_external(path, root, name, number)
        elif element.get("Encoding") == "GZipBase64Binary":
            most = int(n_values) * _WIDTHS.get(element.get("DataType", ""), 8)
            packed = base64.b64decode(element.findtext("Data", ""))
            if len(zlib.decompressobj().decompress(packed, most + 1)) > most:
                problem = f"array {number} unpacks to more than the {most} bytes of its Dims"
                raise ReadError(problem, file=path, field="size", fix="the file is damaged")
        if event == "end":
            element.clear()


def _check_external(path: Path, root: Path, name: str, number: int) -> None:
    target = Path(normpath(Path(abspath(path.parent)) / name))
    if not any(target.is_relative_to(abspath(folder)) for folder in (root, path.parent)):
        problem, fix = f"array {number} lies in {name!r}, outside {root}", "keep data below the root"
    elif not target.is_file():
        problem, fix = f"array {number} lies in {name!r}, which is not a file", "copy that file, too"
    else:
        return
    raise ReadError(problem, file=path, field="ExternalFileName", fix=fix)


def read_surfaces(options: AtlasOptions, root: Path, recording: Path) -> dict[str, np.ndarray]:
    """Structure -> vertex coordinates (n, 3) in metres; ReadError where a file is no surface of a hemisphere."""
    surfaces = {}
    for name in options.surfaces:
        path = find_file(name, root, recording, "atlas.surfaces")
        image = load_gifti(path, root, DEFAULT_MAX_BYTES, "atlas.surfaces")
        with damage_named(path, field="atlas.surfaces", fix="give .surf.gii files"):
            coordinates = image.agg_data("pointset")
        if coordinates is None or np.ndim(coordinates) != 2:
            raise ReadError("is not a surface", file=path, field="atlas.surfaces", fix="give .surf.gii files")
        surfaces[hemisphere(image, path, "atlas.surfaces")] = np.asarray(coordinates, dtype=np.float64) / 1000
    return surfaces


def hemisphere(image: Any, path: Path, field: str) -> str:
    """The structure a GIFTI file belongs to, by its metadata or its name; ReadError where neither tells."""
    for part in (image, *image.darrays):
        text = part.meta.get("AnatomicalStructurePrimary", "").lower()
        if "left" in text or "right" in text:
            return LEFT if "left" in text else RIGHT
    if re.search(r"hemi-L|[._]L[._]|^lh\.|left", path.name):
        return LEFT
    if re.search(r"hemi-R|[._]R[._]|^rh\.|right", path.name):
        return RIGHT
    fix = "put hemi-L or hemi-R into its name"
    raise ReadError("does not say which hemisphere it is of", file=path, field=field, fix=fix)


def surface_frame(options: AtlasOptions, path: Path, places: np.ndarray) -> str:
    """Frame of places on surfaces: what the options say, MNI where a file name says so, else unknown."""
    if not np.isfinite(places).any():
        return "unknown"
    names = " ".join([*options.surfaces, path.name])
    is_mni = re.search(r"mni|fs_?lr|fsaverage", names, flags=re.IGNORECASE)
    return options.space or ("mni" if is_mni else "unknown")


def mean_place(coordinates: np.ndarray) -> np.ndarray:
    """Centroid of some places; NaN where one of them is unknown, or there is none."""
    return coordinates.mean(axis=0) if len(coordinates) else np.full(3, np.nan)


def label_places(coordinates: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """`mean_place` of each label, shape (n, 3), in the order of `ids`."""
    return np.array([mean_place(coordinates[labels == label]) for label in ids]).reshape(-1, 3)


def vertex_places(surfaces: dict[str, np.ndarray], structure: str, vertices: np.ndarray, path: Path) -> np.ndarray:
    """Coordinates of vertices, shape (n, 3); NaN where the surface is not given, ReadError where it has fewer."""
    if structure not in surfaces:
        return np.full((len(vertices), 3), np.nan)
    surface, last = surfaces[structure], int(np.max(vertices, initial=-1))
    if last >= len(surface):
        problem = f"vertex {last} is not on the surface ({len(surface)} vertices)"
        raise ReadError(problem, file=path, field="atlas.surfaces", fix="give surfaces of the same mesh")
    return surface[vertices]
