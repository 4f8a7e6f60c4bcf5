"""Presets of the published sizes and three small ones, and their parameter counts in one place.

Published totals and active counts (site of arXiv:2602.23410): base 47.5 M / 21.5 M, large 331 M / 150 M, huge 1.7 G /
500 M, giant 9 G / 1.2 G. Widths and expert counts are not published; these solve both numbers of each size.
"""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError, did_you_mean
from .config import BrainOFConfig
from .identity import CHANNEL_FEATURES, TIME_FEATURES

PRESETS: dict[str, BrainOFConfig] = {
    # debug is for tests: seconds matter more than sense
    "debug": BrainOFConfig(dim=32, depth=2, heads=2, latents=8, experts=4, hidden=16, shared=32),
    "tiny": BrainOFConfig(dim=128, depth=4, heads=4, latents=64, experts=8, hidden=128, shared=256),
    # tiny, with latents and a decoder of its own for each of three outputs (docs/decisions/0016)
    "streams": BrainOFConfig(
        dim=128,
        depth=4,
        heads=4,
        latents=48,
        experts=8,
        hidden=128,
        shared=256,
        outputs=("waveform", "log_spectrum", "connectivity"),
        connectivity_features=True,
        separate_decoders=True,
        partition=True,
        streams=True,
        balanced_gradients=True,
        latent_std=0.05,
        cross_gain=4.0,
        mirrored=True,
        pooling={"default": "concat@log_spectrum", "fmri": "concat@connectivity"},
    ),
    "base": BrainOFConfig(dim=256, depth=12, heads=4, latents=128, experts=8, hidden=456, shared=912),
    "large": BrainOFConfig(dim=512, depth=24, heads=8, latents=128, experts=8, hidden=808, shared=1616),
    "huge": BrainOFConfig(
        dim=1024,
        depth=36,
        heads=16,
        latents=128,
        experts=32,
        top_k=4,
        hidden=384,
        shared=1152,
        arness_in=2,
        arness_out=2,
    ),
    "giant": BrainOFConfig(
        dim=1024,
        depth=48,
        heads=16,
        latents=128,
        experts=64,
        top_k=6,
        hidden=896,
        shared=896,
        arness_in=2,
        arness_out=2,
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
    """Configuration of a preset, with fields replaced.

    Raises
    ------
    ConfigError
        Unknown preset, or a wrong field.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}", field="preset", fix=did_you_mean(name, PRESETS))
    return BrainOFConfig.parse({**PRESETS[name].to_dict(), **overrides}) if overrides else PRESETS[name]


def count(config: BrainOFConfig) -> dict[str, int]:
    """Parameters of a model without a head, in closed form.

    Returns
    -------
    dict of str to int
        "total"; "active", the total without the routed experts that a token does not visit (embeddings, ARNESS, decoder
        and outputs included); "encoder", the total without the decoder; and the parts "tokens", "latents", "sampler",
        "attention", "router", "routed", "shared", "norms", "decoder" that add up to the total.
    """
    D, depth = config.dim, config.depth
    tokens = (config.patch + 1) * D + D
    if config.log_spectrum_features:
        tokens += (config.bins + 1) * D + (D + 1) * D
    if config.connectivity_features:
        tokens += D * D
    features = CHANNEL_FEATURES + TIME_FEATURES
    tokens += (features + 1) * D + (D + 1) * D + D
    if config.identity == "sum":
        tokens += features * D + 2 * D

    attention = depth * _attention(config, config.attention)
    scales = 2 * D if config.layer_scale else 0
    norms = depth * (2 * D + scales) + D
    moe = config.ffn == "moe"
    router = depth * config.experts * D if moe else 0
    expert = 3 * D * config.hidden
    routed = depth * config.experts * expert if moe else 0
    idle = depth * (config.experts - config.top_k) * expert if moe else 0
    shared = depth * 3 * D * (config.shared if moe else config.dense_hidden)

    ffn = 3 * D * config.cross_hidden
    if config.sampler == "arness":
        cross = _attention(config, config.cross_attention) + (config.heads if config.temperature else 0) + 4 * D + ffn
        sampler, decoder = config.arness_in * cross, config.arness_out * cross + 2 * D
    else:
        sampler, decoder = ffn + D, ffn + 3 * D
    decoders = len(config.outputs) if config.separate_decoders else 1
    decoder = decoders * decoder + sum((D + 1) * config.width_of(output) for output in config.outputs)

    parts = {
        "tokens": tokens,
        "latents": config.latents * D,
        "sampler": sampler,
        "attention": attention,
        "router": router,
        "routed": routed,
        "shared": shared,
        "norms": norms,
        "decoder": decoder,
    }
    total = sum(parts.values())
    return {"total": total, "active": total - idle, "encoder": total - decoder, **parts}


def _attention(config: BrainOFConfig, kind: str) -> int:
    """Weights of one attention without its temperature."""
    head = config.dim // config.heads
    return 4 * config.dim**2 + (0 if kind == "softmax" else 4 * (head // 2) + head)


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
