"""Presets of the published sizes and three small ones, and their parameter counts in one place.

Published totals and active counts (site of arXiv:2602.23410): base 47.5 M / 21.5 M, large 331 M / 150 M, huge 1.7 G /
500 M, giant 9 G / 1.2 G. Widths and expert counts are not published; these solve both numbers of each size. They start
with tied addresses (docs/decisions/0071): with independent ones the decoder finds no latents for hundreds of steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, did_you_mean
from .backbone import BackboneConfig
from .config import BrainOFConfig
from .decoder import DecoderConfig
from .identity import CHANNEL_FEATURES, TIME_FEATURES
from .sampler import SamplerConfig, cross_hidden
from .tokens import TokenConfig

#: Fields of the configuration that are configurations of their own
PARTS = ("tokens", "sampler", "backbone", "decoder")

#: The rates that recordings are prepared at by default; fMRI keeps its TR
RATES = {"eeg": 256.0, "meg": 256.0}

PRESETS: dict[str, BrainOFConfig] = {
    # debug is for tests: seconds matter more than sense
    "debug": BrainOFConfig(
        dim=32,
        sampler=SamplerConfig(latents=8, heads=2),
        backbone=BackboneConfig(depth=2, heads=2, experts=4, hidden=16, shared=32),
    ),
    "tiny": BrainOFConfig(rates=RATES, sampler=SamplerConfig(initial_addressing="tied"), pooling={"default": "concat"}),
    # tiny, with latents and a decoder of its own for each of three outputs (docs/decisions/0016, 0078)
    "per_output": BrainOFConfig(
        rates=RATES,
        tokens=TokenConfig(connectivity=True),
        sampler=SamplerConfig(latents=96, heads=8, temperature=24.0, initial_addressing="tied"),
        backbone=BackboneConfig(depth=2),
        decoder=DecoderConfig(kind="per_output", outputs=("waveform", "log_spectrum", "connectivity")),
        pooling={"default": "concat@waveform+log_spectrum", "fmri": "concat@waveform+connectivity"},
    ),
    "base": BrainOFConfig(
        rates=RATES,
        dim=256,
        sampler=SamplerConfig(latents=128, initial_addressing="tied"),
        backbone=BackboneConfig(depth=12, hidden=456, shared=912),
    ),
    "large": BrainOFConfig(
        rates=RATES,
        dim=512,
        sampler=SamplerConfig(latents=128, heads=8, initial_addressing="tied"),
        backbone=BackboneConfig(depth=24, heads=8, hidden=808, shared=1616),
    ),
    "huge": BrainOFConfig(
        rates=RATES,
        dim=1024,
        sampler=SamplerConfig(latents=128, heads=16, blocks=2, initial_addressing="tied"),
        backbone=BackboneConfig(depth=36, heads=16, experts=32, top_k=4, hidden=384, shared=1152),
        decoder=DecoderConfig(blocks=2),
    ),
    "giant": BrainOFConfig(
        rates=RATES,
        dim=1024,
        sampler=SamplerConfig(latents=128, heads=16, blocks=2, initial_addressing="tied"),
        backbone=BackboneConfig(depth=48, heads=16, experts=64, top_k=6, hidden=896, shared=896),
        decoder=DecoderConfig(blocks=2),
    ),
}

#: Published (total, active) parameters
PUBLISHED: dict[str, tuple[float, float]] = {
    "base": (47.5e6, 21.5e6),
    "large": (331e6, 150e6),
    "huge": (1.7e9, 500e6),
    "giant": (9e9, 1.2e9),
}


def preset(name: str, **overrides: Any) -> BrainOFConfig:
    """Configuration of a preset, with fields replaced; the fields of a part are merged: `sampler={"latents": 32}`.

    A ConfigError for an unknown preset, or a wrong field.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}", field="preset", fix=did_you_mean(name, PRESETS))
    values = PRESETS[name].to_dict()
    for key in set(overrides) - set(values):
        places = [f"{part}.{key}" for part in PARTS if key in values[part]]
        fix = f"write {' or '.join(places)}" if places else did_you_mean(key, values)
        raise ConfigError("unknown key", field=f"model.{key}", fix=fix)
    for key, value in overrides.items():
        part = key in PARTS and isinstance(value, Mapping)
        values[key] = {**values[key], **value} if part else value
    return BrainOFConfig.parse(values)


def count(config: BrainOFConfig) -> dict[str, int]:
    """Parameters of a model without a head, in closed form: totals, and parts that add up to "total".

    "active" is the total without the routed experts that a token does not visit (embeddings, ARNESS, decoder and
    outputs included), "encoder" the total without the decoder.
    """
    D, backbone, sampler = config.dim, config.backbone, config.sampler
    depth = backbone.depth
    tokens = (config.patch + 1) * D + D
    if config.tokens.log_spectrum:
        tokens += (config.width_of("log_spectrum") + 1) * D + (D + 1) * D
    if config.tokens.connectivity:
        tokens += D * D
    features = CHANNEL_FEATURES + TIME_FEATURES
    tokens += (features + 1) * D + (D + 1) * D + D + features * D + 2 * D

    ffn = 3 * D * cross_hidden(D)
    if sampler.kind == "arness":
        cross = 4 * D**2 + sampler.heads + 4 * D + ffn
        encoder, decoder = sampler.blocks * cross, config.decoder.blocks * cross + 2 * D
    else:
        encoder, decoder = ffn + D, ffn + 3 * D
    outputs = sum((D + 1) * config.width_of(output) for output in config.decoder.outputs)
    decoder = len(config.decoder.decoders) * decoder + outputs

    head, expert, moe = D // backbone.heads, 3 * D * backbone.hidden, backbone.ffn == "moe"
    idle = depth * (backbone.experts - backbone.top_k) * expert if moe else 0
    parts = {
        "tokens": tokens,
        "latents": sampler.latents * D,
        "sampler": encoder,
        "attention": depth * (4 * D**2 + (0 if backbone.attention == "softmax" else 4 * (head // 2) + head)),
        "router": depth * backbone.experts * D if moe else 0,
        "routed": depth * backbone.experts * expert if moe else 0,
        "shared": depth * 3 * D * (backbone.shared if moe else backbone.dense_hidden),
        "norms": depth * (4 * D if backbone.layer_scale else 2 * D) + D,
        "decoder": decoder,
    }
    total = sum(parts.values())
    return {"total": total, "active": total - idle, "encoder": total - decoder, **parts}


def describe(name: str) -> dict[str, Any]:
    """What `brainof info PRESET` shows: configuration, counts, and the published counts where there are any."""
    config = preset(name)
    counts = count(config)
    described: dict[str, Any] = {
        "preset": name,
        "config": config.to_dict(),
        "parameters": counts,
        "active_includes": "all parts but the routed experts that a token does not visit; "
        f"without the decoder {counts['active'] - counts['decoder']:,}",
    }
    if name in PUBLISHED:
        total, active = PUBLISHED[name]
        described["published"] = {
            "total": int(total),
            "active": int(active),
            "total_difference_percent": round(100 * (counts["total"] / total - 1), 2),
            "active_difference_percent": round(100 * (counts["active"] / active - 1), 2),
        }
    return described
