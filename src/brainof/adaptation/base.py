"""What an adaptation is: a small checked configuration with one `apply`; what it learns from, and what it makes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError, LabelError, did_you_mean
from ..inference.batches import pooled
from ..inference.examples import Examples, Subset
from ..schema import Schema
from ..utils.modules import seeded
from .heads import Head

Kind = Literal["classification", "regression"]

#: pooling -> features (n, F) of all examples from the backbone as it was given: a cache, where the caller keeps one
Features = Callable[[str], np.ndarray]


@dataclass(frozen=True, eq=False)
class Target:
    """What examples should map to: class codes (n,) from 0, or values (n, K)."""

    kind: Kind
    y: np.ndarray
    n_outputs: int
    """Classes, or K."""
    groups: np.ndarray | None = None
    """Subject (or session) of each example: never on both sides of a validation split."""
    names: np.ndarray | None = None
    """Class of each code."""

    def __post_init__(self) -> None:
        if self.groups is not None:
            object.__setattr__(self, "groups", np.asarray(self.groups).astype(str))
            if len(self.groups) != len(self.y):
                raise LabelError(f"{len(self.groups)} groups for {len(self.y)} examples", field="groups")

    @classmethod
    def classes(cls, labels: Any, groups: Any = None) -> Target:
        """Codes of labels, in the order of the sorted class names; a LabelError for one class only or other lengths."""
        names, codes = np.unique(np.asarray(labels), return_inverse=True)
        if len(names) < 2:
            raise LabelError(f"one class only, {names.tolist()}", field="y", fix="give labels of at least two classes")
        return cls("classification", codes.astype(np.int64), len(names), groups, names)

    @classmethod
    def coded(cls, y: np.ndarray, names: Sequence[str], groups: np.ndarray) -> Target:
        """Codes of classes that have names, or values where there are none."""
        if not names:
            return cls.values(y, groups)
        return cls("classification", y.astype(np.int64), len(names), groups, np.array(names))

    @classmethod
    def values(cls, y: Any, groups: Any = None) -> Target:
        """Values of a regression, (n,) or (n, K); a LabelError where one is not finite."""
        values = np.asarray(y, np.float64)
        values = values[:, None] if values.ndim == 1 else values
        wrong = ~np.isfinite(values).all(axis=1)
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            text = f"{int(wrong.sum())} of {len(values)} targets are NaN or infinite, the first at {first}"
            raise LabelError(text, field="y", fix="leave those samples out")
        return cls("regression", values, values.shape[1], groups)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: np.ndarray) -> Target:
        """The targets of some examples."""
        return replace(self, y=self.y[rows], groups=None if self.groups is None else self.groups[rows])


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """What an adaptation learns from; `head` is where to start (the second of two stages).

    `features` is pooling -> features (n, F) of the examples by the backbone as it was given; computed where it is not.
    """

    examples: Examples
    target: Target
    features: Features | None = None
    random_state: int = 0
    head: Head | None = None

    def pooled(self, model: nn.Module, pool: str) -> np.ndarray:
        """Features (n, F) of the examples."""
        return self.features(pool) if self.features else pooled(model, self.examples, pool)

    def take(self, rows: np.ndarray) -> TrainingSet:
        """Some of the examples, possibly repeated."""
        whole = self.features
        features = None if whole is None else lambda pool: whole(pool)[rows]
        return replace(self, examples=Subset(self.examples, rows), target=self.target.take(rows), features=features)


@dataclass
class Adapted:
    """A backbone and a head that were fitted together; the backbone is the caller's own where it stayed frozen."""

    model: nn.Module
    head: Head
    kind: Kind
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
    def kind(self) -> Kind:
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

    @property
    def frozen(self) -> bool:
        """The backbone stays as it is, so that features may be computed once; so do all adaptations that it holds."""
        return all(each.frozen for each in self._held())

    @property
    def several(self) -> bool:
        """Several models are fitted: an ensemble, or an adaptation that holds one."""
        return any(each.several for each in self._held())

    def _held(self) -> list[Adaptation]:
        values = (getattr(self, name) for name in type(self).model_fields)
        return [value for value in values if isinstance(value, Adaptation)]

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
        values = {key: getattr(self, key) for key in type(self).model_fields}
        plain = {key: value.to_dict() if isinstance(value, Adaptation) else value for key, value in values.items()}
        return {"adaptation": self.name, **{key: value for key, value in plain.items() if value is not None}}


def finished(
    own: Adaptation, model: nn.Module, head: Head, kind: Kind, trained: int, found: tuple[dict[str, Any], float]
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
