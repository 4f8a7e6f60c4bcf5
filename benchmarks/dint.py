"""DINT attention against its materialised form and against plain attention; CPU, float32, forward + backward.

dint_speedup_n128, dint_speedup_n1024   time of the materialised form / ours
dint_memory_n1024                       peak memory above the inputs, materialised form / ours
dint_vs_softmax_n1024                   time of ours / two plain fused attention calls of the same widths
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from brainof.model.attention import attend, combine, query_mean

HEADS, WIDTH = 8, 32


def make(tokens: int) -> list[Tensor]:
    """q, k, v, lam for about 4096 tokens in all."""
    torch.manual_seed(0)
    batch = max(1, 4096 // tokens)
    shapes = [(2, batch, HEADS, tokens, WIDTH)] * 2 + [(batch, HEADS, tokens, 2 * WIDTH)]
    return [torch.randn(shape, requires_grad=True) for shape in shapes] + [torch.tensor(0.5, requires_grad=True)]


def materialised(q: Tensor, k: Tensor, v: Tensor, lam: Tensor) -> Tensor:
    """A1 - lam A2 + lam G written out, as in the published equations."""
    a1, a2 = ((q @ k.mT) * WIDTH**-0.5).softmax(-1)
    return (a1 - lam * a2 + lam * query_mean(a1, None)) @ v


def ours(q: Tensor, k: Tensor, v: Tensor, lam: Tensor) -> Tensor:
    one, two = (attend(a, b, v, WIDTH**-0.5) for a, b in zip(q, k, strict=True))
    return combine("dint", one, two, lam)


def two_plain(q: Tensor, k: Tensor, v: Tensor, lam: Tensor) -> Tensor:
    """Two ordinary attentions of the value width: the least that two maps can cost."""
    wide = (2 * WIDTH,)
    q, k = (torch.cat([x, x], -1).reshape(*x.shape[:-1], *wide) for x in (q, k))
    return F.scaled_dot_product_attention(q[0], k[0], v) + F.scaled_dot_product_attention(q[1], k[1], v)


def once(form: Callable[..., Tensor], inputs: list[Tensor]) -> float:
    start = time.perf_counter()
    form(*inputs).sum().backward()
    for x in inputs:
        x.grad = None
    return time.perf_counter() - start


def times(forms: list[Callable[..., Tensor]], tokens: int, repeats: int = 7) -> list[float]:
    """Median seconds of each form, timed in turn."""
    inputs = make(tokens)
    rounds = [[once(form, inputs) for form in forms] for _ in range(repeats + 1)][1:]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def _status(key: str) -> float:
    """A line of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def peak_above(function: Callable[[], object]) -> float:
    """Peak MiB that a call takes above what the process holds before it."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status("VmRSS")
    function()
    return _status("VmHWM") - before


def _answer(queue, function: Callable[..., object], arguments: tuple) -> None:
    queue.put(function(*arguments))


def in_fresh_process(function: Callable[..., Any], *arguments: object) -> Any:
    """The result of a call in a process of its own, whose memory nothing else has used."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_answer, args=(queue, function, arguments))
    process.start()
    while True:
        try:
            value = queue.get(timeout=1)
            break
        except Empty:
            if process.exitcode:
                raise RuntimeError(f"{function.__name__}{arguments} ended with {process.exitcode}") from None
    process.join()
    return value


def peak(name: str, tokens: int) -> float:
    """Peak MiB of a form above its inputs, on one thread."""
    torch.set_num_threads(1)
    form = {"materialised": materialised, "ours": ours}[name]
    once(form, make(32))
    inputs = make(tokens)
    return peak_above(lambda: once(form, inputs))


def run() -> Iterator[tuple[str, float, str]]:
    """The lines of this benchmark."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    for tokens in (128, 512, 1024):
        slow, fast, plain = times([materialised, ours, two_plain], tokens)
        yield f"dint_speedup_n{tokens}", slow / fast, "ratio"
        yield f"dint_vs_softmax_n{tokens}", fast / plain, "ratio"
    yield (
        "dint_memory_n1024",
        in_fresh_process(peak, "materialised", 1024) / in_fresh_process(peak, "ours", 1024),
        "ratio",
    )
