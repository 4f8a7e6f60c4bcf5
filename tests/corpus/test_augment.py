from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from brainof.corpus import BatchSampler, Corpus, CorpusWriter, Loader
from brainof.corpus.augment import AugmentConfig, augment
from brainof.errors import ConfigError

ALL = AugmentConfig(channel_dropout=0.5, resample=[0.5], shift=0.3, gain=0.4, noise_snr=(0.0, 20.0))
RATE = 256.0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, make):
    """Windows of a 10 Hz sine in EEG, and noise in fMRI."""
    time = np.arange(512) / RATE
    sine = np.stack([np.sin(2 * np.pi * 10 * time + phase) for phase in range(6)]).astype(np.float32)
    root = tmp_path_factory.mktemp("augment") / "c"
    with CorpusWriter(root) as writer:
        good = np.arange(6) != 2
        writer.add(make.recording("a"), make.channels(6), [make.Window(sine) for _ in range(40)], good)
        fmri = make.recording("b", modality="fmri", sfreq=0.5)
        writer.add(fmri, make.channels(7, "fmri"), make.windows(3, 8, 7, 130))
    return Corpus(root)


def _augmented(corpus, config, rows=range(40), epoch=0, seed=0):
    return augment(corpus.batch(list(rows)), config, seed, epoch, 64)


def _valid(batch, i):
    return batch.signal_BCT[i, :, : int(batch.n_times_B[i])].numpy()


def test_a_window_depends_on_seed_epoch_and_row_alone(corpus):
    together, alone = _augmented(corpus, ALL), _augmented(corpus, ALL, [17])
    np.testing.assert_array_equal(_valid(together, 17), _valid(alone, 0))
    assert torch.equal(together.channel_mask_BC[17], alone.channel_mask_BC[0])
    assert together.interval_B[17] == alone.interval_B[0]
    for change in ({"epoch": 1}, {"seed": 1}):
        other = _augmented(corpus, ALL, [17], **change)
        assert other.signal_BCT.shape != alone.signal_BCT.shape or not torch.equal(other.signal_BCT, alone.signal_BCT)


def test_nothing_is_on_by_default_and_share_bounds_what_is_changed(corpus):
    assert not AugmentConfig().active
    assert torch.equal(_augmented(corpus, AugmentConfig()).signal_BCT, corpus.batch(list(range(40))).signal_BCT)
    half = _augmented(corpus, AugmentConfig(gain=0.5, share=0.5)).signal_BCT
    changed = (half != corpus.batch(list(range(40))).signal_BCT).flatten(1).any(1).sum()
    assert 10 < changed < 30


def test_dropped_channels_are_masked_and_some_stay(corpus):
    batch = _augmented(corpus, AugmentConfig(channel_dropout=0.9))
    left = batch.channel_mask_BC.sum(1)
    assert left.min() >= 1
    assert left.min() < 3
    assert left.max() == 5
    assert not batch.channel_mask_BC[:, 2].any()  # what was bad stays bad
    dropped = ~batch.channel_mask_BC
    dropped[:, 2] = False
    assert not batch.signal_BCT[dropped].any()


def test_a_window_at_half_the_rate_is_the_same_signal(corpus):
    batch = _augmented(corpus, AugmentConfig(resample=[0.5]))
    halves = [i for i in range(40) if batch.n_times_B[i] == 256]
    assert 8 < len(halves) < 32
    for i in halves:
        assert batch.interval_B[i] == pytest.approx(2 / RATE)
        time = np.arange(256) * 2 / RATE
        truth = np.stack([np.sin(2 * np.pi * 10 * time + phase) for phase in range(6)])
        assert np.abs(_valid(batch, i) - truth)[:, 20:-20].max() < 0.02
    assert not batch.signal_BCT[halves, :, 256:].any()


def test_a_shift_drops_samples_and_invents_none(corpus):
    batch, whole = _augmented(corpus, AugmentConfig(shift=0.5)), corpus.batch([0]).signal_BCT[0].numpy()
    lengths = batch.n_times_B.tolist()
    assert min(lengths) >= 256
    assert len(set(lengths)) > 20
    for i, length in enumerate(lengths):
        np.testing.assert_array_equal(_valid(batch, i), whole[:, 512 - length : 512])


def test_gain_and_noise_are_of_the_size_asked_for(corpus):
    whole = corpus.batch([0]).signal_BCT[0].numpy()
    gains = _augmented(corpus, AugmentConfig(gain=0.4)).signal_BCT[:, 0, 7].numpy() / whole[0, 7]
    assert np.exp(-0.4) <= gains.min() < 0.8 < 1.2 < gains.max() <= np.exp(0.4)
    batch = _augmented(corpus, AugmentConfig(noise_snr=(6.0, 6.0)))
    noise = batch.signal_BCT[:, [0, 1, 3, 4, 5]].numpy() - whole[[0, 1, 3, 4, 5]]
    snr = 10 * np.log10(np.mean(whole[[0, 1, 3, 4, 5]] ** 2) / np.mean(noise**2))
    assert snr == pytest.approx(6.0, abs=0.1)
    np.testing.assert_array_equal(batch.signal_BCT[0, 2], whole[2])  # bad channels get none


def test_fmri_keeps_its_time_axis(corpus):
    batch = _augmented(corpus, AugmentConfig(resample=[0.5], shift=0.5), range(40, 48))
    assert set(batch.n_times_B.tolist()) == {130}
    assert torch.equal(batch.interval_B, torch.full((8,), 2.0))


def test_the_loader_augments_alike_before_and_after_a_resume(corpus):
    sampler = BatchSampler(corpus.index, 6, seed=4)
    whole = list(islice(Loader(corpus, sampler, augmentation=ALL), 2 * len(sampler)))
    loader = Loader(corpus, sampler, augmentation=ALL, threads=2)
    loader.load_state_dict({"epoch": 1, "batch": 3})
    resumed = list(islice(loader, len(sampler) - 3))
    for batch, truth in zip(resumed, whole[len(sampler) + 3 :], strict=True):
        assert torch.equal(batch.signal_BCT, truth.signal_BCT)
        assert batch.signal_BCT.shape[2] % 64 == 0
    half = next(iter(Loader(corpus, sampler, augmentation=ALL, dtype=torch.float16)))
    assert torch.equal(half.signal_BCT, whole[0].signal_BCT.half())


@pytest.mark.parametrize("values", [{"resample": [2.0]}, {"shift": 1.0}, {"chanel_dropout": 0.1}])
def test_what_cannot_be_is_refused(values):
    with pytest.raises(ConfigError):
        AugmentConfig.parse(values)
