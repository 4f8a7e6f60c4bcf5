"""The suite `resolution`: windows at other rates and with fewer sensors, compared with themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from brainof.channels import Channels
from brainof.errors import BrainOFError, ConfigError
from brainof.evaluation import evaluate, leaks
from brainof.evaluation.resolution import Change, Fewer, compared, missed, table
from brainof.evaluation.suite import Suite
from brainof.signals import SignalBatch

RECIPE = """\
name: waves
title: Waves
modality: eeg
license: CC0-1.0
citation: none
files: [{pattern: "sub-{subject}.npz"}]
read: {variable: eeg, time_axis: 1, units: uV, sfreq: 200, channel_names: [Fp1, Fp2, C3, Cz, C4, Oz]}
windows: {length: 2}
"""


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    """Two people, 10 s of six electrodes at 200 Hz."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (root / "waves").mkdir()
    (root / "waves.yaml").write_text(RECIPE)
    for person in ("01", "02"):
        signal = 20 * np.cumsum(rng.standard_normal((6, 2000)), axis=1).astype(np.float32)
        np.savez(root / "waves" / f"sub-{person}.npz", eeg=signal)
    return root


def suite(root, **changes) -> Suite:
    task = {"recipe": f"{root}/waves.yaml/pretrain", "kind": "resolution", "floors": {"cosine": 0.9, "found": 0.95}}
    task |= {"changes": [{"sfreq": 128}, {"dropped": 0.34}, {"sfreq": 512, "against": 128}], **changes}
    about = {"name": "mine", "version": "1.0", "title": "Mine", "random_weights": 2, "permutations": 0}
    return Suite.parse({**about, "tasks": {"waves": task}})


def test_from_files_to_the_page(waves, tmp_path):
    found = evaluate(suite(waves), "debug", tmp_path, root=waves)
    lines = found.summary.set_index(["kind", "option"])
    model = lines.loc["model"]
    assert list(model.index) == ["128 Hz", "34 % of sensors dropped", "512 Hz against 128 Hz"]
    assert set(model["n_windows"]) == {10}
    # `debug` has no rates of its own: what it makes of 128 Hz is something else; what no sensor is missing is not
    assert model.loc["128 Hz", "cosine"] < 0.9
    assert 0 < model.loc["34 % of sensors dropped", "cosine"] < 1
    random = lines.loc[("random weights", "34 % of sensors dropped")]
    assert random["n_seeds"] == 2
    gain = model.loc["34 % of sensors dropped", "score"] - random["score"]
    assert model.loc["34 % of sensors dropped", "gain"] == pytest.approx(gain)
    text = (tmp_path / "results.md").read_text()
    assert (
        "Floors: cosine above 0.9 and found above 0.95. debug (random weights): the floors are missed at 128 Hz" in text
    )
    again = evaluate(suite(waves), "debug", tmp_path, root=waves)
    assert (again.summary["cosine"].dropna() == found.summary["cosine"].dropna()).all()


def test_rates_are_those_of_the_model(waves, tmp_path):
    """`tiny` reads every rate on its own grid: the same features, and every window found."""
    one = suite(waves, changes=[{"sfreq": 128}]).model_copy(update={"random_weights": 0})
    (line,) = evaluate(one, "tiny", tmp_path, root=waves).summary.query("kind == 'model'").to_dict("records")
    assert line["cosine"] > 0.95
    assert line["score"] == 1
    assert "the floors are reached" in (tmp_path / "results.md").read_text()


def test_features_are_compared_about_their_mean_and_both_ways():
    reference = np.eye(4) + 5
    same = compared(reference, reference, np.array(["a", "a", "b", "b"]))
    assert same["cosine"] == pytest.approx(1)
    assert same["cosine_others"] == pytest.approx(-1 / 3)
    assert same["hits"] == {"a": 1.0, "b": 1.0}
    swapped = compared(reference, reference[[1, 0, 2, 3]], np.array(["a", "a", "b", "b"]))
    assert swapped["hits"] == {"a": 0.0, "b": 1.0}
    near = reference.copy()
    near[0] = 0.4 * reference[0] + 0.6 * reference[1]  # finds window 1, and window 0 does not find it
    hits = compared(reference, near, np.arange(4).astype(str))["hits"]
    assert hits["0"] < 1


def test_each_recording_lacks_other_good_sensors_always_the_same():
    channels = Channels(tuple("abcdef"), ("eeg",) * 6)
    mask = np.array([[True] * 6, [True] * 6, [True] * 5 + [False]])

    class Corpus:
        index = pd.DataFrame({"crc32c": [1, 2, 3], "recording": ["one", "one", "two"]})

        def batch(self, rows, patch):
            return SignalBatch.from_arrays([np.ones((6, 64))] * len(rows), channels, 256, "eeg", 64, mask[rows])

    corpus = Fewer(Corpus(), 1 / 3)
    kept = corpus.batch([0, 1, 2]).channel_mask_BC
    assert kept.sum(1).tolist() == [4, 4, 3]
    assert torch.equal(kept[0], kept[1])
    assert not kept[2, 5]
    assert torch.equal(corpus.batch([2]).channel_mask_BC[0], kept[2])
    assert not set(corpus.index["crc32c"]) & {"1", "2", "3"}


def test_a_floor_has_to_be_exceeded():
    floors = {"cosine": 0.9, "found": 0.95}
    assert missed({"cosine": 0.91, "score": 0.96}, floors) == []
    assert missed({"cosine": 0.9, "score": 1.0}, floors) == ["cosine"]
    assert missed({"cosine": None, "score": 0.95}, floors) == ["cosine", "found"]
    line = {"entry": "m", "option": "128 Hz", "readout": "resolution", "cosine": 0.95, "cosine_others": 0.0}
    text = table(pd.DataFrame([{**line, "score": 0.9, "reason": "", "unfinished": 0}]), floors)
    assert "| m | 128 Hz | 0.950 | 0.000 | 0.900 | misses found |" in text
    assert text.endswith("m: the floors are missed at 128 Hz.")


def test_what_cannot_be_asked_is_one_line(waves, tmp_path):
    found = evaluate(suite(waves, changes=[]), "debug", tmp_path, root=waves)
    assert "waves.changes: none; write changes" in found.refused["waves"]
    with pytest.raises(BrainOFError, match="nothing is changed; give sfreq or dropped"):
        Change.parse({"against": 128})
    with pytest.raises(ConfigError, match="dropped"):
        Change.parse({"dropped": 1})


def test_people_that_pretraining_saw_are_left_out(waves, tmp_path, monkeypatch):
    whole = evaluate(suite(waves), "debug", tmp_path / "whole", root=waves).results
    person = sorted(set(whole["subject"]))[0]
    dataset = str(whole["dataset"].iloc[0])
    monkeypatch.setattr(leaks, "trained_on", lambda _: {f"{dataset}/{person}"})
    found = evaluate(suite(waves), "debug", tmp_path / "unseen", root=waves, unseen=True)
    assert not found.refused
    assert set(found.results["subject"]) == set(whole["subject"]) - {person}
