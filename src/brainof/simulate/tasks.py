"""Cohorts whose difficulty is known: one set of parameters per question a model may be asked."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError, check_known
from .parameters import CohortParameters

_ALIKE = {"state_strength": 0.0, "group_alpha": 0.0, "group_connectivity": 0.0}
_BLOCKS = {"block": 32.0, "eeg_epoch": 32.0, "meg_epoch": 32.0}
_NO_EFFECT: dict[str, Any] = {"amplitude": {}, "activity": {}, "frequency": 0.0, "lateral": 0.0}

#: Name -> parameters that differ from the defaults
TASKS: dict[str, dict[str, Any]] = {
    "rest_vs_task": {},  # seen in every modality by itself
    # EEG and MEG only, in the place of the alpha peak; its power and topography stay
    "frequency": {"effects": {"state": {**_NO_EFFECT, "frequency": 1.5}}},
    # EEG and MEG only, in the side of alpha; spectra averaged over both sides stay
    "topography": {"effects": {"state": {**_NO_EFFECT, "lateral": 0.6}}},
    # no modality alone, only EEG or MEG together with fMRI
    "pair": {"t_r": 0.5, "seconds": 256.0, "fmri_blocks": 0, **_BLOCKS, "effects": {"pair": True}},
    # by person
    "diagnosis": {"effects": {"state_strength": 0.0, "group_alpha": 1.5, "group_connectivity": 0.6}},
    # the group is the site (its gain and noise) and nothing else: any score above chance comes from the nuisance
    "confounded": {"effects": {**_ALIKE, "site_confound": 1.0, "site_gain": 0.5, "site_noise": 1.0}},
    # nothing to find
    "null": {"effects": {**_ALIKE, "site_gain": 0.0}},
}


def task_parameters(name: str, **changes: Any) -> CohortParameters:
    """Parameters of the cohort of a task, with top-level changes such as `subjects`; ConfigError if impossible."""
    check_known(name, TASKS, ConfigError, "no task {!r}", field="task")
    return CohortParameters.parse({**TASKS[name], **changes}, f"task {name}")
