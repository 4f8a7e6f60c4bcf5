"""The backbone that an estimator was given, in memory or by name; fitted estimators as adapter folders, and back."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ConfigDict, Field
from sklearn.utils.validation import check_is_fitted

from ..adaptation.saving import CONFIG, load_adapter, read_adapter, save_adapter
from ..channels import Channels, Modality
from ..contract import Acceptable
from ..errors import BrainOFError, CheckpointError, ConfigError
from ..paths import user_path
from ..release import load as load_base
from ..schema import Schema
from ..utils.modules import move

log = logging.getLogger(__name__)

_Kind = TypeVar("_Kind", bound=Schema)

#: Arguments that say where a model runs and what is kept, not what it does; never taken from a file: a cache holds
#: pickles, which run as code when they are read
LOCAL = ("memory", "device", "model", "adapt")


class Arguments(Schema):
    """Arguments of an estimator that are taken from a file."""

    sfreq: float | None = Field(default=None, gt=0)
    channels: list[str] | dict[str, Any] | None = None
    modality: Modality = "eeg"
    units: str | dict[str, str] | None = None
    prepared: bool = False
    window_seconds: float | None = Field(default=None, gt=0)
    accept: list[Acceptable] = Field(default_factory=list)
    batch_size: int = Field(default=32, ge=1)
    random_state: int | None = None
    pool: str = "auto"
    within_subject: bool = False


class Saved(Schema):
    """What an estimator keeps beside its adapter."""

    model_config = ConfigDict(extra="ignore")  # a run of `brainof adapt` keeps its task there too

    estimator: str
    arguments: dict[str, Any]
    classes: list[bool | int | float | str] | None = None
    subjects: list[str] | None = None


def load_model(model: Any, random_state: Any = None):
    """Backbone and contract of a module, (module, contract), a preset, a folder or a Hub id; CheckpointError if no."""
    if isinstance(model, tuple):
        return copy.deepcopy(model[0]).eval(), model[1]
    if hasattr(model, "forward_features"):
        return copy.deepcopy(model).eval(), getattr(model, "contract", None)
    seed = random_state if isinstance(random_state, int) else 0
    loaded, contract = load_base(model, seed=seed)
    if contract is None:
        log.warning("%s is a preset: its weights are RANDOM", model)
    return loaded, contract


def save(estimator: Any, folder: Any) -> Path:
    """Write the fitted estimator as an adapter folder (PEFT's layout), without pickle; `load` reads it.

    The base model is named, not copied: `model` must be a preset, path or Hub id.
    """
    check_is_fitted(estimator, "adapted_")
    model = estimator.model
    if not isinstance(model, (str, Path)):
        problem, fix = "a module in memory has no name to load it by", "save it with brainof.save_pretrained first"
        raise ConfigError(problem, field="model", fix=fix)
    if estimator.contract_ is None and not isinstance(estimator.random_state, (int, type(None))):
        raise ConfigError("random weights need an int to be made again", field="random_state")
    arguments = {name: _plain(value) for name, value in estimator.get_params(deep=False).items() if name not in LOCAL}
    classes = getattr(estimator, "classes_", None)
    about = Saved(
        estimator=type(estimator).__name__,
        arguments=arguments,
        classes=None if classes is None else classes.tolist(),
        subjects=None if estimator.subjects_ is None else estimator.subjects_.tolist(),
    )
    return save_adapter(folder, estimator.adapted_, str(model), estimator.digest_, about.to_dict())


def load(cls: type, folder: Any, **changes: Any) -> Any:
    """A fitted estimator from `save` or from `brainof adapt`; `changes` replace its arguments.

    A CheckpointError where it is none of this kind.
    """
    folder = user_path(folder, CheckpointError)
    folder = folder / "adapter" if (folder / "adapter").is_dir() else folder
    config, _ = read_adapter(folder)
    about = _parsed(Saved, config.brainof.about, folder)
    if about.estimator != cls.__name__:
        kind = about.estimator
        raise CheckpointError(f"holds a {kind}, no {cls.__name__}", file=folder, fix=f"use {kind}.load")
    stored = {name: value for name, value in about.arguments.items() if name not in LOCAL}
    if unknown := sorted(set(stored) - set(cls._get_param_names())):  # type: ignore[attr-defined]
        raise CheckpointError(f"unknown argument {unknown[0]!r}", file=folder, fix="save it again")
    known = _parsed(Arguments, stored, folder).model_dump(exclude_unset=True)
    arguments = {**known, "model": config.base_model_name_or_path, **changes}
    if isinstance(arguments.get("channels"), dict):
        try:
            arguments["channels"] = Channels.from_dict(arguments["channels"])
        except (BrainOFError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"is no table ({error})", file=folder / CONFIG, field="channels") from None
    estimator = cls(**{"adapt": config.brainof.members[0].adaptation, **arguments})
    estimator.model_, estimator.contract_ = load_model(estimator.model, estimator.random_state)
    move(estimator.model_, estimator.device)
    estimator.digest_ = config.brainof.base_digest
    estimator.adapted_ = load_adapter(folder, estimator.model_)
    for part in estimator.adapted_.members():
        part.model.to(estimator.device)
        part.head.to(estimator.device)
    kind, outputs = estimator.adapted_.kind, estimator.adapted_.members()[0].head.outputs
    n_classes = len(set(about.classes or ()))
    if n_classes != (outputs if kind == "classification" else 0):
        problem = f"{n_classes} different classes for a {kind} of {outputs} outputs"
        raise CheckpointError(problem, file=folder / CONFIG, field="classes", fix="save it again")
    if about.classes is not None:
        estimator.classes_ = np.array(about.classes)
    estimator.subjects_ = None if about.subjects is None else np.array(about.subjects)
    return estimator


def _parsed(kind: type[_Kind], values: Any, folder: Path) -> _Kind:
    try:
        return kind.parse(values, folder / CONFIG)
    except ConfigError as error:
        raise CheckpointError(error.problem, file=error.file, field=error.field, fix="save it again") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Channels):
        return value.to_dict()
    if isinstance(value, np.generic):
        return value.item()
    return list(value) if isinstance(value, (tuple, set, np.ndarray)) else value
