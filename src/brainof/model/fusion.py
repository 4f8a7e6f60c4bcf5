"""Serial fusion: windows of several modalities of one person and time -> one set of latents.

The latents of the first modality are resampled by the second, and so on (arXiv:2602.23410). A window that lacks a
modality passes it by unchanged, so that batches mix windows with and without it.

Legend: B windows, L latents, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..signals import SignalBatch
from .brainof import BrainOF
from .pooling import Head


@dataclass(frozen=True, eq=False)
class PairedBatch:
    """B paired windows: a batch of each modality, and which of the B windows each of its rows belongs to.

    `batches` hold only the windows that have the modality; `places` are ascending, one per row of the batch, each below
    `n_windows` = B.
    """

    batches: Mapping[str, SignalBatch]
    places: Mapping[str, Tensor]
    n_windows: int

    def __post_init__(self) -> None:
        covered = torch.zeros(self.n_windows, dtype=torch.bool)
        for name, batch in self.batches.items():
            place = self.places[name].cpu()
            if len(place) != len(batch) or (len(place) and int(place.max()) >= self.n_windows):
                raise ConfigError(f"{len(batch)} windows at {len(place)} places", field=f"places.{name}")
            covered[place] = True
        if not covered.all():
            missing = int((~covered).nonzero()[0])
            raise ConfigError("has no modality at all", field=f"window {missing}", fix="leave the window out")

    def __len__(self) -> int:
        return self.n_windows

    @classmethod
    def complete(cls, **batches: SignalBatch) -> Self:
        """Windows that have every modality: row i of each batch belongs together."""
        counts = {len(batch) for batch in batches.values()}
        if len(counts) != 1:
            raise ConfigError(f"{sorted(counts)} windows of modalities that are to be paired", field="batches")
        n = counts.pop()
        return cls(batches, {name: torch.arange(n) for name in batches}, n)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """On another device."""
        batches = {name: batch.to(*args, **kwargs) for name, batch in self.batches.items()}
        places = {name: place.to(*args, **kwargs) for name, place in self.places.items()}
        return type(self)(batches, places, self.n_windows)

    def present(self) -> dict[str, Tensor]:
        """Modality -> bool (B,), True where the window has it."""
        found = {}
        for name, place in self.places.items():
            found[name] = torch.zeros(self.n_windows, dtype=torch.bool, device=place.device)
            found[name][place] = True
        return found

    def without(self, lost: Mapping[str, Tensor]) -> Self:
        """The same windows with modalities taken away where `lost` (bool, (B,)) is True."""
        batches, places = {}, {}
        for name, batch in self.batches.items():
            place = self.places[name]
            kept = ~lost[name].to(place.device)[place] if name in lost else torch.ones_like(place, dtype=torch.bool)
            if kept.any():
                places[name] = place[kept]
                batches[name] = batch if kept.all() else batch.take_windows(kept.nonzero()[:, 0])
        return type(self)(batches, places, self.n_windows)


def drop_modalities(batch: PairedBatch, probability: float, generator: torch.Generator | None = None) -> PairedBatch:
    """Take one modality, drawn at random, from a share of the windows that have several (modality dropout)."""
    if probability <= 0:
        return batch
    present = batch.present()
    there_MB = torch.stack(list(present.values())).cpu()
    draws_MB = torch.rand(there_MB.shape, generator=generator).masked_fill(~there_MB, -1.0)
    chosen_B = draws_MB.argmax(0)
    hit_B = (torch.rand(len(batch), generator=generator) < probability) & (there_MB.sum(0) > 1)
    return batch.without({name: hit_B & (chosen_B == number) for number, name in enumerate(present)})


class FusedBrainOF(nn.Module):
    """A BrainOF that takes paired windows: it behaves as the model does, on a PairedBatch instead of a SignalBatch.

    Parameters
    ----------
    model : BrainOF
        Shared, not copied; parameters, head and configuration are its own.
    order : sequence of str
        Modalities in the order of fusion. Modalities of a batch that are not named are refused.
    modality_dropout : float
        In train mode, the share of windows that lose one of their modalities.
    any_order : bool
        In train mode, draw a new order for each batch, so that any order may be used later.
    """

    def __init__(
        self, model: BrainOF, order: Sequence[str], modality_dropout: float = 0.0, any_order: bool = False
    ) -> None:
        super().__init__()
        if len(set(order)) != len(order) or not order:
            raise ConfigError(f"{list(order)}", field="order", fix="name each modality once")
        if not 0 <= modality_dropout < 1:
            raise ConfigError(f"{modality_dropout}", field="modality_dropout", fix="give 0 or more, below 1")
        self.model = model
        self.order = tuple(order)
        self.modality_dropout, self.any_order = modality_dropout, any_order

    @property
    def config(self):
        return self.model.config

    @property
    def head(self) -> Head | None:
        return self.model.head

    def forward_features(self, batch: PairedBatch) -> Tensor:
        """Latents (B, L, D) of paired windows."""
        if unknown := set(batch.batches) - set(self.order):
            raise ConfigError(f"{sorted(unknown)} is not in the order of fusion", field="order", fix="name it there")
        order = list(self.order)
        if self.training:
            batch = drop_modalities(batch, self.modality_dropout)
            if self.any_order:
                order = [order[i] for i in torch.randperm(len(order)).tolist()]
        latents_BLD: Tensor | None = None
        begun_B = torch.zeros(len(batch), dtype=torch.bool)
        for name in order:
            if name not in batch.batches:
                continue
            place = batch.places[name]
            tokens = self.model.tokens(self.model.on_grid(batch.batches[name]))
            start_PLD = None
            if latents_BLD is not None:
                # windows without an earlier modality start where all do
                begun_P11 = begun_B.to(place.device)[place][:, None, None]
                start_PLD = torch.where(begun_P11, latents_BLD[place], self.model.latents_LD)
            encoded_PLD = self.model.encode(tokens, start_BLD=start_PLD)
            if latents_BLD is None:
                latents_BLD = encoded_PLD.new_zeros((len(batch), *encoded_PLD.shape[1:]))
            latents_BLD = latents_BLD.index_copy(0, place, encoded_PLD.to(latents_BLD.dtype))
            begun_B[place.cpu()] = True
        assert latents_BLD is not None
        return latents_BLD

    def forward(self, batch: PairedBatch) -> Tensor:
        """Outputs of the head (B, outputs)."""
        if (head := self.model.head) is None:
            raise ConfigError("the model has no head", field="head", fix="call reset_head(outputs) first")
        return head(self.pool(self.forward_features(batch), head.pool))

    # What an adaptation asks of a model is asked of the model inside

    def pool(self, latents_BLD: Tensor, kind: str = "auto", modality: str = "") -> Tensor:
        """As BrainOF.pool."""
        return self.model.pool(latents_BLD, kind, modality)

    def reset_head(self, outputs: int, pool: str = "auto") -> Self:
        """As BrainOF.reset_head."""
        self.model.reset_head(outputs, self.config.pooling["default"] if pool == "auto" else pool)
        return self

    def freeze(self, parts: Sequence[str] = ("tokens", "sampler", "backbone", "decoder")) -> Self:
        """As BrainOF.freeze."""
        self.model.freeze(parts)
        return self

    def parameter_groups(self, weight_decay: float = 0.05, layer_decay: float = 1.0) -> list[dict[str, Any]]:
        """As BrainOF.parameter_groups."""
        return self.model.parameter_groups(weight_decay, layer_decay)
