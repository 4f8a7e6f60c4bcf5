"""Large weights in bfloat16, cast once per optimizer step for all threads.

Autocast casts every weight in every thread and pass, and every gradient back again: of a step of `base` on 4 windows
that is as much as a quarter.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..model import BrainOF
from ..model.experts import Experts


def cast_by_autocast(model: nn.Module) -> list[nn.Parameter]:
    """Weights that a pass in autocast reads in its lower precision only: those of linear maps and of routed experts."""
    linears = [p for m in model.modules() if isinstance(m, nn.Linear) for p in m.parameters(recurse=False)]
    experts = [p for m in model.modules() if isinstance(m, Experts) for p in (m.gate_up_ED2F, m.down_EFD)]
    return linears + experts


class CastModel:
    """A model for passes under autocast, whose large weights are copies in bfloat16 of those of a float32 model.

    All else (norms, routers, latents, buffers, counts of the experts) is the float32 model's own. A pass gives what
    autocast gives with the float32 model, to the bit.

    Parameters
    ----------
    model : BrainOF
        Keeps the weights that are trained.

    Attributes
    ----------
    model : BrainOF
        For forward and backward passes.
    leaves : list of Parameter
        The parameters of `model`, in the order of those of the float32 model.
    """

    def __init__(self, model: BrainOF) -> None:
        memo = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        self._exact = cast_by_autocast(model)
        self._cast = [nn.Parameter(p.detach().bfloat16(), p.requires_grad) for p in self._exact]
        memo |= {id(exact): cast for exact, cast in zip(self._exact, self._cast, strict=True)}
        self.model: BrainOF = copy.deepcopy(model, memo)  # type: ignore[arg-type]
        self.leaves = list(self.model.parameters())

    @torch.no_grad()
    def refresh(self) -> None:
        """Cast the weights as they are now: after a step of the optimizer, or after loading."""
        torch._foreach_copy_(list[Tensor](self._cast), list[Tensor](self._exact))
