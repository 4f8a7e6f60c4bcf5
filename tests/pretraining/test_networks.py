"""Windows at the resolution of networks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from brainof.channels import Channels
from brainof.corpus import open_corpora
from brainof.errors import ConfigError
from brainof.pretraining import PretrainConfig, pretrain
from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.masking import Masking
from brainof.pretraining.objective import Objective
from brainof.pretraining.optimizer import Average
from brainof.pretraining.run_folder import read_metrics
from brainof.pretraining.views import (
    Networks,
    ViewPlanner,
    at_networks,
    network_rows,
    planner_of,
    read_networks,
)

MEMBERS = [np.array([0, 3, 4]), np.array([1, 5])]


def regions(*names: str, atlas: str = "atlas") -> Channels:
    return Channels(names, ("roi",) * len(names), order=np.arange(len(names)), atlas=atlas)


def of_sets(*sets: Channels, tables=None) -> Networks:
    rows = pd.DataFrame({"modality": "fmri", "channel_set": [str(place) for place in range(len(sets))]})
    return Networks(rows, SimpleNamespace(channels=lambda digest: sets[int(digest)]), tables or {})


def test_a_network_is_the_mean_of_its_good_regions_as_large_as_they_are(make_batch):
    batch = make_batch("fmri", lengths=[256, 200])
    batch = replace(batch, signal_BCT=batch.signal_BCT.double())
    batch.channel_mask_BC[0, 3] = False
    batch.channel_mask_BC[1, [1, 5]] = False
    batch.sensors.located_BC[0, 4] = False
    found = at_networks(batch, [MEMBERS, MEMBERS])
    assert found.signal_BCT.shape == (2, 2, 256)
    assert found.channel_mask_BC.tolist() == [[True, True], [True, False]]
    place = batch.sensors.position_BC3[0].double().numpy()
    for row, network, rows in ((0, 0, [0, 4]), (0, 1, [1, 5]), (1, 0, [0, 3, 4])):
        n_times = (256, 200)[row]
        series = batch.signal_BCT[row, rows, :n_times].numpy()
        mean = sum(series) / len(rows)
        spread = sum(((one - one.mean()) ** 2).mean() ** 0.5 for one in series) / len(rows)
        mean *= spread / ((mean - mean.mean()) ** 2).mean() ** 0.5
        np.testing.assert_allclose(found.signal_BCT[row, network, :n_times], mean, rtol=1e-12, atol=1e-12)
        assert (found.signal_BCT[row, network, n_times:] == 0).all()
        expected = place[[one for one in rows if one != 4]].mean(0)
        np.testing.assert_allclose(found.sensors.position_BC3[row, network], expected, atol=1e-7)
    assert found.sensors.order_BC.tolist() == [[4, 5], [3, -1]]
    assert found.sensors.located_BC.tolist() == [[True, True], [True, False]]
    assert (found.signal_BCT[1, 1] == 0).all()
    half = at_networks(replace(batch, signal_BCT=batch.signal_BCT.half()), [MEMBERS, MEMBERS])
    assert half.signal_BCT.dtype == torch.float16
    torch.testing.assert_close(half.signal_BCT.double(), found.signal_BCT, rtol=0, atol=5e-3)


def test_windows_without_networks_are_left_whole(make_batch):
    batch = make_batch("fmri", n_windows=2)
    found = at_networks(batch, [MEMBERS, []])
    assert found.channel_mask_BC.sum(1).tolist() == [2, 6]
    assert found.signal_BCT[1].equal(batch.signal_BCT[1])
    for name in ("position_BC3", "order_BC", "located_BC", "type_BC"):
        assert getattr(found.sensors, name)[1].equal(getattr(batch.sensors, name)[0]), name
    of = of_sets(regions("7Networks_LH_Vis_1", "7Networks_LH_Default_1"), regions("a", "b"))
    assert of(replace(batch, rows=(1, 1))) is None
    assert of(replace(batch, rows=(7, 1))) is None  # a window of another modality
    assert of(replace(batch, rows=(0, 1))).channel_mask_BC.sum(1).tolist() == [2, 6]


def test_networks_are_told_by_names():
    names = ("7Networks_LH_Vis_1", "7Networks_LH_Default_PFC_1", "7Networks_RH_Vis_1", "Precentral_L")
    below = ("Left-Thalamus-Proper", "HIP-rh", "Cerebelum_Crus1_L", "ParaHippocampal_L", "Right-Caudate", "Vermis_3")
    groups = [rows.tolist() for rows in network_rows(regions(*names, *below))]
    assert groups == [[1], [0, 2], [6, 9], [4, 5, 8]]  # Default, Vis, cerebellum, subcortex
    assert network_rows(regions("Precentral_L", *below)) == []  # two structures are no networks of the cortex
    assert network_rows(regions("shen001", "shen002")) == []
    assert [rows.tolist() for rows in network_rows(regions("a", "b", "c"), {"a": "x", "c": "y"})] == [[0], [2]]
    assert network_rows(regions("a", "b"), {"a": "x", "b": "x"}) == []


def test_a_table_tells_networks_of_its_atlas_alone(tmp_path):
    (tmp_path / "table.tsv").write_text("name\tnetwork\na\tone\nb\ttwo\nc\t\n")
    path = str(tmp_path / "table.tsv")
    assert read_networks(path) == {"a": "one", "b": "two", "c": ""}
    of = of_sets(regions("a", "b"), regions("a", "b", atlas="other"), tables={"atlas": path})
    assert [*of.members] == ["0"]
    with pytest.raises(ConfigError, match=r"objective.view.networks: 'atlsa'; did you mean 'atlas'"):
        of_sets(regions("a", "b"), tables={"atlsa": path})
    with pytest.raises(ConfigError, match=r"table.tsv: name: names no two networks of atlas; write names such as x"):
        of_sets(regions("x", "y"), tables={"atlas": path})
    with pytest.raises(ConfigError, match=r"objective.terms.networks: names of regions tell no networks \(atlas\)"):
        of_sets(regions("x", "y"))
    (tmp_path / "table.csv").write_text("name,module\na,one\n")
    with pytest.raises(ConfigError, match=r"table.csv: network: the table lacks this column; give name and network"):
        read_networks(str(tmp_path / "table.csv"))
    with pytest.raises(ConfigError, match=r"none.csv: table cannot be read"):
        read_networks(str(tmp_path / "none.csv"))


def test_networks_are_of_the_other_crop(make_batch):
    batch = replace(make_batch("fmri", n_windows=2), rows=(0, 0))
    networks = of_sets(regions("a_1", "b_1", "b_2", "a_2", "a_3", "b_3"))
    config = ObjectiveConfig.parse({"view": {"crop": {"fmri": 200}}})
    planner = ViewPlanner(config, frozenset({"networks"}), None, 0, 64, networks=networks)
    batch.signal_BCT[:] = torch.arange(256.0)
    first, views = planner(batch, 0)
    second = views["networks"].batch
    assert second.signal_BCT.shape == (2, 2, 128)
    starts = first.signal_BCT[:, 0, 0], second.signal_BCT[:, 0, 0]
    assert not torch.allclose(*starts)
    assert (second.signal_BCT[:, 0, 1:100] - second.signal_BCT[:, 0, :99] - 1).abs().max() < 1e-3
    masked = Masking(MaskConfig(), 64).plan(first, np.random.default_rng(0), views=views)
    assert masked.networks.batch.rows == (0, 0)
    assert [*masked.views] == ["networks"]


def test_the_student_sees_networks_and_the_teacher_regions(make_batch, model):
    """The gradient is that of the cross-entropy from the latents of networks; none reaches the target."""
    networks = of_sets(regions("a_1", "b_1", "b_2", "a_2", "a_3", "b_3"))
    planner = ViewPlanner(ObjectiveConfig(), frozenset({"networks"}), None, 0, 64, networks=networks)
    batch, views = planner(replace(make_batch("fmri"), rows=(0,) * 4), 0)
    masked = Masking(MaskConfig(), 64).plan(batch, np.random.default_rng(0), views=views)
    objective = Objective(model.eval(), ObjectiveConfig(terms={"networks": 1.0}))
    assert objective.asked == {"networks"}
    seen = objective.look("networks", masked.networks, {})
    torch.testing.assert_close(seen, model.encode(model.tokens(masked.networks.batch)))
    teacher = Average(model, 0.5).model_of(model)
    objective.learn_from(teacher)
    assert objective.look("networks", masked.networks, {}).requires_grad
    whole = objective.whole(masked, model.tokens(masked.batch))
    assert not whole.requires_grad
    own, target = (x.detach().double().numpy() for x in (seen, whole))
    own, target = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (own, target))
    logits, aim = own / 0.1, np.exp((target - target.mean(0)) / 0.04)
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    entropy = -(aim / aim.sum(-1, keepdims=True) * log).sum(-1).mean(-1)
    expected = (entropy * masked.predicted_mask_BH.sum(1).numpy()).sum()
    assert objective(masked, masked.counts)["networks"].item() == pytest.approx(expected, rel=1e-4)
    plain = replace(masked, networks=None)  # a batch without networks costs nothing
    assert objective.whole(plain, model.tokens(plain.batch)) is None
    assert objective(plain, plain.counts)["networks"] == 0


def test_a_run_learns_from_networks_and_a_corpus_without_any_is_refused(corpus, tmp_path):
    table = tmp_path / "networks.csv"
    names = [f"fmri{place}" for place in range(12)]
    table.write_text("name,network\n" + "".join(f"{name},{'ab'[place % 2]}\n" for place, name in enumerate(names)))
    view = {"networks": {"None": str(table)}}  # the channel table of this corpus names no atlas
    fields = {"steps": 6, "batch_size": 4, "log_every": 1, "health_margin": 0.0, "threads": 1, "precision": "float32"}
    about = {**fields, "model": {"preset": "debug"}, "sampling": {"validation": 0.0}}
    about["objective"] = {"terms": {"networks": 0.5}, "view": view}
    run = pretrain(PretrainConfig.parse(about), corpus, tmp_path / "run")
    found = {row["modality"]: row["loss_networks"] for row in read_metrics(run / "metrics.jsonl") if "loss" in row}
    assert found["fmri"] > 0
    assert found["eeg"] == 0
    rows = open_corpora(corpus).index
    config = ObjectiveConfig(terms={"networks": 0.5})
    with pytest.raises(ConfigError, match=r"objective.terms.networks: names of regions tell no networks \(None\)"):
        planner_of(config, frozenset({"networks"}), open_corpora(corpus), rows, 0, 64)
    with pytest.raises(ConfigError, match=r"parallel: ranks that share a model.*regions of networks"):
        pretrain(PretrainConfig.parse({**about, "parallel": "fsdp"}), corpus, tmp_path / "other")
