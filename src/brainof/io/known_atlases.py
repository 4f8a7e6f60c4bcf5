"""Known atlases by name: those that ship with nilearn as coordinates, and those that nilearn downloads on request.

Only digests that were computed from a file at hand are listed. An atlas of another digest is taken as it is, with its
own digest in the corpus and a note.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class KnownAtlas:
    """An atlas that has a name here.

    Attributes
    ----------
    title : str
    n_regions : int
    source : str
        "coordinates" (spheres around points that ship with nilearn) or "download".
    function : str
        Of nilearn.datasets, for downloads.
    arguments : dict
    sha256 : str or None
        Of the coordinate file in nilearn's wheel; None for downloads, whose digest is stored when they are fetched.
    url : str
        Where its authors describe it and state their terms.
    """

    title: str
    n_regions: int
    source: str
    function: str
    url: str
    arguments: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    file: str | None = None


def _schaefer(n: int) -> KnownAtlas:
    return KnownAtlas(
        f"Schaefer 2018, {n} cortical regions, 7 networks",
        n,
        "download",
        "fetch_atlas_schaefer_2018",
        "https://doi.org/10.1093/cercor/bhx179",
        {"n_rois": n, "yeo_networks": 7, "resolution_mm": 2},
    )


KNOWN: dict[str, KnownAtlas] = {
    "power-264": KnownAtlas(
        "Power 2011, 264 spheres of 5 mm",
        264,
        "coordinates",
        "",
        "https://doi.org/10.1016/j.neuron.2011.09.006",
        sha256="a052a4231d727348a44f8ba55e6663cb8beedc4f5b0415b3563beb82f16f9564",
        file="power_2011.csv",
    ),
    "dosenbach-160": KnownAtlas(
        "Dosenbach 2010, 160 spheres of 5 mm",
        160,
        "coordinates",
        "",
        "https://doi.org/10.1126/science.1194144",
        sha256="3cfebd3aaab04d0c9a691cd11a6ae774b04a2129f9d314f5c437eaef0e1f861e",
        file="dosenbach_2010.csv",
    ),
    "seitzman-300": KnownAtlas(
        "Seitzman 2018, 300 spheres of 5 mm",
        300,
        "coordinates",
        "",
        "https://doi.org/10.1016/j.neuroimage.2019.116290",
        sha256="a5ae5b22bf710cb1460fd00209fa70a8a82e1933905e1a8dc40e7f6e3385149a",
        file="seitzman_2018_ROIs_300inVol_MNI_allInfo.txt",
    ),
    **{f"schaefer-{n}": _schaefer(n) for n in (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)},
    "aal": KnownAtlas(
        "Automated anatomical labelling (SPM12), 116 regions",
        116,
        "download",
        "fetch_atlas_aal",
        "https://doi.org/10.1006/nimg.2001.0978",
        {"version": "SPM12"},
    ),
    "harvard-oxford-cortical": KnownAtlas(
        "Harvard-Oxford, 48 cortical regions, 25 %, 2 mm",
        48,
        "download",
        "fetch_atlas_harvard_oxford",
        "https://fsl.fmrib.ox.ac.uk/fsl/fslwiki/Atlases",
        {"atlas_name": "cort-maxprob-thr25-2mm"},
    ),
    "destrieux": KnownAtlas(
        "Destrieux 2009, 148 cortical regions",
        148,
        "download",
        "fetch_atlas_destrieux_2009",
        "https://doi.org/10.1016/j.neuroimage.2010.06.010",
    ),
}

#: sha256 of label images that travel with data (CNI: the training release of the 2019 challenge) -> what they are
DIGESTS: dict[str, str] = {
    "cc41662866710de19ca0470b0c8e04b16b6025af2260fd5ba65bce4203a36b52": "AAL, 116 regions (CNI 2019)",
    "64ecc393dfcceb2616d217e74a6d69048a254b8b203b34865160e2d199e2068d": "Craddock, 200 regions (CNI 2019)",
    **{atlas.sha256: f"{name}: {atlas.title}" for name, atlas in KNOWN.items() if atlas.sha256 is not None},
}
