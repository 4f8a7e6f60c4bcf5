"""Atlases: label images and tables, the fixed order of their regions, centroids; and those that are known by name.

Known are spheres around the coordinates that nilearn ships, and label images that were fetched before. Only digests of
files that were at hand are listed. An atlas of another digest is taken as it is, with its own digest in the
corpus and a note.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from ..channels import Channels
from ..errors import OF_THE_DISK, FetchError, ReadError, StorageError, check_known
from ..schema import Schema, read_yaml
from ..utils.checksum import sha256_of
from ..utils.files import parse_json
from ..utils.values import listed
from .bids.names import as_spelled
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


def mask_file(name: str, root: Path, recording: Path) -> Path:
    """As `find_file`; "bids" is fMRIPrep's mask: the same entities but desc-brain, suffix mask."""
    if name == "bids":
        parts = [part for part in recording.name.split(".")[0].split("_")[:-1] if not part.startswith("desc-")]
        name = str(as_spelled(recording.parent / ("_".join([*parts, "desc-brain", "mask"]) + ".nii.gz")))
    return find_file(name, root, recording, "atlas.mask")


def atlas_files(options: AtlasOptions, root: Path, recording: Path) -> list[Path]:
    """Where the files of an atlas and its mask lie, those that are named and not there left out."""
    by_name = options.image is None and options.labels is None and options.name in KNOWN
    files = [atlas_folder() / str(options.name) / file for file in ("atlas.nii.gz", "labels.tsv") if by_name]
    for name in filter(None, (options.image, options.labels, options.mask)):
        with suppress(ReadError):
            files.append(mask_file(name, root, recording))
    return files


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
    import nibabel

    loaded = load_image(image)
    values = _whole_labels(loaded, image)
    ids = np.unique(values[values != 0])
    names = tuple(str(i) for i in ids)
    if labels is not None:
        ids, names, _ = read_labels(labels, ids)
    whole = nibabel.Nifti1Image(values, loaded.affine, dtype=values.dtype)
    frame = space or space_of(image, loaded) or "scanner"
    return Atlas(ids, names, label_centroids(values, loaded.affine, ids), frame, name, digest, whole)


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


class KnownAtlas(Schema):
    """An atlas that has a name here: spheres around the points of a `file` in nilearn's wheel, or a download."""

    title: str
    n_regions: int
    url: str
    function: str = ""  # Of nilearn.datasets, for downloads
    arguments: dict[str, Any] = Field(default_factory=dict)
    file: str = ""
    sha256: str | None = None  # Of `file`; None for downloads, whose digest is stored when they are fetched


KNOWN = {
    name: KnownAtlas(**values) for name, values in read_yaml(Path(__file__).with_name("known_atlases.yaml")).items()
}

#: sha256 of label images that travel with data (CNI: the training release of the 2019 challenge) -> what they are
DIGESTS: dict[str, str] = {
    "cc41662866710de19ca0470b0c8e04b16b6025af2260fd5ba65bce4203a36b52": "AAL, 116 regions (CNI 2019)",
    "64ecc393dfcceb2616d217e74a6d69048a254b8b203b34865160e2d199e2068d": "Craddock, 200 regions (CNI 2019)",
    **{atlas.sha256: f"{name}: {atlas.title}" for name, atlas in KNOWN.items() if atlas.sha256 is not None},
}

