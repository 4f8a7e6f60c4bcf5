from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import brainof
from brainof.cli import main
from brainof.corpus import BatchSampler
from brainof.datasets.catalogue import published_index
from brainof.errors import ConfigError
from brainof.model.cost import activation_bytes, step_flops
from brainof.model.presets import count, preset
from brainof.pretraining import find_config
from brainof.pretraining.masking import Masking
from brainof.pretraining.plan import Hardware, batches_of, fitting, kinds_of, plan, shape_of

KINDS = pd.DataFrame(
    [
        {"modality": "eeg", "dataset": "a", "sfreq": 256.0, "n_times": 2560, "n_channels": 19, "count": 900},
        {"modality": "fmri", "dataset": "b", "sfreq": 0.5, "n_times": 192, "n_channels": 246, "count": 100},
    ]
)


@pytest.fixture(scope="module")
def published():
    return published_index()


def test_the_published_corpus_has_its_published_size(published):
    assert (len(published), published["count"].sum()) == (42, 5_870_984)
    counts = published.groupby("modality")["count"].sum() / 5_870_984
    assert counts.round(3).to_dict() == {"eeg": 0.829, "fmri": 0.017, "meg": 0.155}
    tueg = published.set_index("dataset").loc["tueg"]
    assert (tueg["n_channels"], tueg["n_times"], tueg["count"]) == (19, 2560, 4_562_151)
    assert published.set_index("dataset").loc["nadr", "n_times"] == 202  # 606 s at 3 s


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
@pytest.mark.parametrize("name", ["published", "tiny", "published+patches+hidden_only"])
def test_shapes_are_those_that_masking_makes(name, modality, make_batch):
    """Over many draws of the channel subset, which is random between two bounds."""
    config = find_config(name).replaced(["max_tokens=40"])
    batch = make_batch(modality, n_windows=1, n_channels=8, lengths=(640,))
    masking = Masking(config.mask, 64, config.objective.predict, config.max_tokens, config.min_channels)
    drawn = [masking.plan(batch, np.random.default_rng(seed)) for seed in range(60)]
    shape = shape_of(config, modality, 8, 10)
    assert shape.channels == pytest.approx(np.mean([x.batch.signal_BCT.shape[1] for x in drawn]), abs=0.6)
    same = [x for x in drawn if x.batch.signal_BCT.shape[1] == shape.channels]
    assert {x.visible_BV.shape[1] for x in same} == {shape.visible}
    assert {x.predicted_BH.shape[1] for x in same} == {shape.predicted}


@pytest.mark.parametrize("changes", [[], ["tokens_per_batch=20000"], ["sampling.weights={modality: equal}"]])
def test_batches_are_those_of_the_sampler(changes):
    config = find_config("base").replaced(["batch_size=32", "sampling.validation=0", "tokens_per_batch=null", *changes])
    model = config.architecture
    table = batches_of(config, model, KINDS).set_index("modality")
    index = KINDS.loc[KINDS.index.repeat(KINDS["count"])].reset_index(drop=True)
    sampler = BatchSampler(index, 32, config.sampling.weights or None, tokens_per_batch=config.tokens_per_batch)
    sizes = {"eeg": [], "fmri": []}
    for rows in sampler.batches(0):
        sizes[index["modality"][rows[0]]].append(len(rows))
    for modality, found in sizes.items():
        assert max(found) == table["windows"][modality]
        assert len(found) == pytest.approx(table["count"][modality], rel=0.1, abs=1)


