"""Networks of other publications: sizes as published, shapes, and what they compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.errors import ConfigError
from brainof.evaluation.networks import NETWORKS, At200, BrainNetTF, EdgeToEdge, build, correlations

ELECTRODES = ["Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8", "T7", "T8", "P7", "P8"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    (
        "name",
        "millions",
    ),  # 16 channels, 10 s at 200 Hz: Table 2 of CBraMod (arXiv:2412.07236), where BIOT's rows stand too
    [("ContraWR", 1.6), ("CNN-Transformer", 3.2), ("FFCL", 2.4), ("ST-Transformer", 3.5), ("BIOT", 3.2)],
)
def test_sizes_are_as_published(name, millions):
    if name in ("ContraWR", "BIOT"):
        pytest.importorskip("braindecode")
    count = sum(parameter.numel() for parameter in build(name, 16, 2000, 200.0, ELECTRODES).parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.05)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_windows_become_features_with_a_gradient(name):
    if not name.startswith(("CNN", "FFCL", "ST-", "BrainNet")):
        pytest.importorskip("braindecode")
    network = build(name, 16, 1024, 256.0, [f"EEG {electrode}" for electrode in ELECTRODES]).train()
    batch = type("Batch", (), {"signal_BCT": torch.randn(4, 16, 1100)})
    features = network.pool(network.forward_features(batch))
    assert features.ndim == 2
    assert len(features) == 4
    features.square().sum().backward()
    used = [parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad]
    assert np.mean(used) > 0.8
    again = build(name, 16, 1024, 256.0, [f"EEG {electrode}" for electrode in ELECTRODES])
    for one, other in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)  # the seed alone decides


def test_windows_reach_200_hz():
    times, wanted = torch.arange(1025) / 256, torch.arange(800) / 200  # whole cycles: no edge
    wave = torch.sin(2 * torch.pi * 10 * times).expand(1, 2, -1)
    found = At200(torch.nn.Identity(), 256.0)(wave)
    torch.testing.assert_close(found[0, 0], torch.sin(2 * torch.pi * 10 * wanted), atol=1e-4, rtol=0)


def test_correlations_are_numpys_and_dead_channels_correlate_with_nothing():
    x = torch.randn(1, 4, 50, dtype=torch.float64)
    x[0, 3] = 1
    found = correlations(x)[0].numpy()
    np.testing.assert_allclose(found[:3, :3], np.corrcoef(x[0, :3].numpy()), atol=1e-12)
    assert not found[3].any()


def test_an_edge_sees_its_row_and_its_column_alone():
    layer, x = EdgeToEdge(1, 1, 5).double(), torch.randn(1, 1, 5, 5, dtype=torch.float64)
    changed = x.clone()
    changed[0, 0, 3, 4] += 1
    different = (layer(changed) != layer(x))[0, 0]
    assert different[3].all()
    assert different[:, 4].all()
    assert different.sum() == 9


def test_regions_are_shared_out_among_clusters():
    network = BrainNetTF(12, 64, 0.5)
    shares = network.assigned(torch.randn(2, 12, 12))
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 12))
    centres = network.centres @ network.centres.T
    torch.testing.assert_close(centres, torch.eye(12), atol=1e-5, rtol=0)


def test_windows_that_are_too_short_are_named():
    with pytest.raises(ConfigError, match="CNN-Transformer: takes no windows of 4 channels x 2 samples"):
        build("CNN-Transformer", 4, 2, 256.0)
