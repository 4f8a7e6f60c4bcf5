"""Weights of a run: at random, of a release or a checkpoint; a checkpoint as a release, and its whitening."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..contract import InputContract
from ..corpus import Windows
from ..errors import CheckpointError, ConfigError, did_you_mean
from ..model import BrainOF
from ..model.config import BrainOFConfig
from ..model.whitening import Whitening
from ..paths import user_path
from ..release import load, save_release
from ..utils.files import read_json
from ..utils.modules import evaluating, seeded
from ..utils.values import finite
from .checkpoint import best_of, complete_checkpoints, intact_state, read_into, restore
from .config import PretrainConfig
from .run_folder import ABOUT, flat, last_of

log = logging.getLogger(__name__)

#: Windows at a time whose latents are whitened
WINDOWS = 16


def release_checkpoint(run: str | PathLike[str], folder: str | PathLike[str], checkpoint: str = "best") -> Path:
    """Write the release of one checkpoint of a run.

    Parameters
    ----------
    run, folder : path
        Run folder, and the release folder to write.
    checkpoint : str
        "best" (by explained variance on people left out), "latest", or a number of steps.

    Raises
    ------
    CheckpointError
        No such checkpoint (those that there are get named), a damaged one, or no run of `pretrain`.

    Examples
    --------
    >>> from brainof.pretraining import release_checkpoint
    >>> release_checkpoint("runs/base", "release", "best")  # doctest: +SKIP
    """
    run, target = user_path(run, CheckpointError), user_path(folder)
    if not (run / ABOUT).is_file():
        raise CheckpointError("is not a run of `brainof pretrain`, or is one of an earlier version", file=run)
    write_release(run, target, checkpoint)
    return target


def write_release(run: Path, target: Path, checkpoint: str, finish: Callable[[BrainOF], None] | None = None) -> None:
    """As `release_checkpoint`, with the model finished before it is saved."""
    about = read_json(run / ABOUT)
    if "pairs" in about["record"]:
        fix = "save the model that was trained by brainof.release.save_release"
        raise CheckpointError("is a run on pairs, whose model was made elsewhere", file=run, fix=fix)
    config = PretrainConfig.load(run / "config.yaml")
    folder = run / "checkpoints"
    paths = {path.name.removeprefix("step-"): path for path in complete_checkpoints(folder)}
    name = {"best": str(best_of(folder).get("step")), "latest": next(reversed(paths), "")}.get(checkpoint, checkpoint)
    if name not in paths:
        what = "none has been rated yet" if checkpoint == "best" else f"no checkpoint {checkpoint!r}"
        there = ", ".join(["latest", *paths]) if paths else "wait for the first one"
        raise CheckpointError(what, file=folder, field="checkpoint", fix=f"one of: {there}" if paths else there)
    path = paths[name]
    state = intact_state(path)
    if state is None:
        raise CheckpointError("its bytes are not those that were written", file=path, fix="choose another --checkpoint")
    health = last_of("health", run / "metrics.jsonl", int(state["step"])) or {}
    now = {"steps": state["step"], "seconds": round(state["seconds"], 1), "health": finite(health, 4)}
    if config.trial and (missed := last_of("trial", run / "metrics.jsonl", int(state["step"]))):
        now["trial"] = missed
    contract = InputContract.parse(about["contract"], run / ABOUT)
    model = initial_model(config)
    restore(path, model, None)
    if config.average:
        read_into(path, {f"average.{name}": value.detach() for name, value in model.named_parameters()})
    if finish is not None:
        finish(model)
    elif config.whiten:
        log.warning("%s: latents are not whitened within people, which a run does at its end alone", target)
    save_release(target, model, contract, **about["record"] | now)


def trained_teacher(name: str) -> BrainOF:
    """The model of a run or release folder, as it is; a ConfigError for a preset, whose weights are random."""
    model, contract = load(name)
    if contract is None:
        fix = "give a run or release folder, or set objective.teacher to self or average"
        raise ConfigError(f"{name} has random weights", field="objective.teacher", fix=fix)
    return model.eval().requires_grad_(False)


def initial_model(config: PretrainConfig, on_meta: bool = False) -> BrainOF:
    """The model of a configuration with random weights, drawn from a stream of their own; or without any memory."""
    with seeded(config.seed), torch.device("meta") if on_meta else contextlib.nullcontext():
        return BrainOF(config.architecture)


def start_from(model: BrainOF, start: str) -> None:
    """Give a model the weights of a folder or a model on the Hub; a ConfigError names a field of the architecture that
    differs."""
    other, _ = load(start)
    mine, theirs = flat(model.config.to_dict()), flat(other.config.to_dict())
    for name, value in theirs.items():
        if value != mine.get(name) and not name.startswith(("rates", "pooling")):
            fix = f"set model.{name}={value}" if value is not None else "choose another recipe"
            text = f"{mine.get(name)!r}, but {start} has {value!r}"
            raise ConfigError(text, field=f"model.{name}", fix=fix)
    model.load_state_dict(other.reset_head(0).state_dict())


def whiten(model: BrainOF, corpora: Windows, rows: pd.DataFrame, config: PretrainConfig) -> None:
    """Estimate whitening within people at the end of a run (docs/decisions/0113), from its training windows of the
    datasets in `config.whiten`."""
    for modality, output in model.config.whitening.items():
        own, part = rows_to_whiten(rows, config, modality), model.config.latents_of(output)
        if not len(own):
            continue
        found: dict[int, np.ndarray] = {}
        with evaluating(model):
            for places in own.groupby(["dataset", "n_channels", "n_times"], observed=True).indices.values():
                for start in range(0, len(places), WINDOWS):
                    some = own.index[places[start : start + WINDOWS]].tolist()
                    latents_BLD = model.forward_features(corpora.batch(some, patch=model.config.patch))
                    found.update(zip(some, latents_BLD[:, part].flatten(1).numpy(), strict=True))
        people, datasets = (own[name].astype(str).to_numpy() for name in ("subject", "dataset"))
        whitening = model.whitening[modality]
        assert isinstance(whitening, Whitening)
        whitening.fit(np.stack([found[row] for row in own.index]), people, datasets)


def rows_to_whiten(rows: pd.DataFrame, config: PretrainConfig, modality: str) -> pd.DataFrame:
    """The training windows of a modality from which whitening is estimated."""
    return rows[rows["dataset"].isin(config.whiten) & (rows["modality"] == modality)]


def require_whitening(model: BrainOFConfig, config: PretrainConfig, rows: pd.DataFrame) -> None:
    """Refuse to whiten what the model does not, or by datasets without two windows of one person."""
    if config.whiten and not model.whitening:
        fix = "set model.whitening={fmri: connectivity}, or leave whiten out"
        raise ConfigError("the model has no latents to whiten", field="whiten", fix=fix)
    of = {modality: rows_to_whiten(rows, config, modality) for modality in model.whitening}
    for name in config.whiten:
        if not any(own[own["dataset"] == name].duplicated("subject").any() for own in of.values()):
            text = f"no two training windows of one person in {name!r} ({', '.join(of)})"
            raise ConfigError(text, field="whiten", fix=did_you_mean(name, set(rows["dataset"])))
