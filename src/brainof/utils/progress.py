"""One progress helper: a bar on a terminal, silence elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

from tqdm import tqdm

logger = logging.getLogger(__name__)

#: Seconds between two lines of the log where there is no terminal
LOG_SECONDS = 60.0


def progress(items: Iterable[Any] | None = None, *, quiet: bool = False, **options: Any) -> Any:
    """A tqdm bar on standard error with rate and remaining time.

    Where standard error is no terminal (a job's log), the same as a line of this module's log, once a minute.
    Nothing with `quiet`. `options` are tqdm's (`desc`, `total`, `initial`, `unit`, ...).
    """
    terminal = sys.stderr.isatty() and not quiet
    bar: Any = tqdm(items, disable=not terminal, dynamic_ncols=True, smoothing=0.1, **options)
    return bar if terminal or quiet or items is None else _logged(items, **options)


def _logged(
    items: Iterable[Any], desc: str = "", unit: str = "it", total: int | None = None, initial: int = 0, **_: Any
) -> Iterator[Any]:
    if total is None and isinstance(items, Sized):
        total = initial + len(items)
    started = said = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said >= LOG_SECONDS:
            said, per_minute = now, 60 * count / (now - started)
            left = f", {(total - initial - count) / per_minute:.0f} min left" if total is not None else ""
            done = f"{initial + count} of {total}" if total is not None else f"{initial + count}"
            logger.info("%s: %s %ss, %.3g a minute%s", desc, done, unit, per_minute, left)


def timed(say: Callable[[str], None]) -> Callable[[str], None]:
    """`say` with the seconds since now before each line."""
    started = time.perf_counter()

    def tell(text: str) -> None:
        say(f"[{time.perf_counter() - started:6.1f} s] {text}")

    return tell
