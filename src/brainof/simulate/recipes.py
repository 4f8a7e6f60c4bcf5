"""The recipes that go with a written cohort, so that `brainof prepare` needs no code and no hand-written file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .bids import EEG_FORMATS, PARCELLATED
from .parameters import CohortParameters
from .regions import make_regions
from .subjects import TASK

_TITLES = {"eeg": "EEG", "meg": "MEG", "fmri": "regional BOLD"}


def recipe(
    parameters: CohortParameters, modality: str, nifti: bool = False, eeg_format: str = "brainvision"
) -> dict[str, Any]:
    """The recipe of one modality as plain values.

    Labels: `state` (rest, task; by event), `group`, `site`, `sex`, `age` (by subject). Tasks: rest_vs_task, diagnosis,
    site.
    """
    effects = parameters.effects
    folder, ending, read = _files(parameters, modality, nifti, eeg_format)
    if modality == "fmri":
        epoch = parameters.fmri_epoch * parameters.t_r
        windows: dict[str, float] = {"n_times": parameters.fmri_epoch}
    else:
        epoch = parameters.eeg_epoch if modality == "eeg" else parameters.meg_epoch
        windows = {"length": epoch}
    return {
        "name": f"simulated_{modality}" + ("_image" if nifti else ""),
        "title": f"Simulated cohort: {_TITLES[modality]} ({parameters.subjects} subjects, seed {parameters.seed})",
        "modality": modality,
        "licence": "CC0-1.0 (simulated, no person was recorded)",
        "citation": "brainof simulate",
        "files": [{"pattern": f"{folder}/sub-{{subject}}_task-{{task}}_{ending}"}],
        **({"read": read} if read else {}),
        "events": {"file": f"{folder}/sub-{{subject}}_task-{TASK}_events.tsv"},
        "windows": windows,
        "labels": {
            "state": {"event": "trial_type", "values": {"rest": "rest", "task": "task"}, "optional": True},
            **{
                name: {"table": "participants.tsv", "key": {"participant_id": "sub-{subject}"}, "column": name}
                for name in ("group", "site", "sex", "age")
            },
        },
        "tasks": {
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
        },
    }


def write_recipes(parameters: CohortParameters, root: Path, nifti: bool, eeg_format: str) -> None:
    """Write `recipe_<modality>.yaml` for each modality (and `recipe_fmri_image.yaml` with `nifti`)."""
    kinds = [(modality, False) for modality in parameters.modalities]
    if nifti and "fmri" in parameters.modalities:
        kinds.append(("fmri", True))
    for modality, image in kinds:
        values = recipe(parameters, modality, image, eeg_format)
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
        (root / f"recipe_{modality}{'_image' if image else ''}.yaml").write_text(text, encoding="utf-8")


def _files(
    parameters: CohortParameters, modality: str, nifti: bool, eeg_format: str
) -> tuple[str, str, dict[str, Any]]:
    """Folder of a subject, end of the file's name, options to read it."""
    if modality != "fmri":
        return f"sub-{{subject}}/{modality}", f"eeg{EEG_FORMATS[eeg_format]}" if modality == "eeg" else "meg.fif", {}
    name = str(make_regions(parameters.sources.regions).channels(parameters.rois).atlas)
    atlas = {"labels": (PARCELLATED / "atlas.tsv").as_posix(), "name": name, "space": "mni"}
    if nifti:
        atlas["image"] = (PARCELLATED / "atlas_space-MNI152.nii.gz").as_posix()
        return "sub-{subject}/func", "bold.nii.gz", {"t_r": parameters.t_r, "atlas": atlas}
    folder = f"{PARCELLATED.as_posix()}/sub-{{subject}}/func"
    ending = f"seg-{name.replace('-', '')}_timeseries.tsv"
    return folder, ending, {"t_r": parameters.t_r, "time_axis": 0, "atlas": atlas}
