"""Sampling weights: how often a dataset and a modality are drawn, as fractions of all windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, check_known, did_you_mean

#: A rule is a word, {"temperature": T}, or a mapping of names to weights
Rule = str | Mapping[str, float] | None

KINDS = ("modality", "dataset")
WORDS = ("proportional", "equal")
#: The keys of a rule that is no mapping of names
TEMPERATURE = {"temperature"}


def fractions(sizes: Mapping[tuple[str, str], int], weights: Mapping[str, Any] | None) -> dict[tuple[str, str], float]:
    """Fraction of the drawn windows that each (modality, dataset) of `sizes` (windows there are) gets; they sum to 1.

    `weights` holds rules under "modality" and "dataset". A rule is "proportional" (to the number of windows, the
    default), "equal", {"temperature": T} (proportional to n ** (1 / T): 1 is proportional, more is more equal), or
    explicit weights by name, above 0 for every name there is. The dataset rule divides what the modality rule gives to
    a modality; without a modality rule it divides everything.

    Raises ConfigError: a rule or a name is unknown, a name is missing, or a weight is not above 0.
    """
    weights = weights or {}
    for key in weights:
        check_known(key, KINDS, ConfigError, "unknown key", field=f"weights.{key}")
    table = pd.Series(sizes)
    modalities, datasets = (table.groupby(level=level).sum().to_dict() for level in (0, 1))
    rule = weights.get("dataset")
    if isinstance(rule, Mapping) and set(rule) != TEMPERATURE:
        # a dataset of several modalities divides its weight by their sizes
        given = _evaluate("dataset", rule, datasets)
        drawn = {pair: given[pair[1]] * size / datasets[pair[1]] for pair, size in sizes.items()}
    else:
        drawn = _evaluate("dataset", rule, sizes)
    if weights.get("modality") is not None:
        wanted = _evaluate("modality", weights["modality"], modalities)
        have = pd.Series(drawn).groupby(level=0).sum()
        drawn = {pair: weight * wanted[pair[0]] / have[pair[0]] for pair, weight in drawn.items()}
    whole = sum(drawn.values())
    return {pair: weight / whole for pair, weight in drawn.items()}


def _evaluate(kind: str, rule: Rule, sizes: Mapping[Any, int]) -> dict[Any, float]:
    """The weight of each name under a rule."""
    if rule is None or rule == "proportional":
        return {name: float(size) for name, size in sizes.items()}
    if rule == "equal":
        return dict.fromkeys(sizes, 1.0)
    if not isinstance(rule, Mapping):
        known = (*WORDS, "temperature")
        raise ConfigError(f"unknown rule {rule!r}", field=f"weights.{kind}", fix=did_you_mean(str(rule), known))
    if set(rule) == TEMPERATURE:
        temperature = _positive(f"weights.{kind}.temperature", rule["temperature"])
        return {name: float(size) ** (1 / temperature) for name, size in sizes.items()}
    for name in rule:
        check_known(name, sizes, ConfigError, "is not in the corpus", field=f"weights.{kind}.{name}")
    for name in sizes:
        if name not in rule:
            fix = f"give it a weight, or leave the {kind} out of the selection"
            raise ConfigError("has no weight", field=f"weights.{kind}.{name}", fix=fix)
    return {name: _positive(f"weights.{kind}.{name}", rule[name]) for name in sizes}


def _positive(field: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not 0 < number < np.inf:
        raise ConfigError(f"{value!r} is not a number above 0", field=field)
    return number
