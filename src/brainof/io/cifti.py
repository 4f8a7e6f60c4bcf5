"""CIFTI-2 time series (dtseries, ptseries) -> Recording: regions of a dlabel atlas, brain structures, or parcels."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..channels import Channels
from ..errors import ReadError
from ..recording import Recording
from ..utils.checksum import sha256_of
from ..utils.values import listed
from .atlas import find_file
from .checks import check_size, damage_named
from .labels import read_labels
from .nifti_header import checked_tr, load_image, voxels
from .options import AtlasOptions, ReadRequest
from .regions import fraction_there, label_counts, recording_of_regions, region_channels, region_means, usable_places
from .surface import label_places, mean_place, read_surfaces, surface_frame, vertex_places

#: the regions of a file: label of each row (0: none), channels, provenance of the atlas
_Regions = tuple[np.ndarray, Channels, dict[str, Any]]


def read_cifti(request: ReadRequest) -> Recording:
    """Read a dtseries or ptseries file.

    A ptseries has one channel per parcel. A dtseries is averaged over the labels of `atlas.image` (a dlabel file on the
    same or a smaller set of grayordinates), or over its brain structures where no atlas is given. Centroids come from
    the voxels of the file and from `atlas.surfaces`; without surfaces, places on the cortex are unknown.
    """
    from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ParcelsAxis, SeriesAxis

    path, atlas = request.path, request.options.atlas or AtlasOptions()
    image = load_image(path)
    if not isinstance(image, Cifti2Image):
        raise ReadError(f"{type(image).__name__} is not a CIFTI-2 file", file=path, field="format")
    check_size(4 * math.prod(image.shape), request.options.max_bytes, path)
    with damage_named(path, "axes cannot be read", fix="the file is damaged"):
        series, places = (image.header.get_axis(number) for number in range(2))
    if not isinstance(series, SeriesAxis):
        raise ReadError("holds no time series", file=path, field="format", fix="give a dtseries or ptseries file")
    if (len(series), len(places)) != tuple(image.shape):
        problem = f"axes say {len(series)}x{len(places)}, the data are {'x'.join(map(str, image.shape))}"
        raise ReadError(problem, file=path, field="shape", fix="the file is damaged")
    seconds = float(series.step) if str(series.unit).upper() == "SECOND" else 0.0
    t_r, notes = checked_tr(seconds, "SeriesStep", request)
    data = np.array(voxels(image, path, np.float32).T, order="C")  # grayordinates x time
    surfaces = read_surfaces(atlas, request.root, path)
    usable, flawed = usable_places(data)
    if flawed:
        notes.append(f"{flawed} grayordinates are not finite and were left out")
    if isinstance(places, ParcelsAxis):
        rows, channels, provenance = _parcels(places, atlas, surfaces, request)
        signals = np.where((rows >= 0)[:, None], data[rows], 0.0)
        coverage = ((rows >= 0) & usable[rows]).astype(float)
    elif isinstance(places, BrainModelAxis):
        if atlas.image is not None:
            labels, channels, provenance = _labelled(places, atlas, surfaces, request)
        else:
            labels, channels, provenance = _structures(places, atlas, surfaces, request)
            notes.append(
                f"regions are the {len(channels)} brain structures: give atlas.image= (dlabel.nii) for finer ones"
            )
        there = label_counts(labels[usable], channels.labels)
        if not there.any():
            raise ReadError("no region of the atlas lies in the file", file=path, field="atlas.image")
        coverage = fraction_there(there, label_counts(labels, channels.labels))
        signals = region_means(data, np.where(usable, labels, 0), channels.labels)
    else:
        fix = "give a dtseries or ptseries"
        raise ReadError(f"rows are {type(places).__name__}", file=path, field="format", fix=fix)
    if unknown := int((~channels.located).sum()):
        hint = "" if atlas.surfaces else ": give atlas.surfaces (surf.gii) for those on the cortex"
        notes.append(f"no position for {unknown} of {len(channels)} regions{hint}")
    return recording_of_regions(signals, channels, coverage, t_r, request=request, atlas=provenance, notes=notes)


def _structures(axis: Any, atlas: AtlasOptions, surfaces: dict[str, np.ndarray], request: ReadRequest) -> _Regions:
    names = list(dict.fromkeys(map(str, axis.name)))
    labels = np.array([names.index(str(name)) + 1 for name in axis.name])
    short = [name.removeprefix("CIFTI_STRUCTURE_") for name in names]
    ids, coordinates = np.arange(1, len(names) + 1), _coordinates(axis, surfaces, request.path)
    channels = _channels(short, ids, labels, coordinates, atlas, request.path, "cifti-structures")
    return labels, channels, {"name": "cifti-structures", "n_regions": len(names)}


def _labelled(axis: Any, atlas: AtlasOptions, surfaces: dict[str, np.ndarray], request: ReadRequest) -> _Regions:
    """By structure and vertex (or voxel), from a dlabel file."""
    from nibabel.cifti2 import BrainModelAxis, LabelAxis

    path = find_file(str(atlas.image), request.root, request.path, "atlas.image")
    image = load_image(path)
    with damage_named(path, "axes cannot be read", "atlas.image", "give a dlabel.nii file"):
        axes = [image.header.get_axis(number) for number in range(2)]
    if not isinstance(axes[0], LabelAxis) or not isinstance(axes[1], BrainModelAxis):
        raise ReadError("is not a dense label file", file=path, field="atlas.image", fix="give a dlabel.nii file")
    values = np.rint(voxels(image, path, field="atlas.image")[0]).astype(np.int64)
    labels = _labels_of_rows(axis, axes[1], values)
    table = {int(key): str(text[0]) for key, text in sorted(axes[0].label[0].items()) if int(key) != 0}
    ids, names = np.array(list(table), dtype=np.int64), tuple(table.values())
    if atlas.labels is not None:
        ids, names, _ = read_labels(find_file(atlas.labels, request.root, request.path, "atlas.labels"), values)
    name, coordinates = atlas.name or path.name.split(".")[0], _coordinates(axis, surfaces, request.path)
    channels = _channels(names, ids, labels, coordinates, atlas, request.path, name)
    return labels, channels, {"name": name, "sha256": sha256_of(path), "n_regions": len(ids)}


def _labels_of_rows(axis: Any, labelled: Any, values: np.ndarray) -> np.ndarray:
    """Label of each row of `axis` by structure and vertex, or by voxel; 0 where `labelled` does not hold it."""
    known = pd.Series(values, index=_places(labelled))
    return known[~known.index.duplicated(keep="last")].reindex(_places(axis), fill_value=0).to_numpy()


def _places(axis: Any) -> pd.MultiIndex:
    """Structure and vertex of each row on a surface, voxel of each in the volume, whatever its structure."""
    structures = np.where(axis.surface_mask, axis.name, "")
    return pd.MultiIndex.from_arrays([structures, axis.vertex, *np.asarray(axis.voxel).T])


def _coordinates(axis: Any, surfaces: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """Metres of each row of a BrainModelAxis, shape (n, 3); NaN where the surface is not given."""
    places, names, in_volume = np.empty((len(axis), 3)), np.asarray(axis.name), ~np.asarray(axis.surface_mask)
    if in_volume.any():
        places[in_volume] = _metres(axis.voxel[in_volume], axis.affine)
    for name in np.unique(names[~in_volume]):
        rows = np.flatnonzero((names == name) & ~in_volume)
        places[rows] = vertex_places(surfaces, str(name), axis.vertex[rows], path)
    return places


def _metres(indices: Any, affine: np.ndarray) -> np.ndarray:
    return (np.asarray(indices) @ affine[:3, :3].T + affine[:3, 3]) / 1000


def _channels(
    names: Any, ids: np.ndarray, labels: np.ndarray, coordinates: np.ndarray, atlas: AtlasOptions, path: Path, name: str
) -> Channels:
    """The channel table of labels; their ids tell names that occur twice apart."""
    counts = Counter(names)
    names = [f"{name}-{i}" if counts[name] > 1 else name for name, i in zip(names, ids, strict=True)]
    places = label_places(coordinates, labels, ids)
    return region_channels(names, ids, places, surface_frame(atlas, path, places), name)


def _parcels(axis: Any, atlas: AtlasOptions, surfaces: dict[str, np.ndarray], request: ReadRequest) -> _Regions:
    """Row of each region (-1: missing): parcels in their own order, or by name in that of a label table."""
    path, places = request.path, []
    for vertices, volume in zip(axis.vertices, axis.voxels, strict=True):
        parts = [vertex_places(surfaces, str(name), np.asarray(v, dtype=int), path) for name, v in vertices.items()]
        parts += [_metres(volume, axis.affine)] if len(volume) else []
        places.append(mean_place(np.concatenate(parts)) if parts else np.full(3, np.nan))
    names, coordinates = [str(name) for name in axis.name], np.array(places).reshape(-1, 3)
    rows, ids = np.arange(len(names)), np.arange(1, len(names) + 1)
    name = atlas.name or f"parcels-{len(names)}"
    provenance: dict[str, Any] = {"name": name, "n_regions": len(names)}
    if atlas.labels is not None:
        table = find_file(atlas.labels, request.root, path, "atlas.labels")
        ids, wanted, _ = read_labels(table)
        if unknown := [label for label in names if label not in set(wanted)]:
            problem = f"parcels are not in {table.name}: {listed(unknown)}"
            raise ReadError(problem, file=path, field="atlas.labels", fix="give the table of this parcellation")
        row_of = {label: row for row, label in enumerate(names)}
        names, rows = list(wanted), np.array([row_of.get(label, -1) for label in wanted])
        provenance |= {"sha256": sha256_of(table), "n_regions": len(names)}
        coordinates = np.where((rows >= 0)[:, None], coordinates[rows], np.nan)
    return rows, region_channels(names, ids, coordinates, surface_frame(atlas, path, coordinates), name), provenance
