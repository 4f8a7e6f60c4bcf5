"""What a step costs, in closed form: products, and memory of activations. The one place of this arithmetic.

`presets.count` counts weights. `brainof plan`, docs/scaling.md and the meters of throughput take their numbers here.

Legend: W windows of a batch, C channels, P patches, N = C * P tokens, V visible and H predicted ones, S samples per
patch, F frequencies of a patch, D width, L latents, R of them in the backbone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..errors import ConfigError
from .config import BrainOFConfig
from .identity import CHANNEL_FEATURES, TIME_FEATURES
from .sampler import cross_hidden


@dataclass(frozen=True)
class WindowShape:
    """How much of a window a step touches: C, P, and how many of the C * P patches are visible and predicted."""

    channels: int
    patches: int
    visible: int
    predicted: int


def step_flops(
    config: BrainOFConfig, shape: WindowShape, windows: int = 1, connectivity_target: bool = False
) -> dict[str, float]:
    """Floating-point operations of the products of forward and backward pass, by part; a product of sums counts 2.

    `windows` share their sensors: identities are computed once for all of them. Elementwise operations, Fourier
    transforms and the optimizer are left out, as is usual for a model-FLOP utilisation. The interpolating sampler is no
    part of the arithmetic: a ConfigError.
    """
    if config.sampler.kind != "arness":
        raise ConfigError("only 'arness' is counted", field="model.sampler.kind", fix="plan with kind=arness")
    D, S, F, W = config.dim, config.patch, config.patch // 2 + 1, windows
    N, V, H, L = shape.channels * shape.patches, shape.visible, shape.predicted, config.sampler.latents
    backbone, decoder, outputs = config.backbone, config.decoder, config.decoder.outputs
    split = decoder.kind == "per_output"
    macs: Counter[str] = Counter()

    def add(part: str, products: float, passes: int = 3) -> None:
        # backward: one product for the weight, one for the input; none for an input that needs no gradient
        macs[part] += passes * products  # type: ignore[assignment]

    if not split or "waveform" in outputs:
        add("tokens", W * V * S * D, 2)
    if config.tokens.log_spectrum and (not split or "log_spectrum" in outputs):
        add("tokens", W * V * F * D, 2)
        add("tokens", W * V * D * D)
    if config.tokens.connectivity:
        add("tokens", 2 * W * N * S * D, 1)  # the profile; identities are detached from it
        add("tokens", W * V * D * D, 1 if "connectivity" in config.sampler.fixed else 2)
    if connectivity_target:
        add("tokens", 2 * W * N * S * D, 1)
    identities = 2 * (shape.channels * CHANNEL_FEATURES + shape.patches * TIME_FEATURES) * D
    add("tokens", identities, 1 if config.sampler.fixed else 2)
    add("tokens", N * D * D, 1 if config.sampler.fixed else 3)

    ffn = 3 * D * cross_hidden(D)
    parts = len(outputs) if split else 1
    for number in range(parts):
        passes = 1 if split and outputs[number] in config.sampler.fixed else 3
        for block in range(config.sampler.blocks):
            add("sampler", (W if block else 1) * L / parts * D * D, passes)  # queries: latent vectors are shared
            add("sampler", N * D * D, min(passes, 2 if config.sampler.fixed else 3))  # keys of shared identities
            add("sampler", W * V * D * D, passes)  # values
            add("sampler", W * L / parts * (2 * V * D + D * D + ffn), passes)

    maps, R = {"dint": 3, "diff": 3, "softmax": 2}[backbone.attention], config.refined
    add("attention", backbone.depth * W * R * (4 * D * D + maps * R * D))
    if backbone.ffn == "moe":
        add("experts", backbone.depth * W * R * D * backbone.experts)
    add("experts", backbone.depth * W * R * 3 * D * backbone.dense_hidden)

    for own in decoder.decoders:
        read = L // parts
        for block in range(decoder.blocks):
            add("decoder", ((W * H if block else N) + read + W * read) * D * D)  # queries, keys, values
            add("decoder", W * H * (2 * read * D + D * D + ffn))
        add("decoder", sum(W * H * D * config.width_of(name) for name in own))
    return {part: 2.0 * count for part, count in macs.items()}


def activation_bytes(
    config: BrainOFConfig, shape: WindowShape, bfloat16: bool = True, checkpoint: bool = False
) -> float:
    """Bytes of one window that the backward pass needs, with fused attention (no map is kept).

    Counted tensor by tensor in the order of the modules. In bfloat16 the inputs of linear maps are kept as copies in 2
    bytes, residuals and norms in 4. With `checkpoint`, blocks keep their input alone, and one of them is recomputed at
    a time. Two measured steps of `base` and `large` on a GPU agree within 5 % (tests/model/test_cost.py).
    """
    D, S, L, a = config.dim, config.patch, config.sampler.latents, 2 if bfloat16 else 4
    backbone, hidden = config.backbone, cross_hidden(config.dim)
    casts = 3 if bfloat16 else 1  # autocast copies the input of each linear map, float32 shares it
    attention = (4 + 4 + 4) * D + (casts + 7 + 2) * a * D  # inputs of norms, difference; copies, q, k, v, o of two maps
    moe = backbone.ffn == "moe"
    rows = backbone.top_k if moe else 0
    widths = rows * backbone.hidden + (backbone.shared if moe else backbone.dense_hidden)
    experts = (4 + 4) * D + (2 + 2 * rows) * a * D + 4 * a * widths
    R = config.refined
    block = R * (attention + experts)
    blocks = backbone.depth * R * 4 * D + block if checkpoint else backbone.depth * block

    content = a * (S + S // 2 + 1 + 3 * D)
    parts = len(config.decoder.outputs) if config.decoder.kind == "per_output" else 1
    read = parts - len(config.sampler.fixed)  # a fixed reading keeps nothing
    sampler = config.sampler.blocks * (
        read * shape.visible * 4 * a * D + R * (4 * D + 4 * a * D + 4 * a * hidden)  # norm, input, key, value
    )
    predicted = shape.predicted * (8 * D + 5 * a * D + 4 * a * hidden + 12 * S)
    decoders = len(config.decoder.decoders) * config.decoder.blocks * (predicted + L // parts * (4 + 2 * a) * D)
    return float(blocks + shape.visible * content + sampler + decoders)
