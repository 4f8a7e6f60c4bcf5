"""BrainOF: one model for fMRI, EEG and MEG.

Legend: B windows, C channels, P patches per channel, N = C * P tokens (channel-major), S samples per patch, V visible
tokens, L latents, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..channels import MODALITIES
from ..errors import ConfigError, did_you_mean
from ..signals import Sensors, SignalBatch
from .attention import mask_without
from .backbone import Block
from .config import BrainOFConfig, Output
from .connectivity import Connectivity, seen_of
from .covariance import LogCovariance, spatial_weights
from .decoder import Decoder, normalise_gradient
from .identity import Identity
from .interpolate import InterpolateDecoder, InterpolateEncoder
from .kernels.sampler import sample_by_window, use_by_window
from .layers import RMSNorm, wide
from .pooling import Head, pool, require_finite
from .presets import preset
from .resolution import on_grid
from .sampler import Encoder
from .tokens import Content, Given, Tokens, check, is_shared, patchify, take_tokens, valid_samples
from .whitening import Whitening

#: Parts that can be frozen or trained on their own, in the order of the forward pass
PARTS: dict[str, tuple[str, ...]] = {
    "tokens": ("content", "connectivity", "identity"),
    "sampler": ("latents_LD", "encoder", "fixed"),
    "backbone": ("blocks", "norm"),
    "decoder": ("decoders",),
    "head": ("head",),
}


@dataclass(frozen=True, eq=False)
class Layout:
    """What depends on sensors, sampling interval, modality and weights alone; from `BrainOF.layout`.

    It serves every batch of the same sensors, sampling interval, modality and number of patches, until a weight
    changes. The caller keeps it; nothing is compared but its number of tokens. `weight_BKC` is how virtual sensors read
    the channels (`covariance.py`), `map_1HLN` how the static latents read the tokens, for `sample_by_window`.
    """

    identity_BND: Tensor
    weight_BKC: Tensor | None = None
    map_1HLN: Tensor | None = None


class BrainOF(nn.Module):
    """Brain-OF (arXiv:2602.23410): tokens -> ARNESS -> backbone of DINT attention and experts -> latents, and back.

    ::

        signals (B, C, T)   sensors, seconds, modality
             | patches             | Fourier features
             v                     v
          contents (N, D)     identities (N, D) -------------------+
             | values              | keys                          | queries
             +----------+----------+                               |
                        v                                          v
        latent    cross-attention    [DINT attention     cross-attention    waveform
        vectors -> (sampler) ------>  + experts] x depth -> (decoder) ----> log spectrum
        (L, D)                             | latents (B, L, D)              connectivity
                                           v
                                     pool -> head

    Parameters
    ----------
    config : BrainOFConfig
        Architecture.

    Notes
    -----
    Build on the meta device, `to_empty`, then `init_weights()` for sizes that should not be made twice.

    Examples
    --------
    >>> import numpy as np
    >>> from brainof.channels import Channels
    >>> from brainof.model import BrainOF
    >>> from brainof.signals import SignalBatch
    >>> model = BrainOF.from_preset("debug", sampler={"latents": 16}).eval()
    >>> eeg = Channels(("Fz", "Cz"), ("eeg", "eeg"))
    >>> batch = SignalBatch.from_arrays([np.random.randn(2, 256)], eeg, 128.0, "eeg", model.config.patch)
    >>> latents = model.forward_features(batch)
    >>> latents.shape, model.pool(latents, "mean").shape
    (torch.Size([1, 16, 32]), torch.Size([1, 32]))
    """

    def __init__(self, config: BrainOFConfig) -> None:
        super().__init__()
        self.config = config
        dim, sampler = config.dim, config.sampler
        self.content = Content(dim, config.patch, config.tokens.log_spectrum)
        self.connectivity = Connectivity(dim) if config.tokens.connectivity else None
        self.identity = Identity(dim, config.patch)
        self.latents_LD = nn.Parameter(torch.empty(sampler.latents, dim))
        arness = sampler.kind == "arness"
        self.encoder: Encoder | InterpolateEncoder = (Encoder if arness else InterpolateEncoder)(dim, sampler)
        self.blocks = nn.ModuleList(Block(dim, config.backbone, layer) for layer in range(config.backbone.depth))
        self.norm = RMSNorm(dim)
        self.decoders = nn.ModuleList()
        for outputs in config.decoder.decoders:
            widths = {str(name): config.width_of(name) for name in outputs}
            blocks = config.decoder.blocks
            made = Decoder(dim, blocks, widths, sampler) if arness else InterpolateDecoder(dim, widths, sampler)
            self.decoders.append(made)
        self.fixed = nn.ModuleDict()
        if sampler.fixed:
            self.fixed["content"] = Given(dim)
            self.fixed["encoder"] = Encoder(dim, sampler)
            if sampler.covariance:
                self.fixed["covariance"] = LogCovariance(dim, config.size_of("connectivity"))
            assert self.connectivity is not None
            for part in (self.identity, self.connectivity, self.fixed):  # they stay at their random weights
                part.requires_grad_(False)
        self.whitening = nn.ModuleDict(
            {modality: Whitening(config.size_of(output) * dim) for modality, output in config.whitening.items()}
        )
        self.head: Head | None = None
        self._init_latents()

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> Self:
        """A model of a preset with random weights; `overrides` as in `presets.preset`."""
        return cls(preset(name, **overrides))

    def reader_of(self, output: Output | None) -> tuple[Content, Encoder | InterpolateEncoder, Tensor]:
        """What reads the latents of an output: contents, encoder, and the latent vectors (1, l, D) it starts from."""
        latents_1LD = self.latents_LD[None, self.config.latents_of(output)]
        if output in self.config.sampler.fixed:
            return self.fixed["content"], self.fixed["encoder"], latents_1LD.detach()  # type: ignore[return-value]
        return self.content, self.encoder, latents_1LD

    def _init_latents(self) -> None:
        tied = self.config.sampler.initial_addressing == "tied"
        nn.init.normal_(self.latents_LD, std=0.05 if tied else 0.5)
        if tied:
            for outputs, decoder in zip(self.config.decoder.decoders, self.decoders, strict=True):
                decoder.tie(self.reader_of(outputs[0])[1])  # type: ignore[operator]

    def init_weights(self) -> None:
        """Draw all weights anew and reset all buffers, as after `to_empty`."""
        for module in self.modules():
            if module is not self and hasattr(module, "init_weights"):
                module.init_weights()  # type: ignore[operator]
        self._init_latents()

    # Signals -> latents

    def on_grid(self, batch: SignalBatch) -> SignalBatch:
        """The batch at the model's own sampling rates, `config.rates`; `tokens` takes batches as they are."""
        return on_grid(batch, self.config.rates, self.config.patch)

    def layout(self, batch: SignalBatch) -> Layout:
        """What all batches of this layout share, so that it is computed once: pass it to `forward_features`.

        Under `torch.no_grad()` it can be kept; with gradients it belongs to one graph.
        """
        identity_BND, map_1HLN = self._identity(self.on_grid(batch)), None
        if use_by_window(self.encoder, identity_BND) and len(identity_BND) == 1:
            maps = []
            for output in self.config.readings:
                _, encoder, latents_1LD = cast("Any", self.reader_of(output))
                block = encoder.blocks[0]
                maps.append(block.attention.maps(*block.addresses(latents_1LD, identity_BND)))
            map_1HLN = torch.cat(maps, 2)
        return Layout(identity_BND, self.spatial_weights(batch.sensors), map_1HLN)

    def spatial_weights(self, sensors: Sensors) -> Tensor | None:
        """How virtual sensors read the channels (B, K, C); None where covariance is not read."""
        if not self.config.sampler.covariance:
            return None
        return spatial_weights(sensors, self.config.size_of("connectivity"))

    def _identity(self, batch: SignalBatch) -> Tensor:
        count = 1 if is_shared(batch) else len(batch)
        patches = batch.signal_BCT.shape[2] // self.config.patch
        return self.identity(batch.sensors, batch.interval_B[:count], batch.modality_B[:count], patches)

    def tokens(self, batch: SignalBatch, layout: Layout | None = None) -> Tokens:
        """Patches with their identities; `layout` is of a batch of the same sensors, interval, modality and length.

        Raises
        ------
        RecordingError
            No channel or no good one, no samples, not a whole number of patches, samples or positions that are not
            finite; the message names the field and the window.
        ConfigError
            A layout of another number of tokens or windows.
        """
        known = batch.checked
        complete = check(batch, self.config.patch) if known is None else known.complete
        patch_BNS = patchify(wide(batch.signal_BCT), self.config.patch)
        valid_BNS = None
        mask_BN = torch.ones(patch_BNS.shape[:2], dtype=torch.bool, device=patch_BNS.device)
        if not complete:
            valid_BNS = patchify(valid_samples(batch), self.config.patch)
            mask_BN = valid_BNS.any(-1)
            patch_BNS = torch.where(valid_BNS, patch_BNS, 0)  # a masked channel may hold anything
        layout = layout or Layout(self._identity(batch), self.spatial_weights(batch.sensors))
        identity_BND = layout.identity_BND
        (windows, n_tokens), own = mask_BN.shape, identity_BND.shape[:2]
        if own[1] != n_tokens or own[0] not in (1, windows):
            problem = f"{own[0]} x {own[1]} tokens, the batch has {windows} x {n_tokens}"
            fix = "make it with model.layout(batch) of the same sensors and length"
            raise ConfigError(problem, field="layout", fix=fix)
        channels = batch.signal_BCT.shape[1]
        facts = channels, n_tokens // channels, complete, layout.weight_BKC, layout.map_1HLN, known is not None
        return Tokens(patch_BNS, identity_BND, mask_BN, valid_BNS, batch.modality_B, *facts)

    def encode(
        self,
        tokens: Tokens,
        visible_BV: Tensor | None = None,
        visible_mask_BV: Tensor | None = None,
        start_BLD: Tensor | None = None,
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
            Latents to start from instead of the static vectors: those of another modality (see `fusion`).

        Raises
        ------
        ConfigError
            No token is visible, or latents to start from that are not (B, L, D).
        ContractError
            Latents to start from that are not finite.
        """
        return self.refine(self.sample(tokens, visible_BV, visible_mask_BV, start_BLD), tokens.modality_B)

    def encode_without(self, tokens: Tokens, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Latents (B, L, D) without the tokens of one part (their numbers) after the other, as `encode` of all others.

        Contents, and keys and values of the first block, are computed once, but for contents that depend on the other
        tokens (correlations) and samplers that interpolate.
        """
        read = [self._read_without(parts, tokens, output) for output in self.config.readings]
        for latents in zip(*read, strict=True):
            yield self.refine(torch.cat(latents, 1), tokens.modality_B)

    def _read_without(self, parts: Sequence[Tensor], tokens: Tokens, output: Output | None) -> Iterator[Tensor]:
        """The latents of a reading without one part after the other."""
        content, encoder, start_1LD = self.reader_of(output)
        valid_BN = None if tokens.complete else tokens.mask_BN
        correlations = self.connectivity if output in (None, "connectivity") else None
        if isinstance(encoder, Encoder) and correlations is None:
            content_BND = content(tokens.patch_BNS, output=output)
            yield from encoder.without_parts(start_1LD, content_BND, tokens.identity_BND, parts, valid_BN)
            return
        by_covariance = self._by_covariance(tokens, output)
        for part in parts:
            mask_BN, read_BLD = mask_without(part, tokens.patch_BNS.shape[1], valid_BN), start_1LD
            if by_covariance is not True:
                extra_BND = None if correlations is None else correlations(tokens, mask_BN.expand(len(tokens), -1))
                content_BND = content(tokens.patch_BNS, extra_BND, output)
                shape = tokens.n_channels, tokens.n_patches
                read_BLD = encoder(start_1LD, content_BND, tokens.identity_BND, None, mask_BN, shape)
            yield self._with_covariance(read_BLD, start_1LD, tokens, mask_BN, by_covariance)

    def refine(self, latents_BLD: Tensor, modality_B: Tensor | None = None) -> Tensor:
        """The backbone: latents (B, L, D) from those of `sample`; fixed ones pass it by."""
        if self.fixed:
            own = self.config.latents_of("connectivity")
            before, fixed, after = latents_BLD.tensor_split([own.start, own.stop], 1)
            latents_BLD = torch.cat([before, after], 1)
        for block in self.blocks:
            latents_BLD, ids_BLK = block(latents_BLD)
            if ids_BLK is not None:
                block.ffn.count(ids_BLK, modality_B)  # type: ignore[union-attr, operator]
        latents_BLD = self.norm(latents_BLD)
        if self.fixed:
            before, after = latents_BLD.tensor_split([own.start], 1)
            fixed = F.rms_norm(fixed, fixed.shape[-1:], eps=self.norm.eps)
            latents_BLD = torch.cat([before, fixed.to(before.dtype), after], 1)
        return latents_BLD

    def sample(
        self,
        tokens: Tokens,
        visible_BV: Tensor | None = None,
        visible_mask_BV: Tensor | None = None,
        start_BLD: Tensor | None = None,
    ) -> Tensor:
        """Latents (B, L, D) that have read the visible tokens, before the backbone; arguments as in `encode`."""
        if visible_BV is not None and not visible_BV.shape[1]:
            raise ConfigError("no token is visible", field="visible_BV", fix="leave at least one, or leave it out")
        if start_BLD is not None:
            self._require_latents(start_BLD, "start_BLD")
        key_mask_BV = None
        if not tokens.complete:
            key_mask_BV = tokens.mask_BN if visible_BV is None else tokens.mask_BN.gather(1, visible_BV)
        if visible_mask_BV is not None:
            key_mask_BV = visible_mask_BV if key_mask_BV is None else key_mask_BV & visible_mask_BV
        map_1HLN = tokens.map_1HLN if start_BLD is visible_BV is key_mask_BV is None else None
        patch_BVS, identity_BND = take_tokens(tokens.patch_BNS, visible_BV), tokens.identity_BND
        read = []
        for output in self.config.readings:
            own, (content, encoder, own_BLD) = self.config.latents_of(output), self.reader_of(output)
            if start_BLD is not None:
                own_BLD = start_BLD[:, own]
            correlations_BVD, by_covariance = None, self._by_covariance(tokens, output)
            if self.connectivity is not None and output in (None, "connectivity"):
                seen_BN = seen_of(tokens.mask_BN, visible_BV, visible_mask_BV)
                if by_covariance is not True:
                    correlations_BVD = self.connectivity(tokens, seen_BN, visible_BV)
            about = identity_BND, visible_BV, key_mask_BV
            if by_covariance is True:
                read_BLD = own_BLD
            elif use_by_window(encoder, own_BLD):
                inputs = own_BLD, patch_BVS, correlations_BVD, output, None if map_1HLN is None else map_1HLN[:, :, own]
                read_BLD = sample_by_window(encoder, content, *inputs, *about)
            else:
                content_BVD = content(patch_BVS, correlations_BVD, output)
                read_BLD = encoder(own_BLD, content_BVD, *about, (tokens.n_channels, tokens.n_patches))
            if by_covariance is not False:
                read_BLD = self._with_covariance(read_BLD, own_BLD, tokens, seen_BN, by_covariance)
            read.append(read_BLD)
        return torch.cat(read, 1)

    def _by_covariance(self, tokens: Tokens, output: Output | None) -> Tensor | bool:
        """Which windows (B,) have a log covariance for latents: all or none, where no device has to tell it."""
        codes = [MODALITIES.index(modality) for modality in self.config.sampler.covariance]
        if not codes or output not in self.config.sampler.fixed:
            return False
        own_B = torch.stack([tokens.modality_B == code for code in codes]).any(0)
        if own_B.device.type == "cpu" and not torch.compiler.is_compiling() and bool((own_B == own_B[0]).all()):
            return bool(own_B[0])
        return own_B

    def _with_covariance(
        self, read_BLD: Tensor, start_BLD: Tensor, tokens: Tokens, seen_BN: Tensor, by_covariance: Tensor | bool
    ) -> Tensor:
        """What was read, but of windows `by_covariance` the log covariance of the seen patches instead."""
        if by_covariance is False or tokens.weight_BKC is None:
            return read_BLD
        rows_BLD = start_BLD + self.fixed["covariance"](tokens, seen_BN).to(read_BLD.dtype)
        if isinstance(by_covariance, bool):
            return rows_BLD
        return torch.where(by_covariance[:, None, None], rows_BLD, read_BLD)

    def decode(
        self,
        latents_BLD: Tensor,
        identity_BND: Tensor,
        index_BQ: Tensor | None = None,
        shape: tuple[int, int] | None = None,
        gradient_fractions: Mapping[str, float] | None = None,
    ) -> dict[str, Tensor]:
        """Predictions of the configured outputs at all identities, or at those numbered in `index_BQ`; float32.

        Parameters
        ----------
        latents_BLD : Tensor
            From `encode`.
        identity_BND : Tensor
            Of `Tokens`.
        index_BQ : Tensor of int64, optional
            Numbers of the tokens to predict, equally many per window.
        shape : tuple of int, optional
            (channels, patches), which only the interpolating sampler needs.
        gradient_fractions : dict of str to float, optional
            For decoders of kind "per_output": output -> weight of its loss term / windows of the whole optimizer step
            (all accumulated batches and ranks; their gradients are to be added). The gradient that this output sends
            into the latents of a window has the norm TARGET_NORM times this. Without it 1 / B, as in a step of this
            batch alone.

        Raises
        ------
        ConfigError
            Latents of another number or width.
        ContractError
            Latents that are not finite.
        """
        config = self.config
        self._require_latents(latents_BLD, "latents")
        predictions: dict[str, Tensor] = {}
        for outputs, decoder in zip(config.decoder.decoders, self.decoders, strict=True):
            own_BLD, static_1LD, places_BND = latents_BLD, self.latents_LD[None], identity_BND
            if config.decoder.kind == "per_output":
                (name,) = outputs
                part = config.latents_of(name)
                fraction = 1 / len(latents_BLD) if gradient_fractions is None else gradient_fractions[name]
                # what all outputs share is learned from the latents alone
                own_BLD = normalise_gradient(latents_BLD[:, part], fraction)
                static_1LD, places_BND = static_1LD[:, part].detach(), identity_BND.detach()
            predictions |= decoder(own_BLD, static_1LD, places_BND, index_BQ, shape)
        return {name: predictions[name] for name in config.decoder.outputs}

    def _require_latents(self, latents_BLD: Tensor, field: str) -> None:
        if latents_BLD.shape[1:] != self.latents_LD.shape:
            found, expected = (" x ".join(map(str, x.shape[-2:])) for x in (latents_BLD, self.latents_LD))
            raise ConfigError(f"{found} per window, but the model has {expected}", field=field)
        require_finite(latents_BLD, field)

    # Downstream

    def forward_features(self, batch: SignalBatch, layout: Layout | None = None) -> Tensor:
        """Latents (B, L, D) of a batch of signals; `layout` as in `tokens`."""
        if not isinstance(batch, SignalBatch):
            text = f"expected a SignalBatch, got {type(batch).__name__}"
            raise TypeError(f"{text}; call model(signals, sfreq=, channels=), or build one by SignalBatch.from_arrays")
        return self.encode(self.tokens(self.on_grid(batch), layout))

    def pool(self, latents_BLD: Tensor, kind: str = "auto", modality: str = "") -> Tensor:
        """Pooled latents (B, F).

        Parameters
        ----------
        latents_BLD : Tensor
            From `forward_features`.
        kind : str
            "mean", "mean_std", "concat", "gram" or "cov". With outputs behind it ("concat@log_spectrum") only the
            latents are pooled that their decoders read, see `DecoderConfig.kind`. "auto" is the model's own choice for
            the modality, `config.pooling`.
        modality : str
            Of all windows; matters for "auto", and for latents that are whitened (`config.whitening`).

        Raises
        ------
        ConfigError
            Unknown pooling, or an output that the model lacks.
        """
        name, outputs = self.config.pooling_of(kind, modality)
        latents_BLD = self.whitened(latents_BLD, modality)
        if outputs:
            latents_BLD = torch.cat([latents_BLD[:, self.config.latents_of(output)] for output in outputs], 1)
        return pool(latents_BLD, name)

    def whitened(self, latents_BLD: Tensor, modality: str) -> Tensor:
        """Latents (B, L, D), those of the output that `config.whitening` names for the modality whitened."""
        if modality not in self.config.whitening or latents_BLD.is_meta:
            return latents_BLD
        own = self.config.latents_of(self.config.whitening[modality])  # type: ignore[index]
        latents_BLD = wide(latents_BLD)
        parts = latents_BLD[:, : own.start], self.whitening[modality](latents_BLD[:, own]), latents_BLD[:, own.stop :]
        return torch.cat(parts, 1)

    def pooled_width(self, kind: str = "auto", modality: str = "") -> int:
        """Features F that `pool` gives of windows of a modality."""
        return self.pool(torch.empty(1, *self.latents_LD.shape, device="meta"), kind, modality).shape[-1]

    def forward(self, batch: SignalBatch | Tensor, sfreq: float | None = None, **about: Any) -> Tensor:
        """Outputs of the head (B, outputs), or the pooled features (B, n_features) of a model without a head.

        Parameters
        ----------
        batch : SignalBatch, or Tensor of shape (n_windows, n_channels, n_times)
            A tensor is taken as it is, already normalised per channel.
        sfreq : float
            Samples per second of a tensor.
        **about
            `positions`, `modality`, `types`, `frame` of a tensor, as `SignalBatch.from_tensor` takes them.

        Examples
        --------
        >>> import torch
        >>> from brainof.model import BrainOF
        >>> model = BrainOF.from_preset("debug").reset_head(2)
        >>> model(torch.randn(8, 19, 512), sfreq=128, positions=0.1 * torch.randn(19, 3)).shape
        torch.Size([8, 2])
        """
        if isinstance(batch, Tensor):
            if sfreq is None:
                raise ConfigError("is required for a tensor", field="sfreq", fix="give samples per second, sfreq=")
            batch = SignalBatch.from_tensor(batch, sfreq, self.config.patch, **about)
        latents = self.forward_features(batch)
        if self.head is None:
            return self.pool(latents, modality=batch.modality)
        return self.head(self.pool(latents, self.head.pool, batch.modality))

    def reset_head(self, outputs: int, pool: str = "auto", modality: str = "") -> Self:
        """A new head for `outputs` classes or targets (0: none), on latents pooled as `pool` says.

        A ConfigError for "auto" without `modality` where modalities have features of different lengths.
        """
        if outputs == 0:
            self.head = None
            return self
        if pool == "auto" and modality:
            pool = self.config.pooling.get(modality, self.config.pooling["default"])
        widths = {name: self.pooled_width(pool, name) for name in ("", *MODALITIES)}
        if len(set(widths.values())) > 1:
            fix = "give modality=, or a pooling such as pool='concat'"
            raise ConfigError("'auto' has features of another length for each modality", field="pool", fix=fix)
        like = self.latents_LD
        self.head = Head(widths[""], outputs, pool).to(like.device, like.dtype)
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
        return 0 if first in PARTS["tokens"] + PARTS["sampler"] else self.config.backbone.depth + 1

    def parameter_groups(self, weight_decay: float = 0.05, layer_decay: float = 1.0) -> list[dict[str, Any]]:
        """Groups for an optimizer, of the trainable parameters.

        Matrices of linear maps and experts decay; vectors, norms, scales, latents and the router do not. Each group has
        "lr_scale" = layer_decay ** (layers above it), by which the schedule multiplies the learning rate.
        """
        groups: dict[tuple[int, bool], dict[str, Any]] = {}
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            above = self.config.backbone.depth + 1 - self.layer_of(name)
            decays = parameter.ndim >= 2 and name.rsplit(".")[-1] not in ("latents_LD", "lambda_4d", "router_ED")
            # one learning rate needs two groups, matrices first
            key = (-above, decays) if layer_decay != 1.0 else (0, not decays)
            about = {"weight_decay": weight_decay if decays else 0.0, "lr_scale": layer_decay**above}
            group = groups.setdefault(key, {"params": [], "names": [], **about})
            group["params"].append(parameter)
            group["names"].append(name)
        return [groups[key] for key in sorted(groups)]
