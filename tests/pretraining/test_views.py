"""Second looks at windows: what is planned, and what no batch could give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import brainof
from brainof.corpus import open_corpora
from brainof.errors import ConfigError, RecordingError
from brainof.pretraining import PretrainConfig, pretrain
from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.masking import Masking
from brainof.pretraining.run_folder import read_metrics
from brainof.pretraining.views import (
    Partners,
    View,
    ViewPlanner,
    crop,
    distorted,
    planner_of,
    rereferenced,
)
from brainof.pretraining.weights import trained_teacher


def streams(n: int) -> list[np.random.Generator]:
    return [np.random.default_rng([1, row]) for row in range(n)]


def planner(asked=("view",), partners=None, corpora=None, **fields) -> ViewPlanner:
    return ViewPlanner(ObjectiveConfig.parse(fields), frozenset(asked), corpora, 0, 64, partners)


def test_a_crop_is_seconds_of_each_window(make_batch):
    batch = make_batch("fmri", lengths=[256, 200])  # 2 s apart
    found = crop(batch, np.array([0.0, 100.0]), 200.0, 64)
    assert found.n_times_B.tolist() == [100, 100]
    assert torch.equal(found.signal_BCT[0, :, :100], batch.signal_BCT[0, :, :100])
    assert torch.equal(found.signal_BCT[1, :, :100], batch.signal_BCT[1, :, 50:150])
    assert found.signal_BCT.shape[2] == 128
    assert (found.signal_BCT[..., 100:] == 0).all()
    with pytest.raises(RecordingError, match=r"400 s is shorter than a crop of 420 s; give at most 400"):
        crop(batch, np.zeros(2), 420.0, 64)


def test_two_crops_start_at_most_so_far_apart(make_batch):
    """A ramp tells where each crop starts; which rows share the batch does not matter."""
    batch = replace(make_batch("fmri", n_windows=4), rows=(3, 5, 8, 9))
    batch.signal_BCT[:] = torch.arange(256.0)
    of = planner(view={"crop": {"fmri": 200}, "apart": 40})
    starts = []
    for epoch in range(10):
        first, views = of(batch, epoch)
        starts += list(zip(first.signal_BCT[:, 0, 0], views["view"].batch.signal_BCT[:, 0, 0], strict=True))
    first, second = (2 * torch.tensor(each) for each in zip(*starts, strict=True))
    assert (first - second).abs().max() <= 42  # whole samples
    assert (first - second).abs().max() > 20
    assert first.std() > 50
    alone, _ = of(batch.take_windows(torch.tensor([2])), 9)
    assert alone.signal_BCT[0, 0, 0] * 2 == first[-2]
    unchanged, _ = of(replace(make_batch("eeg"), rows=(0, 1, 2, 3)), 0)
    assert unchanged.signal_BCT.shape[2] == 256


def test_another_reference_keeps_differences_between_good_channels(make_batch):
    batch = make_batch()
    batch.channel_mask_BC[0, 2] = False
    found = rereferenced(batch, streams(4)).signal_BCT
    moved = batch.signal_BCT - found
    for row in range(4):
        good = batch.channel_mask_BC[row]
        assert moved[row, good].std(0).max() < 1e-6
        assert moved[row, good].abs().max() > 0.1
    assert torch.equal(found[0, 2], batch.signal_BCT[0, 2])
    assert rereferenced(batch, streams(4)).signal_BCT.equal(found)


def test_distortions_are_what_they_are_called(make_batch):
    batch = make_batch(n_windows=12)
    right = batch.sensors.position_BC3[0, :, 0] > 0
    power = lambda x: torch.fft.rfft(x.double(), dim=-1)  # noqa: E731
    hertz = torch.arange(129)

    view = distorted(batch, ["band"], streams(12))
    assert (view.about_BK[:, 1:] == -1).all()
    for row, band in enumerate(view.about_BK[:, 0].tolist()):
        ratio = (power(view.batch.signal_BCT[row]) / power(batch.signal_BCT[row])).abs()
        low, high = [(1, 4), (4, 8), (8, 13), (13, 30), (30, 45)][band]
        inside = (hertz >= low) & (hertz < high)
        torch.testing.assert_close(ratio[:, inside], torch.full_like(ratio[:, inside], 2), rtol=1e-3, atol=0)
        torch.testing.assert_close(ratio[:, ~inside], torch.ones_like(ratio[:, ~inside]), rtol=1e-3, atol=1e-3)
    assert len(set(view.about_BK[:, 0].tolist())) > 2

    view = distorted(batch, ["shift"], streams(12))
    for row, shift in enumerate(view.about_BK[:, 1].tolist()):
        turn = power(view.batch.signal_BCT[row])[:, 1:-1] / power(batch.signal_BCT[row])[:, 1:-1]
        expected = torch.where(right[:, None], np.exp(0.5j * np.pi * shift), 1.0).expand_as(turn)
        torch.testing.assert_close(turn, expected.to(turn.dtype), rtol=0, atol=1e-3)

    view = distorted(batch, ["order"], streams(12))
    for row, order in enumerate(view.about_BK[:, 2].tolist()):
        own = batch.signal_BCT[row]
        halves = torch.cat([own[:, 128:], own[:, :128]], 1) if order else own
        torch.testing.assert_close(view.batch.signal_BCT[row], halves, atol=1e-5, rtol=0)
    assert set(view.about_BK[:, 2].tolist()) == {0, 1}


def film(people: int = 3, onsets=(0.0, 30.0)) -> pd.DataFrame:
    rows = [
        {"dataset": "film", "subject": f"{who}", "session": None, "task": "movie", "run": "1", "onset": onset}
        for who in range(people)
        for onset in onsets
    ]
    shape = {"n_channels": 6, "n_times": 64, "sfreq": 0.5, "modality": "fmri"}
    return pd.DataFrame(rows).assign(**shape)


def test_partners_are_other_people_at_the_same_time():
    rows = film()
    rows.loc[4, "n_channels"] = 7  # regions that others lack
    rows.loc[5, "n_times"] = 32
    found = Partners(rows, ["film"]).others
    assert found == {0: [2, 4], 2: [0, 4], 4: [0, 2], 1: [3], 3: [1]}
    with pytest.raises(ConfigError, match=r"objective.stimulus: no two training people of film have windows"):
        Partners(film(people=1), ["film"])


def test_a_partner_is_read_and_told_of(corpus):
    corpora = open_corpora(corpus)
    rows = corpora.index[corpora.index["modality"] == "fmri"]
    of = planner({"partner"}, Partners(rows, ["sim-fmri"]), corpora, terms={"align": 1.0})
    batch = corpora.batch(rows.index[:4].tolist(), 64)
    _, views = of(batch, 0)
    about, chosen = views["partner"].about_BK, views["partner"].batch.rows
    assert about[:, 0].tolist() == [1, 1, 1, 1]
    assert about[:, 2].tolist() == [1000 * round(float(onset)) for onset in rows["onset"][:4]]
    own, theirs = rows.loc[list(batch.rows)], rows.loc[list(chosen)]
    assert (own["subject"].to_numpy() != theirs["subject"].to_numpy()).all()
    assert own["onset"].tolist() == theirs["onset"].tolist()
    eeg = corpora.index[corpora.index["modality"] == "eeg"].index[:2].tolist()
    _, views = of(corpora.batch(eeg, 64), 0)
    assert views == {}  # nobody has one


def test_views_follow_their_windows_and_keep_within_the_budget(make_batch):
    batch = replace(make_batch(n_windows=4, n_channels=12), rows=(0, 1, 2, 3))
    batch.channel_mask_BC[1] = False  # nothing to see: left out of batch and view
    of = planner({"view", "distorted"}, view={"channel_dropout": 0.5, "resample": [0.5]}, terms={"band": 0.1})
    batch, views = of(batch, 0)
    masked = Masking(MaskConfig(), 64, max_tokens=24, rates={"eeg": 256.0}).plan(
        batch, np.random.default_rng(0), views=views
    )
    assert masked.view.batch.rows == masked.batch.rows == masked.distorted.batch.rows == (0, 2, 3)
    assert masked.view.batch.signal_BCT.shape[1:] == (masked.view.batch.signal_BCT.shape[1], 256)
    assert masked.view.batch.signal_BCT.shape[1] <= 6
    assert len(masked.distorted.about_BK) == 3
    first, second = masked.split(2)
    assert first.view.batch.rows + second.view.batch.rows == (0, 2, 3)
    assert isinstance(masked.to("cpu").view, View)
    plain = Masking(MaskConfig(), 64, max_tokens=24, rates={"eeg": 256.0}).plan(batch, np.random.default_rng(0))
    assert torch.equal(plain.visible_BV, masked.visible_BV)  # masks are those without views


def test_what_no_batch_could_give_is_refused_at_the_start():
    config = ObjectiveConfig(terms={"align": 1.0})
    with pytest.raises(ConfigError, match=r"objective.stimulus: alignment needs to know which datasets"):
        planner_of(config, frozenset({"partner"}), None, film(), 0, 64)
    config = ObjectiveConfig.parse({"view": {"crop": {"fmri": 130}}})
    with pytest.raises(
        ConfigError, match=r"view.crop.fmri: windows of film are 128 s long, crops 130 s; give at most 128"
    ):
        planner_of(config, frozenset({"view"}), None, film(), 0, 64)
    fitting = ObjectiveConfig.parse({"view": {"crop": {"fmri": 128}}})
    assert planner_of(fitting, frozenset({"view"}), None, film(), 0, 64) is not None
    assert planner_of(ObjectiveConfig(), frozenset(), None, film(), 0, 64) is None


def test_a_run_with_every_look_is_continued_to_the_bit(corpus, tmp_path, monkeypatch, power_cut):
    names = ["latent", "view", "distill", "align", "band", "shift", "order"]
    view = {"crop": {"fmri": 400}, "channel_dropout": 0.3, "resample": [0.5], "reference": True}
    objective = {"terms": dict.fromkeys(names, 0.1), "view": view, "stimulus": ["sim-fmri"], "regulariser": "sigreg"}
    model = {"preset": "debug", "decoder": {"outputs": ["waveform", "log_spectrum", "pretext"]}}
    fields = {"steps": 4, "batch_size": 4, "log_every": 1, "checkpoint_every": 2, "health_margin": 0.0, "threads": 1}
    about = {**fields, "precision": "float32", "objective": objective, "model": model, "average": 0.5}
    about["sampling"] = {"validation": 0.5}
    about["mask"] = {"unit": "block", "changes": [{"modality": "fmri", "unit": "slice"}]}

    about["objective"] = {**objective, "teacher": "average"}

    def run(folder):
        return pretrain(PretrainConfig.parse(about), corpus, tmp_path / folder)

    whole = run("whole")
    rows = read_metrics(whole / "metrics.jsonl")
    assert all(row[f"loss_{name}"] >= 0 for row in rows if "loss" in row for name in names)
    health = [row["health"] for row in rows if "health" in row][-1]
    assert {"identity", "identity_chance", "rank", "latent_cosine", "r2", "r2_shuffled"} <= set(health["sim-eeg"])
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        power_cut(patch, 3)
        run("cut")
    found = brainof.load(run("cut"))[0].state_dict()
    for name, value in brainof.load(whole)[0].state_dict().items():
        assert torch.equal(found[name], value), name
    half = {**about, "objective": {**objective, "teacher": str(whole)}, "model": {**model, "backbone": {"depth": 1}}}
    taught = pretrain(PretrainConfig.parse(half), corpus, tmp_path / "taught")  # half as deep as its teacher
    assert [row for row in read_metrics(taught / "metrics.jsonl") if "loss" in row]
    other = {**about, "model": {**model, "sampler": {"latents": 16}}, "objective": {**objective, "teacher": str(whole)}}
    with pytest.raises(ConfigError, match=r"objective.teacher: the teacher has 8 x 32 latents"):
        pretrain(PretrainConfig.parse(other), corpus, tmp_path / "other")


def test_a_teacher_with_random_weights_is_refused():
    with pytest.raises(ConfigError, match="objective.teacher: debug has random weights; give a run or release folder"):
        trained_teacher("debug")


def test_partners_are_of_the_same_run_session_dataset_and_rate():
    rows = film(people=2, onsets=(0.0,))
    for column, other in {"run": "2", "session": "b", "task": "rest", "sfreq": 1.0}.items():
        changed = rows.copy()
        changed.loc[1, column] = other
        with pytest.raises(ConfigError, match="no two training people of film have windows at the same time"):
            Partners(changed, ["film"])
    two = pd.concat([rows, rows.assign(dataset="other"), rows.assign(run="2")], ignore_index=True)
    found = Partners(two, ["film", "other"])
    assert found.others == {0: [1], 1: [0], 2: [3], 3: [2], 4: [5], 5: [4]}
    assert found.run[0] == found.run[1]
    assert len({*found.run}) == 3
    rows["dataset"] = ["film", "other"]  # two people at one moment, but of two datasets
    with pytest.raises(ConfigError, match="no two training people of film"):
        Partners(rows, ["film", "other"])


def test_a_crop_is_of_the_window_of_its_partner_and_of_what_is_distorted_alike(corpus):
    """The crop of a partner starts where that of the window does, and its time is told in milliseconds."""
    corpora = open_corpora(corpus)
    rows = corpora.index[corpora.index["modality"] == "fmri"]
    of = planner(
        {"partner", "distorted"},
        Partners(rows, ["sim-fmri"]),
        corpora,
        terms={"align": 1.0, "order": 0.1},
        view={"crop": {"fmri": 200}},
    )
    whole = corpora.batch(rows.index[8:14].tolist(), 64)
    cropped, views = of(whole, 0)
    partner, changed = views["partner"], views["distorted"]
    theirs = corpora.batch(partner.batch.rows, 64)
    starts = set()
    for row in range(6):
        own = cropped.signal_BCT[row, :, :100]
        (start,) = (s for s in range(157) if torch.equal(whole.signal_BCT[row, :, s : s + 100], own))
        starts.add(start)
        assert torch.equal(partner.batch.signal_BCT[row, :, :100], theirs.signal_BCT[row, :, start : start + 100])
        onset = float(rows["onset"].iloc[8 + row])
        assert 0 <= int(partner.about_BK[row, 2]) / 1000 - (onset + 2 * start) < 2  # a sample takes 2 s
        order = bool(changed.about_BK[row, 2])
        halves = torch.cat([own[:, 50:], own[:, :50]], 1) if order else own
        torch.testing.assert_close(changed.batch.signal_BCT[row, :, :100], halves, atol=1e-5, rtol=0)
    assert len(starts) > 2
    assert partner.about_BK[:, 1].unique().tolist() == [of.partners.run[rows.index[8]]]


def test_looks_are_drawn_anew_by_seed_and_epoch_and_alike_otherwise(corpus):
    corpora = open_corpora(corpus)
    rows = corpora.index[corpora.index["modality"] == "fmri"]
    fields = {"terms": {"align": 1.0, "band": 0.1}, "view": {"channel_dropout": 0.5, "gain": 0.5}}
    of = planner({"view", "partner", "distorted"}, Partners(rows, ["sim-fmri"]), corpora, **fields)
    batch = corpora.batch(rows.index[:8].tolist(), 64)

    def seen(planned, epoch):
        views = planned(batch, epoch)[1]
        return views["view"].batch.signal_BCT, views["partner"].batch.rows, views["distorted"].about_BK.tolist()

    one, again, later, other = seen(of, 0), seen(of, 0), seen(of, 1), seen(replace(of, seed=1), 0)
    assert one[0].equal(again[0])
    assert one[1:] == again[1:]
    for changed in (later, other):
        assert one[0].shape != changed[0].shape or not one[0].equal(changed[0])
        assert one[1] != changed[1]
        assert one[2] != changed[2]


@pytest.mark.parametrize("modality", ["eeg", "meg"])
def test_only_eeg_has_a_reference(make_batch, modality):
    batch = replace(make_batch(modality), rows=(0, 1, 2, 3))
    _, views = planner(view={"reference": True})(batch, 0)
    assert views["view"].batch.signal_BCT.equal(batch.signal_BCT) == (modality == "meg")


def test_a_shorter_window_is_distorted_within_its_own_samples(make_batch):
    """Halves of 150 samples; one side is the second half of the atlas where no positions are known."""
    batch = make_batch("fmri", n_windows=8, lengths=[150] * 7 + [256])
    lost = torch.zeros_like(batch.sensors.located_BC)
    order_BC = torch.tensor([[3, 0, 5, 1, 4, 2]])
    batch = replace(batch, sensors=replace(batch.sensors, located_BC=lost, order_BC=order_BC))
    view = distorted(batch, ["order"], streams(8))
    for row, order in enumerate(view.about_BK[:7, 2].tolist()):
        own = batch.signal_BCT[row, :, :150]
        halves = torch.cat([own[:, 75:], own[:, :75]], 1) if order else own
        torch.testing.assert_close(view.batch.signal_BCT[row, :, :150], halves, atol=1e-5, rtol=0)
        assert (view.batch.signal_BCT[row, :, 150:] == 0).all()
    view = distorted(batch, ["shift"], streams(8))
    moved = (view.batch.signal_BCT - batch.signal_BCT).abs().amax(-1) > 1e-3
    for row, shift in enumerate(view.about_BK[:, 1].tolist()):
        assert moved[row].tolist() == [bool(shift) and place >= 3 for place in order_BC[0].tolist()]
