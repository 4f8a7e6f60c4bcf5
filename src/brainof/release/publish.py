"""`save_pretrained`: a folder that is ready to share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from ..contract import InputContract
from ..errors import CheckpointError, ConfigError, ReadError
from ..model import BrainOF
from ..paths import user_path
from ..utils.files import parse_json
from .folder import load_folder, read_config, release_in, save_release

#: What a card shows of a row of scores
_SCORE_KEYS = (
    *("task", "modality", "features", "level", "metric", "score", "sd", "chance", "null_95", "p_value"),
    *("recentred", "transductive", "n_groups", "split"),
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
        A study's `scores.json` (rows of `evaluate_task`), for the card.
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
        contract = contract or getattr(model, "contract", None)
    if contract is None:
        raise ConfigError("is missing: nobody could feed this model", field="contract", fix="give its InputContract")
    extra: dict[str, Any] = {"name": name, "license": license, "notes": list(notes)}
    if scores is not None:
        extra["scores"] = _scores(scores)
    about |= {key: value for key, value in extra.items() if value}
    save_release(target, loaded, contract, **about)
    return target


def _scores(path: str | PathLike[str]) -> list[dict[str, Any]]:
    """The score rows of a file that a card shows."""
    try:
        found = parse_json(user_path(path, ReadError).read_text())
    except (OSError, ValueError) as error:
        raise ReadError(f"holds no scores ({error})", file=path) from None
    rows = [row for row in found if isinstance(row, Mapping) and row.get("row", "score") == "score"]
    rows = [row for row in rows if row.get("level") in (None, "window", "session")]
    return [{key: row[key] for key in _SCORE_KEYS if row.get(key) is not None} for row in rows]
