"""Studies as data: every arm is a run, Shapley values add up, pairs are of people, one study runs end to end."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from studies.__main__ import main
from studies.arms import Study, studies
from studies.arms_measures import information, task_values
from studies.arms_page import between, shapley, shapley_table, table
from studies.tables import markdown

from brainof.model.presets import preset


@pytest.mark.parametrize("name", studies())
def test_every_arm_is_a_run_of_its_own_that_leaves_people_out(name):
    study = Study.parse(studies()[name], name)
    configs = {arm: study.config(arm, 3, ["simulated_eeg/09"]) for arm in study.arms}
    for config in configs.values():
        assert (config.seed, config.steps, config.sampling.exclude) == (3, study.steps, ["simulated_eeg/09"])
        overrides = dict(config.model)
        preset(overrides.pop("preset"), **overrides)
    alike = {str(config.to_dict()) for config in configs.values()}
    assert len(alike) == (1 if name == "data_scaling" else len(configs))
    assert len(set(study.modalities)) == len(study.modalities)


def test_shapley_values_share_the_gain_over_random_weights():
    """In a game where EEG brings 0.2, MEG 0.1, and fMRI 0.06 only beside EEG, the last is shared by the two."""
    worth = {"": 0.5, "eeg": 0.7, "meg": 0.6, "fmri": 0.5, "eeg+meg": 0.8}
    worth |= {"eeg+fmri": 0.76, "meg+fmri": 0.6, "eeg+meg+fmri": 0.86}
    values = shapley({name: {"a": value, "b": 2 * value} for name, value in worth.items()}, ("eeg", "meg", "fmri"))
    found = [values[name]["a"] for name in ("eeg", "meg", "fmri")]
    np.testing.assert_allclose(found, [0.23, 0.1, 0.03], atol=1e-12)
    assert sum(values[name]["b"] for name in values) == pytest.approx(2 * (0.86 - 0.5))


def test_what_all_subsets_have_is_shared_out():
    """A task has no score of a model that never saw its modality; bits and cosines are measured of all."""
    study = Study.parse(
        {**studies()["modalities"], "modalities": ["eeg", "meg"], "arms": {"eeg+meg": {}, "eeg": {}, "meg": {}}}
    )
    bits = {"eeg+meg": {"a": 0.5, "b": 0.7}, "eeg": {"a": 0.2, "b": 0.2}, "meg": {"a": 0.1, "b": 0.3}}
    lines = shapley_table({"eeg (ridge)": {"eeg": {"a": 1.0}}, "MSE, eeg": bits, "information, eeg": bits}, study)
    assert lines["measure"].tolist() == ["information, eeg"]
    assert lines["eeg"].item().startswith("+0.300 [")  # of a: (.2 + .5 - .1) / 2; of b: (.2 + .7 - .3) / 2
    assert lines["meg"].item().startswith("+0.300 [")  # of a: (.1 + .5 - .2) / 2 = .2; of b: (.3 + .7 - .2) / 2 = .4


def results(of) -> pd.DataFrame:
    base = {"task": "eeg", "readout": "ridge", "option": "plain", "metric": "mae", "dataset": "d", "kind": "model"}
    rows = [
        {**base, "entry": entry, "kind": kind, "subject": person, "score": score}
        for (entry, kind), own in of.items()
        for person, score in own.items()
    ]
    return pd.DataFrame(rows)


def test_pairs_are_of_people_and_seeds_are_averaged_first():
    study = Study.parse({"title": "t", "asks": "a", "arms": {"one": {}, "two": {}}})
    of = {("one-s0", "model"): {"a": 1.0, "b": 2.0}, ("one-s1", "model"): {"a": 3.0, "b": 2.0}}
    of |= {("two-s0", "model"): {"a": 1.0, "b": 1.5}, ("random weights", "random weights"): {"a": 4.0, "b": 4.0}}
    values, lower = task_values(study, results(of), {"one-s0": "one", "one-s1": "one", "two-s0": "two"})
    random = {f"random weights {arm}": {"d/a": 4, "d/b": 4} for arm in ("one", "two")}
    assert values["eeg (ridge)"] == {"one": {"d/a": 2, "d/b": 2}, "two": {"d/a": 1, "d/b": 1.5}, **random}
    lines = table(values, study, lower).set_index("arm")
    assert lines.loc["one", "mean"] == 2
    difference, _, counts = lines.loc["two", "against the first"].rpartition(", ")
    assert difference.startswith("-0.750 [")
    assert counts == "2:0"  # of an error, the lower one wins
    low, high = map(float, difference.partition("[")[2].rstrip("]").split(", "))
    assert (low, high) == pytest.approx((-0.75 - 12.706 * 0.25, -0.75 + 12.706 * 0.25), abs=1e-3)
    assert markdown(pd.DataFrame({"a": ["x"], "b": [np.nan], "c": [0.5]})).splitlines()[2] == "| x |  | 0.500 |"
    assert between({"a": 1.0}, {"a": 0.5}, True).startswith("+0.500 [+nan")


def test_random_weights_are_those_of_the_architecture_of_an_arm():
    arms = {"one": {}, "two": {"recipe": "dense"}, "three": {"recipe": "time_only"}}
    study = Study.parse({"title": "t", "asks": "a", "arms": arms})
    of = {(f"{arm}-s0", "model"): {"a": 1.0} for arm in arms}
    of |= {
        (f"random weights (as {arm}-s0)", "random weights"): {"a": value} for arm, value in (("one", 2.0), ("two", 3.0))
    }
    values = task_values(study, results(of), {f"{arm}-s0": arm for arm in arms})[0]["eeg (ridge)"]
    assert [values[f"random weights {arm}"]["d/a"] for arm in arms] == [2, 3, 2]


def test_information_is_one_bit_of_what_is_seen_and_none_of_noise():
    from brainof.evaluation.folds import Split
    from brainof.evaluation.questions import Question

    rng, n = np.random.default_rng(0), 400
    y, groups = np.arange(n) % 2, np.repeat([f"d/{k}" for k in range(8)], 50)
    folds = [Split(np.flatnonzero(groups != g), np.zeros(0, int), np.flatnonzero(groups == g)) for g in set(groups)]
    question = Question(None, None, np.arange(n), None, y, ["a", "b"], groups, groups, folds)
    clear = information(question, 6 * (y[:, None] - 0.5) + rng.normal(size=(n, 30)))
    assert sorted(clear) == sorted(set(groups))
    assert 0.95 < np.mean(list(clear.values())) <= 1
    assert abs(np.mean(list(information(question, rng.normal(size=(n, 30))).values()))) < 0.1


@pytest.mark.timeout(400)
def test_a_study_from_end_to_end(tmp_path, capsys):
    command = ["experts", "--out", str(tmp_path), "steps=2", "seeds=1", "subjects=6", "modalities=[eeg]"]
    command += ["cohort={seconds: 40.0, channels: 19}", "change=[batch_size=4, model.preset=debug]"]
    assert main(command) == 0
    page = (tmp_path / "study_experts.md").read_text()
    assert "What it shows" not in page  # by hand, of the study as it stands
    assert "    ./run study experts steps=2" in page
    lines = pd.read_csv(tmp_path / "study_experts.csv")
    assert set(lines["measure"]) == {"eeg (ridge)", "MSE, eeg", "cosine, eeg", "information, eeg"}
    assert set(lines["people"]) == {3}
    assert lines.query("arm == 'dense'")["against the first"].notna().all()
    runs = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("pretrained/*/checkpoints/*/*.safetensors")}
    assert len(runs) >= 2
    capsys.readouterr()
    assert main(["domains", *command[1:], "arms={both: {}}"]) == 0  # its first arm is that of the other study
    assert all(path.stat().st_mtime_ns == time for path, time in runs.items())
    assert set(tmp_path.rglob("pretrained/*/checkpoints/*/*.safetensors")) == set(runs)
    both = pd.read_csv(tmp_path / "study_domains.csv")
    pd.testing.assert_series_equal(both["mean"], lines.query("arm == 'experts'")["mean"], check_index=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["smapler"], "did you mean 'sampler'"),
        (["sampler", "step=3"], "did you mean 'steps'"),
        (["sampler", "suite=states"], "give both or none"),
        (["sampler", "arms={x: {recipe: dens}}"], "did you mean 'dense'"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, capsys, words, message):
    assert main([*words, "--out", str(tmp_path), "subjects=4", "modalities=[eeg]", "cohort={seconds: 48.0}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
