"""Pooling kinds and the downstream head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.errors import ConfigError, ContractError
from brainof.model.heads import POOLS, Head, pool, pooled_width


@pytest.mark.parametrize("kind", POOLS)
def test_pooling_gives_the_promised_width_in_float32(kind):
    pooled = pool(torch.randn(3, 6, 4).bfloat16(), kind)
    assert pooled.shape == (3, pooled_width(6, 4, kind))
    assert pooled.dtype == torch.float32
    assert pooled.isfinite().all()


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
        Head(4, 8, 0)
