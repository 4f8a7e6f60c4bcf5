"""Presets of the published sizes and three small ones (`presets.yaml`), and their parameter counts in one place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, did_you_mean
from ..schema import read_yaml
from .config import BrainOFConfig
from .identity import CHANNEL_FEATURES, TIME_FEATURES
from .sampler import cross_hidden

#: Fields of the configuration that are configurations of their own
PARTS = ("tokens", "sampler", "backbone", "decoder")

PRESETS: dict[str, BrainOFConfig] = {
    name: BrainOFConfig.parse(values) for name, values in read_yaml(Path(__file__).with_name("presets.yaml")).items()
}

#: Published (total, active) parameters, from the site of arXiv:2602.23410
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
    depth, features = backbone.depth, CHANNEL_FEATURES + TIME_FEATURES
    tokens = (config.patch + 1) * D + D  # samples, norm
    tokens += (config.width_of("log_spectrum") + 1 + D + 1) * D if config.tokens.log_spectrum else 0
    tokens += D * D if config.tokens.connectivity else 0
    tokens += (features + 1) * D + (D + 1) * D + D + features * D + 2 * D  # identity

    ffn = 3 * D * cross_hidden(D)
    if sampler.kind == "arness":
        cross = 4 * D**2 + sampler.heads + 4 * D + ffn
        fixed = D + sampler.blocks * cross if sampler.fixed else 0
        fixed += D * sampler.latents // len(config.decoder.outputs) if sampler.covariance else 0
        encoder, decoder = sampler.blocks * cross + fixed, config.decoder.blocks * cross + 2 * D
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
    includes = "all parts but the routed experts that a token does not visit; without the decoder"
    described: dict[str, Any] = {
        "preset": name,
        "config": config.to_dict(),
        "parameters": counts,
        "active_includes": f"{includes} {counts['active'] - counts['decoder']:,}",
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
