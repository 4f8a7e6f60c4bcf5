from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainof.corpus import Corpus, CorpusWriter
from brainof.errors import CorpusError
from brainof.model import BrainOF
from brainof.signals import SignalBatch


@pytest.mark.parametrize(("patch", "padded"), [(64, 128), (100, 100), (50, 100)])
def test_a_batch_is_what_the_windows_make(corpus_root, make, patch, padded):
    corpus = Corpus(corpus_root)
    rows = [0, 5, 9]  # recordings 0, 1, 2, whose channel of that number is bad
    batch = corpus.batch(rows, patch)
    truth = SignalBatch.from_arrays(
        [make.windows(row // 4)[row % 4].data.astype(np.float16) for row in rows],
        make.channels(5),
        256.0,
        "eeg",
        patch,
        np.arange(5) != np.array([[0], [1], [2]]),
    )
    assert batch.signal_BCT.shape == (3, 5, padded)
    for name in ("signal_BCT", "channel_mask_BC", "n_times_B", "interval_B", "modality_B"):
        assert torch.equal(getattr(batch, name), getattr(truth, name))
    np.testing.assert_allclose(batch.sensors.position_BC3, truth.sensors.position_BC3, atol=2e-5)
    assert batch.rows == (0, 5, 9)
    assert batch.datasets == ("demo",) * 3


def test_half_precision_is_handed_on_as_it_is(corpus_root):
    corpus = Corpus(corpus_root)
    half = corpus.batch([0, 1], dtype=torch.float16).signal_BCT
    assert half.dtype == torch.float16
    assert torch.equal(half.float(), corpus.batch([0, 1]).signal_BCT)


@pytest.fixture
def mixed(tmp_path, make):
    with CorpusWriter(tmp_path / "mixed") as writer:
        writer.add(make.recording("a"), make.channels(5, seed=1), make.windows(1, 2))
        writer.add(make.recording("b", sfreq=128), make.channels(5, seed=2), make.windows(2, 2, n_times=130))
        writer.add(make.recording("c"), make.channels(6), make.windows(3, 2, n_channels=6))
    return Corpus(tmp_path / "mixed")


def test_channel_sets_of_equal_size_share_a_batch(mixed, make):
    batch = mixed.batch([2, 0, 1])
    assert batch.signal_BCT.shape == (3, 5, 192)
    assert batch.sensors.position_BC3.shape == (3, 5, 3)
    for place, seed in enumerate([2, 1, 1]):
        expected = make.channels(5, seed=seed).positions - np.array([0, 0, 0.04])
        np.testing.assert_allclose(batch.sensors.position_BC3[place], expected, atol=2e-5)
    assert batch.interval_B.tolist() == [1 / 128, 1 / 256, 1 / 256]
    assert batch.n_times_B.tolist() == [130, 100, 100]
    assert not batch.signal_BCT[1, :, 100:].any()


def test_channel_sets_of_other_sizes_do_not(mixed):
    with pytest.raises(CorpusError, match=r"\[5, 6\] channels"):
        mixed.batch([0, 4])
    with pytest.raises(CorpusError, match="no windows"):
        mixed.batch([])


def test_channel_sets_of_other_sizes_are_filled_where_asked(mixed):
    counts = mixed.index["n_channels"].to_numpy()
    small, large = int(np.argmin(counts)), int(np.argmax(counts))
    batch, alone = mixed.batch([large, small], 64, fill=True), mixed.batch([small], 64)
    n = counts[small]
    assert batch.signal_BCT.shape[1] == counts[large] > n
    n_times = alone.signal_BCT.shape[2]
    assert torch.equal(batch.signal_BCT[1, :n, :n_times], alone.signal_BCT[0])
    assert torch.equal(batch.channel_mask_BC[1, :n], alone.channel_mask_BC[0])
    assert not batch.channel_mask_BC[1, n:].any()
    assert torch.equal(batch.sensors.position_BC3[1, :n], alone.sensors.position_BC3[0])
    assert (batch.sensors.order_BC[1, n:] == -1).all()
    assert not batch.sensors.located_BC[1, n:].any()
    torch.manual_seed(0)
    model = BrainOF.from_preset("per_output").eval().double()
    both, one = (model.forward_features(replace(each, signal_BCT=each.signal_BCT.double())) for each in (batch, alone))
    torch.testing.assert_close(both[1], one[0], rtol=0, atol=1e-9)
