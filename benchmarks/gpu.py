"""Training steps on a GPU, in bfloat16: how much of its peak they reach; and whether it computes what a CPU does.

    ./run bench gpu [SECONDS]   # begins nothing new after so many (540): one run of ten minutes gives all of it

    gpu_devices                             how many there are, and what they are
    gpu_vs_cpu_latents, _loss, _gradients   relative difference to the CPU, float32, `tiny`
    mfu_base, mfu_large                     FLOP/s of the products of a step / peak of the card, at the best batch
    gpu_batch_*, gpu_windows_*              that batch, windows per second
    gpu_memory_*                            peak memory of the step at that batch
    pretrain_vs_bench_*, mfu_pretrain_*     the command `pretrain` (loader, masks, log) / the bare step at its batch
    data_wait_*                             time in which its loader is waited for
    gpu_waits_*                             calls within a step of the command that wait for the GPU
    gpu_skipped_*                           what time did not suffice for

The batch doubles from 8 until windows per second gain less than 3 % or memory ends. The step is that of the benchmark
`step` (20 channels x 20 patches, half of them hidden), nothing is compiled. Peaks are the makers' dense bfloat16
figures. The command has the batch of the bare step, as far as its corpus of noise has windows.
"""

from __future__ import annotations

import contextlib
import copy
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from brainof.model import BrainOF, log_spectrum, move_biases
from brainof.model.tokens import checked, take_tokens
from brainof.utils.modules import peak_flops

from .step import eeg_batch, product

Line = tuple[str, float, str]
#: Windows of the corpus that the command trains on, and with how many threads and batches its loader is ahead
COMMAND_WINDOWS, LOADER = 2048, {"threads": 8, "prefetch": 8}


def peak(device: torch.device) -> float:
    """Peak FLOP/s of the device: of its maker where known, else that of one large product."""
    if (known := peak_flops(device)) is not None:
        return known
    if device.type == "cuda":
        a = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
        return 2 * 8192**3 / seconds(lambda: a @ a, device)
    return product(torch.bfloat16)()


