"""`BrainOF.from_pretrained`, `.save_pretrained` and `.push_to_hub`: the verbs that users of transformers and timm know.

They are set on the class from here, because `model` stands above `release` and knows of no folder; `brainof.BrainOF` is
always the class with them.
"""

from __future__ import annotations

import tempfile
from os import PathLike
from pathlib import Path
from typing import Any

from ..model import BrainOF
from .hub import push_to_hub as push
from .load import load
from .publish import save_pretrained as save


@staticmethod  # type: ignore[misc]
def from_pretrained(model: str | PathLike[str], **options: Any) -> BrainOF:
    """The model alone, in evaluation mode; its InputContract is its attribute `contract`. Options: `brainof.load`.

    Examples
    --------
    >>> import brainof
    >>> model = brainof.BrainOF.from_pretrained("runs/first")  # doctest: +SKIP
    >>> brainof.embed("my.edf", model)  # checked against model.contract  # doctest: +SKIP
    """
    return load(model, **options)[0]


def save_pretrained(self: BrainOF, folder: str | PathLike[str], **about: Any) -> Path:
    """Write a release folder with a model card; `about` as for `brainof.save_pretrained`."""
    return save(self, folder, **about)


def push_to_hub(self: BrainOF, repo_id: str, license: str | None = None, **options: Any) -> str:
    """Upload the model to the Hub in one commit and return its URL; options as for `brainof.push_to_hub`."""
    with tempfile.TemporaryDirectory() as scratch:
        name = repo_id.rpartition("/")[2]
        return push(save(self, Path(scratch) / "release", name=name, license=license), repo_id, **options)


for method in (from_pretrained, save_pretrained, push_to_hub):
    setattr(BrainOF, method.__name__, method)
