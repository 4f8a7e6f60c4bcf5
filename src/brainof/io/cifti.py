"""CIFTI-2 time series (dtseries, ptseries) -> Recording: regions of a dlabel atlas, or parcels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ReadError
from ..recording import Recording
from ..utils.checksum import sha256_of
from ..utils.values import listed
from .atlas import Atlas, find_file
from .checks import check_size, damage_named
from .gifti import atlas_of_labels, frame_of, label_file, recording_of_labels
from .labels import read_labels
from .nifti_header import checked_tr, load_image, voxels
from .options import AtlasOptions, ReadRequest


def read_cifti(request: ReadRequest) -> Recording:
    """Read a dtseries or ptseries file.

    A ptseries has one channel per parcel. A dtseries is averaged over the labels of `atlas.image`, a dlabel file on the
    same or a smaller set of grayordinates. Centroids come from the table `atlas.labels`, and of regions in the volume
    from the voxels of the file; else places on the cortex are unknown.
    """
    from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ParcelsAxis, SeriesAxis

    path = request.path
    image = load_image(path)
    if not isinstance(image, Cifti2Image):
        raise ReadError(f"{type(image).__name__} is not a CIFTI-2 file", file=path, field="format")
    check_size(4 * math.prod(image.shape), request.options.max_bytes, path)
    with damage_named(path, "axes cannot be read", fix="the file is damaged"):
        series, places = (image.header.get_axis(number) for number in range(2))
    if not isinstance(series, SeriesAxis):
        raise ReadError("holds no time series", file=path, field="format", fix="give a dtseries or ptseries file")
    if not isinstance(places, (BrainModelAxis, ParcelsAxis)):
        fix = "give a dtseries or ptseries"
        raise ReadError(f"rows are {type(places).__name__}", file=path, field="format", fix=fix)
    if (len(series), len(places)) != tuple(image.shape):
        problem = f"axes say {len(series)}x{len(places)}, the data are {'x'.join(map(str, image.shape))}"
        raise ReadError(problem, file=path, field="shape", fix="the file is damaged")
    seconds = float(series.step) if str(series.unit).upper() == "SECOND" else 0.0
    t_r, notes = checked_tr(seconds, "SeriesStep", request)
    labels, atlas = (_parcels if isinstance(places, ParcelsAxis) else _labelled)(places, request)
    data = np.array(voxels(image, path, np.float32).T, order="C")  # grayordinates x time
    return recording_of_labels(data, labels, atlas, t_r, notes, request)


def _labelled(axis: Any, request: ReadRequest) -> tuple[np.ndarray, Atlas]:
    """Label of each row by structure and vertex (or voxel), from a dlabel file, and its regions."""
    from nibabel.cifti2 import BrainModelAxis, LabelAxis

    path = label_file(request, "dtseries", "dlabel.nii")
    image = load_image(path)
    with damage_named(path, "axes cannot be read", "atlas.image", "give a dlabel.nii file"):
        axes = [image.header.get_axis(number) for number in range(2)]
    if not isinstance(axes[0], LabelAxis) or not isinstance(axes[1], BrainModelAxis):
        raise ReadError("is not a dense label file", file=path, field="atlas.image", fix="give a dlabel.nii file")
    values = np.rint(voxels(image, path, field="atlas.image")[0]).astype(np.int64)
    table = {int(key): str(text[0]) for key, text in sorted(axes[0].label[0].items())}
    labels, atlas = _labels_of_rows(axis, axes[1], values), atlas_of_labels(values, table, path, request)
    places, in_volume = np.full((len(axis), 3), np.nan), ~np.asarray(axis.surface_mask)
    if in_volume.any():
        places[in_volume] = _metres(axis.voxel[in_volume], axis.affine)
    return labels, _placed(atlas, [places[labels == label] for label in atlas.ids], request)


def _labels_of_rows(axis: Any, labelled: Any, values: np.ndarray) -> np.ndarray:
    """Label of each row of `axis` by structure and vertex, or by voxel; 0 where `labelled` does not hold it."""
    known = pd.Series(values, index=_places(labelled))
    return known[~known.index.duplicated(keep="last")].reindex(_places(axis), fill_value=0).to_numpy()


def _places(axis: Any) -> pd.MultiIndex:
    """Structure and vertex of each row on a surface, voxel of each in the volume, whatever its structure."""
    structures = np.where(axis.surface_mask, axis.name, "")
    return pd.MultiIndex.from_arrays([structures, axis.vertex, *np.asarray(axis.voxel).T])


def _metres(indices: Any, affine: np.ndarray) -> np.ndarray:
    return (np.asarray(indices) @ affine[:3, :3].T + affine[:3, 3]) / 1000


def _placed(atlas: Atlas, places: list[np.ndarray], request: ReadRequest) -> Atlas:
    """The atlas with the mean of its `places` (n, 3) for each region that has no centroid; NaN where one is unknown."""
    means = np.array([part.mean(axis=0) if len(part) else np.full(3, np.nan) for part in places]).reshape(-1, 3)
    centroids = np.where(np.isfinite(atlas.centroids), atlas.centroids, means)
    return replace(atlas, centroids=centroids, frame=frame_of(centroids, request))


def _parcels(axis: Any, request: ReadRequest) -> tuple[np.ndarray, Atlas]:
    """Label of each parcel and its regions: parcels in their own order, or by name in that of a label table."""
    options, names = request.options.atlas or AtlasOptions(), [str(name) for name in axis.name]
    labels = ids = np.arange(1, len(names) + 1)
    wanted, centroids, digest = tuple(names), np.full((len(names), 3), np.nan), ""
    if options.labels is not None:
        table = find_file(options.labels, request.root, request.path, "atlas.labels")
        ids, wanted, centroids = read_labels(table)
        id_of, digest = dict(zip(wanted, ids.tolist(), strict=True)), sha256_of(table)
        if unknown := [name for name in names if name not in id_of]:
            problem, fix = f"parcels are not in {table.name}: {listed(unknown)}", "give the table of this parcellation"
            raise ReadError(problem, file=request.path, field="atlas.labels", fix=fix)
        labels = np.array([id_of[name] for name in names])
    atlas = Atlas(ids, wanted, centroids, "unknown", options.name or f"parcels-{len(names)}", digest)
    in_volume = {
        label: _metres(volume, axis.affine)
        for label, vertices, volume in zip(labels.tolist(), axis.vertices, axis.voxels, strict=True)
        if not vertices and len(volume)
    }
    return labels, _placed(atlas, [in_volume.get(i, np.empty((0, 3))) for i in ids.tolist()], request)
