"""What an adaptation is: a small checked configuration with one `apply`, and what comes out of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError, did_you_mean
from ..inference.batches import pooled
from ..inference.examples import Examples
from ..schema import Schema
from ..utils.modules import seeded
from .heads import Head
from .training_set import Features, TrainingSet


@dataclass
class Adapted:
    """A backbone and a head that were fitted together; the backbone is the caller's own where it stayed frozen."""

    model: nn.Module
    head: Head
    kind: str
    """ "classification" or "regression"."""
    adaptation: Adaptation
    temperature: float = 1.0
    """Outputs are divided by it before the softmax; fitted on examples that were not trained on."""
    report: dict[str, Any] = field(default_factory=dict)
    """Trainable and total parameters, epochs, validation groups, losses: plain values."""
    changes: dict[str, Tensor] = field(default_factory=dict)
    """What differs from the backbone that was given: low-rank factors, or whole weights; empty where it is frozen."""

    @property
    def frozen(self) -> bool:
        return not self.changes

    def outputs(
        self,
        examples: Examples,
        *,
        features: Features | None = None,
        batch_size: int = 32,
        samples: int = 1,
        random_state: int = 0,
    ) -> np.ndarray:
        """Outputs of the head, shape (M, n, K): M = 1, or `samples` passes with dropout where more than one is asked.

        `features` is used where the backbone is frozen.
        """
        if features is None or not self.frozen:
            x_NF = pooled(self.model, examples, self.head.pool, batch_size)
        else:
            x_NF = features(self.head.pool)
        x = torch.from_numpy(np.ascontiguousarray(x_NF)).to(self.head.mean_F.device)
        # a copy: threads may share the head, and dropout is on for passes
        head = copy.deepcopy(self.head).train(samples > 1)
        with seeded(random_state), torch.inference_mode():
            # in blocks: the features of an attentive head are long
            found = [torch.cat([head(part) for part in x.split(4096)]).double().cpu().numpy() for _ in range(samples)]
        return np.stack(found)

    def members(self) -> list[Adapted]:
        """The fitted models whose outputs count: one, or those of an ensemble."""
        return [self]


@dataclass
class AdaptedEnsemble:
    """Several fitted models; probabilities (or values) are averaged over them."""

    parts: list[Adapted]
    adaptation: Adaptation
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.parts[0].kind

    @property
    def model(self) -> nn.Module:
        return self.parts[0].model

    def members(self) -> list[Adapted]:
        return self.parts


class Adaptation(Schema):
    """How a pretrained backbone is made to answer a question.

    A subclass sets `name` and defines `apply(model, data)`. It works on any module with `forward_features(batch) ->
    latents (B, L, D)` and `pool(latents, kind, modality) -> (B, F)`; BrainOF is one.
    """

    name: ClassVar[str]
    frozen: ClassVar[bool] = True
    """The backbone stays as it is, so that features may be computed once."""

    def apply(self, model: nn.Module, data: TrainingSet) -> Adapted | AdaptedEnsemble:
        """Fit on all examples; the model (the backbone) is never changed."""
        raise NotImplementedError

    def pooled_by(self, pool: str) -> Adaptation:
        """The same, whose heads read that pooling; also those of the adaptations that it holds.

        A ConfigError where it says another one itself, or reads all latents.
        """
        values: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Adaptation):
                values[name] = value.pooled_by(pool)
            elif name == "pool":
                if value not in ("auto", pool):
                    problem = f"{pool!r}, while {self.name!r} reads {value!r}"
                    raise ConfigError(problem, field="pool", fix="leave it at 'auto', or give it once")
                values["pool"] = pool
        return type(self).parse(values)

    def to_dict(self) -> dict[str, Any]:
        """`{"adaptation": name, **parameters}`, which `adaptation` accepts."""
        values = {}
        for key in type(self).model_fields:
            value = getattr(self, key)
            values[key] = value.to_dict() if isinstance(value, Adaptation) else value
        return {"adaptation": self.name, **{key: value for key, value in values.items() if value is not None}}


def copied(model: nn.Module) -> nn.Module:
    """A copy that may be changed, whose parameters do not train yet."""
    return copy.deepcopy(model).requires_grad_(False)


def finished(
    own: Adaptation, model: nn.Module, head: Head, kind: str, trained: int, found: tuple[dict[str, Any], float]
) -> Adapted:
    """What was fitted, with `trained` parameters, a report and a temperature, in evaluation mode."""
    head.eval().requires_grad_(False)
    total = sum(p.numel() for p in model.parameters()) + sum(p.numel() for p in head.parameters())
    about = {"trainable": trained, "total": total, "trainable_percent": round(100 * trained / total, 3)}
    return Adapted(model, head, kind, own, found[1], {**about, **found[0]})


#: name -> adaptation; the package fills it
ADAPTATIONS: dict[str, type[Adaptation]] = {}
#: What others call the probe
_LINEAR = ("linear", "linear_probe", "linear_probing", "logistic", "ridge")


def adaptation(value: str | Mapping[str, Any] | Adaptation) -> Adaptation:
    """An adaptation by name, or by `{"adaptation": name, **parameters}`; a ConfigError suggests the nearest.

    Examples
    --------
    >>> from brainof.adaptation import adaptation
    >>> adaptation("lora").rank
    32
    >>> adaptation({"adaptation": "few_shot", "shots": 3, "then": "mlp"}).then.name
    'mlp'
    """
    if isinstance(value, Adaptation):
        return value
    values = {"adaptation": value} if isinstance(value, str) else dict(value)
    name = values.pop("adaptation", None)
    if name not in ADAPTATIONS:
        fix = "the linear one is 'probe'" if name in _LINEAR else did_you_mean(str(name), ADAPTATIONS)
        raise ConfigError(f"unknown adaptation {name!r}", field="adapt", fix=fix)
    return ADAPTATIONS[name].parse(values)
