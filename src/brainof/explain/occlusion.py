"""Occlusion: what a model loses when it does not see a channel, region, network, stretch of time or band."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ConfigError
from ..model import BrainOF
from ..stats.nulls import p_value
from .effects import EffectMap, effect_map
from .hiding import filtered_features, grid_of, hidden_features
from .parts import bands_of, token_parts
from .readout import ACCURACY, CHANGE, EVIDENCE, changes, over_groups, readout_of
from .source import Explained, gather, resolve, untrained

#: Windows times hidden parts at most: 64 channels of 200 windows
BUDGET = 12_800


def occlusion(
    source: Any,
    model: Any,
    *,
    by: str = "channel",
    y: Any = None,
    groups: Any = None,
    n_untrained: int = 2,
    n_permutations: int = 200,
    pool: str = "auto",
    random_state: int = 0,
    **options: Any,
) -> list[EffectMap]:
    """What hiding each part of the input costs, beside random weights and permuted labels.

    With labels the cost is evidence for the true label: a linear probe is fitted on intact windows of some subjects and
    reads windows of others, intact and with the part hidden. Without labels it is how far the embedding moves.

    Parameters
    ----------
    source : Corpus, or what `brainof.embed` takes, or list of Explained
        Windows; the most frequent layout of each dataset is used, and at most `most` windows of it.
    model : BrainOF, str, path or fitted estimator of brainof
    by : {"channel", "region", "network", "time", "band"}
        What is hidden. Regions need positions; networks need an atlas whose region names tell them.
    y, groups : array-like, optional
        Labels and subjects of the samples of a source that is no corpus.
    n_untrained : int
        Random initialisations of the same architecture; 0 leaves this null out.
    n_permutations : int
        Labellings of the other null.
    pool : str
        Pooling over latents.
    random_state : int
    **options
        Of `gather`: task, most, accept, units, ...

    Returns
    -------
    list of EffectMap
        One per dataset and modality.

    Raises
    ------
    ConfigError
        Parts that the channels do not have, or fewer than two windows.

    Examples
    --------
    >>> maps = brainof.explain.occlusion("rest.edf", "runs/first", by="channel")  # doctest: +SKIP
    >>> maps[0].to_frame().head()  # doctest: +SKIP
    """
    network, contract, own_pool = resolve(model)
    pool = own_pool if pool == "auto" else pool
    found = (
        source
        if _is_explained(source)
        else gather(source, network, y=y, groups=groups, contract=options.pop("contract", contract), **options)
    )
    models = [network, *untrained(network, n_untrained)]
    return [_map(each, models, by, pool, n_permutations, random_state) for each in found]


def _is_explained(source: Any) -> bool:
    return isinstance(source, list) and bool(source) and isinstance(source[0], Explained)


def _map(
    explained: Explained, models: list[BrainOF], by: str, pool: str, n_permutations: int, random_state: int
) -> EffectMap:
    if len(explained) < 2:
        raise ConfigError("one window only", field="source", fix="give a longer recording, or several")
    names: tuple[str, ...]
    parts: list[Any]
    features: Any
    if by == "band":
        n_times = explained.examples.batch([0]).signal_BCT.shape[2]
        bands = bands_of(explained.modality, explained.sfreq, n_times)
        names = tuple(f"{name} ({low:g}-{high:g} Hz)" for name, (low, high) in bands.items())
        parts, features = list(bands.values()), filtered_features
    else:
        n_patches, seconds = grid_of(models[0], explained.examples)
        tokens = token_parts(by, explained.channels, n_patches, seconds)
        every_CP = np.arange(len(explained.channels) * n_patches).reshape(-1, n_patches)
        names, parts, features = tuple(tokens), [np.isin(every_CP, t) for t in tokens.values()], hidden_features
    explained = explained.first(max(20, BUDGET // len(parts)))
    read = None if explained.y is None else readout_of(explained, n_permutations, random_state)
    effects, null, about = [], None, explained.about
    for number, model in enumerate(models):
        intact, hidden = features(model, explained.examples, parts, pool)
        if read is None:
            values_KN = changes(intact, hidden)
        else:
            values_KN, drawn, whole_P = read.effects(intact, hidden, 1 if number else n_permutations + 1)
            if not number:
                null = drawn
                about["evidence"], about["p_evidence"] = float(whole_P[0]), p_value(whole_P[0], whole_P[1:])
        effects.append(over_groups(values_KN, explained.groups))
    measure = CHANGE if read is None else EVIDENCE if read.n_classes else ACCURACY
    return effect_map(
        effects[0],
        np.array(effects[1:]),
        null,
        random_state,
        by=by,
        names=names,
        measure=measure,
        unit=explained.unit,
        about=about,
        channels=explained.channels if by == "channel" else None,
        notes=explained.notes,
    )
