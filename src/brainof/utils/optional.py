"""Optional packages: imported where they are used, with one clear sentence where they are absent."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..errors import DependencyError


def optional(module: str, extra: str, what: str) -> ModuleType:
    """Import a module of an optional package that an extra of brainof brings; `what` ("engine='dask'") needs it.

    Raises DependencyError: it is not installed.
    """
    package = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package:
            raise  # the package is there, and something in it is broken
        text, fix = f"needs the package {package}, which is not installed", f"pip install 'brainof[{extra}]'"
        raise DependencyError(text, field=what, fix=fix) from None
