"""GIFTI functional surfaces (func.gii) -> Recording: one hemisphere, averaged over the labels of a label.gii."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..channels import Channels
from ..errors import ReadError
from ..recording import Recording
from .atlas import digest_of, find_file
from .labels import read_labels
from .nifti_header import checked_tr
from .options import DEFAULT_MAX_BYTES, AtlasOptions
from .regions import label_coverage, recording_of_regions, region_means
from .request import ReadRequest
from .surface import hemisphere, load_gifti, mean_place, read_surfaces, surface_frame, vertex_places


def read_gifti(request: ReadRequest) -> Recording:
    """Read a functional GIFTI file through `options.atlas.image`, a label.gii of the same mesh.

    GIFTI has no repetition time of its own: it comes from the JSON sidecar or the options. Centroids come from
    `atlas.surfaces`; without, they are unknown.

    Raises ReadError: the file is damaged or holds no time series, or no atlas is given.
    """
    path, options, root = request.path, request.options, request.root
    if request.modality not in (None, "fmri"):
        raise ReadError(f"a GIFTI file holds no {request.modality}", file=path, field="modality")
    image = load_gifti(path, root, options.max_bytes, "format")
    data = _series(image, path)
    t_r, notes = checked_tr(0.0, "RepetitionTime", request)
    atlas = options.atlas or AtlasOptions()
    if atlas.image is None:
        raise ReadError("is needed for a surface", file=path, field="atlas", fix="give atlas.image=, a label.gii file")
    labels, ids, names, atlas_path = _labels(atlas, root, path, len(data))
    usable = np.isfinite(data).all(axis=1)
    data[~usable] = 0.0
    usable &= (data != 0).any(axis=1)
    side = hemisphere(image, path, "hemisphere")
    coordinates = vertex_places(read_surfaces(atlas, root, path), side, np.arange(len(data)), path)
    places = np.array([mean_place(coordinates[labels == label]) for label in ids]).reshape(-1, 3)
    coverage = label_coverage(labels, usable, ids)
    name = atlas.name or atlas_path.name.split(".")[0]
    known = np.isfinite(places).any()
    channels = Channels(
        names,
        ("roi",) * len(ids),
        places,
        labels=ids,
        order=np.arange(len(ids)),
        frame=surface_frame(atlas, path) if known else "unknown",
        atlas=name,
    )
    if unknown := int((~channels.located).sum()):
        notes.append(f"no position for {unknown} of {len(ids)} regions" + ("" if known else ": give atlas.surfaces"))
    return recording_of_regions(
        region_means(data, np.where(usable, labels, 0), ids),
        channels,
        coverage,
        t_r,
        request=request,
        atlas={"name": name, "sha256": digest_of(atlas_path), "n_regions": len(ids)},
        notes=notes,
    )


def _series(image: object, path: Path) -> np.ndarray:
    """Vertices x time: one array per time point, or one array with both."""
    arrays = [array.data for array in image.darrays]  # type: ignore[attr-defined]
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
    assert atlas.image is not None
    path = find_file(atlas.image, root, recording, "atlas.image")
    image = load_gifti(path, root, DEFAULT_MAX_BYTES, "atlas.image")
    if not image.darrays or image.darrays[0].data is None:
        raise ReadError("is no label file", file=path, field="atlas.image", fix="give a label.gii file")
    labels = np.asarray(image.darrays[0].data)
    if labels.dtype.kind not in "iuf" or not (np.abs(labels) < 2**53).all():
        raise ReadError(
            "holds values that are no label ids", file=path, field="atlas.image", fix="give a label.gii file"
        )
    labels = np.rint(labels).astype(np.int64)
    if labels.shape != (n_vertices,):
        raise ReadError(
            f"{labels.size} labels for {n_vertices} vertices", file=path, field="atlas.image", fix="use the same mesh"
        )
    if atlas.labels is not None:
        ids, names, _ = read_labels(find_file(atlas.labels, root, recording, "atlas.labels"), labels)
        return labels, ids, names, path
    table = {int(key): str(text) for key, text in image.labeltable.get_labels_as_dict().items() if int(key) != 0}
    table = table or {int(key): str(key) for key in np.unique(labels[labels != 0])}
    ids = np.array(sorted(table), dtype=np.int64)
    return labels, ids, tuple(table[key] for key in sorted(table)), path
