"""GIFTI functional surfaces (func.gii) -> Recording: one hemisphere, averaged over the labels of a label.gii.

The functions of regions of labels, on a surface or on grayordinates, are shared with CIFTI files.
"""

from __future__ import annotations

import base64
import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ..errors import ReadError
from ..recording import Recording
from ..utils.checksum import sha256_of
from .atlas import Atlas, find_file
from .checks import check_size, damage_named, named_file
from .labels import distinct, read_labels
from .nifti_header import checked_tr, load_image
from .options import DEFAULT_MAX_BYTES, AtlasOptions, ReadRequest
from .regions import coverage_of, recording_of_regions, region_means, usable_places

#: bytes of one value of a GIFTI data type
_WIDTHS = {"NIFTI_TYPE_UINT8": 1, "NIFTI_TYPE_INT32": 4, "NIFTI_TYPE_FLOAT32": 4, "NIFTI_TYPE_FLOAT64": 8}


def read_gifti(request: ReadRequest) -> Recording:
    """Read a functional GIFTI file through `options.atlas.image`, a label.gii of the same mesh.

    GIFTI has no repetition time of its own: it comes from the JSON sidecar or the options. Centroids come from the
    table `atlas.labels`; without, they are unknown.
    """
    path = request.path
    image = _load(path, request.root, request.options.max_bytes, "format")
    arrays = [array.data for array in image.darrays]
    if len(arrays) == 1 and arrays[0] is not None and arrays[0].ndim == 2:
        values = arrays[0]
    elif len(arrays) > 1 and all(array is not None and array.shape == arrays[0].shape for array in arrays):
        values = np.stack(arrays, axis=-1)
    else:
        raise ReadError("holds no time series", file=path, field="arrays", fix="give a func.gii file")
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise ReadError(f"shape {values.shape} is not vertices x time", file=path, field="arrays")
    data = np.array(values, dtype=np.float32)
    t_r, notes = checked_tr(0.0, "RepetitionTime", request)
    labels, atlas = _labels(request, len(data))
    return recording_of_labels(data, labels, atlas, t_r, notes, request)


def _labels(request: ReadRequest, n_vertices: int) -> tuple[np.ndarray, Atlas]:
    """Label of each vertex, and the regions."""
    path = label_file(request, "surface", "label.gii")
    image = _load(path, request.root, DEFAULT_MAX_BYTES, "atlas.image")
    labels = np.asarray(image.darrays[0].data if image.darrays else None)
    if labels.dtype.kind not in "iuf" or not (np.abs(labels) < 2**53).all():
        problem = "holds values that are not label ids"
        raise ReadError(problem, file=path, field="atlas.image", fix="give a label.gii file")
    labels = np.rint(labels).astype(np.int64)
    if labels.shape != (n_vertices,):
        problem = f"{labels.size} labels for {n_vertices} vertices"
        raise ReadError(problem, file=path, field="atlas.image", fix="use the same mesh")
    table = {int(key): str(text) for key, text in sorted(image.labeltable.get_labels_as_dict().items())}
    return labels, atlas_of_labels(labels, table or {key: str(key) for key in np.unique(labels)}, path, request)


def _load(path: Path, root: Path, max_bytes: int, field: str) -> Any:
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
                named_file(name, path, root, "ExternalFileName")
        elif element.get("Encoding") == "GZipBase64Binary":
            most = int(n_values) * _WIDTHS.get(element.get("DataType", ""), 8)
            packed = base64.b64decode(element.findtext("Data", ""))
            if len(zlib.decompressobj().decompress(packed, most + 1)) > most:
                problem = f"array {number} unpacks to more than the {most} bytes of its Dims"
                raise ReadError(problem, file=path, field="size", fix="the file is damaged")
        if event == "end":
            element.clear()


def label_file(request: ReadRequest, kind: str, ending: str) -> Path:
    """The label file of `atlas.image`, which a recording of this kind cannot do without."""
    image = (request.options.atlas or AtlasOptions()).image
    if image is None:
        fix = f"give atlas.image=, a {ending} file"
        raise ReadError(f"is needed for a {kind}", file=request.path, field="atlas", fix=fix)
    return find_file(image, request.root, request.path, "atlas.image")


def atlas_of_labels(values: np.ndarray, table: Mapping[int, str], path: Path, request: ReadRequest) -> Atlas:
    """The regions of a label file (its `values` and `table`), or those of `atlas.labels` with their centroids."""
    options = request.options.atlas or AtlasOptions()
    ids = np.array([key for key in table if key], dtype=np.int64)
    names = distinct([table[key] for key in ids], ids)
    centroids = np.full((len(ids), 3), np.nan)
    if options.labels is not None:
        file = find_file(options.labels, request.root, request.path, "atlas.labels")
        ids, names, centroids = read_labels(file, values)
    return Atlas(
        ids, names, centroids, frame_of(centroids, request), options.name or path.name.split(".")[0], sha256_of(path)
    )


def frame_of(centroids: np.ndarray, request: ReadRequest) -> str:
    """Frame of centroids: what the options say, MNI where the name of the recording says so, else unknown."""
    if not np.isfinite(centroids).any():
        return "unknown"
    is_mni = re.search(r"mni|fs_?lr|fsaverage", request.path.name, flags=re.IGNORECASE)
    return (request.options.atlas or AtlasOptions()).space or ("mni" if is_mni else "unknown")


def recording_of_labels(
    data: np.ndarray, labels: np.ndarray, atlas: Atlas, t_r: float, notes: list[str], request: ReadRequest
) -> Recording:
    """Vertices or grayordinates x time, averaged over the label of each (0: none); `t_r` in seconds."""
    usable, flawed = usable_places(data)
    if flawed:
        notes.append(f"{flawed} grayordinates are not finite and were left out")
    coverage = coverage_of(labels[usable], labels, atlas.ids)
    if not coverage.any():
        raise ReadError("no region of the atlas lies in the file", file=request.path, field="atlas.image")
    if unknown := int(np.isnan(atlas.centroids).any(axis=1).sum()):
        notes.append(f"no position for {unknown} of {len(atlas)} regions: give atlas.labels= with columns x, y and z")
    means = region_means(data, np.where(usable, labels, 0), atlas.ids)
    return recording_of_regions(
        means, atlas.channels(), coverage, t_r, request=request, atlas=atlas.provenance(), notes=notes
    )
