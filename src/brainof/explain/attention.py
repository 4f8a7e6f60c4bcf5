"""Where the latents look (space, time, modality), and the parts of the DINT maps, beside random weights.

No label enters either, so that permuted labels are no null here.

Legend: B windows, H heads, L latents, N = C * P tokens, C channels, P patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import entropy
from torch import nn

from ..channels import Channels
from ..errors import ConfigError
from ..model import BrainOF
from ..model.attention import Attention, CrossAttention
from ..model.sampler import Encoder
from ..utils.modules import evaluating, to_device
from ..utils.values import finite
from .effects import ALPHA, judged
from .hooks import hooked
from .source import Explained, untrained

#: Windows that maps are averaged over; of models with random weights, which are many
WINDOWS, FEW = 16, 4
#: Models with random weights: as many as a rank below 0.05 needs
SEEDS = 20


@dataclass(frozen=True, eq=False)
class Attended:
    """Where each latent looks in windows of one layout, of `seconds` per patch."""

    #: (L, C, P): attention of the encoder's last block, mean over heads and windows; each latent sums to 1
    weights: np.ndarray
    #: (L,): RMS of what each latent reads, in windows of this modality
    strength: np.ndarray
    channels: Channels
    seconds: float
    modality: str
    about: dict[str, Any]
    #: (L,): channels that a latent attends to (the exponential of the entropy over channels); and with random weights
    reach: np.ndarray
    untrained_reach: np.ndarray | None = None
    #: That the median reach is that of one more model with random weights (see `rank_p`)
    p_untrained: float | None = None

    @property
    def verdict(self) -> str:
        """One sentence for the figure."""
        if self.p_untrained is None or self.untrained_reach is None:
            return "held against no null"
        pair = f"{np.median(self.reach):.1f} channels attended, random weights {np.median(self.untrained_reach):.1f}"
        text = f"{pair}, median of latents (p = {self.p_untrained:.3g})"
        return judged(["random weights"] * (self.p_untrained >= ALPHA), text)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        space, time = self.weights.sum(2), self.weights.sum(1)
        values = {"space": space, "time": time, "strength": self.strength, "reach": self.reach}
        values |= {"untrained_reach": self.untrained_reach, "p_untrained": self.p_untrained}
        head = {"kind": "attended", "about": self.about, "channels": list(self.channels.names)}
        return finite({**head, **values, "verdict": self.verdict}, 5)


def attended(explained: Explained, model: BrainOF, n_untrained: int = SEEDS) -> Attended:
    """Where each latent looks that reads by attention, beside `n_untrained` models with random weights.

    Latents that hold a covariance (`SamplerConfig.covariance`) are left out.

    A ConfigError where the sampler interpolates: it attends to nothing.
    """
    if not isinstance(model.encoder, Encoder):
        raise ConfigError("the sampler interpolates and attends to nothing", field="model.sampler.kind")
    weights_LCP, strength_L, seconds = _looked(model, explained)
    reach_L = _reach(weights_LCP)
    others = [_reach(_looked(null, explained, FEW)[0]) for null in untrained(model, n_untrained)]
    null_L = np.concatenate(others) if others else None
    p = rank_p(float(np.median(reach_L)), [float(np.median(other)) for other in others])
    what = (weights_LCP, strength_L, explained.channels, seconds, explained.modality, explained.about)
    return Attended(*what, reach_L, null_L, p)


def _reach(weights_LCP: np.ndarray) -> np.ndarray:
    return np.exp(entropy(weights_LCP.sum(2), axis=1))


def rank_p(observed: float, null: Sequence[float]) -> float | None:
    """Two-sided rank of a statistic among those of models with random weights; None without any.

    With 20 of them the least value is 1 / 21.
    """
    if not null:
        return None
    values = np.array([observed, *null])
    distance = np.abs(values - np.median(values))
    return float((distance >= distance[0] - 1e-12).mean())


def _looked(model: BrainOF, explained: Explained, most: int = WINDOWS) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights (L, C, P), RMS of what is read (L,), and seconds of a patch."""
    maps: list[torch.Tensor] = []
    read: list[torch.Tensor] = []

    def keep(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        queries, keys, _, mask = inputs
        assert isinstance(module, CrossAttention)
        maps.append(module.maps(queries, keys, mask).mean((0, 1)).detach())
        read.append(output.detach().float().square().mean((0, 2)).sqrt())

    batch = model.on_grid(to_device(explained.examples.batch(np.arange(min(most, len(explained)))), model))
    encoders: set[Any] = {model.reader_of(output)[1] for output in model.config.readings}
    # without gradients the sampler takes a short way that calls no attention
    with evaluating(model, gradients=True), hooked([each.blocks[-1].attention for each in encoders], keep):
        tokens = model.tokens(batch)
        model.sample(tokens)
    # a model with latents for each output calls the encoder once for each of them
    weights_LCP = torch.cat(maps).unflatten(-1, (-1, tokens.n_patches)).cpu().numpy()
    return weights_LCP, torch.cat(read).cpu().numpy(), model.config.patch * float(batch.interval_B[0])


@dataclass(frozen=True, eq=False)
class DintParts:
    """The parts of A = A1 - lam A2 + lam G in each layer, means over heads and windows."""

    #: "A1", "lam A2", "lam G" and "A" -> (layers, L, L)
    parts: dict[str, np.ndarray]
    lam: np.ndarray
    #: (layers, B): how much of A1 the other parts change in each window, |A - A1| / |A1|; and with random weights
    removed: np.ndarray
    untrained_removed: np.ndarray | None
    #: Rank of the mean among models with random weights (see `rank_p`)
    p_untrained: float | None
    about: dict[str, Any]

    @property
    def verdict(self) -> str:
        """One sentence for the figure."""
        if self.untrained_removed is None or self.p_untrained is None:
            return "held against no null"
        pair = f"{self.removed.mean():.2f} of A1 is changed, with random weights {self.untrained_removed.mean():.2f}"
        return judged(["random weights"] * (self.p_untrained >= ALPHA), f"{pair} (p = {self.p_untrained:.3g})")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; of the maps their means over queries."""
        values = {f"mean {name}": part.mean(1) for name, part in self.parts.items()}
        values |= {"lam": self.lam, "changed": self.removed, "untrained_changed": self.untrained_removed}
        return finite({"kind": "dint", "about": self.about, **values, "verdict": self.verdict}, 5)


def dint_parts(explained: Explained, model: BrainOF, n_untrained: int = SEEDS) -> DintParts:
    """The parts of the DINT maps on some windows; a ConfigError where the model's attention is another."""
    if model.config.backbone.attention != "dint":
        raise ConfigError(f"the attention is {model.config.backbone.attention!r}", field="model.backbone.attention")
    parts, lam, removed = _parts(model, explained)
    nulls = [_parts(null, explained, FEW)[2] for null in untrained(model, n_untrained)]
    other = np.concatenate(nulls, axis=1) if nulls else None
    p = rank_p(float(removed.mean()), [float(null.mean()) for null in nulls])
    return DintParts(parts, lam, removed, other, p, explained.about)


def _parts(
    model: BrainOF, explained: Explained, most: int = WINDOWS
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    kept: list[tuple[float, dict[str, torch.Tensor], torch.Tensor]] = []

    def keep(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        assert isinstance(module, Attention)
        one, two = module.half_maps(*inputs)
        lam = float(module.lam())
        mean = one.mean(-2, keepdim=True).expand_as(one)
        parts = {"A1": one, "lam A2": lam * two, "lam G": lam * mean, "A": one - lam * two + lam * mean}
        change_B = ((parts["A"] - one).square().sum((1, 2, 3)) / one.square().sum((1, 2, 3))).sqrt()
        kept.append((lam, {name: part.mean((0, 1)) for name, part in parts.items()}, change_B))

    batch = to_device(explained.examples.batch(np.arange(min(most, len(explained)))), model)
    blocks: Any = model.blocks
    with evaluating(model), hooked([block.attention for block in blocks], keep):
        model.forward_features(batch)
    names = kept[0][1]
    stacked = {name: np.stack([parts[name].cpu().numpy() for _, parts, _ in kept]) for name in names}
    changed = np.stack([change.cpu().numpy() for _, _, change in kept])
    return stacked, np.array([lam for lam, _, _ in kept]), changed
