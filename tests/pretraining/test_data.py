from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import brainof
from brainof.channels import Channels
from brainof.corpus import Corpus, CorpusWriter
from brainof.prepare import Window, default_chain
from brainof.pretraining import PretrainConfig, pretrain
from brainof.pretraining.data import index_of, sampler_of

CONFIG = {
    "model": {"preset": "debug"},
    "steps": 6,
    "batch_size": 4,
    "accumulate": 2,
    "log_every": 2,
    "health_every": 6,
    "checkpoint_every": 2,
    "health_grace": 1.0,
    "health_margin": 0.0,
    "precision": "float32",
    "threads": 1,
    "sampling": {"validation": 0.0, "weights": {"modality": "equal"}, "limits": {"sim-eeg": 16}, "mix_shards": 1},
    "augment": {"channel_dropout": 0.3, "resample": [0.5], "shift": 0.3, "gain": 0.3, "noise_snr": [0, 20]},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    root, random = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0)
    with CorpusWriter(root, shard_bytes=50_000) as writer:
        for modality, kind, sfreq, n_channels in (("eeg", "eeg", 256.0, 8), ("fmri", "roi", 0.5, 12)):
            order = np.arange(n_channels) if modality == "fmri" else None
            channels = Channels([f"c{i}" for i in range(n_channels)], (kind,) * n_channels, order=order)
            writer.add_dataset(f"sim-{modality}", {"steps": default_chain(modality).to_steps()})
            for subject in range(4):
                row = {"dataset": f"sim-{modality}", "modality": modality, "subject": str(subject), "sfreq": sfreq}
                row |= {"recording": f"{modality}-{subject}", "config": f"{modality}-{subject}"}
                data = random.standard_normal((6, n_channels, 256)).astype(np.float32)
                writer.add(row, channels, [Window(values, float(k), {}, "pretrain") for k, values in enumerate(data)])
    return root


def test_a_run_that_augments_and_samples_resumes_exactly(corpus, tmp_path, monkeypatch, power_cut):
    config = PretrainConfig.parse(CONFIG)
    whole = pretrain(config, corpus, tmp_path / "whole")
    with monkeypatch.context() as patched:
        power_cut(patched, 3)
        with pytest.raises(RuntimeError, match="power cut"):
            pretrain(config, corpus, tmp_path / "cut")
    resumed = brainof.load(pretrain(config, corpus, tmp_path / "cut"))[0].state_dict()
    for name, value in brainof.load(whole)[0].state_dict().items():
        assert torch.equal(value, resumed[name]), name
    plain = PretrainConfig.parse({**CONFIG, "augment": {}})
    other = brainof.load(pretrain(plain, corpus, tmp_path / "plain"))[0].state_dict()
    assert any(not torch.equal(value, other[name]) for name, value in resumed.items())  # it does something


def test_every_step_holds_every_modality(corpus):
    config, opened = PretrainConfig.parse(CONFIG), Corpus(corpus)
    rows = index_of(opened, config.sampling)
    sampler = sampler_of(rows, config, 64)
    assert sampler.span == config.accumulate == 2
    modality = rows["modality"].astype(str)
    batches = sampler.batches(0) + sampler.batches(1)
    for step in range(len(batches) // 2):
        assert {modality[batch[0]] for batch in batches[2 * step : 2 * step + 2]} == {"eeg", "fmri"}
