"""GIFTI functional surfaces (func.gii) -> Recording: one hemisphere, averaged over the labels of a label.gii."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ReadError
from ..recording import Recording
from ..utils.checksum import sha256_of
from .atlas import find_file
from .labels import read_labels
from .nifti_header import checked_tr
from .options import DEFAULT_MAX_BYTES, AtlasOptions, ReadRequest
from .regions import fraction_there, label_counts, recording_of_regions, region_channels, region_means, usable_places
from .surface import hemisphere, label_places, load_gifti, read_surfaces, surface_frame, vertex_places


def read_gifti(request: ReadRequest) -> Recording:
    """Read a functional GIFTI file through `options.atlas.image`, a label.gii of the same mesh.

    GIFTI has no repetition time of its own: it comes from the JSON sidecar or the options. Centroids come from
    `atlas.surfaces`; without, they are unknown.
    """
    path, options, root = request.path, request.options, request.root
    image = load_gifti(path, root, options.max_bytes, "format")
    data = _series(image, path)
    t_r, notes = checked_tr(0.0, "RepetitionTime", request)
    atlas = options.atlas or AtlasOptions()
    if atlas.image is None:
        raise ReadError("is needed for a surface", file=path, field="atlas", fix="give atlas.image=, a label.gii file")
    labels, ids, names, atlas_path = _labels(atlas, root, path, len(data))
    usable, _ = usable_places(data)
    side = hemisphere(image, path, "hemisphere")
    coordinates = vertex_places(read_surfaces(atlas, root, path), side, np.arange(len(data)), path)
    places = label_places(coordinates, labels, ids)
    name = atlas.name or atlas_path.name.split(".")[0]
    channels = region_channels(names, ids, places, surface_frame(atlas, path, places), name)
    if unknown := int((~channels.located).sum()):
        hint = "" if channels.located.any() else ": give atlas.surfaces"
        notes.append(f"no position for {unknown} of {len(ids)} regions{hint}")
    means = region_means(data, np.where(usable, labels, 0), ids)
    coverage = fraction_there(label_counts(labels[usable], ids), label_counts(labels, ids))
    provenance = {"name": name, "sha256": sha256_of(atlas_path), "n_regions": len(ids)}
    return recording_of_regions(means, channels, coverage, t_r, request=request, atlas=provenance, notes=notes)


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


def _labels(
    atlas: AtlasOptions, root: Path, recording: Path, n_vertices: int
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], Path]:
    """Label of each vertex, ids and names of the regions, and the file of the atlas."""
    path = find_file(str(atlas.image), root, recording, "atlas.image")
    image = load_gifti(path, root, DEFAULT_MAX_BYTES, "atlas.image")
    if not image.darrays or image.darrays[0].data is None:
        raise ReadError("is not a label file", file=path, field="atlas.image", fix="give a label.gii file")
    labels = np.asarray(image.darrays[0].data)
    if labels.dtype.kind not in "iuf" or not (np.abs(labels) < 2**53).all():
        problem = "holds values that are not label ids"
        raise ReadError(problem, file=path, field="atlas.image", fix="give a label.gii file")
    labels = np.rint(labels).astype(np.int64)
    if labels.shape != (n_vertices,):
        problem = f"{labels.size} labels for {n_vertices} vertices"
        raise ReadError(problem, file=path, field="atlas.image", fix="use the same mesh")
    if atlas.labels is not None:
        ids, names, _ = read_labels(find_file(atlas.labels, root, recording, "atlas.labels"), labels)
        return labels, ids, names, path
    table = {int(key): str(text) for key, text in image.labeltable.get_labels_as_dict().items() if int(key) != 0}
    table = table or {int(key): str(key) for key in np.unique(labels[labels != 0])}
    return labels, np.array(sorted(table), dtype=np.int64), tuple(table[key] for key in sorted(table)), path
