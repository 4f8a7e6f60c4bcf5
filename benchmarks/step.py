"""One training step: windows per second, and its matrix-product rate against the machine's own.

    step_vs_gemm_tiny, step_vs_gemm_base   FLOP/s of the products of a step / FLOP/s of one large product, same dtype;
                                           32 windows of tiny, 16 of base (the default batch of pretraining)
    step_vs_gemm_tiny_b128, _base_b4, ...  the same for other batches
    step_windows_per_second                tiny, 64 latents, 20 channels x 20 patches, 50 % hidden, faster dtype
    step_windows_per_second_fp32, _bf16    the same for each dtype (bf16 is autocast)

A step also has costs that do not depend on the windows (calls of operators, AdamW, casts of weights): the ratio grows
with the batch. The step is tokens, encoding of visible tokens, decoding of hidden ones, loss, gradients, clipping,
AdamW and the balance update; as in pretraining, each thread takes a part of the windows. The product uses all threads.
Product and step are timed in turn, so that a busy neighbour slows both. Only products that a step needs are counted:
no recomputation, and experts as many as tokens visit.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from brainof.channels import Channels
from brainof.model import BrainOF, log_spectrum, update_balance
from brainof.model.tokens import take_tokens
from brainof.pretraining.threads import GradientThreads
from brainof.signals import SignalBatch

Line = tuple[str, float, str]


def threads() -> int:
    """Threads to use, set explicitly: OMP_NUM_THREADS, or all processors."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def eeg_batch(windows: int, channels: int = 20, patches: int = 20, patch: int = 64) -> SignalBatch:
    """Noise on random positions."""
    rng = np.random.default_rng(0)
    names = tuple(f"channel {i}" for i in range(channels))
    table = Channels(names, ("eeg",) * channels, rng.normal(0, 0.05, (channels, 3)), frame="head")
    signals = rng.normal(0, 1, (windows, channels, patches * patch))
    return SignalBatch.from_arrays(list(signals), table, 256.0, "eeg", patch)


def training_step(preset: str, windows: int, count: int, bf16: bool) -> Callable[[], None]:
    """A function that does one step, in bfloat16 autocast if asked; `count` threads share the windows."""
    torch.manual_seed(0)
    model, batch = BrainOF.from_preset(preset).train(), eeg_batch(windows)
    optimizer = torch.optim.AdamW(model.parameter_groups(), lr=1e-4, fused=True)
    parameters = list(model.parameters())
    team = GradientThreads(parameters, count).open()
    shares = torch.arange(windows).tensor_split(count)

    def step() -> None:
        def loss(share: torch.Tensor) -> dict[str, torch.Tensor]:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                tokens = model.tokens(batch.take_windows(share))
                order = torch.rand(tokens.mask_BN.shape).argsort(1)
                half = order.shape[1] // 2
                latents = model.encode(tokens, order[:, :half])
                predicted = model.decode(latents, tokens.identity_BND, order[:, half:])
            clean = take_tokens(tokens.patch_BNS, order[:, half:])
            value = F.smooth_l1_loss(predicted["waveform"], clean)
            value = value + F.smooth_l1_loss(predicted["log_spectrum"], log_spectrum(clean))
            return {"loss": value * (len(share) / windows)}

        team.backward(shares, loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        update_balance(model)

    return step


def product(dtype: torch.dtype, size: int = 1024) -> Callable[[], float]:
    """A function that times one large product and returns its FLOP/s."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)

    def rate() -> float:
        start = time.perf_counter()
        for _ in range(4):
            a @ b
        return 4 * 2 * size**3 / (time.perf_counter() - start)

    return rate


def measure(preset: str, windows: int, bf16: bool, repeats: int) -> tuple[float, float, float]:
    """Windows per second, FLOP/s of the products of a step, FLOP/s of one large product; medians."""
    with FlopCounterMode(display=False) as counter:
        training_step(preset, windows, 1, False)()  # the products are the same in both dtypes and for any threads
    rate, wide = product(torch.bfloat16 if bf16 else torch.float32), torch.get_num_threads()
    step = training_step(preset, windows, wide, bf16)
    step()
    seconds, rates = [], []
    for _ in range(repeats):
        rates.append(rate())
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    second = statistics.median(seconds)
    return windows / second, counter.get_total_flops() / second, statistics.median(rates)


def run() -> Iterator[Line]:
    """The lines of this benchmark."""
    torch.set_num_threads(threads())
    yield "step_threads", threads(), "threads"
    tiny = {name: measure("tiny", 32, name == "bf16", 7) for name in ("fp32", "bf16")}
    for name, (speed, flops, gemm) in tiny.items():
        yield f"step_windows_per_second_{name}", speed, "windows/s"
        yield f"step_gemm_{name}", gemm / 1e9, "GFLOP/s"
        yield f"step_vs_gemm_tiny_{name}", flops / gemm, "ratio"
    best = max(tiny, key=lambda name: tiny[name][0])
    yield "step_windows_per_second", tiny[best][0], f"windows/s ({best})"
    yield "step_vs_gemm_tiny", tiny[best][1] / tiny[best][2], f"ratio ({best})"
    for preset, batches, usual, repeats in (("tiny", (16, 64, 128), 32, 5), ("base", (4, 8, 16), 16, 3)):
        for windows in batches:
            _, flops, gemm = measure(preset, windows, best == "bf16", repeats)
            yield f"step_vs_gemm_{preset}_b{windows}", flops / gemm, f"ratio ({best})"
            if windows == usual:
                yield f"step_vs_gemm_{preset}", flops / gemm, f"ratio ({best})"
