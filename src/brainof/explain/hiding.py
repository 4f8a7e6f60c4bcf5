"""Features of windows, whole and with a part hidden: tokens that the encoder does not see, or a band filtered out.

Hiding tokens is what pretraining did: the model was made for windows that lack some.

Legend: B windows, N tokens, L latents, D width, K parts, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..inference.batches import batches
from ..inference.examples import Examples
from ..model import BrainOF
from ..signals import SignalBatch
from ..utils.modules import evaluating, to_device
from ..utils.threads import side_by_side

#: Windows in a batch
BATCH = 16


def grid_of(model: BrainOF, examples: Examples) -> tuple[int, float]:
    """Patches per channel of the longest window, on the time grid of the model, and the seconds of one."""
    grids = [model.on_grid(examples.batch(rows)) for rows in batches(examples, np.arange(len(examples)), BATCH)]
    patch = model.config.patch
    return max(grid.signal_BCT.shape[2] for grid in grids) // patch, patch * float(grids[0].interval_B[0])


def hidden_features(
    model: BrainOF, examples: Examples, parts: Sequence[np.ndarray], pool: str = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, F) of all windows, and (K, N, F) with each part hidden; float32.

    A part is True for its patches, (C, P) on the time grid of the model; windows may be shorter.
    """

    def encode(batch: SignalBatch) -> list[Tensor]:
        tokens = model.tokens(model.on_grid(batch))
        own = [np.flatnonzero(part[:, : tokens.n_patches]) for part in parts]
        nothing = np.zeros(0, np.int64)
        hidden = [torch.as_tensor(part, device=tokens.patch_BNS.device) for part in (nothing, *own)]
        latents = model.encode_without(tokens, hidden)
        return [model.pool(each, pool, batch.modality).float().cpu() for each in latents]

    return _all_windows(model, examples, encode)


def filtered_features(
    model: BrainOF, examples: Examples, bands: Sequence[tuple[float, float]], pool: str = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """As `hidden_features`, with each band (low, high in Hz) taken out of the signal by its Fourier components."""

    def encode(batch: SignalBatch) -> list[Tensor]:
        layout = model.layout(batch)
        signals = [batch.signal_BCT, *(band_stopped(batch, band) for band in bands)]
        found = [model.forward_features(replace(batch, signal_BCT=signal), layout) for signal in signals]
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


def band_stopped(batch: SignalBatch, band: tuple[float, float]) -> Tensor:
    """The signal without its Fourier components in a band (Hz), each window within its own length."""
    signal_BCT = batch.signal_BCT.clone()
    for row, n_times in enumerate(batch.n_times_B.tolist()):
        spectrum = torch.fft.rfft(signal_BCT[row, :, :n_times])
        hz = torch.fft.rfftfreq(n_times, float(batch.interval_B[row]), device=spectrum.device)
        spectrum[:, (hz >= band[0]) & (hz < band[1])] = 0
        signal_BCT[row, :, :n_times] = torch.fft.irfft(spectrum, n_times)
    return signal_BCT
