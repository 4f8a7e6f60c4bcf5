"""
Your own baseline, metric or term of the objective
==================================================

Each is a function and an entry in a table.
"""

# %%
# A baseline turns windows (n, channels, times) into features (n, F). Once it has a name, every table of scores shows
# it beside the model, on the same windows and folds.

import numpy as np

from brainof.evaluation import BASELINES
from brainof.evaluation.baselines import baseline_features


def line_length(windows, sfreq):
    """Mean absolute slope of each channel."""
    return np.log(np.abs(np.diff(windows, axis=2)).mean(axis=2) * sfreq + 1e-12)


BASELINES["eeg"]["line_length"] = line_length
windows = np.random.default_rng(0).normal(size=(5, 4, 256))
print(baseline_features("line_length", "eeg", windows, [128.0] * 5).shape)

# %%
# A term of the objective compares an output of the decoder with its target, over the predicted patches. Its weight in
# a recipe (``objective.terms.sharp=0.5``) adds it to the sum.

from brainof.pretraining.terms import TERMS, Comparison, Term


def sharp(of: Comparison):
    """L1 of the second difference of the waveform."""
    error = (of.outputs["waveform"] - of.target_BHS).diff(n=2, dim=-1).abs()
    return (error * of.sample_mask_BHS[..., 2:]).mean(-1).sum()


TERMS["sharp"] = Term(sharp, "waveform")
print(sorted(TERMS))
