"""Writes a cohort as a BIDS tree with recipes; subject by subject, by rename, continuing where a run stopped."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import ConfigError, check_known
from ..paths import user_path
from ..schema import read_yaml
from ..utils.files import parse_json, storage_error
from ..utils.progress import progress
from ..version import __version__
from . import bids
from .parameters import CohortParameters
from .persons import make_person
from .recipes import write_recipes
from .regions import make_regions
from .subjects import TASK, Subject, simulate_subject

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
    try:
        _claim(root, parameters, {"nifti": nifti, "truth": truth, "eeg_format": eeg_format})
        shutil.rmtree(root / ".partial", ignore_errors=True)
        for index in progress(range(parameters.subjects), desc="simulate", unit="subject"):
            parts = _parts(f"{index + 1:03d}", parameters, nifti, truth)
            if not all((root / part).exists() for part in parts):
                _write_subject(simulate_subject(parameters, index), parameters, root, nifti, truth, eeg_format)
        _write_dataset(root, parameters, nifti, eeg_format)
    except OSError as error:
        raise storage_error(error, root) from None
    return root


def _claim(root: Path, parameters: CohortParameters, options: dict[str, Any]) -> None:
    """Make the folder ours, or refuse it."""
    if root.exists() and not root.is_dir():
        raise ConfigError("is not a folder", file=root, fix="name a new folder")
    settings = {"brainof": __version__, "parameters": parameters.to_dict(), **options}
    mark = root / PARAMETERS
    if mark.is_file():
        try:
            same = parse_json(mark.read_text(encoding="utf-8")) == json.loads(json.dumps(settings))
        except ValueError:
            same = False
        if not same:
            raise ConfigError("holds a cohort with other parameters", file=root, fix="name a new folder, or remove it")
    elif root.is_dir() and any(root.iterdir()):
        raise ConfigError("is not empty", file=root, fix="name a new or empty folder")
    root.mkdir(parents=True, exist_ok=True)
    bids.write_json(mark, settings)


def _parts(name: str, parameters: CohortParameters, nifti: bool, truth: bool) -> list[Path]:
    """Files and folders of a subject, relative to the root."""
    parts = []
    if "fmri" in parameters.modalities:
        parts.append(bids.PARCELLATED / f"sub-{name}")
    if truth:
        parts.append(Path("derivatives") / "truth" / f"sub-{name}_truth.npz")
    if nifti or set(parameters.modalities) != {"fmri"}:
        parts.append(Path(f"sub-{name}"))
    return parts


def _write_subject(
    subject: Subject, parameters: CohortParameters, root: Path, nifti: bool, truth: bool, eeg_format: str
) -> None:
    partial = root / ".partial"
    own = partial / f"sub-{subject.name}"
    if "eeg" in subject.recordings:
        bids.write_eeg(subject, parameters, own / "eeg", eeg_format)
    if "meg" in subject.recordings:
        bids.write_meg(subject, parameters, own / "meg")
    if "fmri" in subject.recordings:
        bids.write_table(subject, partial / bids.PARCELLATED / f"sub-{subject.name}" / "func")
        if nifti:
            bids.write_nifti(subject, parameters, own / "func")
    if truth:
        bids.write_truth(subject, partial / "derivatives" / "truth" / f"sub-{subject.name}_truth.npz")
    for part in _parts(subject.name, parameters, nifti, truth):
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
    write_recipes(parameters, root, nifti, eeg_format)


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