def seconds(function: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
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

    def step(self, windows: int) -> Callable[[], None]:
        """A function that does one step on a batch of that many windows."""
        batch = checked(eeg_batch(windows), self.model.config.patch).to(self.device)  # as the loader's: nothing waits
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
            move_biases(self.model)

        return once

    def best_batch(self, start: int, most: int) -> tuple[int, float]:
        """The batch with most windows per second, and its seconds."""
        best, best_seconds = 0, float("inf")
        windows = start
        while windows <= most:
            try:
                taken = seconds(self.step(windows), self.device)
            except torch.OutOfMemoryError:
                self.optimizer.zero_grad(set_to_none=True)
                torch.cuda.empty_cache()
                break
            if best and windows / taken < 1.03 * best / best_seconds:
                break
            best, best_seconds = windows, taken
            windows *= 2
        return best, best_seconds


def flops_per_window(preset: str) -> float:
    """FLOPs of the products that one window needs in a step, counted on the CPU in float32: no filled-up rows."""
    model, batch = BrainOF.from_preset(preset).train(), eeg_batch(1)
    order = torch.rand(1, 400).argsort(1)
    with FlopCounterMode(display=False) as counter:
        tokens = model.tokens(batch)
        predicted = model.decode(model.encode(tokens, order[:, :200]), tokens.identity_BND, order[:, 200:])
        sum(x.square().mean() for x in predicted.values()).backward()  # type: ignore[union-attr]
    return counter.get_total_flops()


def agreement(device: torch.device) -> Iterator[Line]:
    """Largest relative differences between the device and the CPU, in float32: latents, loss and gradients."""
    torch.manual_seed(0)
    model, batch = BrainOF.from_preset("tiny").eval(), eeg_batch(4)
    order = torch.rand(4, 400).argsort(1)

    def results(on: torch.device) -> list[Tensor]:
        there, moved, where = copy.deepcopy(model).to(on), batch.to(on), order.to(on)
        with torch.no_grad():
            latents = there.forward_features(moved)
        tokens = there.tokens(moved)
        predicted = there.decode(there.encode(tokens, where[:, :200]), tokens.identity_BND, where[:, 200:])
        loss = F.smooth_l1_loss(predicted["waveform"], take_tokens(tokens.patch_BNS, where[:, 200:]))
        loss = loss + predicted["log_spectrum"].square().mean()
        gradients = torch.autograd.grad(loss, list(there.parameters()))
        return [latents.cpu(), loss.detach().cpu(), torch.cat([g.flatten().cpu() for g in gradients])]

    with plain_products():
        pairs = zip(("latents", "loss", "gradients"), results(device), results(torch.device("cpu")), strict=True)
        for name, found, expected in pairs:
            difference = float((found - expected).norm() / expected.norm())
            yield f"gpu_vs_cpu_{name}", difference, "relative difference" + ("" if difference < 1e-3 else ", WRONG")


@contextlib.contextmanager
def plain_products() -> Iterator[None]:
    """Products in full float32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def measure(
    device: torch.device, presets: tuple[str, ...], start: int = 8, most: int = 2048, limit: float = 540.0
) -> Iterator[Line]:
    """The lines of this benchmark on any device; nothing is begun after `limit` seconds."""
    begun = time.perf_counter()
    yield from agreement(device)
    top = peak(device)
    yield "gpu_peak", top / 1e12, "TFLOP/s"
    for name in presets:
        if time.perf_counter() - begun > limit:
            yield f"gpu_skipped_{name}", limit, "seconds are over"
            continue
        needed, training = flops_per_window(name), Training(name, device)
        windows, taken = training.best_batch(start, most)
        if not windows:
            yield f"gpu_batch_{name}", 0, f"windows: {start} do not fit into memory"
            continue
        yield f"gpu_batch_{name}", windows, "windows"
        yield f"gpu_windows_{name}", windows / taken, "windows/s"
        yield f"mfu_{name}", needed * windows / taken / top, "ratio"
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            training.step(windows)()
            yield f"gpu_memory_{name}", torch.cuda.max_memory_allocated(device) / 2**30, "GiB"
        windows = min(windows, COMMAND_WINDOWS)
        bare = windows / seconds(training.step(windows), device)
        del training
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if time.perf_counter() - begun > limit:
            yield f"gpu_skipped_pretrain_{name}", limit, "seconds are over"
            continue
        yield from command(name, windows, device, bare, top)
        if device.type == "cuda":
            torch.cuda.empty_cache()


def command(preset: str, windows: int, device: torch.device, bare: float, top: float) -> Iterator[Line]:
    """The real command on noise, its best log; `bare` are windows/s of the step without it."""
    from brainof.corpus import open_corpora
    from brainof.pretraining import PretrainConfig, pretrain
    from brainof.pretraining.run import Run
    from brainof.pretraining.run_folder import read_metrics

    from .train import write_corpus

    settings = {"model": {"preset": preset}, "batch_size": windows, "max_tokens": 400, "min_channels": 1.0}
    settings |= {"steps": 40, "log_every": 10, "checkpoint_every": 1000, "health_every": 1000, "health_margin": 0.0}
    settings |= {"precision": "bfloat16", "loader": LOADER, "sampling": {"validation": 0.0}}
    config = PretrainConfig.parse(settings)
    with tempfile.TemporaryDirectory() as folder:
        corpus = write_corpus(Path(folder) / "corpus", max(512, windows))
        run = Run(config, open_corpora(corpus), Path(folder) / "steps")
        with contextlib.closing(run.trainer.steps(iter(run.loader()))) as steps:
            next(steps)
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode("warn")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                next(steps)
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
        yield f"gpu_waits_{preset}", sum("synchroniz" in str(each.message) for each in caught), "calls"
        del run, steps
        out = pretrain(config, corpus, Path(folder) / "run")
        rows = [row for row in read_metrics(out / "metrics.jsonl") if "loss" in row]
    best = max(rows, key=lambda row: row["windows_per_second"])
    yield f"pretrain_vs_bench_{preset}", best["windows_per_second"] / bare, "ratio"
    yield f"mfu_pretrain_{preset}", best["tflops_per_device"] * 1e12 / top, "ratio"
    yield f"data_wait_{preset}", 100 * best["data_wait"], "%"


def run(limit: str = "540") -> Iterator[Line]:
    """The lines of this benchmark; one line where there is no GPU."""
    if not torch.cuda.is_available():
        yield "gpu_devices", 0, "(no GPU here: nothing measured)"
        return
    yield "gpu_devices", torch.cuda.device_count(), f"x {torch.cuda.get_device_name()}, torch {torch.__version__}"
    yield from measure(torch.device("cuda"), ("base", "large"), limit=float(limit))
