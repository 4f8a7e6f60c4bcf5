from __future__ import annotations

import numpy as np
import pytest
import torch
from studies.fusion import _predict, fine_tune, quadratic

from brainof.corpus import Corpus, pairs
from brainof.datasets import Recipe, find_recipe, prepare
from brainof.inference.pairs import PairedRows, embed_pairs
from brainof.model import BrainOF
from brainof.stats.ridge import decisions


def test_an_exclusive_or_is_linear_in_the_quadratic_features():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (300, 2))
    parts = [np.sign(bits[:, [side]] - 0.5) + 0.3 * rng.standard_normal((300, 20)) for side in (0, 1)]
    label = bits[:, 0] ^ bits[:, 1]
    joint, train, test = np.concatenate(parts, axis=1), np.arange(200), np.arange(200, 300)
    linear = decisions(joint[train], label[train][:, None], train, joint[test], 2)[:, 0] > 0
    inside, outside = quadratic(joint, parts)(train, test)
    both = decisions(inside, label[train][:, None], train, outside, 2)[:, 0] > 0
    assert (linear == label[test]).mean() < 0.7
    assert (both == label[test]).mean() > 0.9


@pytest.mark.real
def test_simultaneous_eeg_and_meg_are_paired_and_fused(real_data, tmp_path):
    """The one real paired recording, from FIF to fused embeddings, in both orders and with one missing."""
    for name in ("meg_vendor_clips", "meg_vendor_clips_eeg"):
        values = find_recipe(name).to_dict()
        values["files"] = [{"pattern": "neuromag/sample_audvis_5s_raw.fif", "entities": {"subject": "sample"}}]
        prepare(Recipe.parse(values), real_data / "meg_vendor_clips", tmp_path / "corpus")
    corpus = Corpus(tmp_path / "corpus")
    table = pairs(corpus.index, {"meg": "meg_vendor_clips", "eeg": "meg_vendor_clips_eeg"})
    onset = corpus.index["onset"].to_numpy()
    assert len(table) >= 4
    np.testing.assert_array_equal(onset[table["meg"]], onset[table["eeg"]])
    counts = corpus.index["n_channels"].to_numpy()
    assert counts[table["meg"]].min() > 300
    assert counts[table["eeg"]].max() < 65
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug").eval()
    found = {
        order: embed_pairs(PairedRows(corpus, table), model, order)
        for order in (("meg", "eeg"), ("eeg", "meg"), ("eeg",))
    }
    for values in found.values():
        assert values.shape == (len(table), 2 * model.config.dim)
        assert np.isfinite(values).all()
    assert np.abs(found["meg", "eeg"] - found["eeg", "meg"]).max() > 1e-4
    assert np.abs(found["meg", "eeg"] - found["eeg",]).max() > 1e-4


def test_fine_tuning_fused_windows_fits_the_training_side(tmp_path):
    """Eight windows of two modalities whose sign is the label: learned from the pair in a few steps."""
    from brainof.channels import Channels
    from brainof.corpus import CorpusWriter
    from brainof.model.fusion import FusedBrainOF
    from brainof.prepare import Window

    rng = np.random.default_rng(0)
    label = np.tile([0, 1], 8)
    with CorpusWriter(tmp_path) as writer:
        for modality, kind in (("eeg", "eeg"), ("fmri", "roi")):
            channels = Channels(("a", "b"), (kind,) * 2, rng.normal(0, 0.05, (2, 3)), order=np.arange(2), frame="head")
            writer.add_dataset(f"made_{modality}", {"steps": []})
            row = {"dataset": f"made_{modality}", "modality": modality, "subject": "1", "sfreq": 64.0}
            row |= {"recording": modality, "config": modality}
            data = [(2 * y - 1) + 0.1 * rng.standard_normal((2, 64)) for y in label]
            writer.add(
                row, channels, [Window(d.astype(np.float32), float(k), {}, "pretrain") for k, d in enumerate(data)]
            )
    corpus = Corpus(tmp_path)
    table = pairs(corpus.index, {"eeg": "made_eeg", "fmri": "made_fmri"})
    torch.manual_seed(0)
    fused = FusedBrainOF(BrainOF.from_preset("debug"), ("eeg", "fmri"), 0.3).reset_head(2)
    fine_tune(fused, PairedRows(corpus, table), label, steps=30, seed=0, lr=5e-3)
    for names in (("eeg", "fmri"), ("fmri", "eeg"), ("eeg",), ("fmri",)):
        assert (_predict(fused, PairedRows(corpus, table), names) == label).mean() > 0.8
