"""Features of windows, whole and with a part hidden: tokens that the encoder does not see, or a band filtered out.

Hiding tokens is what pretraining did: the model was made for windows that lack some.

Legend: B windows, N tokens, L latents, D width, K parts, F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..inference.batches import batches
from ..inference.examples import Examples
from ..model import BrainOF
from ..model.attention import attend, merge_heads, split_heads
from ..model.sampler import Encoder
from ..model.tokens import Tokens
from ..signals import SignalBatch
from ..utils.modules import evaluating, to_device
from ..utils.threads import side_by_side

#: Windows in a batch
BATCH = 16


def hidden_features(
    model: BrainOF, examples: Examples, parts: Sequence[np.ndarray], pool: str = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, F) of all windows, and (K, N, F) with the tokens of each part hidden; float32."""

    def encode(batch: SignalBatch) -> list[Tensor]:
        tokens = model.tokens(batch)
        hidden = [torch.as_tensor(part, device=tokens.patch_BNS.device) for part in parts]
        latents = [model.encode(tokens), *without_tokens(model, tokens, hidden)]
        return [model.pool(each, pool, batch.modality).float().cpu() for each in latents]

    return _all_windows(model, examples, encode)


def filtered_features(
    model: BrainOF, examples: Examples, bands: Sequence[tuple[float, float]], pool: str = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """As `hidden_features`, with each band (low, high in Hz) taken out of the signal by its Fourier components."""

    def encode(batch: SignalBatch) -> list[Tensor]:
        layout = model.layout(batch)
        signals = [batch.signal_BCT, *(band_stopped(batch, band) for band in bands)]
        found = [model.encode(model.tokens(replace(batch, signal_BCT=signal), layout)) for signal in signals]
        return [model.pool(each, pool, batch.modality).float().cpu() for each in found]

    return _all_windows(model, examples, encode)


def _all_windows(model: BrainOF, examples: Examples, encode) -> tuple[np.ndarray, np.ndarray]:
    threads = min(torch.get_num_threads(), 8) if next(model.parameters()).device.type == "cpu" else 1
    rows = list(batches(examples, np.arange(len(examples)), BATCH, threads=threads))

    def job(own: np.ndarray) -> np.ndarray:
        with torch.inference_mode():  # a thread's own
            return torch.stack(encode(to_device(examples.batch(own), model))).numpy()

    with evaluating(model):
        made = list(side_by_side(job, rows, min(threads, len(rows))))
    features = np.empty((made[0].shape[0], len(examples), made[0].shape[2]), np.float32)
    for own, part in zip(rows, made, strict=True):
        features[:, own] = part
    return features[0], features[1:]


def without_tokens(model: BrainOF, tokens: Tokens, parts: Sequence[Tensor]) -> Iterator[Tensor]:
    """`model.encode` without the tokens of each part, (B, L, D) each; what the parts share is computed once."""
    everything = torch.arange(tokens.patch_BNS.shape[1], device=tokens.patch_BNS.device)
    shareable = isinstance(model.encoder, Encoder) and model.connectivity is None
    if not shareable or model.config.decoder.kind == "per_output":
        for part in parts:
            kept = everything[~torch.isin(everything, part)]
            yield model.encode(tokens, kept.expand(len(tokens), -1))
        return
    assert isinstance(model.encoder, Encoder)
    content_BND = model.content(tokens.patch_BNS)
    sources: list[Any] = []
    block: Any
    for block in model.encoder.blocks:
        attention: Any = block.attention
        keys = split_heads(attention.keys(block.key_norm(tokens.identity_BND)), attention.heads)
        values = split_heads(attention.value(block.value_norm(content_BND)), attention.heads)
        sources.append((block, keys.to(values.dtype), values))
    for part in parts:
        seen_1N = torch.ones(1, len(everything), dtype=torch.bool, device=everything.device)
        seen_1N[:, part] = False
        x_BLD = model.latents_LD[None]
        for block, keys, values in sources:
            attention = block.attention
            queries = split_heads(attention.queries(block.query_norm(x_BLD)), attention.heads).to(values.dtype)
            mask = seen_1N if tokens.complete else seen_1N & tokens.mask_BN
            x_BLD = x_BLD + attention.out(merge_heads(attend(queries, keys, values, 1.0, mask)))
            x_BLD = x_BLD + block.ffn(block.ffn_norm(x_BLD))
        for layer in model.blocks:
            x_BLD, _ = layer(x_BLD)
        yield model.norm(x_BLD)


def band_stopped(batch: SignalBatch, band: tuple[float, float]) -> Tensor:
    """The signal without its Fourier components in a band (Hz), each window within its own length."""
    signal_BCT = batch.signal_BCT.clone()
    for row, n_times in enumerate(batch.n_times_B.tolist()):
        spectrum = torch.fft.rfft(signal_BCT[row, :, :n_times])
        hz = torch.fft.rfftfreq(n_times, float(batch.interval_B[row]), device=spectrum.device)
        spectrum[:, (hz >= band[0]) & (hz < band[1])] = 0
        signal_BCT[row, :, :n_times] = torch.fft.irfft(spectrum, n_times)
    return signal_BCT