def test_a_step_is_the_sum_of_its_batches():
    config = find_config("base").replaced(["batch_size=32", "accumulate=4", "sampling.validation=0"])
    found = plan(config, KINDS, 2, Hardware(peak=1e15, mfu=0.5, link=1e12))
    eeg, fmri = (
        step_flops(config.architecture, shape_of(config, *kind), 32) for kind in (("eeg", 19, 40), ("fmri", 246, 3))
    )
    flops = 4 * (0.9 * sum(eeg.values()) + 0.1 * sum(fmri.values()))  # no weights: batches by windows
    assert found["step"]["flops"] == pytest.approx(flops)
    assert found["step"]["windows"] == pytest.approx(128)
    assert found["time"]["steps_per_epoch"] == pytest.approx(1000 / 128)
    assert found["time"]["compute_seconds_per_step"] == pytest.approx(flops / 2 / 5e14)
    assert found["time"]["hours_per_epoch"] == pytest.approx(1000 / 128 * flops / 1e15 / 3600)
    assert found["data"]["bytes"] == 2 * (900 * 19 * 2560 + 100 * 246 * 192)
    assert found["data"]["tokens_per_window"] == pytest.approx(0.9 * 19 * 40 + 0.1 * 246 * 3)
    uneven = config.replaced(["max_tokens=1000", "tokens_per_batch=1500"])  # batches of one window and of two
    of_windows = plan(uneven, KINDS, 1)["data"]["tokens_per_window"]
    assert of_windows == pytest.approx(found["data"]["tokens_per_window"])
    heaviest = max(sum(eeg.values()), sum(fmri.values()))
    assert found["step"]["heaviest_batch"] == pytest.approx(heaviest / (flops / 4))
    read = 2 * 4 * 32 * (0.9 * 19 * 2560 + 0.1 * 246 * 192)
    assert found["time"]["load_bytes_per_second"] == pytest.approx(read / 2 / found["time"]["seconds_per_step"])
    assert json.loads(json.dumps(found)) == found


def test_memory_and_communication_of_each_kind():
    config = find_config("giant")
    counts = count(preset("giant", decoder={"outputs": ["waveform"]}))
    found = plan(config, KINDS, 8)
    memory, sent = found["memory"], {kind: entry["bytes"] for kind, entry in found["communication"].items()}
    assert set(memory) == {"ddp", "fsdp", "fsdp_ep"}
    assert memory["ddp"]["weights"] + memory["ddp"]["gradients"] + memory["ddp"]["optimizer"] == 16 * counts["total"]
    assert memory["fsdp"]["optimizer"] == counts["total"]
    assert memory["fsdp_ep"]["gathered"] < memory["fsdp"]["gathered"] < memory["ddp"]["gathered"]
    assert sent["ddp"] == pytest.approx(2 * 7 / 8 * 4 * counts["total"])
    assert sent["fsdp"] == pytest.approx(7 / 8 * counts["total"] * (8 * 4 + 4))  # 64 batches on 8 devices
    windows = found["step"]["windows"] / 8
    tokens = 7 / 8 * 48 * windows * 128 * 6 * 1024 * 2 * 4  # there and back, twice
    assert sent["fsdp_ep"] == pytest.approx(7 / 8 * (counts["total"] - counts["routed"]) * 36 + tokens)
    # 64 experts on 128 devices: each is there twice
    of_128 = plan(config, KINDS, 128)
    rest = counts["total"] - counts["routed"]
    assert of_128["memory"]["fsdp_ep"]["optimizer"] == pytest.approx(8 * (rest / 128 + counts["routed"] / 64))
    tokens = 63 / 64 * 48 * of_128["step"]["windows"] / 128 * 128 * 6 * 1024 * 2 * 4
    twice = 2 * 0.5 * 4 * counts["routed"] / 64
    assert of_128["communication"]["fsdp_ep"]["bytes"] == pytest.approx(127 / 128 * rest * 8 + tokens + twice)
    assert found["time"]["parallel"] == "fsdp_ep"  # 9 G weights fit into 80 GB in parts alone, and tokens are fewer
    assert plan(config.replaced(["parallel=fsdp"]), KINDS, 8)["time"]["parallel"] == "fsdp"
    assert plan(find_config("base"), KINDS, 1)["time"]["parallel"] == "none"
    assert plan(find_config("base"), KINDS, 1)["communication"]["none"]["bytes"] == 0


