"""Probes: a head on a frozen backbone. Features are computed once; the linear probe has a closed form."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ..inference.examples import Examples
from ..stats.ridge import RidgeSolver, equal_prior_offset, one_versus_rest
from ..utils.modules import device_of, dtype_of, evaluating, seeded, to_device
from .base import Adaptation, Adapted, TrainingSet, finished
from .calibration import fit_temperature
from .heads import AttentiveHead, Head, LinearHead, MLPHead
from .training import Network, Trained, head_groups, train


class LinearProbe(Adaptation):
    """A linear map of pooled latents, in closed form: seconds for thousands of windows.

    Ridge on standardised features, the penalty chosen by folds over groups, classes made equally likely by an offset
    (`stats.ridge`); the temperature comes from held-out folds.
    """

    name: ClassVar[str] = "probe"
    pool: str = "auto"
    solver: Literal["ridge"] = "ridge"
    """The one there is, by name in saved adapters."""

    def apply(self, model: nn.Module, data: TrainingSet) -> Adapted:
        target, classes = data.target, data.target.kind == "classification"
        x_NF = data.pooled(model, self.pool).astype(np.float64)
        solver = RidgeSolver(x_NF, target.groups, random_state=data.random_state)
        y_NPK = one_versus_rest(target.y[:, None], target.n_outputs) if classes else target.y[:, None, :]
        solution = solver.solve(y_NPK)
        weight_FK = solver.full.coefficients(solution.weights_RPK[:, 0])
        bias_K, temperature = solution.intercept_PK[0].copy(), 1.0
        if classes:
            offset = equal_prior_offset(target.y[:, None], solution.held_out_NPK)[0]
            bias_K -= offset
            held_out = solution.held_out_NPK[:, 0] - offset
            if target.n_outputs == 2:  # one decision value becomes two logits
                weight_FK, bias_K = np.concatenate([-weight_FK, weight_FK], 1), np.concatenate([-bias_K, bias_K])
                held_out = np.concatenate([-held_out, held_out], 1)
            if solver.inner:
                temperature = fit_temperature(held_out, target.y)
        head = LinearHead(self.pool, x_NF.shape[1], len(bias_K)).double()
        gain_F = np.where(np.isfinite(solver.full.scale_F), 1 / solver.full.scale_F, 0.0)
        found = {"linear.weight": weight_FK.T, "linear.bias": bias_K, "mean_F": solver.full.mean_F, "gain_F": gain_F}
        head.load_state_dict({name: torch.tensor(values) for name, values in found.items()}, strict=False)
        report = {"penalty": float(solution.alpha_P[0])}
        trained = weight_FK.size + bias_K.size
        return finished(self, model, head.to(device_of(model)), target.kind, trained, (report, temperature))


class _TrainedProbe(Trained):
    """A head that is trained on features of a frozen backbone."""

    pool: str = "auto"
    dropout: float = Field(default=0.2, ge=0, lt=1)
    epochs: int = Field(default=60, ge=1)

    def _head(self, model: Any, examples: Examples, width: int, outputs: int) -> Head:
        raise NotImplementedError

    def apply(self, model: nn.Module, data: TrainingSet) -> Adapted:
        x_NF = data.pooled(model, self.pool)
        with seeded(data.random_state):
            head = data.head or self._head(model, data.examples, x_NF.shape[1], data.target.n_outputs)
            head = head.to(device_of(model), dtype_of(model))
            if data.head is None:
                head.standardise_by(x_NF)
            features_NF = torch.from_numpy(x_NF).to(head.mean_F)

            def encode(rows: np.ndarray) -> Tensor:
                return features_NF[torch.from_numpy(rows).to(features_NF.device)]

            # features are all of one kind, and each costs as much as another
            alike: Any = SimpleNamespace(kinds=np.zeros(len(x_NF), np.int64), costs=np.ones(len(x_NF), np.int64))
            network = Network(encode, head, head_groups(head, self.weight_decay), (head,))
            fitted = train(network, alike, data.target, self, data.random_state)
        return finished(self, model, head, data.target.kind, sum(p.numel() for p in head.parameters()), fitted)


class MLPProbe(_TrainedProbe):
    """One hidden layer on pooled latents."""

    name: ClassVar[str] = "mlp"
    hidden: int = Field(default=128, ge=1)

    def _head(self, model: Any, examples: Examples, width: int, outputs: int) -> Head:
        return MLPHead(self.pool, width, outputs, self.hidden, self.dropout)


class AttentiveProbe(_TrainedProbe):
    """Learned queries that read the latents."""

    name: ClassVar[str] = "attentive"
    pool: Literal["concat"] = "concat"  # type: ignore[assignment]
    queries: int = Field(default=4, ge=1)

    def _head(self, model: Any, examples: Examples, width: int, outputs: int) -> Head:
        # (L, D) cannot be told from L * D: ask the model for one example
        with evaluating(model):
            latents = model.forward_features(to_device(examples.batch(np.arange(1)), model)).shape[1]
        return AttentiveHead(self.pool, width, outputs, latents, self.queries, self.dropout)
