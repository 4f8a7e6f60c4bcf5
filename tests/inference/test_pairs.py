from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from brainof.adaptation import LinearProbe, LoRA, Target, TrainingSet
from brainof.channels import Channels
from brainof.corpus import Corpus, CorpusWriter, pairs
from brainof.errors import ConfigError
from brainof.inference.batches import pooled
from brainof.inference.pairs import PairedRows, embed_pairs
from brainof.model import BrainOF
from brainof.model.fusion import FusedBrainOF
from brainof.prepare import Window


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    """Two people: EEG all the time, on two layouts; fMRI of the first half only."""
    root, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    with CorpusWriter(root) as writer:
        for modality, kind, n_windows in (("eeg", "eeg", 8), ("fmri", "roi", 4)):
            writer.add_dataset(f"made_{modality}", {"steps": []})
            for subject in ("1", "2"):
                n = 3 if (modality, subject) == ("eeg", "2") else 4
                names = tuple(f"{modality}{i}" for i in range(n))
                channels = Channels(names, (kind,) * n, rng.normal(0, 0.05, (n, 3)), order=np.arange(n), frame="head")
                row = {"dataset": f"made_{modality}", "modality": modality, "subject": subject, "sfreq": 64.0}
                row |= {"recording": f"{modality}{subject}", "config": f"{modality}{subject}"}
                data = rng.standard_normal((n_windows, n, 64)).astype(np.float32)
                writer.add(row, channels, [Window(part, float(k), {}, "pretrain") for k, part in enumerate(data)])
    return Corpus(root)


@pytest.fixture(scope="module")
def rows(corpus) -> PairedRows:
    table = pairs(corpus.index, {"eeg": "made_eeg", "fmri": "made_fmri"}, complete=False)
    return PairedRows(corpus, table)


def model() -> BrainOF:
    torch.manual_seed(0)
    return BrainOF.from_preset("debug").eval()


def test_examples_of_one_kind_fit_a_batch(rows):
    assert len(rows) == 16
    assert (rows.table["fmri"] < 0).sum() == 8
    assert len(np.unique(rows.kinds)) == 4  # two layouts, with and without fMRI
    for kind in np.unique(rows.kinds):
        batch = rows.batch(np.flatnonzero(rows.kinds == kind))
        assert len(batch) == 4
    assert sorted(set(rows.costs.tolist())) == [3, 4, 7, 8]
    assert set(rows.subjects) == {"made_eeg/1", "made_eeg/2"}
    assert len({rows.key(row) for row in range(16)}) == 16
    part = rows[4:6]
    assert (len(part), part.shape) == (2, (2,))
    assert part.key(1) == rows.key(5)


def test_embeddings_do_not_depend_on_the_batch(rows):
    one, many = (embed_pairs(rows, model(), ("eeg", "fmri"), batch_size=size) for size in (1, 16))
    np.testing.assert_allclose(one, many, atol=2e-5)
    eeg = embed_pairs(rows, model(), ("eeg",))
    lost = rows.table["fmri"].to_numpy() < 0
    np.testing.assert_allclose(one[lost], eeg[lost], atol=2e-5)  # a missing modality is passed by
    assert np.abs(one[~lost] - eeg[~lost]).max() > 1e-3


def test_windows_without_what_is_asked_for_are_named(rows, corpus):
    with pytest.raises(ConfigError, match="without any modality"):
        embed_pairs(rows, model(), ("fmri",))
    with pytest.raises(ConfigError, match="without any modality"):
        PairedRows(corpus, pd.DataFrame({"eeg": [0, -1], "fmri": [8, -1]}))


def test_a_probe_on_pairs_is_the_probe_on_their_embeddings(rows):
    target = Target.classes(np.tile(["rest", "task"], 8), rows.subjects)
    fused = FusedBrainOF(model(), ("eeg", "fmri")).eval()
    fitted = LinearProbe().apply(fused, TrainingSet(rows, target))
    embedded = embed_pairs(rows, fused.model, fused.order)
    known = LinearProbe().apply(fused, TrainingSet(rows, target, features=lambda pool: embedded))
    found = fitted.outputs(rows)
    assert found.shape == (1, 16, 2)
    np.testing.assert_allclose(found, known.outputs(rows, features=lambda pool: embedded), atol=1e-3)
    np.testing.assert_allclose(fitted.outputs(rows[[9, 2]])[0], found[0, [9, 2]], atol=1e-3)


def test_low_rank_updates_learn_through_the_fusion(rows):
    target = Target.classes(np.tile(["rest", "task"], 8), rows.subjects)
    fused = FusedBrainOF(model(), ("eeg", "fmri"), modality_dropout=0.25, any_order=True)
    before = {name: tensor.clone() for name, tensor in fused.state_dict().items()}
    fitted = LoRA(rank=2, epochs=2, batch_size=16, lr=0.02, validation=0.0).apply(fused, TrainingSet(rows, target))
    assert all(torch.equal(before[name], tensor) for name, tensor in fused.state_dict().items())
    assert isinstance(fitted.model, FusedBrainOF)
    assert np.abs(pooled(fitted.model, rows, "mean_std") - pooled(fused, rows, "mean_std")).max() > 1e-2
    assert fitted.report["steps"] == 8  # two epochs over four kinds
