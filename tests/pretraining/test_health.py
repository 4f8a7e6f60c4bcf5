from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from brainof.errors import HealthError
from brainof.model import BrainOF
from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.health import (
    check_batch,
    explained_variance,
    identity,
    latent_use,
    require_latent_use,
    spread,
)
from brainof.pretraining.masking import Masking
from brainof.pretraining.objective import Objective
from brainof.pretraining.terms.patches import connectivity_targets


def test_explained_variance():
    target = torch.tensor([1.0, -1.0, 3.0])
    weight = torch.tensor([1.0, 1.0, 0.0])
    assert explained_variance(target, target, weight) == 1.0
    assert explained_variance(torch.zeros(3), target, weight) == 0.0
    assert explained_variance(-target, target, weight) == -3.0
    assert np.isnan(explained_variance(target, torch.zeros(3), weight))


def test_check_reports_all_figures_and_leaves_the_mode_alone(model, make_batch):
    model.train()
    masked = Masking(MaskConfig(), 64).plan(make_batch(), np.random.default_rng(0), fourier=False)
    row = check_batch(Objective(model, ObjectiveConfig()), masked)
    assert model.training
    assert all(not block.ffn.load_ME.any() for block in model.blocks)  # nothing was counted: it ran in eval mode
    assert set(row) >= {"r2", "r2_shuffled", "r2_log_spectrum", "r2_log_spectrum_shuffled", "rank", "latent_cosine"}
    assert abs(row["r2"]) < 0.5  # random weights explain nothing
    assert 1 <= row["rank"] <= 4
    assert -1 <= row["latent_cosine"] <= 1


HEALTHY = {"r2": 0.3, "r2_shuffled": -0.2}
IGNORING = {"r2": 0.001, "r2_shuffled": 0.001, "r2_log_spectrum": 0.2, "r2_log_spectrum_shuffled": 0.2}
SPECTRAL = {"r2": -0.01, "r2_shuffled": -0.3, "r2_log_spectrum": 0.3, "r2_log_spectrum_shuffled": 0.1}
WRONG = {"r2": -0.1, "r2_shuffled": -0.5}


@pytest.mark.parametrize(("row", "gain"), [(HEALTHY, 0.5), (IGNORING, 0.0), (SPECTRAL, 0.2), (WRONG, 0.0)])
def test_latent_use_needs_an_output_that_explains_something(row, gain):
    assert latent_use(row) == pytest.approx(gain)


def test_only_a_run_that_ignores_the_latents_everywhere_fails():
    assert require_latent_use({"a": HEALTHY, "b": IGNORING}, 0.01) == ["b"]
    with pytest.raises(HealthError, match="decoder ignores the latents"):
        require_latent_use({"a": WRONG, "b": IGNORING}, 0.01)


def test_scores_are_those_written_out(model, make_batch):
    """Second method: explained variance of samples against zero, of log spectra against their mean."""
    objective = Objective(model.eval(), ObjectiveConfig())
    batch = make_batch(n_windows=3)
    masked = Masking(MaskConfig(), 64).plan(batch, np.random.default_rng(0), fourier=False)
    row = check_batch(objective, masked)
    with torch.no_grad():
        tokens = model.tokens(masked.batch)
        latents = model.encode(tokens, masked.visible_BV, masked.visible_mask_BV)
        for suffix, source in (("", latents), ("_shuffled", latents[[2, 0, 1]])):
            out = model.decode(source, tokens.identity_BND, masked.predicted_BH)
            clean = batch.signal_BCT.numpy().reshape(3, -1, 64)
            hidden = np.take_along_axis(clean, masked.predicted_BH.numpy()[..., None], 1)
            error = (out["waveform"].numpy() - hidden) ** 2
            assert row[f"r2{suffix}"] == pytest.approx(1 - error.sum() / (hidden**2).sum(), rel=1e-4)
            spectrum = np.log(np.abs(np.fft.rfft(hidden, norm="ortho")) + 0.05)
            error = (out["log_spectrum"].numpy() - spectrum) ** 2
            centred = (spectrum - spectrum.mean((0, 1))) ** 2
            assert row[f"r2_log_spectrum{suffix}"] == pytest.approx(1 - error.sum() / centred.sum(), rel=1e-4)


