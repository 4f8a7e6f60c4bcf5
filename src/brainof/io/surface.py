"""Regions of surfaces and grayordinates -> Recording: what GIFTI and CIFTI files have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import ReadError
from ..recording import Recording
from ..utils.checksum import sha256_of
from .atlas import Atlas, find_file
from .labels import distinct, read_labels
from .options import AtlasOptions, ReadRequest
from .regions import fraction_there, label_counts, recording_of_regions, region_means, usable_places


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
    there = label_counts(labels[usable], atlas.ids)
    if not there.any():
        raise ReadError("no region of the atlas lies in the file", file=request.path, field="atlas.image")
    if unknown := int(np.isnan(atlas.centroids).any(axis=1).sum()):
        notes.append(f"no position for {unknown} of {len(atlas)} regions: give atlas.labels= with columns x, y and z")
    means = region_means(data, np.where(usable, labels, 0), atlas.ids)
    coverage = fraction_there(there, label_counts(labels, atlas.ids))
    return recording_of_regions(
        means, atlas.channels(), coverage, t_r, request=request, atlas=atlas.provenance(), notes=notes
    )
