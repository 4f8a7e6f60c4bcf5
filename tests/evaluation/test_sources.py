"""Where the data of a suite are found."""

from __future__ import annotations

import yaml

from brainof.datasets import find_recipe
from brainof.errors import LabelError
from brainof.evaluation import sources
from brainof.evaluation.sources import Absent, access, open_task
from brainof.evaluation.suite import SuiteTask


def task(**changes) -> SuiteTask:
    return SuiteTask.parse({"name": "t", **changes})


def test_pages_and_terms_of_access():
    recipe = find_recipe("eegmat")
    assert access(recipe) == "https://physionet.org/content/eegmat/1.0.0/ (open)"
    bare = recipe.model_copy(update={"url": "", "access": ""})
    assert access(bare) == "no page known (open)"
    assert access(bare.model_copy(update={"url": "https://x", "access": "on request"})) == "https://x (on request)"


def test_a_folder_is_looked_for_by_its_own_name_and_that_of_the_recipe(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(sources, "prepared", lambda recipe, folder, out, _: opened.append((folder.name, out)))
    asked = task(recipe="eegmat/arithmetic", folder="own")
    root, out = tmp_path / "data", tmp_path / "out"
    absent = open_task(asked, root, out)
    assert isinstance(absent, Absent)
    assert (absent.task, absent.dataset) == ("t", "eegmat")
    assert absent.why == f"no folder own or eegmat in {root}"
    assert absent.access == access(find_recipe("eegmat"))
    (root / "eegmat").mkdir(parents=True)
    open_task(asked, root, out)
    (root / "own").mkdir()
    found = open_task(asked, root, out)
    assert opened == [("eegmat", out / "corpora" / "eegmat"), ("own", out / "corpora" / "eegmat")]
    assert not isinstance(found, Absent)
    assert (found.task.dataset, found.task.modality) == ("eegmat", "eeg")
    (root / "own").rename(root / "file")
    (root / "eegmat").rmdir()
    (root / "eegmat").touch()  # no folder
    assert isinstance(open_task(asked, root, out), Absent)


def test_data_that_cannot_be_prepared_are_absent_with_the_reason(tmp_path, monkeypatch):
    def failing(*_):
        raise LabelError("no such column")

    monkeypatch.setattr(sources, "prepared", failing)
    (tmp_path / "eegmat").mkdir()
    found = open_task(task(recipe="eegmat/arithmetic"), tmp_path, tmp_path)
    assert isinstance(found, Absent)
    assert found.why == "no such column"


def test_a_second_modality_is_prepared_into_the_same_corpus(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(
        sources, "prepared", lambda recipe, folder, out, _: opened.append((recipe.name, folder.name, out))
    )
    asked = task(recipe="eegmat/arithmetic", fuse="haxby2001/categories", fuse_folder="bold")
    (tmp_path / "eegmat").mkdir()
    found = open_task(asked, tmp_path, tmp_path / "o")
    assert isinstance(found, Absent)
    assert (found.dataset, found.why) == ("haxby2001", f"no folder bold or haxby2001 in {tmp_path}")
    (tmp_path / "bold").mkdir()
    opened.clear()
    open_task(asked, tmp_path, tmp_path / "o")
    place = tmp_path / "o" / "corpora" / "eegmat+haxby2001"
    assert opened == [("eegmat", "eegmat", place), ("haxby2001", "bold", place)]


def test_a_simulated_cohort_is_written_with_the_parameters_of_the_task(tmp_path, monkeypatch):
    wrote, opened = [], []

    def write(parameters, folder):
        wrote.append((parameters, folder))
        folder.mkdir(parents=True)
        values = find_recipe("eegmat").to_dict() | {"modality": "meg"}
        (folder / "recipe_meg.yaml").write_text(yaml.safe_dump(values))
        return folder

    monkeypatch.setattr(sources, "write", write)
    monkeypatch.setattr(
        sources, "prepared", lambda recipe, folder, out, _: opened.append((recipe.modality, folder, out))
    )
    cohort = {"task": "rest_vs_task", "modality": "meg", "subjects": 5, "seed": 9}
    open_task(task(recipe="x/arithmetic", simulate=cohort), tmp_path, tmp_path)
    place = tmp_path / "simulated" / "rest_vs_task-meg-5-9"
    ((parameters, folder),) = wrote
    assert (parameters.subjects, parameters.seed, parameters.modalities) == (5, 9, ("meg",))
    assert parameters.meg == "neuromag102"
    assert folder == place / "cohort"
    assert opened == [("meg", place / "cohort", place / "corpus")]
    changed = {**cohort, "changes": {"sfreq": 128}}
    open_task(task(recipe="x/arithmetic", simulate=changed), tmp_path, tmp_path)
    assert wrote[1][0].sfreq == 128
    assert wrote[1][1] == tmp_path / "simulated" / "rest_vs_task-meg-5-9-t" / "cohort"  # other data, another place