def test_hidden_and_visible_patches_are_scored_apart(model, make_batch):
    """Second method: from the tokens that the encoder saw; also with fillers, of windows of unequal length."""
    objective = Objective(model.eval(), ObjectiveConfig(predict="all"))
    batch = make_batch(lengths=(256, 128, 192))
    masked = Masking(MaskConfig(), 64, predict="all").plan(batch, np.random.default_rng(0), fourier=False)
    row = check_batch(objective, masked)
    with torch.no_grad():
        tokens = model.tokens(masked.batch)
        latents = model.encode(tokens, masked.visible_BV, masked.visible_mask_BV)
        made = model.decode(latents, tokens.identity_BND, masked.predicted_BH)["waveform"].numpy()
    clean = batch.signal_BCT.numpy().reshape(3, -1, 64)
    error, power = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
    for b in range(3):
        seen = set(masked.visible_BV[b, masked.visible_mask_BV[b]].tolist())
        for h, token in enumerate(masked.predicted_BH[b, masked.predicted_mask_BH[b]].tolist()):
            error[token in seen] += ((made[b, h] - clean[b, token]) ** 2).sum()
            power[token in seen] += (clean[b, token] ** 2).sum()
    assert row["r2"] == pytest.approx(1 - error[False] / power[False], rel=1e-4)
    assert row["r2_visible"] == pytest.approx(1 - error[True] / power[True], rel=1e-4)
    hidden = Masking(MaskConfig(), 64).plan(batch, np.random.default_rng(0), fourier=False)
    assert "r2_visible" not in check_batch(objective, hidden)
    assert check_batch(objective, hidden)["r2"] == pytest.approx(row["r2"], abs=1e-5)


def test_latents_that_are_not_finite_have_no_spread(model, make_batch):
    masked = Masking(MaskConfig(), 64).plan(make_batch(), np.random.default_rng(0), fourier=False)
    objective = Objective(model, ObjectiveConfig())
    row = check_batch(objective, masked)
    latents_BLD = objective(masked, masked.counts)["latents"]  # what a step tells
    assert spread(latents_BLD.detach()) == pytest.approx((row["rank"], row["latent_cosine"]), rel=1e-4)
    assert np.isnan(spread(torch.full((4, 2, 3), float("inf")))).all()


def test_identity_is_whose_the_nearest_other_window_is():
    """Four windows of two people: each is nearest the other of its person, but for the last."""
    latents = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [-1, 0, 0.1], [1, 0.3, 0]])[:, None]
    assert identity(latents, ["a", "a", "b", "b"]) == {"identity": 0.75, "identity_chance": pytest.approx(4 / 12)}
    assert identity(latents, list("abcd")) == {}
    assert identity(latents, ["a"] * 4) == {}
    assert identity(latents, []) == {}


def test_profiles_are_scored_against_their_mean_at_each_place(make_batch):
    """Second method; a window where everything is predicted is scored where it was hidden."""
    torch.manual_seed(0)
    fields = {"tokens": {"connectivity": True}, "decoder": {"outputs": ["waveform", "connectivity"]}}
    model = BrainOF.from_preset("debug", **fields).eval()
    objective = Objective(model, ObjectiveConfig(frequency="none", connectivity=0.5, predict="all"))
    masked = Masking(MaskConfig(), 64, predict="all").plan(make_batch(), np.random.default_rng(0), fourier=False)
    found = check_batch(objective, masked)
    with torch.no_grad():
        tokens = model.tokens(masked.batch)
        latents = model.encode(tokens, masked.visible_BV, masked.visible_mask_BV)
        profile = connectivity_targets(tokens).numpy()
        for suffix, source in (("", latents), ("_shuffled", latents[[3, 0, 1, 2]])):
            made = model.decode(source, tokens.identity_BND, masked.predicted_BH)["connectivity"].numpy()
            error = deviation = 0.0
            for window, tokens_of in enumerate(masked.predicted_BH.tolist()):
                seen = masked.visible_BV[window].tolist()
                for place, token in enumerate(tokens_of):
                    if token not in seen:
                        error += ((made[window, place] - profile[window, token]) ** 2).sum()
                        deviation += ((profile[window, token] - profile[:, token].mean(0)) ** 2).sum()
            assert found[f"r2_connectivity{suffix}"] == pytest.approx(1 - error / deviation, rel=1e-4)


def test_rank_and_cosine_are_those_written_out():
    latents = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 3, 4)))
    rank, cosine = spread(latents)
    flat = latents.numpy().reshape(5, 12)
    energy = np.linalg.svd(flat - flat.mean(0), compute_uv=False) ** 2
    energy /= energy.sum()
    assert rank == pytest.approx(np.exp(-(energy[:4] * np.log(energy[:4])).sum()), rel=1e-4)
    cosines = [
        np.corrcoef([np.r_[a, -a], np.r_[b, -b]])[0, 1]
        for x in latents.numpy()
        for a, b in itertools.combinations(x, 2)
    ]
    assert cosine == pytest.approx(np.mean(cosines), abs=1e-5)
