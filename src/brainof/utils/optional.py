"""Optional packages: imported where they are used, with one clear sentence where they are absent."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..errors import DependencyError


def optional(module: str, extra: str, what: str) -> ModuleType:
    """Import a module of an optional package.

    Parameters
    ----------
    module : str
        Such as "distributed".
    extra : str
        The extra of brainof that brings it.
    what : str
        What needs it, as the subject of the message: "engine='dask'".

    Raises
    ------
    DependencyError
        It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise  # the package is there, and something in it is broken
        raise DependencyError(
            f"needs the package {module.split('.')[0]}, which is not installed",
            field=what,
            fix=f"pip install 'brainof[{extra}]'",
        ) from None
