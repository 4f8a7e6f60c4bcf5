"""BrainOF: one model for fMRI, EEG and MEG.

Legend: B windows, C channels, P patches per channel, N = C * P tokens (channel-major), S samples per patch, V visible
tokens, L latents, D width.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..errors import ConfigError, did_you_mean
from ..signals import SignalBatch
from . import heads
from .arness import Decoder, Encoder
from .backbone import Block
from .balanced import even_gradient
from .config import BrainOFConfig
from .connectivity import Connectivity
from .identity import Identity
from .interpolate import InterpolateDecoder, InterpolateEncoder
from .norm import RMSNorm
from .pooling import pool, require_finite
from .presets import preset
from .reading import can_read, read_shared
from .remember import Remembered, may_remember
from .tokens import Content, Tokens, check, is_shared, patchify, take_tokens, valid_samples

#: Parts that can be frozen or trained on their own, in the order of the forward pass
PARTS: dict[str, tuple[str, ...]] = {
    "tokens": ("content", "connectivity", "identity"),
    "sampler": ("latents_LD", "encoder"),
    "backbone": ("blocks", "norm"),
    "decoder": ("decoders",),
    "head": ("head",),
}


class BrainOF(nn.Module):
    """Tokens -> ARNESS -> backbone of DINT attention and experts -> latents; and back through the decoder.

    Parameters
    ----------
    config : BrainOFConfig
        Architecture.

    Notes
    -----
    Build on the meta device, `to_empty`, then `init_weights()` for sizes that should not be made twice.
    """

    def __init__(self, config: BrainOFConfig) -> None:
        super().__init__()
        self.config = config
        self.content = Content(config.dim, config.patch, config.log_spectrum_features, config.log_spectrum_gain)
        self.connectivity = Connectivity(config.dim) if config.connectivity_features else None
        self.identity = Identity(config.dim, config.patch, config.identity)
        self.latents_LD = nn.Parameter(torch.empty(config.latents, config.dim))
        arness = config.sampler == "arness"
        self.encoder: Encoder | InterpolateEncoder = Encoder(config) if arness else InterpolateEncoder(config)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.depth))
        self.norm = RMSNorm(config.dim)
        jobs = [(name,) for name in config.outputs] if config.separate_decoders else [config.outputs]
        make = Decoder if arness else InterpolateDecoder
        self.decoders = nn.ModuleList(make(config, job) for job in jobs)
        self.head: heads.Head | None = None
        self.remembered = Remembered()
        self._init_latents()

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> Self:
        """A model of a preset with random weights; `overrides` replace fields of its configuration."""
        return cls(preset(name, **overrides))

    def _init_latents(self) -> None:
        nn.init.normal_(self.latents_LD, std=self.config.latent_std)
        if self.config.mirrored:
            for decoder in self.decoders:
                decoder.mirror(self.encoder)  # type: ignore[operator]

    def init_weights(self) -> None:
        """Draw all weights anew and reset all buffers, as after `to_empty`."""
        for module in self.modules():
            if module is not self and hasattr(module, "init_weights"):
                module.init_weights()  # type: ignore[operator]
        self._init_latents()

    # Signals -> latents

    def tokens(self, batch: SignalBatch) -> Tokens:
        """Patches with their identities.

        Raises
        ------
        RecordingError
            No channel or no good one, no samples, not a whole number of patches, samples or positions that are not
            finite; the message names the field and the window.
        """
        complete = check(batch, self.config.patch)
        signal_BCT = batch.signal_BCT if batch.signal_BCT.dtype == torch.float64 else batch.signal_BCT.float()
        patch_BNS = patchify(signal_BCT, self.config.patch)
        channels, patches = batch.signal_BCT.shape[1], batch.signal_BCT.shape[2] // self.config.patch
        valid_BNS = None
        mask_BN = torch.ones(patch_BNS.shape[:2], dtype=torch.bool, device=patch_BNS.device)
        if not complete:
            valid_BNS = valid_samples(batch, self.config.patch)
            mask_BN = valid_BNS.any(-1)
            patch_BNS = torch.where(valid_BNS, patch_BNS, 0)  # a masked channel may hold anything
        identity_BND = self._identify(batch, patches)
        return Tokens(patch_BNS, identity_BND, mask_BN, valid_BNS, batch.modality_B, channels, patches, complete)

    def _identify(self, batch: SignalBatch, patches: int) -> Tensor:
        """Identities (B, N, D), B = 1 where the batch shares them; those of the last layouts are remembered."""
        shared = is_shared(batch)
        count = 1 if shared else len(batch)
        sensors, interval_B, modality_B = batch.sensors, batch.interval_B[:count], batch.modality_B[:count]
        make = partial(self.identity, sensors, interval_B, modality_B, patches)
        if not (shared and may_remember(self.identity)):
            return make()
        values = [*vars(sensors).values(), interval_B, modality_B, *self.identity.parameters()]
        return self.remembered(("identity", patches, self.identity.patch), make, values)

    def encode(
        self,
        tokens: Tokens,
        visible_BV: Tensor | None = None,
        visible_mask_BV: Tensor | None = None,
        start_BLD: Tensor | None = None,
        with_sampled: bool = False,
    ) -> Tensor:
        """Latents (B, L, D) of the visible tokens.

        Parameters
        ----------
        tokens : Tokens
            From `tokens`.
        visible_BV : Tensor of int64, optional
            Numbers of the visible tokens, equally many per window; all without it. Others cost nothing.
        visible_mask_BV : Tensor of bool, optional
            True where an entry of `visible_BV` counts; False for fillers.
        start_BLD : Tensor, optional
            Latents to start from instead of the static vectors (see `fuse`).
        with_sampled : bool
            Append the latents as they were before the backbone, (B, 2 L, D): what `decode` needs where the
            configuration has `sampler_outputs`.

        Raises
        ------
        ConfigError
            No token is visible, or latents to start from that are not (B, L, D).
        ContractError
            Latents to start from that are not finite.
        """
        if visible_BV is not None and not visible_BV.shape[1]:
            raise ConfigError("no token is visible", field="visible_BV", fix="leave at least one, or leave it out")
        if start_BLD is not None:
            self._require_latents(start_BLD, self.config.latents, "start_BLD")
        key_mask_BV = None
        if not tokens.complete:
            key_mask_BV = tokens.mask_BN if visible_BV is None else tokens.mask_BN.gather(1, visible_BV)
        if visible_mask_BV is not None:
            key_mask_BV = visible_mask_BV if key_mask_BV is None else key_mask_BV & visible_mask_BV
        extra_BVD = None
        if self.connectivity is not None:
            extra_BVD = self.connectivity(
                tokens.patch_BNS,
                tokens.identity_BND,
                tokens.mask_BN,
                tokens.n_channels,
                visible_BV,
                visible_mask_BV,
                tokens.valid_BNS,
            )
        latents_BLD = self.latents_LD[None] if start_BLD is None else start_BLD
        sampled_BLD = latents_BLD = self._sample(tokens, latents_BLD, visible_BV, key_mask_BV, extra_BVD)
        for block in self.blocks:
            latents_BLD = block(latents_BLD, tokens.modality_B)
        latents_BLD = self.norm(latents_BLD)
        return torch.cat([latents_BLD, self.norm(sampled_BLD)], 1) if with_sampled else latents_BLD

    def _sample(
        self,
        tokens: Tokens,
        latents_BLD: Tensor,
        visible_BV: Tensor | None,
        key_mask_BV: Tensor | None,
        extra_BVD: Tensor | None,
    ) -> Tensor:
        """Latents that have read the visible tokens, before the backbone; arguments as in `encode`."""
        identity_BND, config = tokens.identity_BND, self.config
        if visible_BV is None and can_read(self.encoder, self.content, latents_BLD, identity_BND, key_mask_BV):
            mask_1N = None if key_mask_BV is None else key_mask_BV[:1]
            source = (identity_BND, tokens.patch_BNS, extra_BVD, mask_1N)
            shared = partial(read_shared, self.remembered, self.encoder, self.content)
            if not config.streams:
                return shared(latents_BLD, *source)
            shares = ((name, latents_BLD[:, config.share_of(name)]) for name in config.outputs)
            return torch.cat([shared(share_BLD, *source, stream=name) for name, share_BLD in shares], 1)
        patch_BVS = take_tokens(tokens.patch_BNS, visible_BV)
        shape = (tokens.n_channels, tokens.n_patches)
        extra = {} if isinstance(self.encoder, Encoder) else {"shape": shape}
        read = partial(self.encoder, identity_BND=identity_BND, visible_BV=visible_BV, key_mask_BV=key_mask_BV, **extra)
        if config.streams:
            contents = self.content.streams(patch_BVS, extra_BVD, config.outputs)
            parts = [read(latents_BLD[:, config.share_of(name)], contents[name]) for name in config.outputs]
            return torch.cat(parts, 1)
        return read(latents_BLD, self.content(patch_BVS, extra_BVD))

    def fuse(self, *sides: Tokens) -> Tensor:
        """Latents of paired modalities, in the order given: those of the first, resampled by the second, and so on.

        Raises
        ------
        ConfigError
            Nothing to fuse, or sides of different numbers of windows.
        """
        if not sides:
            raise ConfigError("no modality to fuse", field="tokens")
        if len({len(side) for side in sides}) > 1:
            counts = " and ".join(str(len(side)) for side in sides)
            raise ConfigError(f"{counts} windows of modalities that are to be paired", field="tokens")
        latents_BLD = None
        for side in sides:
            latents_BLD = self.encode(side, start_BLD=latents_BLD)
        assert latents_BLD is not None
        return latents_BLD

    def decode(
        self,
        latents_BLD: Tensor,
        identity_BND: Tensor,
        index_BQ: Tensor | None = None,
        shape: tuple[int, int] | None = None,
    ) -> dict[str, Tensor]:
        """Predictions of the configured outputs at all identities, or at those numbered in `index_BQ`; float32.

        `shape` is (channels, patches), which only the interpolating sampler needs. With `sampler_outputs` the latents
        are those of `encode(with_sampled=True)`.

        Raises
        ------
        ConfigError
            Latents of another number or width.
        ContractError
            Latents that are not finite.
        """
        config = self.config
        extra = {} if config.sampler == "arness" else {"shape": shape}
        if config.sampler_outputs and latents_BLD.shape[1] != 2 * config.latents:
            raise ConfigError(
                f"{latents_BLD.shape[1]} latents, but {list(config.sampler_outputs)} are decoded from the sampler's",
                field="latents",
                fix="encode with with_sampled=True",
            )
        self._require_latents(latents_BLD, config.latents * (2 if config.sampler_outputs else 1), "latents")
        sources = {False: latents_BLD[:, : config.latents], True: latents_BLD[:, config.latents :]}
        predictions: dict[str, Tensor] = {}
        jobs = config.outputs if config.separate_decoders else config.outputs[:1]
        for first, decoder in zip(jobs, self.decoders, strict=True):
            share = config.share_of(first)
            own_BLD, static_1LD, places_BND = (
                sources[first in config.sampler_outputs],
                self.latents_LD[None],
                identity_BND,
            )
            if config.balanced_gradients:  # what all share learns from the latents alone
                own_BLD, static_1LD, places_BND = even_gradient(own_BLD), static_1LD.detach(), places_BND.detach()
            predictions |= decoder(own_BLD[:, share], static_1LD[:, share], places_BND, index_BQ, **extra)
        return {name: predictions[name] for name in config.outputs}

    def _require_latents(self, latents_BLD: Tensor, count: int, field: str) -> None:
        if latents_BLD.shape[1:] != (count, self.config.dim):
            found, expected = (
                " x ".join(map(str, shape)) for shape in (latents_BLD.shape[1:], (count, self.config.dim))
            )
            raise ConfigError(f"{found} per window, but the model has {expected}", field=field)
        require_finite(latents_BLD, field)

    # Downstream

    def forward_features(self, batch: SignalBatch) -> Tensor:
        """Latents (B, L, D) of a batch of signals."""
        return self.encode(self.tokens(batch))

    def pool(self, latents_BLD: Tensor, kind: str = "auto", modality: str = "") -> Tensor:
        """Pooled latents (B, F).

        Parameters
        ----------
        latents_BLD : Tensor
            From `forward_features`.
        kind : str
            "mean", "mean_std", "concat", "gram" or "cov". With outputs behind it ("concat@log_spectrum") only the
            latents are pooled that their decoders read; see `partition` in the configuration. "auto" is the model's own
            choice for the modality, `config.pooling`.
        modality : str
            Of all windows; matters for "auto" alone.

        Raises
        ------
        ConfigError
            Unknown pooling, or an output that the model has not.
        """
        name, outputs = self.config.pooling_of(kind, modality)
        if outputs:
            latents_BLD = torch.cat([latents_BLD[:, self.config.share_of(output)] for output in outputs], 1)
        return pool(latents_BLD, name)

    def pooled_width(self, kind: str = "auto") -> int:
        """Features F that `pool` gives."""
        with torch.device("meta"):
            return self.pool(torch.empty(1, self.config.latents, self.config.dim), kind).shape[-1]

    def forward(self, batch: SignalBatch) -> Tensor:
        """Outputs of the head (B, outputs)."""
        if self.head is None:
            raise ConfigError("the model has no head", field="head", fix="call reset_head(outputs) first")
        return self.head(self.pool(self.forward_features(batch), self.head.pool, batch.modality))

    def reset_head(self, outputs: int, pool: str = "auto") -> Self:
        """A new head for `outputs` classes or targets (0: none), on latents pooled as `pool` says."""
        if outputs == 0:
            self.head = None
            return self
        like = self.latents_LD
        self.head = heads.Head(self.pooled_width(pool), outputs, pool).to(like.device, like.dtype)
        return self

    # Training groups

    def part(self, name: str) -> list[nn.Parameter]:
        """Parameters of one of PARTS."""
        if name not in PARTS:
            raise ConfigError(f"unknown part {name!r}", field="part", fix=did_you_mean(name, PARTS))
        return [parameter for key, parameter in self.named_parameters() if key.split(".")[0] in PARTS[name]]

    def freeze(self, parts: Iterable[str] = ("tokens", "sampler", "backbone", "decoder")) -> Self:
        """Stop training these parts (and train all others)."""
        parts = (parts,) if isinstance(parts, str) else tuple(parts)
        self.requires_grad_(True)
        for name in parts:
            for parameter in self.part(name):
                parameter.requires_grad_(False)
        return self

    def layer_of(self, name: str) -> int:
        """Depth of a parameter: 0 for tokens and sampler, 1 ... depth for blocks, depth + 1 for what follows."""
        first, *rest = name.split(".")
        if first == "blocks":
            return 1 + int(rest[0])
        return 0 if first in PARTS["tokens"] + PARTS["sampler"] else self.config.depth + 1

    def parameter_groups(self, weight_decay: float = 0.05, layer_decay: float = 1.0) -> list[dict[str, Any]]:
        """Groups for an optimizer, of the trainable parameters.

        Matrices of linear maps and experts decay; vectors, norms, scales, latents and the router do not. Each group has
        "lr_scale" = layer_decay ** (layers above it), by which the schedule multiplies the learning rate.
        """
        groups: dict[tuple[int, bool], dict[str, Any]] = {}
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            layer = self.layer_of(name)
            decays = parameter.ndim >= 2 and name.rsplit(".")[-1] not in ("latents_LD", "lambda_4d", "router_ED")
            group = groups.setdefault(
                (layer, decays),
                {
                    "params": [],
                    "names": [],
                    "weight_decay": weight_decay if decays else 0.0,
                    "lr_scale": layer_decay ** (self.config.depth + 1 - layer),
                },
            )
            group["params"].append(parameter)
            group["names"].append(name)
        if layer_decay != 1.0:
            return [groups[key] for key in sorted(groups)]
        merged = [{"params": [], "names": [], "weight_decay": w, "lr_scale": 1.0} for w in (weight_decay, 0.0)]
        for (_, decays), group in sorted(groups.items()):
            target = merged[0 if decays else 1]
            target["params"] += group["params"]
            target["names"] += group["names"]
        return [group for group in merged if group["params"]]
