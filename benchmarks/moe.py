"""Sparse experts against a dense feed-forward of equal active size; CPU, forward + backward, forced balance.

moe_vs_dense_e16, moe_vs_dense_e64   tokens/s of the experts (router included) / tokens/s of the dense form
moe_grouped_vs_loop_e16, ..._e64     time of the loop / time of the grouped products
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from brainof.model.experts import Experts
from brainof.model.ffn import SwiGLU

#: tokens, width, experts, hidden width, experts per token
CASES = {"e16": (4096, 256, 16, 256, 4), "e64": (4096, 512, 64, 128, 8)}


def layers(case: str) -> dict[str, nn.Module]:
    """Dense, loop and grouped layers of one case, of equal active size."""
    _, dim, experts, hidden, top_k = CASES[case]
    made: dict[str, nn.Module] = {"dense": SwiGLU(dim, top_k * hidden)}
    for backend in ("loop", "grouped"):
        made[backend] = Experts(dim, experts, top_k, hidden, backend=backend)
        made[backend].force_balance = True
    return made


def once(layer: nn.Module, x: Tensor) -> float:
    start = time.perf_counter()
    layer(x).square().mean().backward()
    layer.zero_grad(set_to_none=True)
    return time.perf_counter() - start


def run(repeats: int = 7) -> Iterator[tuple[str, float, str]]:
    """The lines of this benchmark."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    for case, (tokens, dim, *_) in CASES.items():
        torch.manual_seed(0)
        made, x = layers(case), torch.randn(1, tokens, dim, requires_grad=True)
        rounds = [{name: once(layer, x) for name, layer in made.items()} for _ in range(repeats + 1)][1:]
        seconds = {name: statistics.median(r[name] for r in rounds) for name in made}
        yield f"moe_vs_dense_{case}", seconds["dense"] / min(seconds["loop"], seconds["grouped"]), "ratio"
        yield f"moe_grouped_vs_loop_{case}", seconds["loop"] / seconds["grouped"], "ratio"
