"""Correlation profiles against the plain formula, and that hidden patches and padding do not enter."""

from __future__ import annotations

import numpy as np
import torch

from brainof.model.connectivity import Connectivity, connectivity_profile, seen_of
from brainof.model.tokens import Tokens


def example(seed: int = 0, windows: int = 2, channels: int = 5, patches: int = 3):
    generator = torch.Generator().manual_seed(seed)
    patch = torch.randn(windows, channels * patches, 16, generator=generator, dtype=torch.float64)
    identity = torch.randn(1, channels * patches, 8, generator=generator, dtype=torch.float64)
    seen = torch.rand(windows, channels * patches, generator=generator) < 0.7
    return patch, identity, seen


def tokens_of(patch, identity, mask) -> Tokens:
    return Tokens(patch, identity, mask, None, torch.zeros(len(patch), dtype=torch.int64), 5, 3)


def test_profiles_equal_the_sum_over_pairs():
    patch, identity, seen = example()
    found = connectivity_profile(patch, identity, seen, 5).unflatten(1, (5, 3))
    for window in range(2):
        at = seen[window].unflatten(0, (5, 3)).numpy()
        signal = np.where(at[..., None], patch[window].unflatten(0, (5, 3)).numpy(), np.nan)
        signal = signal - np.nanmean(signal, (1, 2), keepdims=True)
        signal = np.nan_to_num(signal / np.sqrt(np.nansum(signal**2, (1, 2), keepdims=True)))
        phi = np.where(at[..., None], identity[0].unflatten(0, (5, 3)).numpy(), np.nan)
        phi = np.nan_to_num(phi - np.nanmean(phi, 0)) / np.sqrt(np.maximum(at.sum(0), 1))[:, None]
        for c in range(5):
            others = [other for other in range(5) if other != c]
            expected = sum((signal[c, p] @ signal[j, p]) * phi[j, p] for j in others for p in range(3))
            for p in range(3):
                np.testing.assert_allclose(found[window, c, p].numpy(), expected if at[c, p] else 0.0, atol=1e-12)


def test_with_everything_visible_it_is_the_correlation_matrix_times_the_identities():
    patch, identity, _ = example()
    identity = identity.unflatten(1, (5, 3))[:, :, :1].expand(-1, -1, 3, -1).flatten(1, 2)
    found = connectivity_profile(patch, identity, torch.ones(2, 15, dtype=torch.bool), 5).unflatten(1, (5, 3))
    phi = identity[0, ::3] - identity[0, ::3].mean(0)
    for window in range(2):
        correlation = torch.corrcoef(patch[window].unflatten(0, (5, 3)).flatten(1)).fill_diagonal_(0)
        torch.testing.assert_close(found[window], (correlation @ phi / 5**0.5)[:, None].expand(-1, 3, -1))


def test_hidden_patches_do_not_enter_and_fillers_change_nothing():
    torch.manual_seed(0)
    module = Connectivity(8).double()
    patch, identity, _ = example()
    mask = torch.ones(2, 15, dtype=torch.bool)

    def contents(patch, visible, counts=None):
        seen = seen_of(mask[: len(patch)], visible, counts)
        return module(tokens_of(patch, identity, mask[: len(patch)]), seen, visible)

    visible = torch.tensor([[0, 3, 4, 7, 9], [1, 4, 7, 1, 1]])
    counts = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    before = contents(patch, visible, counts)
    hidden = torch.ones(2, 15, dtype=torch.bool).scatter(1, visible, False)
    after = contents(torch.where(hidden[..., None], 1e3, patch), visible, counts)
    torch.testing.assert_close(before, after)
    alone = contents(patch[1:], visible[1:, :3])
    torch.testing.assert_close(before[1:, :3], alone)


def test_identities_learn_nothing_from_the_profiles_that_enter():
    """They are addresses: the map of the profiles is taught, what it maps is not."""
    module = Connectivity(8).double()
    patch, identity, seen = example()
    contents = module(tokens_of(patch, identity.requires_grad_(), seen), seen)
    taught, untaught = torch.autograd.grad(contents.square().sum(), (module.linear.weight, identity), allow_unused=True)
    assert taught.abs().min() > 0
    assert untaught is None or not untaught.any()


def test_padding_does_not_enter():
    patch, identity, _ = example()
    valid = torch.ones_like(patch, dtype=torch.bool)
    valid[:, 2::3, 10:] = False  # the last segment of every channel
    seen = valid.any(-1)
    before = connectivity_profile(torch.where(valid, patch, 0), identity, seen, 5, valid)
    after = connectivity_profile(torch.where(valid, patch, 7), identity, seen, 5, valid)
    torch.testing.assert_close(before, after)
    patch[:, 2::3, 8:] = 0
    signal = patch.unflatten(1, (5, 3)).flatten(2)[..., :40]  # two and a half segments
    shape = torch.ones(2, 5, 48, dtype=torch.bool)
    shape[..., 40:] = False
    valid = shape.unflatten(-1, (3, 16)).flatten(1, 2)
    same = identity.unflatten(1, (5, 3))[:, :, :1].expand(-1, -1, 3, -1).flatten(1, 2)
    found = connectivity_profile(patch, same, seen, 5, valid).unflatten(1, (5, 3))[:, :, 0]
    phi = same[0, ::3] - same[0, ::3].mean(0)
    for window in range(2):
        correlation = torch.corrcoef(signal[window]).fill_diagonal_(0)
        torch.testing.assert_close(found[window], correlation @ phi / 5**0.5)
