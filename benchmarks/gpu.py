"""Training steps on a GPU, in bfloat16: how much of its peak they reach, and which kernels they should use.

    mfu_base, mfu_large               FLOP/s of the products of a step / peak of the card, at the best batch
    gpu_batch_*, gpu_windows_*        that batch, windows per second
    gpu_memory_*                      peak memory of the step at that batch
    gpu_grouped_vs_loop_*             time of the step with the loop over experts / with grouped products
    gpu_padded_vs_*_n128, _n1024      time of another form of DINT attention / of padded fused attention

The batch doubles from 8 until windows per second gain less than 3 % or memory ends. The step is that of the benchmark
`step` (20 channels x 20 patches, half of them hidden). Peaks are the makers' dense bfloat16 figures.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from brainof.model import BrainOF, log_spectrum, update_balance
from brainof.model.attention import combine, differential_attention
from brainof.model.experts import Experts
from brainof.model.tokens import take_tokens

from .step import eeg_batch, product

Line = tuple[str, float, str]
#: name of the card contains -> dense bfloat16 FLOP/s
PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "GH200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "L40S": 362e12,
    "4090": 165e12,
}
HEADS, WIDTH = 8, 32


def peak(device: torch.device) -> float:
    """Peak FLOP/s of the device: of its maker where known, else that of one large product."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for part, value in PEAKS.items():
            if part in name:
                return value
        a = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
        return 2 * 8192**3 / seconds(lambda: a @ a, device)
    return product(torch.bfloat16)()


def seconds(function: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Median seconds of a call, the queue of the device included."""
    taken = []
    for _ in range(repeats + 2):
        _wait(device)
        start = time.perf_counter()
        function()
        _wait(device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[2:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Training:
    """A model with its optimizer, and steps of any batch size."""

    def __init__(self, preset: str, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        self.model = BrainOF.from_preset(preset).to(device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameter_groups(), lr=1e-4, fused=True)

    def use(self, backend: str) -> None:
        for module in self.model.modules():
            if isinstance(module, Experts):
                module.backend = backend  # type: ignore[assignment]

    def step(self, windows: int) -> Callable[[], None]:
        """A function that does one step on a batch of that many windows."""
        batch = eeg_batch(windows).to(self.device)
        order = torch.rand(windows, 400, device=self.device).argsort(1)
        visible, hidden = order[:, :200], order[:, 200:]

        def once() -> None:
            with torch.autocast(self.device.type, torch.bfloat16):
                tokens = self.model.tokens(batch)
                latents = self.model.encode(tokens, visible)
                predicted = self.model.decode(latents, tokens.identity_BND, hidden)
            clean = take_tokens(tokens.patch_BNS, hidden)
            loss = F.smooth_l1_loss(predicted["waveform"], clean)
            loss = loss + F.smooth_l1_loss(predicted["log_spectrum"], log_spectrum(clean))
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            update_balance(self.model)

        return once

    def best_batch(self, start: int, most: int) -> tuple[int, float]:
        """The batch with most windows per second, and its seconds."""
        best, best_seconds = 0, float("inf")
        windows = start
        while windows <= most:
            try:
                taken = seconds(self.step(windows), self.device)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                break
            if best and windows / taken < 1.03 * best / best_seconds:
                break
            best, best_seconds = windows, taken
            windows *= 2
        return best, best_seconds


def flops_per_window(preset: str) -> float:
    """FLOPs of the products that one window needs in a step (counted on the processor, experts in their loop)."""
    training = Training(preset, torch.device("cpu"))
    training.use("loop")
    with FlopCounterMode(display=False) as counter:
        training.step(2)()
    return counter.get_total_flops() / 2


def attention_forms(tokens: int, device: torch.device) -> dict[str, Callable[[], None]]:
    """Forms of DINT attention on the same inputs, forward and backward; about 65,536 tokens on a GPU."""
    batch = max(1, (65_536 if device.type == "cuda" else 256) // tokens)
    make = {"device": device, "dtype": torch.bfloat16, "requires_grad": True}
    q, k = (torch.randn(2, batch, HEADS, tokens, WIDTH, **make) for _ in range(2))  # type: ignore[arg-type]
    v = torch.randn(batch, HEADS, tokens, 2 * WIDTH, **make)  # type: ignore[arg-type]
    lam = torch.tensor(0.5, device=device, requires_grad=True)
    scale = WIDTH**-0.5

    def unpadded() -> Tensor:  # unequal widths: whatever the library falls back to
        o1, o2 = (F.scaled_dot_product_attention(a, b, v, scale=scale).float() for a, b in zip(q, k, strict=True))
        return combine(o1, o2, lam)

    def halves() -> Tensor:  # values in two halves of the width of queries and keys
        parts = [
            torch.cat([F.scaled_dot_product_attention(a, b, half, scale=scale) for half in v.chunk(2, -1)], -1).float()
            for a, b in zip(q, k, strict=True)
        ]
        return combine(*parts, lam)

    def backward(form: Callable[[], Tensor]) -> Callable[[], None]:
        def once() -> None:
            form().square().mean().backward()
            for x in (q, k, v, lam):
                x.grad = None

        return once

    kernels = {"padded": "sdpa", "explicit": "explicit"}
    forms: dict[str, Callable[[], Tensor]] = {
        name: (lambda kernel=kernel: differential_attention(q, k, v, lam, scale, kernel=kernel))  # type: ignore[misc]
        for name, kernel in kernels.items()
    }
    return {name: backward(form) for name, form in {**forms, "unpadded": unpadded, "halves": halves}.items()}


def measure(device: torch.device, presets: tuple[str, ...], start: int = 8, most: int = 4096) -> Iterator[Line]:
    """The lines of this benchmark on any device."""
    top = peak(device)
    yield "gpu_peak", top / 1e12, "TFLOP/s"
    for name in presets:
        needed, training = flops_per_window(name), Training(name, device)
        training.use("grouped")
        windows, taken = training.best_batch(start, most)
        if not windows:
            yield f"gpu_batch_{name}", 0, f"windows: {start} do not fit into memory"
            continue
        yield f"gpu_batch_{name}", windows, "windows"
        yield f"gpu_windows_{name}", windows / taken, "windows/s"
        yield f"mfu_{name}", needed * windows / taken / top, "ratio"
        step = training.step(windows)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            step()
            yield f"gpu_memory_{name}", torch.cuda.max_memory_allocated(device) / 2**30, "GiB"
        training.use("loop")
        yield f"gpu_grouped_vs_loop_{name}", seconds(step, device) / taken, "ratio"
        del training, step
        if device.type == "cuda":
            torch.cuda.empty_cache()
    for tokens in (128, 1024):
        times = {name: seconds(form, device) for name, form in attention_forms(tokens, device).items()}
        for name in ("explicit", "unpadded", "halves"):
            yield f"gpu_padded_vs_{name}_n{tokens}", times[name] / times["padded"], "ratio"


def run() -> Iterator[Line]:
    """The lines of this benchmark; one line where there is no GPU."""
    if not torch.cuda.is_available():
        yield "gpu_devices", 0, "(no GPU here: nothing measured)"
        return
    yield from measure(torch.device("cuda"), ("base", "large"))