#: metres; radius of the spheres around coordinates
RADIUS = 5e-3
#: the 2 mm grid of the MNI152 template
_SHAPE, _AFFINE = (91, 109, 91), np.array([[2.0, 0, 0, -90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])


def atlas_folder() -> Path:
    """Where fetched atlases lie: $BRAINOF_ATLASES, or ~/.brainof/atlases."""
    return Path(os.environ.get("BRAINOF_ATLASES") or Path.home() / ".brainof" / "atlases")


def known(name: str) -> KnownAtlas:
    """A known atlas; ReadError suggests the nearest name."""
    check_known(name, KNOWN, ReadError, "unknown atlas {!r}", field="atlas")
    return KNOWN[name]


def is_here(name: str) -> bool:
    """True where the atlas can be used without a download."""
    return bool(known(name).file) or (atlas_folder() / name / "atlas.json").is_file()


def open_atlas(name: str) -> Atlas:
    """A known atlas, regions in the order of its table; ReadError where it was not fetched, or was changed since."""
    entry = known(name)
    if entry.file:
        return _spheres(name)
    folder = atlas_folder() / name
    if not is_here(name):
        raise ReadError("was not fetched", file=folder, field=f"atlas {name}", fix=f"`brainof atlas fetch {name}`")
    try:
        about = parse_json((folder / "atlas.json").read_text())
        said = str(about["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReadError(f"cannot be read ({error})", file=folder / "atlas.json", fix="fetch it again") from None
    image = folder / "atlas.nii.gz"
    if not image.is_file() or sha256_of(image) != said:
        raise ReadError("is not the file that was fetched", file=image, field="sha256", fix=f"fetch {name} again")
    return load_files(image, folder / "labels.tsv", name, "mni")


def notes_on(atlas: Atlas) -> list[str]:
    """Sentences on labels of the image that have no name, and where the digest is none that is known."""
    unnamed = np.setdiff1d(np.asanyarray(atlas.image.dataobj), [0, *atlas.ids]).astype(str).tolist()
    notes = [f"labels of the image that the table lacks were left out: {listed(unnamed)}"] if unnamed else []
    if atlas.sha256 not in DIGESTS:
        notes.append(f"atlas {atlas.name} has no known digest; it is kept as sha256 {atlas.sha256[:12]}...")
    return notes


def load_atlas(options: AtlasOptions, root: Path, recording: Path | None = None) -> Atlas | None:
    """The atlas of `options`: by files, or by a known name that is here; else None. ReadError where it is damaged."""
    if options.image is None and options.labels is None:
        is_named = options.grid_mm is None and options.name in KNOWN and is_here(str(options.name))
        return open_atlas(str(options.name)) if is_named else None
    image = find_file(options.image, root, recording, "atlas.image") if options.image is not None else None
    labels = find_file(options.labels, root, recording, "atlas.labels") if options.labels is not None else None
    return load_files(image, labels, options.name, options.space)


@lru_cache(maxsize=4)
def _spheres(name: str) -> Atlas:
    import nibabel

    entry = KNOWN[name]
    # the table alone: importing nilearn's datasets takes seconds
    spec = importlib.util.find_spec("nilearn")
    file = Path(next(iter(spec.submodule_search_locations or [""])) if spec else "") / "datasets" / "data" / entry.file
    digest = sha256_of(file) if file.is_file() else None
    if digest != entry.sha256:
        raise ReadError(f"sha256 {digest} is not {entry.sha256}", file=file, fix="another nilearn changed the atlas")
    table = pd.read_csv(file, sep="," if file.suffix == ".csv" else r"\s+")
    table.columns = [str(column).lower() for column in table.columns]
    points = table[["x", "y", "z"]].to_numpy(dtype=np.float64) / 1000
    ids = np.arange(1, len(points) + 1)
    image = nibabel.Nifti1Image(sphere_labels(points, RADIUS), _AFFINE)
    names = tuple(f"{name.split('-')[0]}-{i:03d}" for i in ids)
    return Atlas(ids, names, points, "mni", name, str(digest), image)


def sphere_labels(points: np.ndarray, radius: float) -> np.ndarray:
    """Label image (int32) of spheres (`radius`, metres) on the MNI grid: 1 + number of the nearest point, 0 outside."""
    from scipy.spatial import cKDTree

    places = np.indices(_SHAPE).reshape(3, -1).T @ _AFFINE[:3, :3].T + _AFFINE[:3, 3]
    # a voxel at exactly the radius belongs to the sphere
    distance, nearest = cKDTree(points).query(places / 1000, distance_upper_bound=radius * (1 + 1e-9))
    return np.where(np.isfinite(distance), nearest + 1, 0).astype(np.int32).reshape(_SHAPE)


def fetch_atlas(name: str) -> Atlas:
    """Download a known atlas through nilearn and keep it with its digest; whole, or not at all.

    Raises ReadError: the name is unknown, or what came is not a label image; FetchError: it cannot be downloaded: no
    connection, the server refuses, or what came is damaged; StorageError: the folder of atlases cannot be written.
    """
    entry = known(name)
    if entry.file:
        return open_atlas(name)
    import nibabel
    import nilearn.datasets

    folder = atlas_folder()
    temporary = folder / f".{name}-{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir(parents=True)
        try:
            fetcher = getattr(nilearn.datasets, entry.function)
            bunch = fetcher(**entry.arguments, data_dir=str(temporary / "download"), verbose=0)
            image: Any = nibabel.load(bunch["maps"]) if isinstance(bunch["maps"], str | os.PathLike) else bunch["maps"]
            np.asanyarray(image.dataobj)  # damage is met here, not while it is written
            table = bunch["lut"].astype({"index": int, "name": str})
        except Exception as error:  # requests, urllib and nilearn each have their own words for it
            if isinstance(error, OSError) and error.errno in OF_THE_DISK:
                raise
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            fix = "connect to the internet and try again, or give your own file: atlas.image and atlas.labels"
            raise FetchError(f"cannot be downloaded ({reason})", field=f"atlas {name}", fix=fix) from None
        nibabel.save(image, temporary / "atlas.nii.gz")
        table.loc[table["index"] != 0, ["index", "name"]].to_csv(temporary / "labels.tsv", sep="\t", index=False)
        atlas = load_files(temporary / "atlas.nii.gz", temporary / "labels.tsv", name, "mni")
        shutil.rmtree(temporary / "download", ignore_errors=True)
        about = {"name": name, "title": entry.title, "url": entry.url, "sha256": atlas.sha256}
        (temporary / "atlas.json").write_text(json.dumps(about, indent=1) + "\n")
        shutil.rmtree(folder / name, ignore_errors=True)
        os.replace(temporary, folder / name)
    except OSError as error:
        fix = "free some space there, or set BRAINOF_ATLASES"
        raise StorageError(f"cannot be written ({error.strerror or error})", file=folder, fix=fix) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return open_atlas(name)
