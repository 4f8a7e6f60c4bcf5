"""Writes a cohort as a BIDS tree with recipes; subject by subject, by rename, continuing where a run stopped."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from ..errors import ConfigError, check_known
from ..paths import user_path
from ..schema import load_yaml, read_yaml
from ..utils.files import storage_error
from ..utils.progress import progress
from ..version import __version__
from . import bids
from .parameters import CohortParameters
from .persons import make_person
from .regions import make_regions
from .subjects import TASK, simulate_subject

#: File that holds the parameters of the cohort in a folder
PARAMETERS = "simulation.json"


def write(
    parameters: CohortParameters,
    out: str | os.PathLike[str],
    *,
    nifti: bool = False,
    truth: bool = False,
    eeg_format: str = "brainvision",
) -> Path:
    """Write a cohort and return its folder.

    `out` is a new or empty folder, or one that an interrupted call with the same parameters began: its complete
    subjects are kept. `nifti` also paints fMRI into 4-D images; `truth` also writes source currents, activity, states
    and masks (`derivatives/truth`). As `eeg_format`, "brainvision" holds float32 and "edf" rounds to 16 bits.

    Raises ConfigError: the folder holds something else, or a cohort with other parameters; an unknown EEG format;
    StorageError: the disk is full or the folder cannot be written.
    """
    check_known(eeg_format, bids.EEG_FORMATS, ConfigError, field="eeg_format")
    root = user_path(out)
    options = {"nifti": nifti, "truth": truth, "eeg_format": eeg_format}
    try:
        _claim(root, bids.json_text({"brainof": __version__, "parameters": parameters.to_dict(), **options}))
        shutil.rmtree(root / ".partial", ignore_errors=True)
        for index in progress(range(parameters.subjects), desc="simulate", unit="subject"):
            _write_subject(parameters, index, root, nifti, truth, eeg_format)
        _write_dataset(root, parameters, nifti, eeg_format)
    except OSError as error:
        raise storage_error(error, root) from None
    return root


def _claim(root: Path, settings: str) -> None:
    """Make the folder ours, or refuse it."""
    if root.exists() and not root.is_dir():
        raise ConfigError("is not a folder", file=root, fix="name a new folder")
    mark = root / PARAMETERS
    if mark.is_file():
        if mark.read_bytes() != settings.encode():
            raise ConfigError("holds a cohort with other parameters", file=root, fix="name a new folder, or remove it")
    elif root.is_dir() and any(root.iterdir()):
        raise ConfigError("is not empty", file=root, fix="name a new or empty folder")
    root.mkdir(parents=True, exist_ok=True)
    mark.write_bytes(settings.encode())


def _write_subject(
    parameters: CohortParameters, index: int, root: Path, nifti: bool, truth: bool, eeg_format: str
) -> None:
    """Files and folders of a subject, which appear by rename, unless all of them are there."""
    name, modalities, partial = f"sub-{index + 1:03d}", parameters.modalities, root / ".partial"
    table, hidden = bids.PARCELLATED / name, Path("derivatives") / "truth" / f"{name}_truth.npz"
    wanted = {table: "fmri" in modalities, hidden: truth, Path(name): nifti or set(modalities) != {"fmri"}}
    parts = [part for part, is_wanted in wanted.items() if is_wanted]
    if all((root / part).exists() for part in parts):
        return
    subject = simulate_subject(parameters, index)
    for modality in modalities:
        if modality != "fmri":
            bids.write_sensors(subject, modality, parameters, partial / name / modality, eeg_format)
            continue
        bids.write_table(subject, partial / table / "func")
        if nifti:
            bids.write_nifti(subject, parameters, partial / name / "func")
    if truth:
        bids.write_truth(subject, partial / hidden)
    for part in parts:
        target = root / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(partial / part, target)
    shutil.rmtree(partial)


def _write_dataset(root: Path, parameters: CohortParameters, nifti: bool, eeg_format: str) -> None:
    regions = make_regions(parameters.sources.regions)
    people = [make_person(parameters, index, regions) for index in range(parameters.subjects)]
    rows = [{"participant_id": f"sub-{person.name}", **person.labels()} for person in people]
    bids.write_tsv(root / "participants.tsv", pd.DataFrame(rows))
    columns = read_yaml(Path(__file__).with_name("columns.yaml"))
    bids.write_json(root / "participants.json", columns["participants"])
    bids.write_json(root / f"task-{TASK}_events.json", columns["events"])
    title = "Simulated tri-modal cohort (no person was recorded)"
    _describe(root, title, "raw", "recipe_*.yaml\nsimulation.json\n.partial\n")
    (root / "README").write_text(
        f"{title}.\n\nEEG, MEG and fMRI of the same simulated brains on one clock, written by brainof {__version__}.\n"
        f"Parameters: {PARAMETERS}. Prepare with: brainof prepare recipe_MODALITY.yaml --root . --out CORPUS\n",
        encoding="utf-8",
    )
    if "fmri" in parameters.modalities:
        folder = root / bids.PARCELLATED
        bids.write_atlas(regions.channels(parameters.rois), folder, nifti)
        bids.write_json(folder / f"task-{TASK}_events.json", columns["events"])
        # tables of regions and their atlas are a proposal (BEP 12 and 38), not yet part of the standard
        _describe(folder, f"{title}: regions", "derivative", "atlas*\n*_timeseries.tsv\n*_timeseries.json\n")
        (folder / "README").write_text(
            f"{title}: regional BOLD of ../.., one column per region of atlas.tsv, one row per volume.\n",
            encoding="utf-8",
        )
    kinds = [(modality, False) for modality in parameters.modalities]
    if nifti and "fmri" in parameters.modalities:
        kinds.append(("fmri", True))
    for modality, image in kinds:
        values = recipe(parameters, modality, image, eeg_format)
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
        (root / f"recipe_{modality}{'_image' if image else ''}.yaml").write_text(text, encoding="utf-8")


def recipe(
    parameters: CohortParameters, modality: str, nifti: bool = False, eeg_format: str = "brainvision"
) -> dict[str, Any]:
    """The recipe of one modality as plain values: `recipe.yaml` with its blanks filled.

    Labels: `state` (rest, task; by event), `group`, `site`, `sex`, `age` (by subject). Tasks: rest_vs_task, diagnosis,
    site.
    """
    windows: dict[str, float]
    if modality == "fmri":
        epoch = parameters.fmri_epoch * parameters.t_r
        windows = {"n_times": parameters.fmri_epoch}
        name = str(make_regions(parameters.sources.regions).channels(parameters.rois).atlas)
        atlas = {"labels": (bids.PARCELLATED / "atlas.tsv").as_posix(), "name": name, "space": "mni"}
        read: dict[str, Any] = {"t_r": parameters.t_r, "time_axis": 0, "atlas": atlas}
        folder = f"{bids.PARCELLATED.as_posix()}/sub-{{subject}}/func"
        ending = f"seg-{name.replace('-', '')}_timeseries.tsv"
        if nifti:
            atlas["image"] = (bids.PARCELLATED / "atlas_space-MNI152.nii.gz").as_posix()
            folder, ending, read = "sub-{subject}/func", "bold.nii.gz", {"t_r": parameters.t_r, "atlas": atlas}
    else:
        epoch = parameters.eeg_epoch if modality == "eeg" else parameters.meg_epoch
        windows, read, folder = {"length": epoch}, {}, f"sub-{{subject}}/{modality}"
        ending = f"eeg{bids.EEG_FORMATS[eeg_format]}" if modality == "eeg" else "meg.fif"
    page = jinja2.Environment(trim_blocks=True)
    page.policies["json.dumps_kwargs"] = {}  # keys as they stand here
    text = page.from_string(Path(__file__).with_name("recipe.yaml").read_text(encoding="utf-8")).render(
        parameters=parameters,
        effects=parameters.effects,
        modality=modality,
        kind={"eeg": "EEG", "meg": "MEG", "fmri": "regional BOLD"}[modality],
        nifti=nifti,
        folder=folder,
        ending=ending,
        read=read,
        epoch=epoch,
        windows=windows,
    )
    return load_yaml(text)


def _describe(folder: Path, name: str, kind: str, ignored: str) -> None:
    """Write dataset_description.json and .bidsignore."""
    description = {
        "Name": name,
        "DatasetType": kind,
        "BIDSVersion": "1.9.0",
        "License": "CC0",
        "Authors": ["brainof simulate"],
        "GeneratedBy": [{"Name": "brainof simulate", "Version": __version__}],
    }
    bids.write_json(folder / "dataset_description.json", description)
    (folder / ".bidsignore").write_text(ignored, encoding="utf-8")
