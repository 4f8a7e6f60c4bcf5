"""The recipes that go with a written cohort, so that `brainof prepare` needs no code and no hand-written file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import yaml

from ..schema import load_yaml
from .bids import EEG_FORMATS, PARCELLATED
from .parameters import CohortParameters
from .regions import make_regions

_TITLES = {"eeg": "EEG", "meg": "MEG", "fmri": "regional BOLD"}


def recipe(
    parameters: CohortParameters, modality: str, nifti: bool = False, eeg_format: str = "brainvision"
) -> dict[str, Any]:
    """The recipe of one modality as plain values: `recipe.yaml` with its blanks filled.

    Labels: `state` (rest, task; by event), `group`, `site`, `sex`, `age` (by subject). Tasks: rest_vs_task, diagnosis,
    site.
    """
    folder, ending, read = _files(parameters, modality, nifti, eeg_format)
    epochs = {"eeg": parameters.eeg_epoch, "meg": parameters.meg_epoch}
    epoch = epochs.get(modality, parameters.fmri_epoch * parameters.t_r)
    page = jinja2.Environment(trim_blocks=True)
    page.policies["json.dumps_kwargs"] = {}  # keys as they stand here
    text = page.from_string(Path(__file__).with_name("recipe.yaml").read_text(encoding="utf-8")).render(
        parameters=parameters,
        effects=parameters.effects,
        modality=modality,
        kind=_TITLES[modality],
        nifti=nifti,
        folder=folder,
        ending=ending,
        read=read,
        epoch=epoch,
        windows={"length": epoch} if modality in epochs else {"n_times": parameters.fmri_epoch},
    )
    return load_yaml(text)


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
