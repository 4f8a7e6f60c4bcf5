"""What a run measures between two lines of its log: losses by dataset, throughput, and whether all is finite."""

from __future__ import annotations

import time
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
    sums: dict[tuple[str, str], tuple[list[float], list[float]]]
    skipped: int
    work: list[list[float]]
    spread: tuple[float, float] | None


class Meter:
    """Sums on the device, read at log intervals; `steps` are those of the run, which the weights of terms depend on.

    With several ranks each adds up its own, and what is read is the sum, by one message: all ranks read at the same
    steps. A HealthError on all of them where the loss or the gradient of one is not finite.
    """

    def __init__(self, objective: Objective, steps: int, world: World | None = None, ranks_each: int = 1) -> None:
        self.objective, self.total_steps, self.world = objective, steps, world or World()
        self._part = 1 / ranks_each  # of a batch, which so many ranks share
        self._sums: dict[tuple[str, str], Tensor] = {}
        self._counts: dict[tuple[str, str], Any] = {}  # predicted patches, windows, batches
        self._unread: list[Step] = []  # their numbers alone: memory does not grow with the batches of a log interval
        self._last: Step | None = None
        self._work: list[list[float]] = []  # of each step: tokens, those that hold signal, FLOPs
        self._work_before = np.zeros(5)  # as of `_work_done`, from a checkpoint
        self._skipped, self._waited, self._since = 0, 0.0, time.perf_counter()
        self.saving_seconds = 0.0  # that steps waited for a checkpoint since the last log

    def add(self, step: Step) -> None:
        """Count a step."""
        self._unread.append(step.numbers)
        self._last = replace(step, batches=[])
        model, target = self.objective.model.config, "connectivity" in self.objective.terms
        work = np.zeros(3)
        for batch, losses in zip(step.batches, step.losses, strict=True):
            sums = torch.stack([losses[name] for name in self.objective.terms]).double()
            self._sums[batch.name] = self._sums[batch.name] + sums if batch.name in self._sums else sums
            counts = np.array([batch.n_predicted, len(batch.batch), self._part])
            self._counts[batch.name] = self._counts.get(batch.name, 0) + counts
            self._skipped += batch.skipped
            (B, C, _), V, H = batch.batch.signal_BCT.shape, batch.visible_BV.shape[1], batch.predicted_BH.shape[1]
            shape, counted = WindowShape(C, batch.n_patches, V, H), model.sampler.kind == "arness"
            flops = sum(step_flops(model, shape, B, target).values()) if counted else 0.0
            work += B * C * batch.n_patches, batch.n_valid, flops
        self._work.append(work.tolist())

    def _read(self, last: Step, waited: float, latents_BLD: Tensor | None = None) -> tuple[list[Seen], dict[str, Any]]:
        """What each rank has seen, and sums and counts of all as plain values; refuses steps that are not finite.

        `work` adds up tokens, those with signal, FLOPs of all ranks; mean and most tokens of a rank.
        """
        mine = Seen(
            first_not_finite(self._unread),
            last.loss.item(),
            waited - self._waited,
            {name: (value.tolist(), self._counts[name].tolist()) for name, value in self._sums.items()},
            self._skipped,
            self._work,
            spread(latents_BLD) if latents_BLD is not None and len(latents_BLD) >= SPREAD_WINDOWS else None,
        )
        seen = self.world.gather(mine)
        refuse([each.bad for each in seen])
        self._unread = []
        sums = []
        for name in dict.fromkeys(name for each in seen for name in each.sums):
            values = [each.sums[name] for each in seen if name in each.sums]
            sums.append([*name, *(np.sum(column, axis=0).tolist() for column in zip(*values, strict=True))])
        work_RK3 = np.array([each.work for each in seen], np.float64).reshape(len(seen), -1, 3)
        tokens_RK = work_RK3[..., 0]
        work = [*work_RK3.sum((0, 1)), tokens_RK.mean(0).sum(), tokens_RK.max(0, initial=0).sum()]
        skipped = sum(each.skipped for each in seen)
        return seen, {"sums": sums, "skipped": skipped, "work": (self._work_before + work).tolist()}

    def rows(self, waited: float) -> list[dict[str, Any]]:
        """One row per dataset since the last call; `waited` is the time the loader was waited for so far."""
        step = self._last
        assert step is not None
        seen, state = self._read(step, waited, step.latents_BLD)
        seconds = time.perf_counter() - self._since
        about = {
            "loss_step": sum(each.loss for each in seen),
            "lr": step.lr,
            "grad_norm": step.norm.item(),
            **({} if step.load_LME is None else balance_metrics(step.load_LME)),
            "windows_per_second": float(sum(counts[1] for *_, counts in state["sums"])) / seconds,
            **self._throughput(state["work"], seconds),
            "data_wait": sum(each.waited for each in seen) / self.world.size / seconds,
            "checkpoint_wait": self.saving_seconds / seconds,
            "skipped": state["skipped"],
        }
        found = [each.spread for each in seen if each.spread is not None]  # none where a last batch has too few windows
        if len(found) == len(seen) and np.isfinite(found).all():  # else a finite step led to it: the next one says so
            ranks, cosines = zip(*found, strict=True)
            about |= {"rank": min(ranks), "latent_cosine": max(cosines)}
        weights = self.objective.weights((step.number - 1) / self.total_steps)
        rows = []
        for name, modality, sums, (n_predicted, _, n_batches) in state["sums"]:
            terms = {term: value / n_predicted for term, value in zip(self.objective.terms, sums, strict=True)}
            loss = sum(weight * terms[term] for term, weight in weights.items())
            used = {f"loss_{term}": value for term, value in terms.items()}
            row = {"dataset": name, "modality": modality, "loss": loss, **used, "batches": round(n_batches)}
            rows.append(row | about)
        self._sums, self._counts, self._work, self._work_before = {}, {}, [], np.zeros(5)
        self._skipped, self._waited, self._since = 0, waited, time.perf_counter()
        self.saving_seconds = 0.0
        return rows

    def _throughput(self, work: list[float], seconds: float) -> dict[str, float]:
        """Tokens, the fraction without signal, the time that ranks wait for the one with most of them; FLOPs."""
        total, valid, flops, mean, most = np.maximum(work, 1e-9)
        found = {"tokens_per_second": total / seconds, "padding": 1 - valid / total, "imbalance": 1 - mean / most}
        device, rate = self.world.device, flops / seconds / self.world.size
        found["tflops_per_device"] = rate / 1e12
        if (peak := peak_flops(device)) is not None:
            found["mfu"] = rate / peak
        if device.type == "cuda":
            found["peak_memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
        return {name: float(value) for name, value in found.items()}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint between two log lines keeps."""
        assert self._last is not None
        return self._read(self._last, self._waited)[1]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; the first rank has what all of them had."""
        self._work_before = np.array(state["work"])
        if not self.world.main:
            return
        device = next(self.objective.parameters()).device
        for name, modality, sums, counts in state["sums"]:
            self._sums[name, modality] = torch.tensor(sums, dtype=torch.float64, device=device)
            self._counts[name, modality] = np.array(counts)
        self._skipped = state["skipped"]
