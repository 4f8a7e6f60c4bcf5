"""Gradient attribution: integrated gradients (captum) of a probe's decision, or of the embedding, on the signal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..model import BrainOF
from ..stats.ridge import RidgeSolver, one_versus_rest
from ..utils.modules import evaluating, to_device
from ..utils.optional import optional
from .effects import EffectMap, effect_map
from .readout import labellings, over_groups
from .source import Explained, untrained

MEASURE = "share of the attribution (integrated gradients, absolute)"


def gradients(
    explained: Explained,
    model: BrainOF,
    *,
    most: int = 16,
    n_steps: int = 8,
    n_untrained: int = 2,
    n_permutations: int = 20,
    random_state: int = 0,
    pool: str = "auto",
) -> EffectMap:
    """Which channels the gradient points at, beside random weights and permuted labels.

    The function that is attributed is the decision value for the true label of a linear probe fitted on the same
    windows; without labels the product of the embedding with its own value. The baseline is a signal of zeros.

    Parameters
    ----------
    most, n_steps : int
        Windows at most; steps of the integral.
    explained, model, n_untrained, n_permutations, random_state, pool
        As in `occlusion`; each labelling costs a probe and a pass, and 19 and fewer cannot reach p < 0.05.

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
    labels_NP = None if explained.y is None else labellings(explained, n_permutations, random_state)
    shares_PSK = _shares(captum, explained, labels_NP, model, n_steps, pool)
    true_N1 = None if labels_NP is None else labels_NP[:, :1]
    others = [_shares(captum, explained, true_N1, each, n_steps, pool)[0] for each in untrained(model, n_untrained)]
    what: Any = {"unit": explained.unit, "about": explained.about, "notes": explained.notes, "measure": MEASURE}
    what |= {"by": "gradient", "names": explained.channels.names, "channels": explained.channels}
    return effect_map(shares_PSK[0], np.array(others), shares_PSK[1:].mean(1), random_state, **what)


def _shares(
    captum: Any, explained: Explained, labels_NP: np.ndarray | None, model: BrainOF, n_steps: int, pool: str
) -> np.ndarray:
    """Share of each channel in the attribution, mean over the windows of each group, (P, S, C)."""
    batch = to_device(explained.examples.batch(np.arange(len(explained))), model)
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.requires_grad_(False)
    try:
        with evaluating(model, gradients=True):
            with torch.no_grad():
                x_NF = model.pool(model.forward_features(batch), pool, batch.modality).double().cpu().numpy()

            def decision(signal: Tensor, rows: Tensor, weights_NF: Tensor) -> Tensor:
                own = replace(batch.take_windows(rows), signal_BCT=signal)
                found = model.pool(model.forward_features(own), pool, batch.modality)
                return (found * weights_NF.to(found)).sum(1)

            method = captum.IntegratedGradients(decision, multiply_by_inputs=True)
            shares = []
            for y_N in [None] if labels_NP is None else labels_NP.T:
                weights_NF, values = _directions(x_NF, explained, y_N), []
                for rows in torch.arange(len(batch)).split(8):
                    made = method.attribute(
                        batch.signal_BCT[rows].float(),
                        additional_forward_args=(rows, weights_NF[rows]),
                        n_steps=n_steps,
                        internal_batch_size=32,
                    )
                    values.append(made.abs().mean(-1).cpu().double().numpy())
                size_KN = np.concatenate(values).T
                shares.append(over_groups(size_KN / np.maximum(size_KN.sum(0), 1e-12), explained.groups))
            return np.array(shares)
    finally:
        for parameter, want in wanted.items():
            parameter.requires_grad_(want)


def _directions(x_NF: np.ndarray, explained: Explained, y_N: np.ndarray | None) -> Tensor:
    """The direction in feature space whose value is attributed, for each window."""
    if y_N is None:
        scale = np.maximum(x_NF.std(0), 1e-9)
        return torch.from_numpy((x_NF - x_NF.mean(0)) / scale**2)
    solver = RidgeSolver(x_NF, explained.groups)
    y_NPK = one_versus_rest(y_N[:, None], len(explained.classes)) if explained.classes else y_N[:, None, None]
    coef_FK = solver.full.coefficients(solver.solve(y_NPK).weights_RPK[:, 0]) / solver.full.scale_F[:, None]
    if not explained.classes:
        return torch.from_numpy(np.repeat(coef_FK.T, len(x_NF), 0))
    if len(explained.classes) == 2:
        return torch.from_numpy(np.where(y_N == 1, 1.0, -1.0)[:, None] * coef_FK[:, 0])
    return torch.from_numpy(coef_FK.T[y_N])
