"""`load`: a model by what the user has."""

from __future__ import annotations

import logging
import os
from os import PathLike
from pathlib import Path
from typing import Any

from ..contract import InputContract
from ..errors import CheckpointError, ConfigError, did_you_mean
from ..model import PRESETS, BrainOF, BrainOFConfig, count
from ..paths import user_path
from ..utils.modules import seeded
from ..version import __version__
from .folder import PICKLE_SUFFIXES, load_folder, read_config, read_contract, release_in
from .hub import SCHEME, fetch, hub_id

log = logging.getLogger(__name__)

#: The name of the weights that come with brainof
PRETRAINED = "pretrained"


def load(
    model: str | PathLike[str] = PRETRAINED,
    *,
    revision: str | None = None,
    offline: bool = False,
    seed: int = 0,
) -> tuple[BrainOF, InputContract | None]:
    """Load a model by what the user has: a folder, a name, or the id of a model on the Hugging Face Hub.

    Parameters
    ----------
    model : str or path
        In this order: a run folder (its `release/` is read) or release folder that exists; "pretrained", the weights
        that come with brainof; a preset (random weights from `seed`, no contract); `organisation/name` on the Hub.
        Where `organisation` is a folder that exists, a path was meant, and nothing is looked up;
        `hf://organisation/name` always means the Hub.
    revision : str, optional
        Branch, tag or commit on the Hub; its default branch without it.
    offline : bool
        Use what was downloaded before and touch no network (as does the environment variable HF_HUB_OFFLINE=1).
        Where downloads are kept, and the token for private models, are settings of the Hub: HF_HOME, `hf auth login`.
    seed : int
        Of the random weights of a preset.

    Returns
    -------
    model : BrainOF
        In evaluation mode.
    contract : InputContract or None
        None for a preset, which was never trained on anything.

    Raises
    ------
    CheckpointError
        Nothing of that name, a folder without a release, another layout, pickled weights, a file that is cut short or
        changed, or weights that do not fit.
    DependencyError
        The Hub is needed and huggingface_hub is not installed.
    """
    if _is_preset(model):
        if revision is not None:
            problem = f"{str(model)!r} is a preset, which has no revision"
            raise ConfigError(problem, field="revision", fix="leave it out")
        with seeded(seed):  # the caller's own stream stays where it is
            return BrainOF.from_preset(str(model)).eval(), None
    folder = _locate(model, revision, offline)
    found, contract = load_folder(folder)
    if trial := read_config(folder).get("about", {}).get("trial"):
        log.warning("%s is a trial run: %s", model, trial)
    found.contract = contract  # type: ignore[assignment]  # so that `embed(source, model)` can check what it is given
    return found, contract


def describe(model: str | PathLike[str]) -> dict[str, Any]:
    """What a run or release folder holds, for `brainof info`; the weights are not read."""
    folder = _locate(model)
    config = read_config(folder)
    architecture = BrainOFConfig.parse(config["model"], folder / "config.json")
    return {
        "file": str(model),
        "parameters": count(architecture),
        "config": architecture.to_dict(),
        **({"head": config["head"]} if config.get("head") else {}),
        "contract": read_contract(folder).to_dict(),
        "about": config.get("about", {}),
    }


def record_of(model: str | PathLike[str]) -> dict[str, Any]:
    """What a run or release folder, or a Hub id, records of its training; empty for a preset, which had none."""
    return {} if _is_preset(model) else dict(read_config(_locate(model)).get("about", {}))


def _is_preset(model: str | PathLike[str]) -> bool:
    return str(model) in PRESETS and not os.path.isdir(model)


def _locate(model: str | PathLike[str], revision: str | None = None, offline: bool = False) -> Path:
    """The release folder of a path, or of a downloaded Hub model."""
    path = user_path(model, CheckpointError)
    if os.path.isdir(path):  # False, not an error, where a name is too long
        if revision is not None:
            raise ConfigError(f"{path} is a folder, which has no revision", field="revision", fix="leave it out")
        return release_in(path)
    if os.path.isfile(path):
        if path.suffix.lower() in PICKLE_SUFFIXES:
            fix = "brainof reads release folders (safetensors and JSON)"
            raise CheckpointError("is a pickled file, which can run any code when it is read", file=path, fix=fix)
        raise CheckpointError("is a file", file=path, fix="name the release folder it lies in")
    if str(model) == PRETRAINED:
        if revision is not None:
            raise ConfigError(f"{PRETRAINED!r} comes with brainof {__version__}", field="revision", fix="leave it out")
        return Path(__file__).with_name(PRETRAINED)
    repo_id = hub_id(model)
    if repo_id is not None:
        return fetch(repo_id, revision, offline)
    fix = did_you_mean(str(model), (PRETRAINED, *PRESETS))
    if isinstance(model, str) and hub_id(SCHEME + model) and model not in PRESETS:
        fix = f"check the path, or write {SCHEME}{model} for the Hub"
    raise CheckpointError("no such run folder, release folder or preset", file=path, fix=fix)
