"""GIFTI functional surfaces (func.gii) -> Recording: one hemisphere, averaged over the labels of a label.gii."""

from __future__ import annotations

import base64
import math
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ..errors import ReadError
from ..recording import Recording
from .atlas import Atlas
from .checks import check_size, damage_named, named_file
from .nifti_header import checked_tr, load_image
from .options import DEFAULT_MAX_BYTES, ReadRequest
from .surface import atlas_of_labels, label_file, recording_of_labels

#: bytes of one value of a GIFTI data type
_WIDTHS = {"NIFTI_TYPE_UINT8": 1, "NIFTI_TYPE_INT32": 4, "NIFTI_TYPE_FLOAT32": 4, "NIFTI_TYPE_FLOAT64": 8}


def read_gifti(request: ReadRequest) -> Recording:
    """Read a functional GIFTI file through `options.atlas.image`, a label.gii of the same mesh.

    GIFTI has no repetition time of its own: it comes from the JSON sidecar or the options. Centroids come from the
    table `atlas.labels`; without, they are unknown.
    """
    image = _load(request.path, request.root, request.options.max_bytes, "format")
    data = _series(image, request.path)
    t_r, notes = checked_tr(0.0, "RepetitionTime", request)
    labels, atlas = _labels(request, len(data))
    return recording_of_labels(data, labels, atlas, t_r, notes, request)


def _series(image: Any, path: Path) -> np.ndarray:
    """Vertices x time: one array per time point, or one array with both."""
    arrays = [array.data for array in image.darrays]
    if len(arrays) == 1 and arrays[0] is not None and arrays[0].ndim == 2:
        values = arrays[0]
    elif len(arrays) > 1 and all(array is not None and array.shape == arrays[0].shape for array in arrays):
        values = np.stack(arrays, axis=-1)
    else:
        raise ReadError("holds no time series", file=path, field="arrays", fix="give a func.gii file")
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise ReadError(f"shape {values.shape} is not vertices x time", file=path, field="arrays")
    return np.array(values, dtype=np.float32)


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
