"""The linear heads: one per task downstream, one per output of the decoder.

Legend: B windows, Q decoded positions, D width, F pooled features.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import ConfigError
from .norm import RMSNorm, init_linear, wide

#: Where predictions of the log spectrum start; its floor is at -3
LOG_SPECTRUM_START = -2.0


class Head(nn.Module):
    """Normalisation of pooled latents (of a pooling as in `BrainOF.pool`) and a linear map to classes or targets."""

    def __init__(self, width: int, outputs: int, pool: str = "auto") -> None:
        super().__init__()
        if outputs < 1:
            raise ConfigError(f"{outputs} outputs", field="outputs", fix="give the number of classes or targets")
        self.pool = pool
        self.norm = RMSNorm(width)
        self.linear = nn.Linear(width, outputs)
        self.init_weights()

    def init_weights(self) -> None:
        # small, so that the first predictions are near the prior of the task
        nn.init.normal_(self.linear.weight, std=0.1 * self.linear.in_features**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pooled_BF: Tensor) -> Tensor:
        return self.linear(self.norm(pooled_BF))


class PatchHeads(nn.Module):
    """Normalisation and one linear map per output of the decoder; `widths` are output name -> values per patch."""

    def __init__(self, dim: int, widths: dict[str, int]) -> None:
        super().__init__()
        self.norm = RMSNorm(dim)
        self.names = tuple(widths)
        self.linears = nn.ModuleList(nn.Linear(dim, width) for width in widths.values())
        self.init_weights()

    def init_weights(self) -> None:
        for name, linear in zip(self.names, self.linears, strict=True):
            assert isinstance(linear, nn.Linear)
            init_linear(linear)
            if name == "log_spectrum":  # above the recorded band all is at the floor: steps would go into the offset
                nn.init.constant_(linear.bias, LOG_SPECTRUM_START)

    def forward(self, x_BQD: Tensor) -> dict[str, Tensor]:
        """Output name -> (B, Q, values); at least float32."""
        x_BQD = self.norm(x_BQD)
        return {name: wide(linear(x_BQD)) for name, linear in zip(self.names, self.linears, strict=True)}
