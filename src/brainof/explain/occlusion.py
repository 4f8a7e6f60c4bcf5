"""Occlusion: what a model loses when it does not see a channel, region, network, stretch of time or band."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..model import BrainOF
from ..stats.nulls import p_value
from .effects import EffectMap, effect_map
from .hiding import bands_of, filtered_features, grid_of, hidden_features, token_parts
from .readout import ACCURACY, CHANGE, EVIDENCE, changes, labellings, lost_evidence, over_groups
from .source import Explained, untrained

#: Windows times hidden parts at most: 64 channels of 200 windows
BUDGET = 12_800


def occlusion(
    explained: Explained,
    model: BrainOF,
    *,
    by: str = "channel",
    n_untrained: int = 2,
    n_permutations: int = 200,
    pool: str = "auto",
    random_state: int = 0,
) -> EffectMap:
    """What hiding each part of the input costs, beside random weights and permuted labels.

    With labels the cost is evidence for the true label: a linear probe is fitted on intact windows of some subjects and
    reads windows of others, intact and with the part hidden. Without labels it is how far the embedding moves.

    Parameters
    ----------
    explained : Explained
        From `gather`.
    model : BrainOF
    by : {"channel", "region", "network", "time", "band"}
        What is hidden. Regions need positions; networks need an atlas whose region names tell them.
    n_untrained, n_permutations : int
        Random initialisations of the same architecture, and labellings, of the nulls; 0 leaves one out.
    pool : str
        Pooling over latents.
    random_state : int

    Raises
    ------
    ConfigError
        Parts that the channels do not have, or fewer than two windows.

    Examples
    --------
    >>> model, _ = brainof.load("runs/first")  # doctest: +SKIP
    >>> (explained,) = brainof.explain.gather("rest.edf", model)  # doctest: +SKIP
    >>> brainof.explain.occlusion(explained, model).to_frame().head()  # doctest: +SKIP
    """
    if len(explained) < 2:
        raise ConfigError("one window only", field="source", fix="give a longer recording, or several")
    names: tuple[str, ...]
    if by == "band":
        n_times = explained.examples.batch([0]).signal_BCT.shape[2]
        bands = bands_of(explained.modality, explained.sfreq, n_times)
        names = tuple(f"{name} ({low:g}-{high:g} Hz)" for name, (low, high) in bands.items())
        without = partial(filtered_features, bands=list(bands.values()), pool=pool)
    else:
        patches = token_parts(by, explained.channels, *grid_of(model, explained.examples))
        names = tuple(patches)
        without = partial(hidden_features, parts=list(patches.values()), pool=pool)
    explained = explained.first(max(20, BUDGET // len(names)))
    labels_NP = None if explained.y is None else labellings(explained, n_permutations, random_state)
    effects, null, about = [], None, explained.about
    for number, each in enumerate([model, *untrained(model, n_untrained)]):
        intact, hidden = without(each, explained.examples)
        if labels_NP is None:
            values_KN = changes(intact, hidden)
        elif number:
            values_KN, *_ = lost_evidence(explained, labels_NP[:, :1], intact, hidden, random_state)
        else:
            values_KN, null, whole_P = lost_evidence(explained, labels_NP, intact, hidden, random_state)
            about["evidence"], about["p_evidence"] = float(whole_P[0]), p_value(whole_P[0], whole_P[1:])
        effects.append(over_groups(values_KN, explained.groups))
    measure = CHANGE if labels_NP is None else EVIDENCE if explained.classes else ACCURACY
    what: Any = {"by": by, "names": names, "measure": measure, "unit": explained.unit, "about": about}
    what |= {"channels": explained.channels if by == "channel" else None, "notes": explained.notes}
    return effect_map(effects[0], np.array(effects[1:]), null, random_state, **what)
