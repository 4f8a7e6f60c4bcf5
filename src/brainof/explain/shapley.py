"""Modality Shapley values: what each modality of paired windows adds to the score of a probe, over all orders.

Legend: S subjects, K modalities.
"""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np

from ..errors import ConfigError, LabelError
from ..evaluation.protocol import label_values
from ..inference.pairs import PairedRows, embed_pairs
from ..model import BrainOF
from ..stats.nulls import labellings
from ..stats.ridge import decisions
from ..stats.splits import CrossSubject
from .effects import EffectMap, effect_map
from .readout import over_groups
from .source import spread, untrained

MEASURE = "share of windows classified (0.5 = half of them)"


def modality_shapley(
    rows: PairedRows,
    model: BrainOF,
    label: str,
    *,
    anchor: str | None = None,
    most: int = 200,
    n_untrained: int = 2,
    n_permutations: int = 200,
    random_state: int = 0,
    pool: str = "auto",
) -> EffectMap:
    """Shapley value of each modality for a classification of paired windows.

    A probe reads the fused latents of every subset of modalities, on the same folds over subjects; what the empty
    subset scores is chance. The value of a modality is its mean gain over all orders in which modalities may arrive
    (Shapley 1953), computed for each subject; values of a subject sum to its score above chance.

    Parameters
    ----------
    rows : PairedRows
        Complete pairs, of which at most `most` are used.
    label, anchor : str
        Of the corpus, and the modality whose rows bear it; the first by default.
    model, n_untrained, n_permutations, random_state, pool
        As in `occlusion`.

    Raises
    ------
    ConfigError, LabelError
        Fewer than two modalities or subjects, missing modalities, or one class.
    """
    names = [str(name) for name in rows.table]
    if len(names) < 2 or (rows.table.to_numpy() < 0).any():
        raise ConfigError("needs complete pairs of two modalities or more", field="rows", fix="pairs(complete=True)")
    anchored = rows.corpus.index.iloc[rows.table[anchor or names[0]].to_numpy()]
    text = label_values(anchored, label, "label")
    if (text == "").all():
        raise LabelError("no pair is labelled", field=label, fix="pair the windows of the task's view: pairs(view=)")
    rows, anchored, text = rows[text != ""], anchored[text != ""], text[text != ""]
    classes, y = np.unique(text, return_inverse=True)
    if len(classes) < 2:
        raise LabelError(f"one class only, {classes.tolist()}", field=label)
    kept = spread(rows.subjects, y, most)
    rows, y, anchored = rows[kept], y[kept], anchored.iloc[kept]
    if len(np.unique(rows.subjects)) < 2:
        raise LabelError("one subject only", field="rows", fix="probes are tested on other subjects")
    rng = np.random.default_rng(random_state)
    recordings = anchored["recording"].astype(str).to_numpy()
    onsets = anchored["onset"].to_numpy(dtype=float)
    labellings_NP = labellings(n_permutations, y, rows.subjects, recordings, rng, onsets=onsets)

    n_subjects = len(np.unique(rows.subjects))
    folds = list(CrossSubject(min(6, n_subjects), 1, random_state).split(groups=rows.subjects))

    def shapley(each: BrainOF, labels_NP: np.ndarray) -> np.ndarray:
        """Values (K, S, P) of the modalities."""
        # subset -> share of the windows of each subject, (S, P)
        values: dict[tuple, np.ndarray] = {(): np.full((n_subjects, labels_NP.shape[1]), 1 / len(classes))}
        for subset in (subset for size in range(1, len(names) + 1) for subset in combinations(names, size)):
            X_NF, right_NP = embed_pairs(rows, each, subset, pool=pool), np.zeros(labels_NP.shape)
            for train, test in folds:
                scores = decisions(X_NF[train], labels_NP[train], rows.subjects[train], X_NF[test], len(classes))
                chosen = (scores > 0).astype(int) if len(classes) == 2 else scores.argmax(-1)
                right_NP[test] = chosen == labels_NP[test]
            values[subset] = over_groups(right_NP.T, rows.subjects)
        return np.stack([_shapley(values, name, names) for name in names])

    found_KSP = shapley(model, labellings_NP)
    random = [shapley(each, labellings_NP[:, :1])[:, :, 0].T for each in untrained(model, n_untrained)]
    about = {"name": label, "modality": "+".join(names), "windows": len(y), "unit": "subjects", "task": label}
    what: Any = {"by": "modality", "names": tuple(names), "measure": MEASURE, "unit": "subjects", "about": about}
    return effect_map(found_KSP[:, :, 0].T, np.array(random), found_KSP[:, :, 1:].mean(1).T, random_state, **what)


def _shapley(values: dict[tuple, np.ndarray], name: str, names: list[str]) -> np.ndarray:
    others, n = [other for other in names if other != name], len(names)
    total = np.zeros_like(values[()])
    for size in range(n):
        weight = factorial(size) * factorial(n - size - 1) / factorial(n)
        for subset in combinations(others, size):
            joined = tuple(other for other in names if other in subset or other == name)
            total += weight * (values[joined] - values[subset])
    return total
