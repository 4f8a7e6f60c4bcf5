"""Pretraining recipes by name: YAML files of PretrainConfig that ship with the package."""

from __future__ import annotations

from importlib.resources import files
from os import PathLike
from pathlib import Path

from ...errors import ConfigError, did_you_mean
from ..config import PretrainConfig


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = files(__package__)
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def find_config(name_or_path: str | PathLike[str]) -> PretrainConfig:
    """A PretrainConfig by file or by shipped name.

    Raises
    ------
    ConfigError
        Neither a file nor a known name (the nearest is suggested), or a wrong key or value.
    """
    if Path(name_or_path).is_file():
        return PretrainConfig.load(name_or_path)
    if str(name_or_path) in recipe_names():
        return PretrainConfig.load(Path(str(files(__package__) / f"{name_or_path}.yaml")))
    raise ConfigError(
        "no such pretraining recipe", file=name_or_path, fix=did_you_mean(str(name_or_path), recipe_names())
    )
