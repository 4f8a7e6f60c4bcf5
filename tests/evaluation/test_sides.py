"""Tasks whose training and test see different signals: montages, datasets, rates, noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainof.corpus import Corpus
from brainof.errors import ConfigError
from brainof.evaluation import evaluate
from brainof.evaluation.sources import changed
from brainof.evaluation.suite import Side, Suite

RECIPE = """\
name: {name}
title: Made
modality: eeg
license: CC0-1.0
citation: none
files: [{{pattern: "sub-{{subject}}_run-{{run}}.npz"}}]
read: {{variable: eeg, time_axis: 1, units: uV, sfreq: 128, channel_names: [{names}]}}
windows: {{length: 2}}
labels: {{state: {{entity: run, values: {values}}}}}
tasks: {{state: {{label: state}}}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Two datasets with other channels: alpha at Oz is stronger in the task; `other.yaml` renames the states."""
    root, times = tmp_path_factory.mktemp("data"), np.arange(1280) / 128
    for number, (name, channels) in enumerate({"four": ["Fp1", "Fp2", "Cz", "Oz"], "two": ["Oz", "Fz"]}.items()):
        rng = np.random.default_rng(number)
        (root / name).mkdir()
        for person in range(1, 5):
            for run in (1, 2):
                signal = 20 * rng.standard_normal((len(channels), 1280))
                signal[channels.index("Oz")] += 10 * run**2 * np.sin(2 * np.pi * 10 * times)
                np.savez(root / name / f"sub-{person:02d}_run-{run}.npz", eeg=signal.astype(np.float32))
        text = {"name": name, "names": ", ".join(channels)}
        (root / f"{name}.yaml").write_text(RECIPE.format(**text, values="{1: rest, 2: task}"))
        if name == "four":
            called = RECIPE.format(**text, values="{1: rest, 2: task}").replace("state", "side")
            (root / "called.yaml").write_text(called)
        if name == "two":
            (root / "other.yaml").write_text(RECIPE.format(**text, values="{1: calm, 2: busy}"))
    return root


def scored(root: Path, out: Path, permutations: int = 0, **task):
    asked = {"recipe": f"{root}/four.yaml/state", "n_splits": 2, "repeats": 1, "baselines": ["band power"], **task}
    values = {"name": "sides", "version": "1.0", "title": "Sides", "random_weights": 0, "permutations": permutations}
    return evaluate(Suite.parse({**values, "tasks": {"t": asked}}), "debug", out, root=root)


def score(found, entry: str) -> float:
    return found.summary.query("entry == @entry and option == 'plain'")["score"].item()


def test_two_equal_sides_are_the_task_itself(made, tmp_path):
    plain = scored(made, tmp_path / "plain", permutations=5)
    sided = scored(made, tmp_path / "sided", permutations=5, test_on={})
    for entry in ("band power", "debug (random weights)"):
        assert score(sided, entry) == pytest.approx(score(plain, entry), abs=1e-9)
    assert sided.summary["p_value"].notna().any()


def test_a_label_may_be_called_side(made, tmp_path):
    """As that of left and right fists is."""
    found = scored(made, tmp_path, recipe=f"{made}/called.yaml/side", test_on={"channels": ["Oz", "Cz"]})
    assert not found.refused
    assert score(found, "band power") > 0.9


def test_another_montage_in_the_test(made, tmp_path):
    """Rows of the test side are the same windows on the channels that are left; Oz alone tells, the others do not."""
    found = scored(made, tmp_path / "a", train_on={"channels": 4}, test_on={"channels": ["Oz", "Cz"]})
    sides = Corpus(tmp_path / "a" / "corpora" / "t sides")
    index, whole = sides.index, Corpus(tmp_path / "a" / "corpora" / "four")
    assert index.groupby("label.fold_side", observed=True)["n_channels"].unique().map(list).to_dict() == {
        "test": [2],
        "train": [4],
    }
    row = index[
        (index["label.fold_side"] == "test") & (index["recording"] == f"{whole.index['recording'].iloc[7]} (test)")
    ]
    first = row[row["onset"] == whole.index["onset"].iloc[7]].index[0]
    np.testing.assert_array_equal(sides.read(first), whole.read(7)[[3, 2]])
    assert score(found, "band power") > 0.9  # on the channels that both sides have
    blind = scored(made, tmp_path / "b", test_on={"channels": ["Fp1", "Fp2"]})
    assert score(blind, "band power") < 0.75
    assert "tested on 2 channels" in (tmp_path / "a" / "results.md").read_text()


def test_another_dataset_in_training(made, tmp_path):
    """What is used of the people who are tested is said in MOABB's words."""
    found = scored(made, tmp_path, train_on={"recipe": f"{made}/two.yaml/state"}, options=["recentred"])
    assert score(found, "band power") > 0.9
    table = found.results.query("entry == 'band power'")
    assert set(table["evaluation"]) == {"CrossDataset"}
    access = table.groupby("option")["target_access"].unique().map(list).to_dict()
    assert access["plain"] == ["train"]
    assert access["recentred"] == ["train_and_target_unlabeled_full"]
    moabb = pytest.importorskip("moabb.evaluations.protocols")
    assert {name for names in access.values() for name in names} <= {mode.value for mode in moabb.CrossSubjectMode}
    assert sorted(set(table["subject"])) == ["01", "02", "03", "04"]
    assert set(table["dataset"]) == {"four"}
    assert set(table["samples"]) == {4 * 2 * 5}


def test_a_simulated_cohort_on_19_and_on_4_channels(tmp_path):
    cohort = {"task": "rest_vs_task", "modality": "eeg", "subjects": 4, "changes": {"channels": 19, "seconds": 48.0}}
    asked = {"recipe": "simulated_eeg/rest_vs_task", "simulate": cohort, "n_splits": 2, "repeats": 1}
    asked |= {"train_on": {"channels": 19}, "test_on": {"channels": 4}, "baselines": ["band power"]}
    values = {"name": "s", "version": "1", "title": "S", "random_weights": 1, "permutations": 0, "tasks": {"t": asked}}
    found = evaluate(Suite.parse(values), "debug", tmp_path)
    assert not found.refused
    assert found.summary["score"].notna().all()
    assert score(found, "band power") > 0.6


def test_noise_has_the_strength_that_is_asked_for_and_the_signal_its_own():
    data = np.random.default_rng(0).standard_normal((3, 20_000)).astype(np.float32) * [[1], [5], [0.1]]
    noisy = changed(data, 100.0, Side(snr=10.0), 1)
    np.testing.assert_allclose(noisy.std(axis=1), data.std(axis=1), rtol=0.02)
    rest = noisy * np.sqrt(1.1) - data
    np.testing.assert_allclose(10 * np.log10(data.var(axis=1) / rest.var(axis=1)), 10, atol=0.2)
    np.testing.assert_array_equal(noisy, changed(data, 100.0, Side(snr=10.0), 1))
    assert not np.array_equal(noisy, changed(data, 100.0, Side(snr=10.0), 2))


def test_a_rhythm_stays_itself_at_another_rate():
    wave = lambda rate: np.sin(2 * np.pi * 10 * np.arange(int(2 * rate)) / rate)[None].astype(np.float32)  # noqa: E731
    again = changed(wave(128), 128.0, Side(sfreq=200.0), 0)
    assert again.shape == (1, 400)
    np.testing.assert_allclose(again[0, 40:-40], wave(200)[0, 40:-40], atol=0.01)


def test_sides_are_kept_and_made_again_when_they_change(made, tmp_path):
    scored(made, tmp_path, test_on={"snr": 0.0})
    shards = tmp_path / "corpora" / "t sides" / "shards"
    first = {path.name for path in shards.iterdir()}
    scored(made, tmp_path, test_on={"snr": 0.0})
    assert {path.name for path in shards.iterdir()} == first
    scored(made, tmp_path, test_on={"snr": 5.0})
    assert {path.name for path in shards.iterdir()} != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_on": {"channels": ["Ox"]}}, "t.test_on.channels: no channel 'Ox'; did you mean 'Oz'"),
        ({"test_on": {"recipe": "a/b"}}, "the test side is that of the task itself"),
        ({"test_on": {"snr": 0}, "fuse": "a/b"}, "do not go with fuse"),
        ({"train_on": {"recipe": "other.yaml/state"}}, "has no class 'rest'"),
        ({"train_on": {"recipe": "two.yaml/stat"}}, "has no task 'stat'; did you mean 'state'"),
        ({"train_on": {"recipe": "four.yaml/state"}}, "'four/01' is on both sides of fold 0"),  # the same people
    ],
)
def test_sides_that_do_not_fit_are_one_line(made, tmp_path, changes, message):
    if ".yaml" in str(changes):
        changes = {
            "train_on": {
                "recipe": f"{made}/{changes['train_on']['recipe']}",
                "folder": "four" if "four" in str(changes) else "two",
            }
        }
    try:
        text = " ".join(scored(made, tmp_path, **changes).refused.values())
    except ConfigError as error:
        text = str(error)
    assert message in text
    assert "\n" not in text
