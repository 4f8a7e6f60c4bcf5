"""What a run measures between two lines of its log: losses by dataset, throughput, and whether all is finite."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .objective import Objective
from .trainer import Step, require_finite


class Meter:
    """Sums on the device, read at log intervals; `steps` are those of the run, which the weights of terms depend on."""

    def __init__(self, objective: Objective, steps: int) -> None:
        self.objective, self.total_steps = objective, steps
        self._sums: dict[tuple[str, str], Tensor] = {}
        self._counts: dict[tuple[str, str], Any] = {}  # predicted patches, windows, batches
        self._unread: list[Step] = []
        self._skipped, self._waited, self._since = 0, 0.0, time.perf_counter()

    def add(self, step: Step) -> None:
        """Count a step."""
        self._unread.append(step)
        for batch, losses in zip(step.batches, step.losses, strict=True):
            sums = torch.stack([losses[name] for name in self.objective.terms]).double()
            self._sums[batch.name] = self._sums[batch.name] + sums if batch.name in self._sums else sums
            counts = np.array([batch.n_predicted, len(batch.batch), 1])
            self._counts[batch.name] = self._counts.get(batch.name, 0) + counts
            self._skipped += batch.skipped

    def check(self) -> None:
        """Refuse steps whose loss or gradient is not finite: before anything is saved or logged."""
        require_finite(self._unread)
        self._unread = self._unread[-1:]

    def rows(self, waited: float) -> list[dict[str, Any]]:
        """One row per dataset since the last call; `waited` is the time the loader was waited for so far."""
        self.check()
        step = self._unread[-1]
        seconds = time.perf_counter() - self._since
        about = {
            "loss_step": step.loss.item(),
            "lr": step.lr,
            "grad_norm": step.norm.item(),
            **step.balance,
            "windows_per_second": float(sum(counts[1] for counts in self._counts.values())) / seconds,
            "data_wait": (waited - self._waited) / seconds,
            "skipped": self._skipped,
        }
        weights = self.objective.weights((step.number - 1) / self.total_steps)
        rows = []
        for (name, modality), sums in self._sums.items():
            n_predicted, _, n_batches = self._counts[name, modality].tolist()
            terms = dict(zip(self.objective.terms, (sums / n_predicted).tolist(), strict=True))
            loss = sum(weight * terms[term] for term, weight in weights.items())
            used = {f"loss_{term}": value for term, value in terms.items()}
            rows.append({"dataset": name, "modality": modality, "loss": loss, **used, "batches": n_batches, **about})
        self._sums, self._counts = {}, {}
        self._skipped, self._waited, self._since = 0, waited, time.perf_counter()
        return rows

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint between two log lines keeps: sums and counts as plain values."""
        sums = [[*name, value.tolist(), self._counts[name].tolist()] for name, value in self._sums.items()]
        return {"sums": sums, "skipped": self._skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        device = next(self.objective.parameters()).device
        for name, modality, sums, counts in state["sums"]:
            self._sums[name, modality] = torch.tensor(sums, dtype=torch.float64, device=device)
            self._counts[name, modality] = np.array(counts)
        self._skipped = state["skipped"]
