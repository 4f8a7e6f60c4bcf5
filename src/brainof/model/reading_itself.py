"""Self-attention of few tokens without gradients: its two maps become one before they meet the values.

    (A1 - lam A2 + lam G) V  instead of  A1 V,  A2 V  and their mean

halves the products with the values. Windows go one after the other, so that their maps stay in the cache.

Legend: B windows, L tokens, H heads, d width of a half of a query or key, e width of a value, D = H e = 2 H d.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import Attention, choose_kernel
from .remember import may_remember


def can_read_itself(attention: Attention, x_BLD: Tensor) -> bool:
    """True where `read_itself` gives what `attention` does, and maps are small enough to be stored."""
    return (
        attention.norm is not None
        and attention.temperature is None
        and attention.kernel == "auto"
        and may_remember(attention)
        and choose_kernel(x_BLD[:, None], x_BLD[:, None], x_BLD[:, None]) == "explicit"
    )


def read_itself(attention: Attention, x_BLD: Tensor) -> Tensor:
    """`attention(x_BLD)`."""
    assert attention.norm is not None
    heads, lam = attention.heads, float(attention.lam())
    query, key, value = (linear.weight for linear in (attention.query, attention.key, attention.value))
    projected_BLX = F.linear(x_BLD, torch.cat([query * attention.scale, key, value]))
    read_BLHe = x_BLD.new_empty(*x_BLD.shape[:2], heads, x_BLD.shape[-1] // heads)
    for out_LHe, projected_LX in zip(read_BLHe, projected_BLX, strict=True):
        q_LD, k_LD, v_LD = projected_LX.chunk(3, -1)
        q_LGd, k_LGd = (half.unflatten(-1, (2 * heads, -1)) for half in (q_LD, k_LD))
        both_GLL = torch.bmm(q_LGd.transpose(0, 1), k_LGd.permute(1, 2, 0)).softmax(-1)
        first_HLL, second_HLL = both_GLL.chunk(2)
        map_HLL = torch.sub(first_HLL, second_HLL, alpha=lam)
        if attention.kind == "dint":
            map_HLL.add_(first_HLL.mean(1, keepdim=True), alpha=lam)
        v_HLe = v_LD.unflatten(-1, (heads, -1)).transpose(0, 1)
        out_LHe.copy_(torch.bmm(map_HLL, v_HLe).transpose(0, 1))
    o_BLHe = attention.norm(read_BLHe)
    return attention.out((o_BLHe if attention.out_gain == 1.0 else o_BLHe * attention.out_gain).flatten(2))
