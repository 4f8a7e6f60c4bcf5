"""Sparse experts against a dense feed-forward of equal active size; CPU, forward + backward, forced balance.

moe_vs_dense_e16, moe_vs_dense_e64   tokens/s of the experts (router included) / tokens/s of the dense form, float32
moe_operators_e16, ..._e64           the same where all threads are in the operators
moe_bf16_vs_dense_e16, ..._e64       as the first, in bfloat16 autocast

As in pretraining, each thread takes a part of the tokens through the layer and back, for both forms alike; in
`moe_operators` threads meet at the end of every operator instead.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from brainof.model.experts import Experts
from brainof.model.ffn import SwiGLU
from brainof.pretraining.trainer import GradientThreads

#: tokens, width, experts, hidden width, experts per token
CASES = {"e16": (4096, 256, 16, 256, 4), "e64": (4096, 512, 64, 128, 8)}


def layers(case: str) -> dict[str, nn.Module]:
    """Dense and sparse layers of one case, of equal active size."""
    _, dim, experts, hidden, top_k = CASES[case]
    sparse = Experts(dim, experts, top_k, hidden)
    sparse.force_balance = True
    return {"dense": SwiGLU(dim, top_k * hidden), "experts": sparse}


def once(layer: nn.Module, team: GradientThreads, parts: Sequence[Tensor], bf16: bool) -> float:
    def loss(part: Tensor) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            made = layer(part)
        return {"loss": (made[0] if isinstance(made, tuple) else made).float().square().mean()}

    start = time.perf_counter()
    team.backward(parts, loss)
    layer.zero_grad(set_to_none=True)
    return time.perf_counter() - start


def ratio(made: dict[str, nn.Module], x: Tensor, count: int, repeats: int, bf16: bool = False) -> float:
    """Median seconds of the dense layer / of the experts, timed in turn; `count` threads share the tokens."""
    teams = {name: GradientThreads(list(layer.parameters()), count) for name, layer in made.items()}
    parts = x.tensor_split(count, 1)
    rounds = [{n: once(layer, teams[n], parts, bf16) for n, layer in made.items()} for _ in range(repeats + 1)][1:]
    for team in teams.values():
        team.close()
    dense, sparse = (statistics.median(r[name] for r in rounds) for name in ("dense", "experts"))
    return dense / sparse


def run(repeats: int = 7) -> Iterator[tuple[str, float, str]]:
    """The lines of this benchmark."""
    count = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    torch.set_num_threads(count)
    for case, (tokens, dim, *_) in CASES.items():
        torch.manual_seed(0)
        made, x = layers(case), torch.randn(1, tokens, dim)
        yield f"moe_vs_dense_{case}", ratio(made, x, count, repeats), "ratio"
        yield f"moe_operators_{case}", ratio(made, x, 1, repeats), "ratio"
        yield f"moe_bf16_vs_dense_{case}", ratio(made, x, count, repeats, bf16=True), "ratio"
