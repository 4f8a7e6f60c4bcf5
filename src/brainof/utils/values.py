"""Small helpers for numbers and text that several rooms need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

Whole = TypeVar("Whole", int, np.ndarray)


def ceil_div(a: Whole, b: int) -> Whole:
    """`a / b` rounded up, in whole numbers."""
    return -(-a // b)


def finite(value: Any, digits: int = 6) -> Any:
    """Nested values for JSON, which knows no NaN: numpy becomes plain, floats are rounded, non-finite ones are None."""
    if isinstance(value, Mapping):
        return {str(key): finite(item, digits) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [finite(item, digits) for item in value]
    if isinstance(value, float):
        return round(value, digits) if math.isfinite(value) else None
    return value


def counted(n: int, noun: str, verb: str = "") -> str:
    """`1 window`, `3,000 windows`; with a verb (`come`) `1 window comes`, `3,000 windows come`."""
    if n == 1:
        verb = verb and {"are": "is", "were": "was", "have": "has"}.get(verb, f"{verb}s")
    return f"{n:,} {noun}{'' if n == 1 else 's'}{verb and f' {verb}'}"


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first names as text, and how many more there are."""
    text = ", ".join(names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"
