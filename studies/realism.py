"""Simulated beside public recordings, by the same functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from brainof.datasets import find_recipe
from brainof.datasets.discover import discover
from brainof.io import read
from brainof.recording import Recording
from brainof.simulate import CohortParameters, cohort
from studies.real import DATASETS
from studies.signal_summary import realism

#: label -> (recipe, part of the file name, most recordings)
REAL = {
    "eegmat rest": ("eegmat", "_1.edf", 18),
    "MEG clip": ("meg_vendor_clips", "sample_audvis_5s", 1),
    "HCP": ("hcp_aal2", "", 4),
    "CNI": ("cni_adhd", "", 20),
    "STAGES": ("stages_fep", "", 20),
}
#: measure -> (factor, unit, modality)
MEASURES = {
    "amplitude_eeg": ("EEG amplitude above 1 Hz", 1e6, "µV"),
    "amplitude_mag": ("magnetometers above 1 Hz", 1e12, "pT"),
    "amplitude_grad": ("planar gradiometers above 1 Hz", 1e12, "pT/m"),
    "slope": ("1/f exponent, 2-40 Hz", 1.0, ""),
    "alpha_peak": ("alpha peak", 1.0, "Hz"),
    "alpha_excess": ("alpha over background", 1.0, "log10"),
    "low_share": ("BOLD power within 0.01-0.1 Hz", 1.0, ""),
    "connectivity_mean": ("functional connectivity, mean", 1.0, ""),
    "connectivity_sd": ("functional connectivity, SD", 1.0, ""),
}


def realism_table(root: Path, subjects: int = 8) -> pd.DataFrame:
    """One line per modality and measure; columns: simulated (mean over people), and each real dataset under `root`."""
    made: dict[str, list[dict[str, float]]] = {"eeg": [], "meg": [], "fmri": []}
    for subject in cohort(CohortParameters(subjects=subjects, channels=19)):
        for modality, recording in subject.recordings.items():
            made[modality].append(realism(recording))
    real: dict[str, tuple[str, dict[str, float]]] = {}
    for label, (name, part, most) in REAL.items():
        if (root / DATASETS[name]).is_dir():
            recordings = list(_recordings(name, root / DATASETS[name], part, most))
            real[label] = (recordings[0].modality, _mean(map(realism, recordings)))
    lines = []
    for modality, found in made.items():
        simulated = _mean(found)
        for measure, (title, factor, unit) in MEASURES.items():
            if measure in simulated:
                own = {
                    label: factor * values[measure]
                    for label, (kind, values) in real.items()
                    if kind == modality and measure in values
                }
                lines.append(
                    {"modality": modality, "measure": title, "unit": unit, "simulated": factor * simulated[measure]}
                    | own
                )
    return pd.DataFrame(lines)


def _recordings(name: str, root: Path, part: str, most: int) -> Iterator[Recording]:
    recipe = find_recipe(name)
    found = [one for one in discover(recipe.files, root) if part in one.name]
    for one in found[:: max(1, len(found) // most)][:most]:
        recording = read(one.path, modality=recipe.modality, options=recipe.read, entities=one.entities, root=root)
        if recording.modality == "eeg":  # the simulated ones have an average reference
            recording = recording.replace(data=recording.data - recording.data.mean(axis=0))
        yield recording


def _mean(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    rows = list(rows)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
