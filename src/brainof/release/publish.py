"""`save_pretrained`: a folder that is ready to share; and the verbs that users of transformers and timm know.

`BrainOF.from_pretrained`, `.save_pretrained` and `.push_to_hub` are set on the class from here, because `model` stands
above `release` and knows of no folder; `brainof.BrainOF` is always the class with them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, cast

import pandas as pd

from ..contract import InputContract
from ..errors import CheckpointError, ConfigError, ReadError
from ..model import BrainOF
from ..paths import user_path
from .folder import load_folder, read_config, release_in, save_release
from .hub import push_to_hub as push
from .load import load

#: What a card shows of a row of the summary of an evaluation
_SCORE_KEYS = (
    *("task", "modality", "entry", "kind", "readout", "option", "metric", "score", "low", "high", "chance", "null_95"),
    *("p_value", "n_people", "transductive"),
)


def save_pretrained(
    model: BrainOF | str | PathLike[str],
    folder: str | PathLike[str],
    *,
    contract: InputContract | None = None,
    name: str | None = None,
    license: str | None = None,
    scores: str | PathLike[str] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write a release folder with its model card, as `load` reads it and `push_to_hub` sends it.

    Parameters
    ----------
    model : BrainOF or path
        A model, or a run or release folder, whose contract and record of training are kept.
    folder : path
        Written beside and renamed into place; replaces an earlier release.
    contract : InputContract, optional
        What the model accepts; by default what it was loaded with (`model.contract`).
    name, license : str, optional
        Title of the card; license of the weights (an SPDX name, or the Hub's word for it).
    scores : path, optional
        `summary.csv` of `brainof evaluate`, for the card.
    notes : sequence of str
        Further limits that a user must know.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    ConfigError
        A model in memory without a contract.
    CheckpointError
        The folder to start from holds no intact release.
    """
    target = user_path(folder)
    about: dict[str, Any] = {}
    if isinstance(model, (str, PathLike)):
        source = release_in(user_path(model, CheckpointError))
        about = dict(read_config(source).get("about", {}))
        loaded, own = load_folder(source)
        contract = contract or own
    else:
        loaded = model
        contract = cast("InputContract | None", contract or getattr(model, "contract", None))
    if contract is None:
        raise ConfigError("is missing: nobody could feed this model", field="contract", fix="give its InputContract")
    extra: dict[str, Any] = {"name": name, "license": license, "notes": list(notes)}
    if scores is not None:
        try:
            lines = pd.read_csv(user_path(scores, ReadError))
            rows = lines[(lines["kind"] != "chance") & lines["score"].notna()].to_dict("records")
        except (OSError, ValueError, KeyError) as error:
            fix = "give summary.csv of brainof evaluate"
            raise ReadError(f"holds no scores ({error})", file=scores, fix=fix) from None
        extra["scores"] = [{key: row[key] for key in _SCORE_KEYS if pd.notna(row.get(key))} for row in rows]
    about |= {key: value for key, value in extra.items() if value}
    save_release(target, loaded, contract, **about)
    return target


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


def push_to_hub(self: BrainOF, repo_id: str, license: str | None = None, **options: Any) -> str:
    """Upload the model to the Hub in one commit and return its URL; options as for `brainof.push_to_hub`."""
    with tempfile.TemporaryDirectory() as scratch:
        name = repo_id.rpartition("/")[2]
        return push(save_pretrained(self, Path(scratch) / "release", name=name, license=license), repo_id, **options)


for method in (from_pretrained, save_pretrained, push_to_hub):
    setattr(BrainOF, method.__name__, method)
