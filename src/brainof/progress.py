"""One progress helper: a bar on a terminal, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(items: Iterable[Any] | None = None, **options: Any) -> Any:
    """A tqdm bar on standard error with rate and remaining time; disabled where standard error is no terminal.

    `options` are tqdm's (`desc`, `total`, `initial`, `unit`, ...).
    """
    return tqdm(items, disable=not sys.stderr.isatty(), dynamic_ncols=True, smoothing=0.1, **options)
