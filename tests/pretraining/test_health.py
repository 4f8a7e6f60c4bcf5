from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.errors import HealthError
from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.health import check_batch, explained_variance, listening, require_listening
from brainof.pretraining.mtfm import MTFM


def test_explained_variance():
    target = torch.tensor([1.0, -1.0, 3.0])
    weight = torch.tensor([1.0, 1.0, 0.0])
    assert explained_variance(target, target, weight) == 1.0
    assert explained_variance(torch.zeros(3), target, weight) == 0.0
    assert explained_variance(-target, target, weight) == -3.0
    assert np.isnan(explained_variance(target, torch.zeros(3), weight))


def test_check_reports_all_figures_and_leaves_the_mode_alone(model, make_batch):
    model.train()
    row = check_batch(MTFM(model, MaskConfig(), ObjectiveConfig()), make_batch(), np.random.default_rng(0), 320)
    assert model.training
    assert set(row) >= {"r2", "r2_shuffled", "r2_log_spectrum", "r2_log_spectrum_shuffled", "rank", "latent_cosine"}
    assert abs(row["r2"]) < 0.5  # random weights explain nothing
    assert 1 <= row["rank"] <= 4
    assert -1 <= row["latent_cosine"] <= 1


HEALTHY = {"r2": 0.3, "r2_shuffled": -0.2}
DEAF = {"r2": 0.001, "r2_shuffled": 0.001, "r2_log_spectrum": 0.2, "r2_log_spectrum_shuffled": 0.2}
SPECTRAL = {"r2": -0.01, "r2_shuffled": -0.3, "r2_log_spectrum": 0.3, "r2_log_spectrum_shuffled": 0.1}
WRONG = {"r2": -0.1, "r2_shuffled": -0.5}


@pytest.mark.parametrize(("row", "gain"), [(HEALTHY, 0.5), (DEAF, 0.0), (SPECTRAL, 0.2), (WRONG, 0.0)])
def test_listening_needs_an_output_that_explains_something(row, gain):
    assert listening(row) == pytest.approx(gain)


def test_only_a_run_that_is_deaf_everywhere_fails():
    assert require_listening({"a": HEALTHY, "b": DEAF}, 0.01) == ["b"]
    with pytest.raises(HealthError, match="decoder ignores the latents"):
        require_listening({"a": WRONG, "b": DEAF}, 0.01)
