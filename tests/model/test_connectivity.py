"""Correlation profiles against the plain formula, and that hidden patches do not enter."""

from __future__ import annotations

import numpy as np
import torch

from brainof.model.connectivity import Connectivity, connectivity_profile


def example(seed: int = 0, windows: int = 2, channels: int = 5, patches: int = 3):
    generator = torch.Generator().manual_seed(seed)
    patch = torch.randn(windows, channels * patches, 16, generator=generator, dtype=torch.float64)
    identity = torch.randn(1, channels * patches, 8, generator=generator, dtype=torch.float64)
    seen = torch.rand(windows, channels * patches, generator=generator) < 0.7
    return patch, identity, seen


def test_profiles_equal_the_sum_over_pairs():
    patch, identity, seen = example()
    found = connectivity_profile(patch, identity, seen, 5).unflatten(1, (5, 3))
    for window in range(2):
        for segment in range(3):
            visible = [c for c in range(5) if seen[window, 3 * c + segment]]
            phi = {c: identity[0, 3 * c + segment] for c in visible}
            centre = sum(phi.values()) / max(1, len(visible))
            for c in range(5):
                expected = torch.zeros(8, dtype=torch.float64)
                if c in visible:
                    for other in visible:
                        if other != c:
                            pair = np.stack([patch[window, 3 * k + segment].numpy() for k in (c, other)])
                            expected += np.corrcoef(pair)[0, 1] * (phi[other] - centre)
                    expected /= len(visible) ** 0.5
                torch.testing.assert_close(found[window, c, segment], expected)


def test_hidden_patches_do_not_enter_and_fillers_change_nothing():
    torch.manual_seed(0)
    module = Connectivity(8).double()
    patch, identity, _ = example()
    mask = torch.ones(2, 15, dtype=torch.bool)
    visible = torch.tensor([[0, 3, 4, 7, 9], [1, 4, 7, 1, 1]])
    counts = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    before = module(patch, identity, mask, 5, visible, counts)
    hidden = torch.ones(2, 15, dtype=torch.bool).scatter(1, visible, False)
    after = module(torch.where(hidden[..., None], 1e3, patch), identity, mask, 5, visible, counts)
    torch.testing.assert_close(before, after)
    alone = module(patch[1:], identity, mask[1:], 5, visible[1:, :3])
    torch.testing.assert_close(before[1:, :3], alone)
