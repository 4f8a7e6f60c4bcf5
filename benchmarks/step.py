"""One training step: windows per second, against a plain PyTorch loop over the plain form of the same model.

    step_vs_plain_tiny, step_vs_plain_base   windows/s of ours / of the plain loop; 32 windows of tiny, 16 of base
    step_vs_compiled_tiny, ..._base          the same against the plain loop with its blocks compiled
    step_windows_per_second                  tiny, 64 latents, 20 channels x 20 patches, 50 % hidden, faster dtype
    step_windows_per_second_fp32, _bf16      the same for each dtype (bf16 is autocast)
    step_vs_gemm_tiny, step_vs_gemm_base     for information: FLOP/s of the products of a step / of one large product

Ours is the step of pretraining: each thread takes a part of the windows, and the fast forms of `brainof.model.kernels`
are used. The plain loop has neither: `loss.backward()`, threads within operators. The step is tokens, encoding of
visible tokens, decoding of hidden ones, loss, gradients, clipping, AdamW and the balance update. All are timed in turn,
so that a busy neighbour slows all. Only products that a step needs are counted.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from brainof.channels import Channels
from brainof.model import BrainOF, attention, experts, layers, log_spectrum, move_biases
from brainof.model.tokens import take_tokens
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
    from brainof.pretraining.parallel import clip_gradients
    from brainof.pretraining.threads import GradientThreads  # its room needs pandas, which a GPU machine may lack

    torch.manual_seed(0)
    model, batch = BrainOF.from_preset(preset).train(), eeg_batch(windows)
    optimizer = torch.optim.AdamW(model.parameter_groups(), lr=1e-4, fused=True)
    parameters = list(model.parameters())
    team = GradientThreads(parameters, count)
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
        clip_gradients(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        move_biases(model)

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


def plain_step(preset: str, windows: int, bf16: bool, compiled: bool = False) -> Callable[[], None]:
    """The straightforward loop over the plain forms."""
    torch.manual_seed(0)
    model, batch = BrainOF.from_preset(preset).train(), eeg_batch(windows)
    if compiled:
        for block in model.blocks:
            block.compile()
    optimizer = torch.optim.AdamW(model.parameter_groups(), lr=1e-4, fused=True)

    def step() -> None:
        with plain_forms(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            tokens = model.tokens(batch)
            order = torch.rand(tokens.mask_BN.shape).argsort(1)
            half = order.shape[1] // 2
            predicted = model.decode(model.encode(tokens, order[:, :half]), tokens.identity_BND, order[:, half:])
            clean = take_tokens(tokens.patch_BNS, order[:, half:])
            loss = F.smooth_l1_loss(predicted["waveform"], clean)
            loss = loss + F.smooth_l1_loss(predicted["log_spectrum"], log_spectrum(clean))
            loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        move_biases(model)

    return step


@contextlib.contextmanager
def plain_forms() -> Iterator[None]:
    """No fast form of `brainof.model.kernels`."""
    never = {(layers, "use_fast"), (experts, "use_filled"), (experts, "use_grouped"), (attention, "use_fused")}
    with contextlib.ExitStack() as stack:
        for module, name in never:
            stack.enter_context(mock.patch.object(module, name, _no))
        yield


def _no(*_: object) -> bool:
    """The same function in every step: compiled blocks would be compiled anew for another."""
    return False


def measure(preset: str, windows: int, bf16: bool, repeats: int) -> tuple[float, float, float, float]:
    """Windows per second of ours and of the plain loop, FLOP/s of the products of ours and of one large product."""
    with FlopCounterMode(display=False) as counter:
        plain_step(preset, windows, False)()  # the products are the same in both dtypes and for any threads
    rate, wide = product(torch.bfloat16 if bf16 else torch.float32), torch.get_num_threads()
    steps = [training_step(preset, windows, wide, bf16), plain_step(preset, windows, bf16)]
    ours, plain = compare(steps, repeats)
    rates = [rate() for _ in range(repeats)]
    return windows / ours, windows / plain, counter.get_total_flops() / ours, statistics.median(rates)


def compare(
    steps: list[Callable[[], None]], repeats: int, clock: Callable[[], float] = time.perf_counter, ahead: int = 0
) -> list[float]:
    """Median seconds of each step, timed in turn, after one that warms up; each time after `ahead` of its own kind."""

    def once(step: Callable[[], None]) -> float:
        for _ in range(ahead):
            step()
        start = clock()
        step()
        return clock() - start

    rounds = [[once(step) for step in steps] for _ in range(repeats + 1)][1:]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def run() -> Iterator[Line]:
    """The lines of this benchmark."""
    torch.set_num_threads(threads())
    yield "step_threads", threads(), "threads"
    tiny = {name: measure("tiny", 32, name == "bf16", 7) for name in ("fp32", "bf16")}
    for name, (ours, *_) in tiny.items():
        yield f"step_windows_per_second_{name}", ours, "windows/s"
    best = max(tiny, key=lambda name: tiny[name][0])
    yield "step_windows_per_second", tiny[best][0], f"windows/s ({best})"
    for preset, windows, repeats in (("tiny", 32, 5), ("base", 16, 3)):
        ours, plain, flops, gemm = tiny[best] if preset == "tiny" else measure(preset, windows, best == "bf16", repeats)
        yield f"step_vs_plain_{preset}", ours / plain, f"ratio ({best})"
        yield f"step_vs_gemm_{preset}", flops / gemm, f"ratio ({best})"
    for preset, windows, repeats in (("tiny", 32, 5), ("base", 16, 3)):
        try:
            bf16 = best == "bf16"
            steps = [training_step(preset, windows, threads(), bf16), plain_step(preset, windows, bf16, compiled=True)]
            mine, compiled = compare(steps, repeats)
        except Exception as error:  # no C++ compiler, or what it cannot compile
            yield f"step_vs_compiled_{preset}", float("nan"), f"not compiled: {type(error).__name__}"
        else:
            yield f"step_vs_compiled_{preset}", compiled / mine, f"ratio ({best})"