def test_disk_data_and_time_are_the_arithmetic_of_a_step():
    """One device; 100 windows of one kind, of which a fifth is held out, in batches of 8, two of them a step."""
    changes = ["batch_size=8", "accumulate=2", "sampling.validation=0.2", "steps=50", "keep_checkpoints=3"]
    config = find_config("tiny").replaced([*changes, "tokens_per_batch=null", "max_tokens=100000"])
    kinds = KINDS.iloc[:1].assign(count=100)
    hardware = Hardware(peak=1e12, mfu=0.5, link=1e9, memory=1e12)
    found = plan(config, kinds, 1, hardware)
    total = count(config.architecture)["total"]
    assert found["disk"] == {"checkpoint": 12 * total, "checkpoints": 36 * total, "release": 4 * total}
    assert found["data"] == {
        "windows": 100,
        "training_windows": 80,
        "bytes": 100 * 19 * 2560 * 2,
        "tokens_per_window": 19 * 40,
    }
    step = found["step"]
    assert (step["windows"], step["windows_per_device"], step["largest_batch_per_device"]) == (16, 16, 8)
    assert (step["flops_per_window"], step["heaviest_batch"]) == (step["flops"] / 16, 1.0)
    seconds = step["flops"] / 5e11
    assert found["time"] == {
        "parallel": "none",
        "fits": True,
        "compute_seconds_per_step": pytest.approx(seconds),
        "seconds_per_step": pytest.approx(seconds),
        "steps_per_epoch": pytest.approx(80 / 16),
        "hours_per_epoch": pytest.approx(5 * seconds / 3600),
        "steps": 50,
        "epochs": pytest.approx(10),
        "hours": pytest.approx(50 * seconds / 3600),
        "load_bytes_per_second": pytest.approx(16 * 19 * 2560 * 2 / seconds),
    }
    assert found["memory"]["none"]["weights"] == 4 * total
    assert found["memory"]["none"]["gathered"] == 2 * total
    two = plan(config, kinds, 4, hardware)  # devices share the windows of each batch
    assert two["step"]["largest_batch_per_device"] == 4
    assert two["communication"]["ddp"]["seconds"] == pytest.approx(two["communication"]["ddp"]["bytes"] / 1e9)
    slow = plan(config.replaced(["parallel=ddp"]), kinds, 2, Hardware(peak=1e30, mfu=0.5, link=1e3, memory=1e12))[
        "time"
    ]
    assert slow["seconds_per_step"] == pytest.approx(2 * 1 / 2 * 4 * total / 1e3)  # the link is what takes time
    small = plan(config, kinds, 1, Hardware(memory=16.0 * total))
    assert small["time"]["fits"] is False


def test_activations_are_those_of_the_largest_batch_and_recomputing_is_for_what_fits_only_so():
    config = find_config("base").replaced(["batch_size=32", "sampling.validation=0"])
    sizes = [shape_of(config, *kind) for kind in (("eeg", 19, 40), ("fmri", 246, 3))]
    whole, recomputed = (
        32 * max(activation_bytes(config.architecture, size, checkpoint=again) for size in sizes)
        for again in (False, True)
    )
    memory = plan(config, KINDS, 1)["memory"]["none"]
    assert (memory["activations"], memory["activations_checkpointed"]) == (whole, recomputed)
    shared = plan(config, KINDS, 2 * config.accumulate)["memory"]["ddp"]  # two devices share the windows of a batch
    assert shared["activations"] == whole / 2
    state = sum(memory[part] for part in ("weights", "gradients", "optimizer", "gathered"))
    for most, fits in ((state + whole, True), (state + recomputed, True), (state + recomputed - 1, False)):
        assert plan(config, KINDS, 1, Hardware(memory=most))["time"]["fits"] is fits
    kinds = {"ddp": {"weights": 8.0}, "fsdp": {"weights": 4.0}}
    activations = {"": 6.0, "_checkpointed": 2.0}
    assert [fitting(kinds, activations, most) for most in (14.0, 10.0, 9.0, 6.0, 5.0)] == [
        ["ddp", "fsdp"],
        ["fsdp"],
        ["fsdp"],
        ["fsdp"],
        [],
    ]


def test_more_devices_than_windows_are_refused():
    with pytest.raises(ConfigError, match="512 devices, but a step has about 16 windows"):
        plan(find_config("published"), KINDS, 512)


def test_kinds_of_a_corpus_are_counted():
    rows = KINDS.loc[KINDS.index.repeat([3, 2])].drop(columns="count")
    assert kinds_of(rows)["count"].tolist() == [3, 2]


def test_the_tables_of_the_scaling_page_are_those_of_the_command(capsys):
    page = (Path(brainof.__file__).parents[2] / "docs" / "scaling.md").read_text()
    blocks = re.findall(r"    (brainof plan [^\n]+)\n\n(.*?\n)(?=\n)", page, flags=re.DOTALL)
    assert {command.split()[2] for command, _ in blocks} == {"base", "large", "huge", "giant"}
    for command, shown in blocks:
        assert main(command.split()[1:]) == 0
        table = "".join(line for line in capsys.readouterr().out.splitlines(keepends=True) if line.startswith("|"))
        assert table == shown


def test_the_command_prints_one_object_of_json(capsys):
    assert main(["plan", "base", "--devices", "1", "8", "--json", "accumulate=16"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["devices"] for entry in found["plans"]] == [1, 8]
    assert found["recipe"] == "base"
