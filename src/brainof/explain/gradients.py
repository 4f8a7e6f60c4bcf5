"""Gradient attribution: integrated gradients (captum) of a probe's decision, or of the embedding, on the signal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..model import BrainOF
from ..stats.ridge import RidgeProbe
from ..utils.modules import to_device
from ..utils.optional import optional
from .effects import EffectMap, effect_map
from .readout import over_groups
from .source import Explained, untrained

MEASURE = "share of the attribution (integrated gradients, absolute)"


def gradients(
    explained: Explained,
    model: BrainOF,
    *,
    most: int = 32,
    n_steps: int = 8,
    n_untrained: int = 2,
    random_state: int = 0,
    pool: str = "auto",
) -> EffectMap:
    """Which channels the gradient points at, beside random weights.

    The function that is attributed is the decision value for the true label of a linear probe fitted on the same
    windows; without labels the product of the embedding with its own value. The baseline is a signal of zeros. Every
    permutation of the labels would need its own pass through the model: that null is left to `occlusion`.

    Parameters
    ----------
    explained : Explained
        From `gather`.
    model : BrainOF
    most, n_steps : int
        Windows at most; steps of the integral.

    Raises
    ------
    DependencyError
        captum is not installed.

    Notes
    -----
    Sundararajan, Taly & Yan (2017), Axiomatic attribution for deep networks, arXiv:1703.01365.
    """
    captum = optional("captum.attr", "explain", "gradients")
    explained = explained.first(most)
    effects = []
    for each in (model, *untrained(model, n_untrained)):
        size_KN = _attributed(captum, explained, each, n_steps, pool)
        effects.append(over_groups(size_KN / np.maximum(size_KN.sum(0), 1e-12), explained.groups))
    return effect_map(
        effects[0],
        np.array(effects[1:]),
        None,
        random_state,
        by="gradient",
        names=explained.channels.names,
        measure=MEASURE,
        unit=explained.unit,
        about=explained.about,
        channels=explained.channels,
        notes=(*explained.notes, "permuted labels: not computed for gradients, see occlusion"),
    )


def _attributed(captum: Any, explained: Explained, model: BrainOF, n_steps: int, pool: str) -> np.ndarray:
    """Mean absolute attribution of each channel in each window, (C, N)."""
    batch = to_device(explained.examples.batch(np.arange(len(explained))), model)
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    was_training = model.training
    model.eval().requires_grad_(False)
    try:
        with torch.no_grad():
            x_NF = model.pool(model.forward_features(batch), pool, batch.modality).double()
        weights_NF = _directions(x_NF.cpu().numpy(), explained)

        def decision(signal: Tensor, rows: Tensor) -> Tensor:
            own = replace(batch.take_windows(rows), signal_BCT=signal)
            found = model.pool(model.forward_features(own), pool, batch.modality)
            return (found * weights_NF[rows].to(found)).sum(1)

        values = []
        method = captum.IntegratedGradients(decision, multiply_by_inputs=True)
        for rows in torch.arange(len(batch)).split(8):
            made = method.attribute(
                batch.signal_BCT[rows].float(), additional_forward_args=(rows,), n_steps=n_steps, internal_batch_size=32
            )
            values.append(made.abs().mean(-1).detach().cpu().double())
    finally:
        model.train(was_training)
        for parameter, want in wanted.items():
            parameter.requires_grad_(want)
    return torch.cat(values).numpy().T


def _directions(x_NF: np.ndarray, explained: Explained) -> Tensor:
    """The direction in feature space whose value is attributed, for each window."""
    if explained.y is None:
        scale = np.maximum(x_NF.std(0), 1e-9)
        return torch.from_numpy((x_NF - x_NF.mean(0)) / scale**2)
    probe = RidgeProbe("classification" if explained.classes else "regression").fit(x_NF, explained.y, explained.groups)
    coef_FK = probe.coef_ / probe.scale_[:, None]
    if not explained.classes:
        return torch.from_numpy(np.repeat(coef_FK.T, len(x_NF), 0))
    if len(explained.classes) == 2:
        return torch.from_numpy(np.where(explained.y == 1, 1.0, -1.0)[:, None] * coef_FK[:, 0])
    return torch.from_numpy(coef_FK.T[explained.y])
