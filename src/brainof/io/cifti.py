"""CIFTI-2 time series (dtseries, ptseries) -> Recording: regions of a dlabel atlas, brain structures, or parcels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ..channels import Channels
from ..errors import ReadError
from ..recording import Recording
from ..utils.values import listed
from .atlas import digest_of, find_file
from .checks import check_size
from .damage import damage_named
from .labels import read_labels
from .nifti_header import checked_tr, load_image, voxels
from .options import AtlasOptions
from .regions import label_coverage, recording_of_regions, region_means
from .request import ReadRequest
from .surface import mean_place, read_surfaces, surface_frame, vertex_places


def read_cifti(request: ReadRequest) -> Recording:
    """Read a dtseries or ptseries file.

    A ptseries has one channel per parcel. A dtseries is averaged over the labels of `atlas.image` (a dlabel file on the
    same or a smaller set of grayordinates), or over its brain structures where no atlas is given. Centroids come from
    the voxels of the file and from `atlas.surfaces`; without surfaces, places on the cortex are unknown.

    Raises ReadError: the file is damaged, holds no time series, or the atlas does not fit.
    """
    from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ParcelsAxis

    path, options, root = request.path, request.options, request.root
    if request.modality not in (None, "fmri"):
        raise ReadError(f"a CIFTI file holds no {request.modality}", file=path, field="modality")
    image = load_image(path)
    if not isinstance(image, Cifti2Image):
        raise ReadError(f"{type(image).__name__} is no CIFTI-2 file", file=path, field="format")
    check_size(float(np.prod(image.shape, dtype=float)) * 4, options.max_bytes, path)
    series, places = _axes(image, path)
    factor = {"SECOND": 1.0}.get(str(series.unit).upper(), 0.0)
    t_r, notes = checked_tr(float(series.step) * factor, "SeriesStep", request)
    data = np.array(voxels(image, path, np.float32).T, order="C")  # grayordinates x time
    atlas = options.atlas or AtlasOptions()
    surfaces = read_surfaces(atlas, root, path)
    frame = surface_frame(atlas, path)
    usable = np.isfinite(data).all(axis=1)
    if not usable.all():
        notes.append(f"{int((~usable).sum())} grayordinates are not finite and were left out")
        data[~usable] = 0.0
    usable &= (data != 0).any(axis=1)
    if isinstance(places, ParcelsAxis):
        signals, channels, coverage, provenance = _parcels(data, places, usable, atlas, surfaces, frame, root, path)
    elif isinstance(places, BrainModelAxis):
        coordinates = grayordinate_places(places, surfaces, path)
        if atlas.image is not None:
            labels, channels, provenance = _labelled(places, coordinates, atlas, frame, root, path)
        else:
            labels, channels, provenance = _structures(places, coordinates, frame)
            notes.append(
                f"regions are the {len(channels)} brain structures: give atlas.image= (dlabel.nii) for finer ones"
            )
        coverage = label_coverage(labels, usable, channels.labels)
        if not coverage.any():
            raise ReadError("no region of the atlas lies in the file", file=path, field="atlas.image")
        signals = region_means(data, np.where(usable, labels, 0), channels.labels)
    else:
        raise ReadError(
            f"rows are {type(places).__name__}", file=path, field="format", fix="give a dtseries or ptseries"
        )
    unknown = int((~channels.located).sum())
    if unknown:
        hint = "" if atlas.surfaces else ": give atlas.surfaces (surf.gii) for those on the cortex"
        notes.append(f"no position for {unknown} of {len(channels)} regions{hint}")
    return recording_of_regions(
        signals,
        channels,
        coverage,
        t_r,
        request=request,
        atlas=provenance,
        notes=notes,
    )


def _axes(image: Any, path: Path) -> tuple[Any, Any]:
    from nibabel.cifti2 import SeriesAxis

    with damage_named(path, "axes cannot be read", fix="the file is damaged"):
        axes = [image.header.get_axis(number) for number in range(2)]
    if not isinstance(axes[0], SeriesAxis):
        raise ReadError("holds no time series", file=path, field="format", fix="give a dtseries or ptseries file")
    if tuple(map(len, axes)) != tuple(image.shape):
        said = "x".join(str(len(axis)) for axis in axes)
        shape = "x".join(map(str, image.shape))
        raise ReadError(f"axes say {said}, the data are {shape}", file=path, field="shape", fix="the file is damaged")
    return axes[0], axes[1]


def grayordinate_places(axis: Any, surfaces: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """Coordinates of each row of a BrainModelAxis, shape (n, 3), metres; NaN where the surface is not given."""
    places = np.full((len(axis), 3), np.nan)
    voxels = ~np.asarray(axis.surface_mask)
    if voxels.any():
        affine = axis.affine
        places[voxels] = (axis.voxel[voxels] @ affine[:3, :3].T + affine[:3, 3]) / 1000
    for name in np.unique(np.asarray(axis.name)[~voxels]):
        rows = np.flatnonzero((np.asarray(axis.name) == name) & ~voxels)
        places[rows] = vertex_places(surfaces, str(name), axis.vertex[rows], path)
    return places


def _structures(axis: Any, coordinates: np.ndarray, frame: str) -> tuple[np.ndarray, Channels, dict[str, Any]]:
    names = list(dict.fromkeys(map(str, axis.name)))
    numbers = {name: number + 1 for number, name in enumerate(names)}
    labels = np.array([numbers[str(name)] for name in axis.name])
    short = tuple(name.removeprefix("CIFTI_STRUCTURE_") for name in names)
    ids = np.arange(1, len(names) + 1)
    channels = _channels(short, ids, labels, coordinates, frame, "cifti-structures")
    return labels, channels, {"name": "cifti-structures", "n_regions": len(names)}


def _labelled(
    axis: Any, coordinates: np.ndarray, atlas: AtlasOptions, frame: str, root: Path, recording: Path
) -> tuple[np.ndarray, Channels, dict[str, Any]]:
    """Label of each row of the data by structure and vertex (or voxel), and the regions of a dlabel file."""
    from nibabel.cifti2 import BrainModelAxis, LabelAxis

    assert atlas.image is not None
    path = find_file(atlas.image, root, recording, "atlas.image")
    image = load_image(path)
    with damage_named(path, "axes cannot be read", "atlas.image", "give a dlabel.nii file"):
        axes = [image.header.get_axis(number) for number in range(2)]
    if not isinstance(axes[0], LabelAxis) or not isinstance(axes[1], BrainModelAxis):
        raise ReadError("is no dense label file", file=path, field="atlas.image", fix="give a dlabel.nii file")
    values = np.rint(voxels(image, path, field="atlas.image")[0]).astype(np.int64)
    labels = _labels_of_rows(axis, axes[1], values)
    table = {int(key): str(text[0]) for key, text in axes[0].label[0].items() if int(key) != 0}
    ids, names = np.array(sorted(table), dtype=np.int64), tuple(table[key] for key in sorted(table))
    if atlas.labels is not None:
        ids, names, _ = read_labels(find_file(atlas.labels, root, recording, "atlas.labels"), values)
    name = atlas.name or path.name.split(".")[0]
    channels = _channels(names, ids, labels, coordinates, frame, name)
    return labels, channels, {"name": name, "sha256": digest_of(path), "n_regions": len(ids)}


def _labels_of_rows(axis: Any, labelled: Any, values: np.ndarray) -> np.ndarray:
    """Label of each row of `axis` by structure and vertex, or by voxel; 0 where `labelled` does not hold it."""
    names = {name: number for number, name in enumerate(np.unique(np.asarray(labelled.name)).tolist())}
    known, wanted = _places(labelled, names), _places(axis, names)
    # rows of both become numbers: equal where the places are
    _, numbers = np.unique(np.concatenate([known, wanted]), return_inverse=True)
    table = np.zeros(int(numbers.max(initial=-1)) + 1, dtype=np.int64)
    table[numbers[: len(known)]] = values
    return table[numbers[len(known) :]]


def _places(axis: Any, names: dict[str, int]) -> np.ndarray:
    """One number per row: below 0 on a surface (structure and vertex), from 0 in the volume (20 bits per index)."""
    surface = np.asarray(axis.surface_mask)
    own, of_row = np.unique(np.asarray(axis.name), return_inverse=True)
    structures = np.array([names.get(name, -1) for name in own.tolist()], dtype=np.int64)[of_row]
    places = np.empty(len(axis), dtype=np.int64)
    places[surface] = -1 - ((structures[surface] + 1 << 32) + np.asarray(axis.vertex, dtype=np.int64)[surface])
    places[~surface] = np.asarray(axis.voxel, dtype=np.int64)[~surface] @ np.array([1 << 40, 1 << 20, 1])
    return places


def _channels(
    names: tuple[str, ...], ids: np.ndarray, labels: np.ndarray, coordinates: np.ndarray, frame: str, atlas: str
) -> Channels:
    places = np.array([mean_place(coordinates[labels == label]) for label in ids]).reshape(-1, 3)
    counts = Counter(names)
    unique = tuple(f"{name}-{i}" if counts[name] > 1 else name for name, i in zip(names, ids, strict=True))
    known = frame if np.isfinite(places).any() else "unknown"
    return Channels(
        unique, ("roi",) * len(ids), places, labels=ids, order=np.arange(len(ids)), frame=known, atlas=atlas
    )


def _parcels(
    data: np.ndarray,
    axis: Any,
    usable: np.ndarray,
    atlas: AtlasOptions,
    surfaces: dict[str, np.ndarray],
    frame: str,
    root: Path,
    path: Path,
) -> tuple[np.ndarray, Channels, np.ndarray, dict[str, Any]]:
    """Parcels in their own order, or by name in the order of a label table; then what is missing stays as a bad row."""
    places = []
    for vertices, volume in zip(axis.vertices, axis.voxels, strict=True):
        parts = [vertex_places(surfaces, str(name), np.asarray(v, dtype=int), path) for name, v in vertices.items()]
        if len(volume):
            parts.append((np.asarray(volume) @ axis.affine[:3, :3].T + axis.affine[:3, 3]) / 1000)
        places.append(mean_place(np.concatenate(parts)) if parts else np.full(3, np.nan))
    names, ids = [str(name) for name in axis.name], np.arange(1, len(axis) + 1)
    coordinates, name = np.array(places).reshape(-1, 3), atlas.name or f"parcels-{len(names)}"
    rows = {label: row for row, label in enumerate(names)}
    order = list(range(len(names)))
    provenance: dict[str, Any] = {"name": name, "n_regions": len(names)}
    if atlas.labels is not None:
        table = find_file(atlas.labels, root, path, "atlas.labels")
        ids, wanted, _ = read_labels(table)
        unknown = [label for label in names if label not in set(wanted)]
        if unknown:
            problem = f"parcels are not in {table.name}: {listed(unknown)}"
            raise ReadError(problem, file=path, field="atlas.labels", fix="give the table of this parcellation")
        names, order = list(wanted), [rows.get(label, -1) for label in wanted]
        provenance |= {"sha256": digest_of(table), "n_regions": len(names)}
    there = np.array(order) >= 0
    signals = np.where(there[:, None], data[order], 0.0)
    coordinates = np.where(there[:, None], coordinates[order], np.nan)
    channels = Channels(
        tuple(names),
        ("roi",) * len(names),
        coordinates,
        labels=ids,
        order=np.arange(len(names)),
        frame=frame if np.isfinite(coordinates).any() else "unknown",
        atlas=name,
    )
    return signals, channels, (there & usable[order]).astype(float), provenance
