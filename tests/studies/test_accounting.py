"""The accounting: ranks and projections are what they say, and stages follow the model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from studies.accounting import WIDEST, _reduced, effective_rank, film, stages

from brainof.channels import Channels
from brainof.model import BrainOF
from brainof.signals import SignalBatch


def test_effective_rank_counts_directions():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(50, 7)))[0]
    scores = np.linalg.qr(rng.normal(size=(200, 8)) - 0)[0][:, :7]
    scores -= scores.mean(axis=0)
    scores = np.linalg.qr(scores)[0]
    assert abs(effective_rank(scores @ basis.T + 3.0) - 7) < 0.01
    assert abs(effective_rank((scores @ basis.T).T) - 7) < 0.5


def test_wide_features_keep_their_distances():
    x = torch.randn(6, 40_000)
    reduced = _reduced(x)
    assert reduced.shape == (6, WIDEST)
    np.testing.assert_allclose(np.linalg.norm(reduced, axis=1), x.norm(dim=1).numpy(), rtol=0.05)
    np.testing.assert_array_equal(_reduced(x[:, :100]), x[:, :100].numpy())


def test_film_is_found_by_time_and_not_by_person():
    rng = np.random.default_rng(0)
    rows = [{"dataset": "d", "subject": s, "session": "", "task": "m", "run": r} for s in "ab" for r in range(1, 9)]
    index = pd.DataFrame([{**row, "onset": 30.0 * n} for row in rows for n in range(10)])
    moments, people = rng.normal(size=(8, 10, 40)), {name: rng.normal(size=40) for name in "ab"}
    of = lambda row: moments[row.run - 1, round(row.onset / 30)]  # noqa: E731
    assert set(film(np.array([of(row) for row in index.itertuples()]), index).values()) == {1.0}
    scores = film(np.array([people[row.subject] for row in index.itertuples()]), index)
    assert scores["runs 5-8"] <= 0.1


def test_stages_are_those_of_the_encoder():
    torch.manual_seed(0)
    model = BrainOF.from_preset("per_output", dim=32, sampler={"latents": 12}, backbone={"hidden": 8, "shared": 8})
    model.double().eval()
    channels = Channels(tuple(f"r{n}" for n in range(9)), ("roi",) * 9, order=np.arange(9))
    windows = [np.random.default_rng(n).normal(size=(9, 100)) for n in range(2)]
    batch = SignalBatch.from_arrays(windows, channels, 0.5, "fmri", model.config.patch)
    found = stages(model, batch, "connectivity")
    latents = model.forward_features(batch).detach()
    np.testing.assert_allclose(found["backbone, connectivity"], latents[:, 8:].flatten(1), atol=1e-6)
    np.testing.assert_allclose(found["default features"], model.pool(latents, "auto", "fmri"), atol=1e-6)
    assert found["contents, connectivity"].shape == (2, 9 * 2 * 32)
