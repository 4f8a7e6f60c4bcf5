"""Signals of regions -> Recording: what images, surfaces and grayordinates have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..channels import Channels
from ..recording import Recording
from ..utils.values import counted, listed
from .confounds import cleaned, read_confounds
from .names import drops_of_nothing, kept, renamed
from .options import AtlasOptions, ReadRequest

_LARGEST = float(np.finfo(np.float32).max)


def usable_places(data: np.ndarray, largest: float = _LARGEST) -> tuple[np.ndarray, int]:
    """Where `data` (..., n_times) has a signal, and how many places were set to 0: not finite, or beyond `largest`."""
    flawed = ~(np.abs(data).max(axis=-1, initial=0) <= largest)  # also NaN
    data[flawed] = 0.0
    return (data != 0).any(axis=-1), int(flawed.sum())


def region_channels(
    names: Sequence[str], ids: np.ndarray, places: np.ndarray, frame: str, atlas: str | None, order: Any = None
) -> Channels:
    """The channel table of regions, in the order of their atlas unless `order` gives their ranks."""
    order = np.arange(len(names)) if order is None else order
    types = ("roi",) * len(names)
    return Channels(tuple(names), types, places, labels=ids, order=order, frame=frame, atlas=atlas)


def recording_of_regions(
    signals: np.ndarray,
    channels: Channels,
    coverage: np.ndarray,
    t_r: float,
    *,
    request: ReadRequest,
    atlas: Mapping[str, Any],
    notes: list[str],
) -> Recording:
    """One channel per region, in the order of `channels`; regions that are lost stay, hold 0 and are bad.

    `signals` (n_regions, n_times); `coverage` is the fraction of each region that the recording holds: below
    `min_coverage` a region is bad; `t_r` in seconds; `atlas` is what the corpus keeps of it (`Atlas.provenance`).

    Raises ReadError, LabelError: the confounds are missing or do not fit.
    """
    path, options = request.path, request.options
    least, notes = (options.atlas or AtlasOptions()).min_coverage, list(notes)
    names = np.array(renamed(channels.names, options, path), dtype=object)
    if lost := names[coverage == 0].tolist():
        notes.append(f"{len(lost)} of {len(names)} regions have no voxel in the image: {listed(lost)}")
    if partly := names[(coverage < least) & (coverage > 0)].tolist():
        few = counted(len(partly), "region", "are")
        notes.append(f"{few} covered by less than {100 * least:g} % and bad: {listed(partly)}")
    provenance = {"file": str(path), "format": request.format, "truncated": False, "atlas": dict(atlas)}
    if options.confounds is not None:
        confounds = read_confounds(options.confounds, path, request.root, signals.shape[1])
        signals, sample_mask, more = cleaned(signals, *confounds)
        signals[coverage == 0] = 0.0
        notes += more
        provenance |= {"sample_mask": sample_mask} if sample_mask is not None else {}
    rows = kept(names.tolist(), options, path, channels.types)
    notes += drops_of_nothing(names.tolist(), options, channels.types)
    incomplete = {names[row]: round(float(coverage[row]), 4) for row in rows if coverage[row] < 1}
    return Recording(
        data=signals[rows].astype(np.float32),
        sfreq=1 / t_r,
        modality="fmri",
        channels=replace(channels, names=tuple(names)).take(rows),
        entities=dict(request.entities),
        bads=tuple(names[row] for row in rows if coverage[row] < least),
        provenance={**provenance, "coverage": incomplete, "notes": notes},
    )


def region_means(data: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mean signal of each label over `data` (..., n_times), in the order of `ids`; 0 where it has no voxel.

    Own code because nilearn's NiftiLabelsMasker drops regions without a voxel, and takes 9 times as long (400 regions).
    """
    voxels = np.argsort(labels, axis=None, kind="stable")
    ordered = labels.ravel()[voxels]
    flat, means = data.reshape(-1, data.shape[-1]), np.zeros((len(ids), data.shape[-1]))
    begin, end = np.searchsorted(ordered, ids, "left"), np.searchsorted(ordered, ids, "right")
    for row in np.flatnonzero(end > begin):
        means[row] = flat[voxels[begin[row] : end[row]]].mean(axis=0, dtype=np.float64)
    return means


def coverage_of(
    there: np.ndarray, whole: np.ndarray, ids: np.ndarray, sizes: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Share of each region of the labels `whole` that the labels `there` hold, at most 1; `sizes`: of their places."""
    counts = []
    for labels, size in zip((there, whole), sizes, strict=True):
        ordered = np.sort(labels, axis=None)
        counts.append((np.searchsorted(ordered, ids, "right") - np.searchsorted(ordered, ids, "left")) * size)
    return np.clip(np.divide(counts[0], counts[1], out=np.zeros(len(ids)), where=counts[1] > 0), 0, 1)
