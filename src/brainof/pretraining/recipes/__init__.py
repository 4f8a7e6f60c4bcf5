"""Pretraining recipes by name: YAML files of PretrainConfig that ship with the package, and what ablations change.

A recipe may be `like` another one: it then holds what differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

from ...errors import ConfigError, check_known
from ...paths import user_path
from ...schema import read_yaml
from ..config import PretrainConfig

ABLATIONS = "ablations"


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    names = (item.name.removesuffix(".yaml") for item in files(__name__).iterdir() if item.name.endswith(".yaml"))
    return sorted(name for name in names if name != ABLATIONS)


def find_config(name_or_path: str | PathLike[str]) -> PretrainConfig:
    """A PretrainConfig by file or by shipped name, with ablations behind it: `published+dense+softmax`.

    A ConfigError for neither a file nor a known name (the nearest is suggested), or a wrong key or value.
    """
    if user_path(name_or_path).is_file():
        return PretrainConfig.parse(_values(name_or_path), name_or_path)
    name, *changes = str(name_or_path).split("+")
    return ablated(PretrainConfig.parse(_values(_path(name)), name), changes, str(name_or_path))


def ablated(config: PretrainConfig, changes: Sequence[str], file: str | None = None) -> PretrainConfig:
    """The config with ablations, in their order; a ConfigError for an unknown one."""
    known = ablations()
    for change in changes:
        check_known(change, known, ConfigError, "no such ablation", field=change)
        config = config.replaced(known[change]["change"], file=file)
    return config


def ablations() -> dict[str, Any]:
    """Ablation -> what it is `about`, and its `key=value` changes."""
    return read_yaml(_shipped(ABLATIONS))


def lines() -> Iterator[str]:
    """Recipes and ablations, a line each."""
    for name in recipe_names():
        about = _shipped(name).read_text().splitlines()[0].removeprefix("# ")
        yield f"{name:<16} {about}"
    yield "\nablations, behind any recipe with a plus (published+dense):"
    for name, entry in ablations().items():
        yield f"{name:<16} {entry['about']}: {' '.join(entry['change'])}"


def _shipped(name: str) -> Path:
    return Path(str(files(__name__) / f"{name}.yaml"))


def _path(name: str) -> Path:
    check_known(name, recipe_names(), ConfigError, "no such pretraining recipe", file=name)
    return _shipped(name)


def _values(path: str | PathLike[str]) -> dict[str, Any]:
    """The values of a file, on top of those of the recipe that it is like."""
    values = read_yaml(path)
    like = values.pop("like", None)
    return values if like is None else _merged(_values(_path(str(like))), values)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = [key for key in above if isinstance(above[key], Mapping) and isinstance(below.get(key), Mapping)]
    return {**below, **above, **{key: _merged(below[key], above[key]) for key in both}}
