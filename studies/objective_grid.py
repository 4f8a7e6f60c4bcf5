"""What the objective study compares: datasets, cells (changes to one recipe), references."""

from __future__ import annotations

import json
from collections.abc import Iterable

from brainof.pretraining import PretrainConfig, find_config

#: recipe -> (folder below the root, share of the windows that pretraining draws)
DATASETS = {
    "eegmat": ("eegmat", 0.50),
    "stages_fep": ("stages_fep_rsfmri", 0.20),
    "hcp_aal2": ("hcp_aal2_rsfmri", 0.05),
    "cni_adhd": ("cni_adhd_rsfmri", 0.10),
}
#: Simulated datasets -> share. Rest and task differ half as much as by default, so that scores stay below the ceiling.
SIMULATED = {"simulated_eeg": 0.10, "simulated_fmri": 0.05}
COHORT = {"subjects": 18, "seed": 2602, "modalities": ("eeg", "fmri"), "channels": 19}
HALF = {"state_strength": 0.5}
#: Question -> the task it asks
DECODING = {
    "decoding": "eegmat/arithmetic",
    "simulated_eeg": "simulated_eeg/rest_vs_task",
    "simulated_fmri": "simulated_fmri/rest_vs_task",
}
IDENTIFICATION = "stages_fep/identification"
N_FOLDS, N_SEEDS, STEPS = 3, 3, 300

#: What all cells share: `tiny` with two blocks and half the latents, small batches, no Fourier masks
SHARED = [
    "model.preset=tiny",
    "objective.spectrum_of=patch",
    "objective.connectivity=0",
    "model.backbone.depth=2",
    "model.sampler.latents=32",
    "batch_size=8",
    "min_channels=0.8",
    "mask.fourier_ratio=0",
    "health_grace=1",
    "health_margin=0",
    "threads=1",
]
PER_OUTPUT = [
    "model.sampler.initial_addressing=tied",
    "model.decoder.kind=per_output",
    "objective.spectrum_of=window",
]
THREE = [
    *PER_OUTPUT,
    "model.tokens.connectivity=true",
    "model.decoder.outputs=[waveform,log_spectrum,connectivity]",
    "model.pooling=concat@log_spectrum",
    "objective.connectivity=0.5",
]

#: cell -> changes to the shared recipe. Those of retired options are in the record only,
#: see docs/results/objective_study.md.
CELLS: dict[str, list[str]] = {
    "one decoder": [],
    "a decoder each": ["model.decoder.kind=separate"],
    "three streams": [*THREE, "model.sampler.latents=48"],
    "three streams, 72 latents": [*THREE, "model.sampler.latents=72"],
    "two streams": PER_OUTPUT,
    # addressing, with the waveform alone
    "static decoder keys": ["objective.frequency=none", "model.backbone.layer_scale=1"],
    "LayerScale 0.05": ["objective.frequency=none"],
}
QUICK = ("one decoder", "three streams")
#: Question -> classical features
REFERENCES = {
    "decoding": ("amplitude", "band power", "tangent space"),
    "simulated_eeg": ("amplitude", "band power", "tangent space"),
    "simulated_fmri": ("amplitude", "block means", "functional connectivity"),
}
#: Models that are not trained: name -> changes
UNTRAINED = {
    "random weights": [],
    "random weights, three streams": CELLS["three streams"],
    "random weights, three streams, 72 latents": CELLS["three streams, 72 latents"],
}


def configuration(
    cell: str, seed: int, excluded: Iterable[str], steps: int, changes: Iterable[str] = ()
) -> PretrainConfig:
    """The pretraining run of a cell."""
    weights = {"dataset": {name: share for name, (_, share) in DATASETS.items()} | SIMULATED}
    fixed = [f"steps={steps}", f"health_every={steps}", f"checkpoint_every={steps}", f"seed={seed}"]
    fixed += [f"sampling={json.dumps({'weights': weights, 'validation': 0.0, 'exclude': sorted(excluded)})}"]
    return find_config("per_output").replaced([*SHARED, *fixed, *CELLS[cell], *changes], f"cell {cell!r}")


def folds(people: Iterable[str], n_folds: int = N_FOLDS) -> list[list[str]]:
    """People (dataset/subject) of each fold: every third one, in the order of their names."""
    names = sorted(set(people))
    return [names[number::n_folds] for number in range(n_folds)]
