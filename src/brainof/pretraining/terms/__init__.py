"""The terms of the loss by name; the objective is a weighted sum of them (`objective.py`).

To add one: write its function, and name it here; `objective.terms.NAME=WEIGHT` then adds it to any recipe.
"""

from __future__ import annotations

from functools import partial

from ...model.decoder import PRETEXTS
from . import latents, patches
from .comparison import Comparison, Term

TERMS: dict[str, Term] = {
    "waveform": Term(
        lambda of: patches.waveform_loss(of.outputs["waveform"], of.target_BHS, of.sample_mask_BHS), "waveform"
    ),
    "raw": Term(patches.raw, "waveform"),
    "log_spectrum": Term(patches.spectrum, "log_spectrum"),
    "connectivity": Term(patches.connectivity, "connectivity"),
    "band_power": Term(patches.band_power, "log_spectrum"),
    "latent": Term(lambda of: latents.alike(of, of.whole_BLD, both=False), None, whole=True),
    "view": Term(lambda of: latents.alike(of, of.looks["view"], both=True), None, look="view"),
    "distill": Term(
        lambda of: latents.distill_loss(of.latents_BLD, of.looks["view"], of.n_predicted_B), None, look="view"
    ),
    "networks": Term(latents.networks, None, whole=True, look="networks"),
    "align": Term(latents.align, None, look="partner"),
    **{kind: Term(partial(latents.pretext, kind), "pretext", look="distorted") for kind in PRETEXTS},
}

__all__ = ["TERMS", "Comparison", "Term"]
