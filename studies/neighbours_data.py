"""A dataset of ours for Brainmarks: sex of 86 people from resting fMRI, in the sample format that its loaders give.

Imported in the environment of `./run study neighbours` alone, where Brainmarks and Hugging Face `datasets` are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SPACE, NAME = "mist122", "rpn_sex"
#: One recording under two names, so both are left out
LEAVE_OUT = ("essen-004", "essen-005")
N_VOLUMES = 160


def samples(folder: Path) -> list[dict[str, Any]]:
    """bold (T, R) standardised over time, mean and std (1, R), tr, sex."""
    people = pd.read_csv(folder / "participants.csv").dropna(subset=["Male"])
    found = []
    for person, male in zip(people["person"], people["Male"], strict=True):
        path = folder / "timeseries" / f"{person}.npz"
        if path.exists() and person not in LEAVE_OUT:
            bold = np.load(path)["data"][:N_VOLUMES].astype(np.float32)
            mean, std = bold.mean(0, keepdims=True), bold.std(0, keepdims=True)
            std[std == 0] = 1
            found.append({"bold": (bold - mean) / std, "mean": mean, "std": std, "tr": 2.5, "sex": int(male)})
    return found


def register(folder: Path, connectome: str) -> None:
    """Make the dataset and Brainmarks' own connectome model of its space known to Brainmarks."""
    from brainmarks.datasets.base import HFDataset
    from brainmarks.datasets.registry import register_dataset
    from brainmarks.models.connectome import Connectome
    from brainmarks.models.registry import register_model

    import datasets

    def rpn_sex(space: str, **unused: Any) -> dict[str, Any]:
        assert space == SPACE
        rows = samples(folder)
        order = np.random.default_rng(0).permutation(len(rows))
        ends = (0.6 * len(rows), 0.8 * len(rows))
        sides = zip(("train", "validation", "test"), np.split(order, np.round(ends).astype(int)), strict=True)
        of = lambda side: datasets.Dataset.from_list([rows[i] for i in side])  # noqa: E731
        return {name: HFDataset(of(side), target_key="sex") for name, side in sides}

    def baseline(**unused: Any) -> Any:
        model = Connectome()
        model.__space__ = SPACE
        return model

    register_dataset(NAME)(rpn_sex)
    register_model(connectome)(baseline)
