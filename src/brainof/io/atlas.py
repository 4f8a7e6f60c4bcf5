"""Atlases: label images and tables, the fixed order of their regions, centroids."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..channels import Channels
from ..errors import ReadError
from ..utils.checksum import sha256_of
from .labels import read_labels
from .nifti_header import load_image, voxels
from .options import AtlasOptions
from .regions import region_channels

#: whole numbers up to this are exact in every type of image
_LARGEST_ID = 2**53


@dataclass(frozen=True, eq=False)
class Atlas:
    """Regions in their fixed order."""

    ids: np.ndarray  # Label ids (int64); never 0
    names: tuple[str, ...]
    centroids: np.ndarray  # Shape (n, 3), metres; NaN where unknown
    frame: str
    name: str
    sha256: str  # Of the label image, or of the table where there is no image; empty where there is neither
    image: Any = None  # A nibabel image

    def __len__(self) -> int:
        return len(self.ids)

    def channels(self) -> Channels:
        """The channel table of all regions."""
        return region_channels(self.names, self.ids, self.centroids, self.frame, self.name)

    def provenance(self) -> dict[str, Any]:
        """What a reader of the corpus needs to find the same atlas."""
        digest = {"sha256": self.sha256} if self.sha256 else {}
        return {"name": self.name, **digest, "n_regions": len(self)}


def find_file(name: str, root: Path, recording: Path | None, field: str) -> Path:
    """A file of an atlas: in the root, the working folder, or the folder of the recording; ReadError where in none."""
    for folder in (root, Path(), *([recording.parent] if recording is not None else [])):
        if (folder / name).is_file():
            return folder / name
    raise ReadError("file not found", file=root / name, field=field)


def load_files(image: Path | None, labels: Path | None, name: str | None = None, space: str | None = None) -> Atlas:
    """An atlas from its label image, its table, or both."""
    stamp = tuple((str(path), path.stat().st_mtime_ns) for path in (image, labels) if path is not None)
    return _cached(image, labels, name, space, stamp)


@lru_cache(maxsize=4)  # a recipe reads hundreds of files with one atlas; `stamp` notices a changed file
def _cached(image: Path | None, labels: Path | None, name: str | None, space: str | None, stamp: tuple) -> Atlas:
    source = image or labels
    assert source is not None
    name, digest = name or re.split(r"\.nii|\.tsv|\.csv|\.txt|\.xml", source.name)[0], sha256_of(source)
    if image is None:
        ids, names, centroids = read_labels(source)
        frame = space or ("mni" if np.isfinite(centroids).any() else "unknown")
        return Atlas(ids, names, centroids, frame, name, digest)
    loaded = load_image(image)
    values = _whole_labels(loaded, image)
    return _atlas(loaded, values, labels, space or space_of(image, loaded) or "scanner", name, digest)


def _atlas(image: Any, values: np.ndarray, labels: Path | None, frame: str, name: str, digest: str) -> Atlas:
    import nibabel

    ids = np.unique(values[values != 0])
    names = tuple(str(i) for i in ids)
    if labels is not None:
        ids, names, _ = read_labels(labels, ids)
    whole = nibabel.Nifti1Image(values, image.affine, dtype=values.dtype)
    return Atlas(ids, names, label_centroids(values, image.affine, ids), frame, name, digest, whole)


def atlas_of_image(image: Any, options: AtlasOptions, root: Path) -> Atlas:
    """An atlas from a 3-D nibabel label image in memory; its digest is that of the label values and the affine."""
    path = Path(image.get_filename() or "atlas in memory")
    values = _whole_labels(image, path)
    table = find_file(options.labels, root, None, "atlas.labels") if options.labels is not None else None
    content = hashlib.sha256(np.ascontiguousarray(values).tobytes() + np.asarray(image.affine, "<f8").tobytes())
    frame = options.space or space_of(path, image) or "scanner"
    return _atlas(image, values, table, frame, options.name or path.name.split(".")[0], content.hexdigest())


def _whole_labels(image: Any, path: Path) -> np.ndarray:
    """The label ids of an image, int64, shape (nx, ny, nz)."""
    if not hasattr(image, "affine") or len(image.shape) < 3:
        raise ReadError(f"{type(image).__name__} is not a label image", file=path, field="atlas.image")
    values = np.nan_to_num(voxels(image, path, field="atlas.image"))
    while values.ndim > 3 and values.shape[-1] == 1:  # an atlas of one slice has three axes, too
        values = values[..., 0]
    if values.ndim != 3:
        shape = "x".join(map(str, values.shape))
        raise ReadError(f"shape {shape} is not 3-D", file=path, field="atlas.image", fix="give a label image")
    whole = np.rint(np.clip(values, -_LARGEST_ID, _LARGEST_ID)).astype(np.int64)
    if not np.allclose(whole, values, rtol=0, atol=1e-3):
        raise ReadError("holds values that are not label ids", file=path, field="atlas.image", fix="give a label image")
    if not whole.any():
        raise ReadError("holds no labels", file=path, field="atlas.image")
    return whole


def space_of(path: Path, image: Any) -> str | None:
    """ "mni" where the file name or the header says so, else None."""
    if re.search(r"mni|icbm152", path.name, flags=re.IGNORECASE):
        return "mni"
    codes = [int(image.header[key]) for key in ("sform_code", "qform_code") if key in image.header]
    return "mni" if 4 in codes else None  # NIFTI_XFORM_MNI_152


def label_centroids(values: np.ndarray, affine: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mean voxel position of each label (n, 3), in metres, NaN where it has no voxel; `affine` gives millimetres."""
    from scipy.ndimage import center_of_mass

    there = np.isin(ids, values) & (ids != 0)
    places = np.full((len(ids), 3), np.nan)
    if there.any():
        places[there] = center_of_mass(values != 0, values, ids[there])
    return (places @ affine[:3, :3].T + affine[:3, 3]) / 1000
