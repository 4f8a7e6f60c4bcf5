"""Weights of a run: at random, of a release or a checkpoint; and a checkpoint as a release."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from os import PathLike
from pathlib import Path

import torch

from ..contract import InputContract
from ..errors import CheckpointError, ConfigError
from ..model import BrainOF
from ..paths import user_path
from ..release import load, save_release
from ..utils.files import read_json
from ..utils.modules import seeded
from ..utils.values import finite
from .checkpoint import best_of, complete_checkpoints, intact_state, read_into, restore
from .config import PretrainConfig
from .run_folder import ABOUT, flat, last_of

log = logging.getLogger(__name__)


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
    path = _find(run / "checkpoints", checkpoint)
    state = intact_state(path)
    if state is None:
        raise CheckpointError("its bytes are not those that were written", file=path, fix="choose another --checkpoint")
    health = last_of("health", run / "metrics.jsonl", int(state["step"])) or {}
    now = {"steps": state["step"], "seconds": round(state["seconds"], 1), "health": finite(health, 4)}
    if config.trial and (missed := last_of("trial", run / "metrics.jsonl", int(state["step"]))):
        now["trial"] = missed
    contract = InputContract.parse(about["contract"], run / ABOUT)
    model = checkpointed_model(path, config)
    if finish is not None:
        finish(model)
    elif config.whiten:
        log.warning("%s: latents are not whitened within people, which a run does at its end alone", target)
    save_release(target, model, contract, **about["record"] | now)


def _find(folder: Path, checkpoint: str) -> Path:
    paths = {path.name.removeprefix("step-"): path for path in complete_checkpoints(folder)}
    name = {"best": str(best_of(folder).get("step")), "latest": next(reversed(paths), "")}.get(checkpoint, checkpoint)
    if name not in paths:
        what = "none has been rated yet" if checkpoint == "best" else f"no checkpoint {checkpoint!r}"
        there = ", ".join(["latest", *paths]) if paths else "wait for the first one"
        raise CheckpointError(what, file=folder, field="checkpoint", fix=f"one of: {there}" if paths else there)
    return paths[name]


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


def checkpointed_model(path: Path, config: PretrainConfig) -> BrainOF:
    """The whole model of a checkpoint, however many ranks wrote it, with its averaged weights where it has them."""
    model = initial_model(config)
    restore(path, model, None)
    if config.average:
        read_into(path, {f"average.{name}": value.detach() for name, value in model.named_parameters()})
    return model


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
