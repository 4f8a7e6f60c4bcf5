"""Pooling kinds and the downstream head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.errors import ConfigError, ContractError
from brainof.model import BrainOF, BrainOFConfig
from brainof.model.pooling import POOLS, Head, pool


@pytest.mark.parametrize("kind", POOLS)
def test_pooling_gives_the_promised_width_in_float32(kind):
    model = BrainOF.from_preset("debug", sampler={"latents": 6})
    pooled = model.pool(torch.randn(3, 6, 32).bfloat16(), kind)
    assert pooled.shape == (3, model.pooled_width(kind))
    assert pooled.dtype == torch.float32
    assert pooled.isfinite().all()


def test_the_model_says_how_its_latents_are_pooled():
    model = BrainOF.from_preset("debug", decoder={"kind": "per_output"}, pooling="mean@log_spectrum+waveform")
    latents = torch.randn(2, 8, 32)
    swapped = torch.cat([latents[:, 4:], latents[:, :4]], 1)
    torch.testing.assert_close(model.pool(latents), pool(swapped, "mean"))
    torch.testing.assert_close(model.pool(latents, "concat@log_spectrum"), pool(latents[:, 4:], "concat"))
    model.reset_head(3, "concat@log_spectrum")
    assert model.head.linear.in_features == model.pooled_width("concat@log_spectrum") == 4 * 32
    assert BrainOFConfig().pooling == {"default": "mean_std"}


def test_a_modality_may_have_a_pooling_of_its_own():
    choice = {"default": "concat@log_spectrum", "fmri": "concat@waveform"}
    model = BrainOF.from_preset("debug", decoder={"kind": "per_output"}, pooling=choice)
    latents = torch.randn(2, 8, 32)
    torch.testing.assert_close(model.pool(latents, "auto", "eeg"), pool(latents[:, 4:], "concat"))
    torch.testing.assert_close(model.pool(latents, "auto", "fmri"), pool(latents[:, :4], "concat"))
    torch.testing.assert_close(model.pool(latents, "mean", "fmri"), pool(latents, "mean"))
    for wrong in ({"fmri": "mean"}, {"default": "mean", "nirs": "mean"}, {"default": "mean", "eeg": "most"}):
        with pytest.raises(ConfigError, match="pooling"):
            BrainOF.from_preset("debug", pooling=wrong)


def test_a_head_on_features_of_a_length_that_depends_on_the_modality_asks_for_it(make_batch):
    choice = {"default": "concat@log_spectrum", "eeg": "concat"}
    model = BrainOF.from_preset("debug", decoder={"kind": "per_output"}, pooling=choice)
    assert (model.pooled_width("auto", "eeg"), model.pooled_width(), model.pooled_width("auto", "fmri")) == (
        256,
        128,
        128,
    )
    with pytest.raises(ConfigError, match="another length for each modality.*modality="):
        model.reset_head(3)
    assert model.reset_head(3, modality="eeg")(make_batch("eeg")).shape == (2, 3)
    assert model.reset_head(3, modality="fmri")(make_batch("fmri")).shape == (2, 3)
    assert model.reset_head(3, "mean")(make_batch("eeg")).shape == (2, 3)


@pytest.mark.parametrize("wrong", ["mean_sd", "concat@spectrum", "concat@"])
def test_a_model_cannot_be_made_with_an_unknown_pooling(wrong):
    with pytest.raises(ConfigError, match="pooling"):
        BrainOF.from_preset("debug", pooling=wrong)


def test_gram_is_the_fisher_z_of_correlations():
    latents = torch.randn(2, 5, 32, dtype=torch.float64)
    expected = np.arctanh(np.corrcoef(latents[1].numpy())[np.triu_indices(5, 1)])
    np.testing.assert_allclose(pool(latents, "gram")[1].numpy(), expected, atol=1e-5)


def test_cov_is_the_covariance_over_latents():
    latents = torch.randn(2, 50, 3, dtype=torch.float64)
    expected = np.cov(latents[0].numpy().T, ddof=0)[np.triu_indices(3)]
    np.testing.assert_allclose(pool(latents, "cov")[0].numpy(), expected)


def test_identical_latents_stay_finite():
    latents = torch.ones(2, 5, 8, requires_grad=True)
    for kind in POOLS:
        out = pool(latents, kind)
        out.sum().backward()
        assert out.isfinite().all(), kind
        assert latents.grad.isfinite().all(), kind


@pytest.mark.parametrize("kind", POOLS)
def test_latents_that_cannot_be_pooled_are_refused(kind):
    latents = torch.randn(3, 5, 8)
    latents[2, 1, 0] = torch.inf
    with pytest.raises(ContractError, match="latents: not finite in window 2"):
        pool(latents, kind)
    with pytest.raises(ContractError, match="latents: there are none"):
        pool(latents[:, :0], kind)


def test_unknown_pooling_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'mean_std'"):
        pool(torch.randn(1, 2, 3), "mean_sd")


def test_a_head_without_outputs_is_refused():
    with pytest.raises(ConfigError, match="outputs"):
        Head(4, 0)
