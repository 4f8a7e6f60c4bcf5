"""Recipes of datasets nobody here has downloaded: each prepares a generated miniature of the layout it declares."""

from __future__ import annotations

import json
from pathlib import Path

import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
import scipy.io

from brainof import io
from brainof.channels import Channels
from brainof.corpus import Corpus
from brainof.datasets import catalogue, find_recipe
from brainof.datasets.recipe import Recipe
from brainof.datasets.run import prepare
from brainof.errors import ConfigError
from brainof.recording import Recording
from brainof.simulate.bids import write_brainvision
from brainof.simulate.montages import sensors

from .catalogue_page import PAGE, page

RECIPES = {recipe.name: recipe for recipe in catalogue.recipes()}
UNVERIFIED = [name for name, recipe in RECIPES.items() if recipe.layout != "verified"]
SUBJECTS = ("01", "02")
NAMES = ("Fp1", "Fp2", "C3", "C4", "O1", "O2")
#: Nothing installed writes these; their reader is replaced, everything else is real
UNWRITABLE = (".cnt", ".ds", "c,rfDC")
CTF = ("mous_meg", "omega", "wand_meg")


def eeg(seconds: float, names: tuple[str, ...], sfreq: float = 200.0) -> Recording:
    data = np.random.default_rng(0).standard_normal((len(names), int(seconds * sfreq))) * 1e-5
    return Recording(data, sfreq, "eeg", Channels(names, ("eeg",) * len(names)))


def meg(seconds: float) -> Recording:
    channels = sensors("ctf275").take(range(0, 270, 9))
    data = np.random.default_rng(0).standard_normal((len(channels), int(seconds * 300))) * 1e-13
    return Recording(data, 300.0, "meg", channels)


