"""Known atlases by name: those that ship with nilearn as coordinates, and those that nilearn downloads on request.

Only digests that were computed from a file at hand are listed. An atlas of another digest is taken as it is, with its
own digest in the corpus and a note.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from ..schema import Schema, read_yaml


class KnownAtlas(Schema):
    """An atlas that has a name here: spheres around the points of a `file` in nilearn's wheel, or a download."""

    title: str
    n_regions: int
    url: str
    function: str = ""  # Of nilearn.datasets, for downloads
    arguments: dict[str, Any] = Field(default_factory=dict)
    file: str = ""
    sha256: str | None = None  # Of `file`; None for downloads, whose digest is stored when they are fetched


KNOWN = {name: KnownAtlas(**values) for name, values in read_yaml(Path(__file__).with_suffix(".yaml")).items()}

#: sha256 of label images that travel with data (CNI: the training release of the 2019 challenge) -> what they are
DIGESTS: dict[str, str] = {
    "cc41662866710de19ca0470b0c8e04b16b6025af2260fd5ba65bce4203a36b52": "AAL, 116 regions (CNI 2019)",
    "64ecc393dfcceb2616d217e74a6d69048a254b8b203b34865160e2d199e2068d": "Craddock, 200 regions (CNI 2019)",
    **{atlas.sha256: f"{name}: {atlas.title}" for name, atlas in KNOWN.items() if atlas.sha256 is not None},
}
