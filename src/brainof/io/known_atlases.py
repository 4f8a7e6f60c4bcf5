"""Known atlases by name: those that ship with nilearn as coordinates, and those that nilearn downloads on request.

Only digests that were computed from a file at hand are listed. An atlas of another digest is taken as it is, with its
own digest in the corpus and a note.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class KnownAtlas:
    """An atlas that has a name here: spheres around the points of a `file` in nilearn's wheel, or a download."""

    title: str
    n_regions: int
    doi: str
    function: str = ""  # Of nilearn.datasets, for downloads
    arguments: dict[str, Any] = field(default_factory=dict)
    file: str = ""
    sha256: str | None = None  # Of `file`; None for downloads, whose digest is stored when they are fetched

    @property
    def source(self) -> str:
        """ "coordinates" or "download"."""
        return "coordinates" if self.file else "download"

    @property
    def url(self) -> str:
        """Where its authors describe it and state their terms."""
        return self.doi if self.doi.startswith("https:") else f"https://doi.org/{self.doi}"


def _spheres(study: str, n: int, doi: str, file: str, sha256: str) -> KnownAtlas:
    return KnownAtlas(f"{study}, {n} spheres of 5 mm", n, doi, file=file, sha256=sha256)


def _schaefer(n: int) -> KnownAtlas:
    title, arguments = f"Schaefer 2018, {n} cortical regions, 7 networks", {"yeo_networks": 7, "resolution_mm": 2}
    return KnownAtlas(title, n, "10.1093/cercor/bhx179", "fetch_atlas_schaefer_2018", {"n_rois": n, **arguments})


_POWER = "a052a4231d727348a44f8ba55e6663cb8beedc4f5b0415b3563beb82f16f9564"
_DOSENBACH = "3cfebd3aaab04d0c9a691cd11a6ae774b04a2129f9d314f5c437eaef0e1f861e"
_SEITZMAN = "a5ae5b22bf710cb1460fd00209fa70a8a82e1933905e1a8dc40e7f6e3385149a"
_SEITZMAN_FILE = "seitzman_2018_ROIs_300inVol_MNI_allInfo.txt"
_AAL = "Automated anatomical labelling (SPM12), 116 regions"
_HARVARD, _FSL = "Harvard-Oxford, 48 cortical regions, 25 %, 2 mm", "https://fsl.fmrib.ox.ac.uk/fsl/fslwiki/Atlases"
_DESTRIEUX = "Destrieux 2009, 148 cortical regions"

KNOWN: dict[str, KnownAtlas] = {
    "power-264": _spheres("Power 2011", 264, "10.1016/j.neuron.2011.09.006", "power_2011.csv", _POWER),
    "dosenbach-160": _spheres("Dosenbach 2010", 160, "10.1126/science.1194144", "dosenbach_2010.csv", _DOSENBACH),
    "seitzman-300": _spheres("Seitzman 2018", 300, "10.1016/j.neuroimage.2019.116290", _SEITZMAN_FILE, _SEITZMAN),
    **{f"schaefer-{n}": _schaefer(n) for n in range(100, 1001, 100)},
    "aal": KnownAtlas(_AAL, 116, "10.1006/nimg.2001.0978", "fetch_atlas_aal", {"version": "SPM12"}),
    "harvard-oxford-cortical": KnownAtlas(
        _HARVARD, 48, _FSL, "fetch_atlas_harvard_oxford", {"atlas_name": "cort-maxprob-thr25-2mm"}
    ),
    "destrieux": KnownAtlas(_DESTRIEUX, 148, "10.1016/j.neuroimage.2010.06.010", "fetch_atlas_destrieux_2009"),
}

#: sha256 of label images that travel with data (CNI: the training release of the 2019 challenge) -> what they are
DIGESTS: dict[str, str] = {
    "cc41662866710de19ca0470b0c8e04b16b6025af2260fd5ba65bce4203a36b52": "AAL, 116 regions (CNI 2019)",
    "64ecc393dfcceb2616d217e74a6d69048a254b8b203b34865160e2d199e2068d": "Craddock, 200 regions (CNI 2019)",
    **{atlas.sha256: f"{name}: {atlas.title}" for name, atlas in KNOWN.items() if atlas.sha256 is not None},
}
