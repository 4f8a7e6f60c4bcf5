from __future__ import annotations

import re

import pytest

from brainof.datasets.recipe import Recipe, find_recipe, recipe_names
from brainof.errors import ConfigError
from brainof.schema import read_yaml


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid_and_survives_a_round_trip(name):
    recipe = find_recipe(name)
    assert recipe.name == name
    assert Recipe.parse(recipe.to_dict()) == recipe
    assert recipe.chain().steps[-1].name == "normalise"
    assert all(recipe.view_of(task) in recipe.views() for task in recipe.tasks)


def test_nearest_name_is_suggested():
    with pytest.raises(ConfigError, match=r"no recipe 'eegmatt'; did you mean 'eegmat'\?"):
        find_recipe("eegmatt")
    with pytest.raises(ConfigError, match=r"mine\.yaml: file not found"):
        find_recipe("mine.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lables": {}}, r"toy\.yaml: lables: unknown key; did you mean 'labels'"),
        ({"weight": 1.0}, r"toy\.yaml: weight: unknown key"),  # of before: nothing read it
        ({"read": {"unit": "uV"}}, r"read\.unit: unknown key; did you mean 'units'"),
        ({"tasks": {"x": {"label": "state", "splt": "run"}}}, r"tasks\.x\.splt: unknown key; did you mean 'split'"),
        ({"labels": {"x": {"entity": "run", "vals": {}}}}, r"labels\.x\.vals: unknown key; did you mean 'values'"),
        ({"modality": "ecg"}, r"modality: Input should be 'eeg', 'meg' or 'fmri'"),
        ({"prepare": {"fitler": {}}}, r"prepare\.fitler: unknown step; did you mean 'filter'"),
        ({"tasks": {"x": {"label": "stat"}}}, r"tasks\.x\.label: label 'stat' .*; did you mean 'state'"),
        ({"tasks": {"x": {"label": "sound"}}}, r"tasks\.x\.windows: .* not cut on events"),
        ({"tasks": {"pretrain": {"label": "state"}}}, r"tasks\.pretrain"),
        ({"labels": {"x": {"entity": "run", "event": "y"}}}, r"exactly one of entity, table, event and signal"),
        ({"labels": {"x": {"table": "t.tsv"}}}, r"a table needs key"),
        ({"files": []}, r"toy\.yaml: files"),
        ({"license": None}, r"license"),
        ({"licens": "CC0"}, r"toy\.yaml: licens: unknown key; did you mean 'license'"),
    ],
)
def test_wrong_keys_are_named(toy, change, message):
    recipe, _ = toy
    with pytest.raises(ConfigError, match=message):
        Recipe.parse({**read_yaml(recipe), **change}, recipe)


def test_recipes_of_before_said_licence(toy):
    values = read_yaml(toy[0])
    values["licence"] = values.pop("license")
    assert Recipe.parse(values) == Recipe.load(toy[0])


def test_assignments_from_the_command_line(toy):
    recipe = find_recipe(toy[0]).replaced(["windows.length=1", "prepare.filter.high=40", "prepare.bad_channels=false"])
    assert recipe.views()["pretrain"].length == 1
    assert [step.name for step in recipe.chain().steps] == ["repair", "resample", "filter", "normalise"]
    with pytest.raises(ConfigError, match="did you mean 'windows'"):
        recipe.replaced(["window.length=1"])


def test_numbers_may_stand_for_text(toy):
    assert find_recipe(toy[0]).labels["state"].values == {"1": "rest", "2": "task"}


def test_yes_and_no_are_text_where_text_is_meant(toy, tmp_path):
    text = toy[0].read_text()
    assert "values: {1: rest, 2: task}" in text or 'values: {"1": rest, "2": task}' in text
    changed = tmp_path / "toy.yaml"
    changed.write_text(re.sub(r"values: \{\"?1\"?: rest, \"?2\"?: task\}", "values: {1: no, 2: yes, on: true}", text))
    assert find_recipe(changed).labels["state"].values == {"1": "no", "2": "yes", "on": "true"}
    for word in ("no", "off", "false"):
        steps = find_recipe(toy[0]).replaced([f"prepare.bad_channels={word}"]).chain().steps
        assert "bad_channels" not in [step.name for step in steps]


def test_bids_files_and_participants_are_short_for_more(toy):
    values = read_yaml(toy[0]) | {"modality": "fmri", "files": [{"bids": {"task": "rest", "space": None}}], "read": {}}
    values["labels"] = {"sex": {"participants": "sex", "values": {"F": "female", "M": "male"}}}
    values["tasks"], values["events"] = {"sex": {"label": "sex"}}, None
    recipe = Recipe.parse(values)
    assert recipe.files[0].bids == {"suffix": "bold", "task": "rest", "space": None}
    assert recipe.labels["sex"].table == "participants.tsv"
    assert recipe.labels["sex"].key == {"participant_id": "sub-{subject}"}
    assert Recipe.parse(recipe.to_dict()) == recipe
    for files, message in (
        ([{"bids": {"tsk": "rest"}}], "unknown key 'tsk'"),
        ([{"bids": {}, "pattern": "*"}], "exactly one of pattern and bids"),
        ([{}], "exactly one of pattern and bids"),
    ):
        with pytest.raises(ConfigError, match=message):
            Recipe.parse(values | {"files": files})
