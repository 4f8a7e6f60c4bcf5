"""The terms of the loss by name, a file each; the objective is a weighted sum of them (`objective.py`).

To add one: write its file with a `TERM`, and name it here; `objective.terms.NAME=WEIGHT` then adds it to any recipe.
"""

from __future__ import annotations

from . import (
    align,
    band_power,
    connectivity,
    distill,
    latent,
    log_spectrum,
    pretexts,
    raw_components,
    waveform,
)
from .comparison import Comparison, Term

TERMS: dict[str, Term] = {
    "waveform": waveform.TERM,
    "raw": raw_components.TERM,
    "log_spectrum": log_spectrum.TERM,
    "connectivity": connectivity.TERM,
    "band_power": band_power.TERM,
    "latent": latent.LATENT,
    "view": latent.VIEW,
    "distill": distill.TERM,
    "networks": distill.NETWORKS,
    "align": align.TERM,
    "band": pretexts.BAND,
    "shift": pretexts.SHIFT,
    "order": pretexts.ORDER,
}

__all__ = ["TERMS", "Comparison", "Term"]