def write(path: Path, recipe: Recipe, seconds: float) -> None:
    """One recording in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = tuple(recipe.read.pick) if recipe.modality == "eeg" and recipe.read.pick else NAMES
    if path.name.endswith(".ds"):
        path.mkdir()
    elif path.name.endswith(UNWRITABLE):
        path.write_bytes(b"x" * 2000)
    elif path.suffix == ".vhdr":
        write_brainvision(eeg(seconds, names), path)
    elif path.suffix == ".edf":
        shown = [f"EEG {name}-REF" if recipe.read.rename else name for name in names]
        shown = ["FP1-F7", "F7-T7", "T7-P7", "P7-O1", "C3-P3", "P3-O1"] if recipe.name == "chb_mit" else shown
        raw = mne.io.RawArray(eeg(seconds, names).data, mne.create_info(shown, 200.0, "eeg"), verbose="error")
        raw.export(path, verbose="error")
    elif path.suffix == ".fif":
        info = mne.create_info(["MEG0111", "MEG0112", "MEG0113"], 300.0, ["mag", "grad", "grad"])
        scale = np.array([[1e-13], [5e-12], [5e-12]])
        data = np.random.default_rng(0).standard_normal((3, int(seconds * 300))) * scale
        mne.io.RawArray(data, info, verbose="error").save(path, verbose="error")
    elif path.suffix == ".mat":
        n = 116 + 20 if recipe.modality == "fmri" else len(recipe.read.channel_names or ())
        scipy.io.savemat(
            path,
            {
                str(recipe.read.variable): np.random.default_rng(0).standard_normal((8000, n))[
                    : 60 if recipe.modality == "fmri" else None
                ]
            },
        )
    else:
        assert path.name.endswith(".nii.gz")
        volumes = np.random.default_rng(0).normal(1000, 10, (10, 12, 10, 30)).astype(np.float32)
        image = nibabel.Nifti1Image(volumes, AFFINE)
        image.header.set_zooms((16, 16, 16, 2.0))
        image.header.set_xyzt_units("mm", "sec")
        image.to_filename(path)


AFFINE = np.array([[16.0, 0, 0, -72], [0, 16, 0, -104], [0, 0, 16, -64], [0, 0, 0, 1]])


def bids_path(keys: dict, subject: str, suffix: str) -> str:
    # the two people have the first and the last of a list of values: each value must occur
    which = -1 if subject.endswith("2") else 0
    first = {key: (value[which] if isinstance(value, list) else value) for key, value in keys.items()}
    task = first.get("task", "rest")
    if first.get("derivative"):
        space = first["space"].replace("*", "")
        return (
            f"derivatives/fmriprep/sub-{subject}/func/sub-{subject}_task-{task}_space-{space}_desc-preproc_bold.nii.gz"
        )
    kind, end = {"eeg": ("eeg", ".vhdr"), "meg": ("meg", suffix)}[first["suffix"]]
    return f"sub-{subject}/{kind}/sub-{subject}_task-{task}_{kind}{end}"


def miniature(recipe: Recipe, root: Path) -> int:
    """Files of two people for every layout of a recipe, and the tables it names; returns how many recordings."""
    length = recipe.views()["pretrain"].length or 60
    n, entities = 0, {"session": "1", "run": "01", "task": "WM"}
    for name, source in recipe.labels.items():
        if source.entity is not None:
            entities[source.entity] = next(iter(source.values), name)
    for entry in recipe.files:
        for subject in SUBJECTS:
            if entry.bids is None:
                path = str(entry.pattern).format(**entities, subject=subject)
                path = path.replace("**", "deep/deeper").replace("*", "20200101")
            else:
                path = bids_path(entry.bids, subject, ".ds" if recipe.name in CTF else ".fif")
            write(root / path, recipe, 2.5 * length)
            n += 1
            if entry.bids is not None and entry.bids.get("derivative"):
                beside(root / path)
    if any(entry.bids is not None for entry in recipe.files):
        describe = {"Name": recipe.title, "BIDSVersion": "1.10.0"}
        (root / "dataset_description.json").write_text(json.dumps(describe))
        if (root / "derivatives").exists():
            made = {**describe, "DatasetType": "derivative", "GeneratedBy": [{"Name": "fMRIPrep"}]}
            (root / "derivatives" / "fmriprep" / "dataset_description.json").write_text(json.dumps(made))
    tables(recipe, root, length)
    return n


def beside(path: Path) -> None:
    """What fMRIPrep puts beside a run."""
    stem = path.name.removesuffix("_desc-preproc_bold.nii.gz")
    mask = nibabel.Nifti1Image(np.ones((10, 12, 10), np.uint8), AFFINE)
    mask.to_filename(path.with_name(f"{stem}_desc-brain_mask.nii.gz"))
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps({"RepetitionTime": 2.0}))
    motion = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    columns = [name + end for name in motion for end in ("", "_derivative1", "_power2", "_derivative1_power2")]
    values = pd.DataFrame(np.random.default_rng(1).normal(0, 0.01, (30, 24)), columns=columns)
    values["framewise_displacement"], values["std_dvars"] = 0.1, 1.0
    values.to_csv(path.with_name(f"{stem.split('_space')[0]}_desc-confounds_timeseries.tsv"), sep="\t", index=False)


def tables(recipe: Recipe, root: Path, length: float) -> None:
    """Atlas, label tables and event tables that the recipe names."""
    atlas = recipe.read.atlas
    if atlas is not None and atlas.image:
        labels = (np.arange(1200) % 246 + 1).reshape(10, 12, 10).astype(np.int16)
        (root / atlas.image).parent.mkdir(parents=True, exist_ok=True)
        nibabel.Nifti1Image(labels, AFFINE).to_filename(root / atlas.image)
        names = pd.DataFrame({"index": range(1, 247), "name": [f"region {n}" for n in range(1, 247)]})
        names.to_csv(root / str(atlas.labels), sep="\t", index=False)
    written: dict[str, pd.DataFrame] = {}
    for source in recipe.labels.values():
        if source.table is not None:
            (column, template), *_ = source.key.items()
            table = written.setdefault(
                source.table, pd.DataFrame({column: [template.replace("{subject}", s) for s in SUBJECTS]})
            )
            table[str(source.column)] = [list(source.values)[number] if source.values else "40" for number in (0, -1)]
    for name, table in written.items():
        table.to_csv(root / name, sep="\t" if name.endswith(".tsv") else ",", index=False)
    if recipe.events is not None and recipe.events.file is not None:
        for subject in SUBJECTS:
            name = recipe.events.file.format(subject=subject, session="1", run="01")
            (root / name).parent.mkdir(exist_ok=True)
            kinds = ["happy", "sad"] if recipe.name == "seed_v" else ["seizure", "background"]
            rows = {"onset": [0, length], "duration": length, "trial_type": kinds, "trial": [1, 2]}
            pd.DataFrame(rows).to_csv(root / name, sep="\t", index=False)


@pytest.mark.parametrize("name", UNVERIFIED)
def test_prepares_a_miniature_of_its_layout(name, tmp_path, monkeypatch):
    recipe, root = RECIPES[name], tmp_path / "data"
    root.mkdir()
    n = miniature(recipe, root)
    real = io.read

    def read(path, **options):
        if not path.name.endswith(UNWRITABLE):
            return real(path, **options)
        length = 2.5 * (recipe.views()["pretrain"].length or 60)
        made = eeg(length, NAMES) if recipe.modality == "eeg" else meg(length)
        return made.replace(entities=dict(options["entities"]), provenance={"file": str(path)})

    monkeypatch.setattr(io, "read", read)
    summary = prepare(recipe, root, tmp_path / "corpus")
    assert summary.complete, summary.text()
    assert len(summary.table) == n
    corpus = Corpus(tmp_path / "corpus")
    assert set(corpus.index["subject"]) == set(SUBJECTS)
    pretrain = corpus.index[corpus.index["view"] == "pretrain"]
    if recipe.modality == "fmri":
        assert set(pretrain["n_channels"]) == {recipe.published.channels if recipe.published else 246}
    else:
        assert set(pretrain["n_times"] / pretrain["sfreq"]) == {recipe.views()["pretrain"].length}
    for task in recipe.tasks.values():
        assert corpus.index[f"label.{task.label}"].notna().any(), task.label
        if task.published_split is not None and task.published_split.test:
            by = task.published_split.by
            assert by in corpus.index.columns or f"label.{by}" in corpus.index.columns


def test_every_published_entry_has_one_recipe():
    """42 entries, 5,870,984 windows (arXiv:2602.23410)."""
    entries = [recipe.published for recipe in RECIPES.values() if recipe.published is not None]
    assert len({entry.name for entry in entries}) == len(entries) == 42
    assert sum(entry.windows for entry in entries) == 5_870_984
    for recipe in RECIPES.values():
        if recipe.published is not None:
            assert recipe.access
            assert recipe.license
            assert "pretraining" in recipe.roles
            length = recipe.views()["pretrain"].length
            assert recipe.modality == "fmri" or f"{length:g} s" == recipe.published.window, recipe.name


def test_evaluation_sets_and_what_contains_them():
    evaluation = {name for name, recipe in RECIPES.items() if "evaluation" in recipe.roles}
    expected = {"seed_v", "chb_mit", "tuab", "adni", "adhd200", "camcan_fmri", "camcan_meg", "lemon_eeg", "lemon_fmri"}
    assert evaluation == expected  # CamCAN and LEMON have two modalities each
    for name in evaluation:
        assert all(task.published_split is not None for task in RECIPES[name].tasks.values())
        assert RECIPES[name].tasks
    for recipe in RECIPES.values():
        assert set(recipe.overlap) <= evaluation
    assert catalogue.overlaps("tuab")["tueg"].kind == "contains"
    assert "seed" in catalogue.overlaps("seed_v")
    assert not catalogue.overlaps("tuab", ["faced"])
    split = RECIPES["chb_mit"].tasks["seizure"].published_split
    assert (len(split.train), split.validation, split.test) == (20, ["21", "22"], ["23", "24"])


def test_index_page_is_in_step():
    assert PAGE.read_text(encoding="utf-8") == page(), "write it again: python -m tests.datasets.catalogue_page"


@pytest.mark.parametrize(("typo", "name"), [("abide_1", "abide1"), ("camcan-meg", "camcan_meg"), ("tuegg", "tueg")])
def test_near_names_are_suggested(typo, name):
    with pytest.raises(ConfigError, match=f"did you mean '{name}'"):
        find_recipe(typo)


def test_a_split_with_somebody_on_two_sides_is_refused():
    values = {**RECIPES["tuab"].to_dict()}
    values["tasks"]["pathology"]["published_split"]["test"] = ["train"]
    with pytest.raises(ConfigError, match="'train' is on two sides"):
        Recipe.parse(values)
