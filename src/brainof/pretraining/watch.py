"""Early warnings from the log: a router or latents that collapse, a modality whose loss rises."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import HealthError

#: A modality's loss is smoothed by this factor from log to log, and called rising when it exceeds its lowest value by
#: RISE in so many logs in a row
SMOOTH, RISE, LOGS = 0.9, 0.25, 3


#: Fraction of the experts of one layer that get less than a tenth of the mean load: the router collapses
IDLE = 0.5


#: Latents collapse where their effective rank over windows is lower, or their mean cosine within a window higher, in so
#: many logs in a row
RANK, COSINE, FLAT_LOGS = 2.0, 0.99, 2


class Watch:
    """What has been seen of a run so far; `before` are the rows of its metrics file."""

    def __init__(self, before: Iterable[dict[str, Any]] = ()) -> None:
        self._smooth: dict[str, float] = {}
        self._lowest: dict[str, float] = {}
        self._above: dict[str, int] = {}
        self._collapsed = False
        self._flat, self._flat_text = 0, ""
        by_step: dict[int, list[dict[str, Any]]] = {}
        for row in before:
            if "loss" in row:
                by_step.setdefault(row["step"], []).append(row)
        for rows in by_step.values():
            self.look(rows)

    def look(self, rows: list[dict[str, Any]]) -> list[str]:
        """Warnings that the rows of one log give rise to, each once until it has passed."""
        found = []
        for modality in sorted({row["modality"] for row in rows}):
            losses = [(row["loss"], row["batches"]) for row in rows if row["modality"] == modality]
            now = sum(loss * count for loss, count in losses) / max(1, sum(count for _, count in losses))
            smooth = SMOOTH * self._smooth.get(modality, now) + (1 - SMOOTH) * now
            lowest = min(smooth, self._lowest.get(modality, smooth))
            above = self._above.get(modality, 0) + 1 if smooth > (1 + RISE) * lowest else 0
            self._smooth[modality], self._lowest[modality], self._above[modality] = smooth, lowest, above
            if above == LOGS:
                found.append(f"the loss of {modality} rises: {smooth:.3g}, its lowest was {lowest:.3g}")
        idle = rows[0].get("idle_experts", 0.0) if rows else 0.0
        if idle > IDLE and not self._collapsed:
            found.append(f"the router collapses: {100 * idle:.0f} % of the experts of one layer are nearly unused")
        self._collapsed = idle > IDLE
        if rows and "rank" in rows[0]:  # else there were too few windows to tell
            rank, cosine = rows[0]["rank"], rows[0]["latent_cosine"]
            self._flat = self._flat + 1 if rank < RANK or cosine > COSINE else 0
            self._flat_text = f"the latents collapse: effective rank {rank:.2f}, mean pairwise cosine {cosine:.3f}"
            found += [self._flat_text] if self._flat == FLAT_LOGS else []
        return found

    def require_latents(self) -> None:
        """A HealthError where latents have collapsed and still are."""
        if self._flat >= FLAT_LOGS:
            fix = "give objective.terms less weight or reconstruction more, lower lr, or raise health_grace for a trial"
            raise HealthError(self._flat_text, field="health", fix=fix)
