"""The recipes that go with a written cohort, so that `brainof prepare` needs no code and no hand-written file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .bids import EEG_FORMATS, PARCELLATED
from .parameters import CohortParameters
from .regions import make_regions
from .subjects import TASK

_STEM = f"sub-{{subject}}_task-{TASK}"
_TITLES = {"eeg": "EEG", "meg": "MEG", "fmri": "regional BOLD"}


def recipe(
    parameters: CohortParameters, modality: str, nifti: bool = False, eeg_format: str = "brainvision"
) -> dict[str, Any]:
    """The recipe of one modality as plain values.

    Labels: `state` (rest, task; by event), `group`, `site`, `sex`, `age` (by subject). Tasks: rest_vs_task, diagnosis,
    site.
    """
    effects = parameters.effects
    values: dict[str, Any] = {
        "name": f"simulated_{modality}" + ("_image" if nifti else ""),
        "title": f"Simulated cohort: {_TITLES[modality]} ({parameters.subjects} subjects, seed {parameters.seed})",
        "modality": modality,
        "licence": "CC0-1.0 (simulated, no person was recorded)",
        "citation": "brainof simulate",
        "files": [{"pattern": _pattern(modality, nifti, parameters, eeg_format)}],
    }
    read = _read(parameters, modality, nifti)
    if read:
        values["read"] = read
    folder = {"eeg": "sub-{subject}/eeg", "meg": "sub-{subject}/meg"}.get(
        modality, "sub-{subject}/func" if nifti else f"{PARCELLATED.as_posix()}/sub-{{subject}}/func"
    )
    values["events"] = {"file": f"{folder}/{_STEM}_events.tsv"}
    epoch = {
        "eeg": parameters.eeg_epoch,
        "meg": parameters.meg_epoch,
        "fmri": parameters.fmri_epoch * parameters.t_r,
    }[modality]
    values["windows"] = {"n_times": parameters.fmri_epoch} if modality == "fmri" else {"length": epoch}
    values["labels"] = {
        "state": {"event": "trial_type", "values": {"rest": "rest", "task": "task"}, "optional": True},
        **{
            name: {"table": "participants.tsv", "key": {"participant_id": "sub-{subject}"}, "column": name}
            for name in ("group", "site", "sex", "age")
        },
    }
    values["tasks"] = {
        "rest_vs_task": {
            "label": "state",
            "positive": "task",
            "split": "subject",
            "windows": {"events": ["rest", "task"], "tmin": 0.0, "tmax": epoch},
            "notes": f"strength {effects.state_strength:g}",
        },
        "diagnosis": {
            "label": "group",
            "positive": "patient",
            "split": "subject",
            "notes": f"alpha slowing d = {effects.group_alpha:g}, default-network connectivity "
            f"lowered by {effects.group_connectivity:.0%}; site confound {effects.site_confound:g}",
        },
        "site": {
            "label": "site",
            "split": "subject",
            "notes": f"a nuisance: log gain step {effects.site_gain:g} between sites",
        },
    }
    return values


def write_recipes(parameters: CohortParameters, root: Path, nifti: bool, eeg_format: str = "brainvision") -> list[Path]:
    """Write `recipe_<modality>.yaml` for each modality (and `recipe_fmri_image.yaml` with `nifti`)."""
    paths = []
    for modality in parameters.modalities:
        for image in (False, True) if modality == "fmri" and nifti else (False,):
            path = root / f"recipe_{modality}{'_image' if image else ''}.yaml"
            text = yaml.safe_dump(
                recipe(parameters, modality, image, eeg_format),
                sort_keys=False,
                allow_unicode=True,
                width=120,
                default_flow_style=None,
            )
            path.write_text(text, encoding="utf-8")
            paths.append(path)
    return paths


def _pattern(modality: str, nifti: bool, parameters: CohortParameters, eeg_format: str) -> str:
    tail = _STEM.replace(TASK, "{task}")
    if modality == "eeg":
        return f"sub-{{subject}}/eeg/{tail}_eeg{EEG_FORMATS[eeg_format]}"
    if modality == "meg":
        return f"sub-{{subject}}/meg/{tail}_meg.fif"
    if nifti:
        return f"sub-{{subject}}/func/{tail}_bold.nii.gz"
    seg = _atlas(parameters).replace("-", "")
    return f"{PARCELLATED.as_posix()}/sub-{{subject}}/func/{tail}_seg-{seg}_timeseries.tsv"


def _atlas(parameters: CohortParameters) -> str:
    return str(make_regions(parameters.sources.regions).channels(parameters.rois).atlas)


def _read(parameters: CohortParameters, modality: str, nifti: bool) -> dict[str, Any]:
    if modality != "fmri":
        return {}
    atlas = {
        "labels": (PARCELLATED / "atlas.tsv").as_posix(),
        "name": _atlas(parameters),
        "space": "mni",
    }
    if nifti:
        atlas["image"] = (PARCELLATED / "atlas_space-MNI152.nii.gz").as_posix()
        return {"t_r": parameters.t_r, "atlas": atlas}
    return {"t_r": parameters.t_r, "time_axis": 0, "atlas": atlas}
