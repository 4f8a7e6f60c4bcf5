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
from .labels import read_labels
from .options import AtlasOptions


@dataclass(frozen=True, eq=False)
class Atlas:
    """Regions in their fixed order.

    Attributes
    ----------
    ids : ndarray, shape (n,), int64
        Label ids; never 0.
    names : tuple of str
    centroids : ndarray, shape (n, 3)
        Metres; NaN where unknown.
    frame : {"mni", "scanner", "unknown"}
    name : str
    sha256 : str
        Of the label image, or of the table where there is no image.
    image : nibabel image or None
    """

    ids: np.ndarray
    names: tuple[str, ...]
    centroids: np.ndarray
    frame: str
    name: str
    sha256: str
    image: Any = None

    def __len__(self) -> int:
        return len(self.ids)

    def channels(self) -> Channels:
        """The channel table of all regions."""
        return Channels(
            self.names,
            ("roi",) * len(self),
            self.centroids,
            labels=self.ids,
            order=np.arange(len(self)),
            frame=self.frame,
            atlas=self.name,
        )

    def provenance(self) -> dict[str, Any]:
        """What a reader of the corpus needs to find the same atlas."""
        return {"name": self.name, "sha256": self.sha256, "n_regions": len(self)}

    def notes(self) -> list[str]:
        """A sentence where the digest is none that is known."""
        from .known_atlases import DIGESTS

        if self.sha256 in DIGESTS or self.image is None:
            return []
        return [f"atlas {self.name} has no known digest; it is kept as sha256 {self.sha256[:12]}..."]


def load_files(image: Path, labels: Path | None, name: str | None = None, space: str | None = None) -> Atlas:
    """An atlas from its label image and table."""
    return cached_atlas(image, labels, name, space, tuple(path.stat().st_mtime_ns for path in (image, labels) if path))


def find_file(name: str, root: Path, recording: Path | None, field: str) -> Path:
    """A file of an atlas: relative to the root, the working folder, or the folder of the recording.

    Raises
    ------
    ReadError
        It is in none of them.
    """
    folders = [root, Path(), *([recording.parent] if recording is not None else [])]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise ReadError("file not found", file=folders[0] / name, field=field)


@lru_cache(maxsize=4)  # a recipe reads hundreds of files with one atlas; `stamp` notices a changed file
def cached_atlas(image: Path | None, labels: Path | None, name: str | None, space: str | None, stamp: tuple) -> Atlas:
    table = read_labels(labels) if labels is not None else None
    source = image or labels
    assert source is not None
    name = name or re.split(r"\.nii|\.tsv|\.csv|\.txt", source.name)[0]
    digest = digest_of(source)
    if image is None:
        assert table is not None
        ids, names, centroids = table
        frame = space or ("mni" if np.isfinite(centroids).any() else "unknown")
        return Atlas(ids, names, centroids, frame, name, digest)
    loaded, values, told = _label_image(image)
    return _atlas(loaded, values, table, space or told or "scanner", name, digest)


def _atlas(image: Any, values: np.ndarray, table: tuple | None, frame: str, name: str, digest: str) -> Atlas:
    ids = table[0] if table is not None else np.unique(values[values != 0])
    names = table[1] if table is not None else tuple(str(i) for i in ids)
    return Atlas(ids, names, label_centroids(values, image.affine, ids), frame, name, digest, image)


def atlas_of_image(image: Any, options: AtlasOptions, root: Path) -> Atlas:
    """An atlas from a 3-D nibabel label image in memory; its digest is that of the label values and the affine.

    Raises
    ------
    ReadError
        It is no label image, or the label table is missing or damaged.
    """
    path = Path(image.get_filename() or "atlas in memory")
    loaded, values = _whole_labels(image, path)
    table = read_labels(find_file(options.labels, root, None, "atlas.labels")) if options.labels is not None else None
    content = hashlib.sha256(np.ascontiguousarray(values).tobytes() + np.asarray(image.affine, "<f8").tobytes())
    frame = options.space or space_of(path, image) or "scanner"
    return _atlas(loaded, values, table, frame, options.name or path.name.split(".")[0], content.hexdigest())


def digest_of(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _label_image(path: Path) -> tuple[Any, np.ndarray, str | None]:
    """The image with whole numbers, its values, and the space it tells."""
    import nibabel

    try:
        loaded: Any = nibabel.load(path)
        np.asanyarray(loaded.dataobj)
    except Exception as error:
        raise ReadError(f"cannot be read ({error})", file=path, field="atlas.image") from error
    return *_whole_labels(loaded, path), space_of(path, loaded)


def _whole_labels(image: Any, path: Path) -> tuple[Any, np.ndarray]:
    """The image with whole numbers, and its values."""
    import nibabel

    values = np.squeeze(np.asanyarray(image.dataobj))
    if values.ndim != 3:
        shape = "x".join(map(str, values.shape))
        raise ReadError(f"shape {shape} is not 3-D", file=path, field="atlas.image", fix="give a label image")
    whole = np.rint(np.nan_to_num(values)).astype(np.int64)
    if not np.allclose(whole, np.nan_to_num(values), atol=1e-3):
        raise ReadError("holds values that are no label ids", file=path, field="atlas.image", fix="give a label image")
    if not whole.any():
        raise ReadError("holds no label", file=path, field="atlas.image")
    return nibabel.Nifti1Image(whole.astype(np.int32), image.affine), whole


def space_of(path: Path, image: Any) -> str | None:
    """ "mni" where the file name or the header says so, else None."""
    if re.search(r"mni|icbm152", path.name, flags=re.IGNORECASE):
        return "mni"
    codes = [int(image.header[key]) for key in ("sform_code", "qform_code") if key in image.header]
    return "mni" if 4 in codes else None  # NIFTI_XFORM_MNI_152


def label_centroids(values: np.ndarray, affine: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mean voxel position of each label, in metres (NaN where it has no voxel).

    Parameters
    ----------
    values : ndarray of int, shape (nx, ny, nz)
    affine : ndarray, shape (4, 4)
        Voxel indices to millimetres.
    ids : ndarray, shape (n,)
    """
    index = np.nonzero(values)
    labels, inverse, counts = np.unique(values[index], return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(inverse, weights=axis, minlength=len(labels)) for axis in index], axis=1)
    world = (sums / counts[:, None]) @ affine[:3, :3].T + affine[:3, 3]
    place = {int(label): row for label, row in zip(labels, world, strict=True)}
    return np.array([place.get(int(i), (np.nan,) * 3) for i in ids], dtype=np.float64).reshape(-1, 3) / 1000
