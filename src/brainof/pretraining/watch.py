"""Early warnings from the log: a router that collapses, a modality whose loss rises."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

log = logging.getLogger(__name__)

#: A modality's loss is smoothed by this factor from log to log, and called rising when it exceeds its lowest value by
#: RISE in so many logs in a row
SMOOTH, RISE, LOGS = 0.9, 0.25, 3
#: Fraction of the experts of one layer that get less than a tenth of the mean load: the router collapses
IDLE = 0.5


class Watch:
    """What has been seen of a run so far; `before` are the rows of its metrics file."""

    def __init__(self, before: Iterable[dict[str, Any]] = ()) -> None:
        self._smooth: dict[str, float] = {}
        self._lowest: dict[str, float] = {}
        self._above: dict[str, int] = {}
        self._collapsed = False
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
        return found
