"""What a run measures between two lines of its log: losses by dataset, throughput, and whether all is finite."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..model import balance_metrics
from ..model.cost import WindowShape, step_flops
from ..utils.modules import peak_flops
from .health import SPREAD_WINDOWS, spread
from .objective import Objective
from .parallel import World
from .trainer import Bad, Step, first_not_finite, refuse


class Seen(NamedTuple):
    """What one rank has seen since the last log."""

    bad: Bad | None
    loss: float
    waited: float
    sums: dict[tuple[str, str], tuple[list[float], np.ndarray]]
    skipped: int
    work: list[tuple[float, float, float]]
    spread: tuple[float, float] | None


class Meter:
    """Sums on the device, read at log intervals; `steps` are those of the run, which the weights of terms depend on.

    With several ranks each adds up its own, and what is read is the sum, by one message: all ranks read at the same
    steps. A HealthError on all of them where the loss or the gradient of one is not finite.
    """

    def __init__(self, objective: Objective, steps: int, world: World | None = None, ranks_each: int = 1) -> None:
        self.objective, self.total_steps, self.world = objective, steps, world or World()
        self._part = 1 / ranks_each  # of a batch, which so many ranks share
        self._waited = 0.0
        self._begin()

    def _begin(self) -> None:
        self._sums: dict[tuple[str, str], Tensor] = {}
        self._counts: dict[tuple[str, str], Any] = {}  # predicted patches, windows, batches
        self._unread: list[Step] = []  # their numbers alone: memory does not grow with the batches of a log interval
        self._last: Step | None = None
        self._work: list[tuple[float, float, float]] = []  # of each step: tokens, those that hold signal, FLOPs
        self._skipped, self._since = 0, time.perf_counter()
        self.saving_seconds = 0.0  # that steps waited for a checkpoint since the last log

    def add(self, step: Step) -> None:
        """Count a step."""
        self._unread.append(step.numbers)
        self._last = replace(step, batches=[])
        for batch, losses in zip(step.batches, step.losses, strict=True):
            sums = torch.stack([losses[name] for name in self.objective.terms]).double()
            self._sums[batch.name] = self._sums[batch.name] + sums if batch.name in self._sums else sums
            counts = np.array([batch.n_predicted, len(batch.batch), self._part])
            self._counts[batch.name] = self._counts.get(batch.name, 0) + counts
            self._skipped += batch.skipped
        work = np.array([(batch.n_tokens, batch.n_valid, self._flops(batch)) for batch in step.batches])
        self._work.append(tuple(work.reshape(-1, 3).sum(0).tolist()))

    def rows(self, waited: float) -> list[dict[str, Any]]:
        """One row per dataset since the last call; `waited` is the time the loader was waited for so far."""
        step = self._last
        assert step is not None
        latents_BLD = step.latents_BLD
        mine = Seen(
            first_not_finite(self._unread),
            step.loss.item(),
            waited - self._waited,
            {name: (value.tolist(), self._counts[name]) for name, value in self._sums.items()},
            self._skipped,
            self._work,
            spread(latents_BLD) if latents_BLD is not None and len(latents_BLD) >= SPREAD_WINDOWS else None,
        )
        seen = self.world.gather(mine)
        refuse([each.bad for each in seen])
        seconds = time.perf_counter() - self._since
        sums = {}
        for key in dict.fromkeys(key for each in seen for key in each.sums):
            values = [each.sums[key] for each in seen if key in each.sums]
            sums[key] = [np.sum(column, axis=0).tolist() for column in zip(*values, strict=True)]
        about = {
            "loss_step": sum(each.loss for each in seen),
            "lr": step.lr,
            "grad_norm": step.norm.item(),
            **({} if step.load_LME is None else balance_metrics(step.load_LME)),
            "windows_per_second": sum(windows for _, (_, windows, _) in sums.values()) / seconds,
            **self._throughput(np.array([each.work for each in seen]), seconds),
            "data_wait": sum(each.waited for each in seen) / self.world.size / seconds,
            "checkpoint_wait": self.saving_seconds / seconds,
            "skipped": sum(each.skipped for each in seen),
            **_narrowest(seen),
        }
        weights = self.objective.weights((step.number - 1) / self.total_steps)
        rows = []
        for (name, modality), (summed, (n_predicted, _, n_batches)) in sums.items():
            terms = {term: value / n_predicted for term, value in zip(self.objective.terms, summed, strict=True)}
            loss = sum(weight * terms[term] for term, weight in weights.items())
            used = {f"loss_{term}": value for term, value in terms.items()}
            row = {"dataset": name, "modality": modality, "loss": loss, **used, "batches": round(n_batches)}
            rows.append(row | about)
        self._waited = waited
        self._begin()
        return rows

    def _throughput(self, work_RK3: np.ndarray, seconds: float) -> dict[str, float]:
        """Tokens, the fraction without signal, the time that ranks wait for the one with most of them; FLOPs."""
        total, valid, flops = np.maximum(work_RK3.sum((0, 1)), 1e-9)
        mean, most = np.maximum([work_RK3[..., 0].mean(0).sum(), work_RK3[..., 0].max(0).sum()], 1e-9)
        found = {"tokens_per_second": total / seconds, "padding": 1 - valid / total, "imbalance": 1 - mean / most}
        device, rate = self.world.device, flops / seconds / self.world.size
        found["tflops_per_device"] = rate / 1e12
        if (peak := peak_flops(device)) is not None:
            found["mfu"] = rate / peak
        if device.type == "cuda":
            found["peak_memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
        return {name: float(value) for name, value in found.items()}

    def _flops(self, batch: Any) -> float:
        """Of the products that a batch needs; 0 for the sampler that is not counted."""
        model = self.objective.model.config
        if model.sampler.kind != "arness":
            return 0.0
        C, V, H = batch.batch.signal_BCT.shape[1], batch.visible_BV.shape[1], batch.predicted_BH.shape[1]
        target = "connectivity" in self.objective.terms
        return sum(step_flops(model, WindowShape(C, batch.n_patches, V, H), len(batch.batch), target).values())


def _narrowest(seen: Sequence[Seen]) -> dict[str, float]:
    """Lowest rank and highest cosine of latents; nothing where the last batch of a rank is of too few windows."""
    found = [each.spread for each in seen if each.spread is not None]
    if len(found) < len(seen) or not np.isfinite(found).all():  # what a finite step has led to: the next one says so
        return {}
    ranks, cosines = zip(*found, strict=True)
    return {"rank": min(ranks), "latent_cosine": max(cosines)}
