from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import welch
from sklearn.covariance import oas

from brainof.errors import ConfigError
from brainof.evaluation import baselines
from brainof.evaluation.baselines import (
    BANDS,
    BASELINES,
    OWN,
    band_power,
    baseline_features,
    default_baselines,
    nearest_mean,
)
from brainof.stats.covariance import TangentSpace, covariances, log_euclidean


def noise(n: int = 6, channels: int = 4, times: int = 512, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, channels, times))


def spd(n: int, size: int, seed: int = 0) -> np.ndarray:
    return covariances(noise(n, size, 3 * size, seed))


@pytest.mark.parametrize("modality", BASELINES)
def test_every_baseline_gives_one_finite_row_per_window(modality):
    windows = noise(channels=5).astype(np.float16)
    for name, function in BASELINES[modality].items():
        features = function(windows, 128.0)
        if isinstance(features, TangentSpace):
            features = np.concatenate(features(np.arange(4), np.arange(4, 6)))
        assert features.shape[0] == len(windows), name
        assert np.isfinite(features).all(), name


@pytest.mark.parametrize("modality", BASELINES)
@pytest.mark.parametrize("kind", ["classification", "identification"])
def test_default_baselines_exist_and_suit_the_kind(modality, kind):
    for n_times in (9, 192):
        names = default_baselines(modality, kind, n_times)
        assert names[0] == "amplitude"  # the control is always there
        made = [BASELINES[modality][name](noise(), 128.0) for name in names]
        if kind == "identification":
            assert all(isinstance(features, np.ndarray) for features in made)
    assert ("block means" in default_baselines(modality, kind, 9)) == (modality == "fmri")


def test_band_power_finds_the_rhythm_in_its_channel_and_band():
    windows = noise() * 0.1
    windows[:, 2] += np.sin(2 * np.pi * 10 * np.arange(512) / 128)
    power = baselines.band_power(windows, 128.0).reshape(6, len(BANDS), 4)
    assert (power.reshape(6, -1).argmax(1) == 2 * 4 + 2).all()
    np.testing.assert_allclose(baselines.band_power(10 * windows, 128.0), power.reshape(6, -1) + np.log(100), atol=1e-9)


def test_band_power_ignores_one_blink_and_dead_channels():
    windows = noise(times=1024)
    blink = windows.copy()
    blink[:, 0, 100:120] += 50
    clean, touched = (baselines.band_power(x, 128.0).reshape(6, len(BANDS), 4)[:, :, 0] for x in (windows, blink))
    assert np.abs(clean - touched).max() < 1.5  # a mean over segments moves by more than 4
    windows[:, 1] = 0
    power = baselines.band_power(windows, 128.0).reshape(6, len(BANDS), 4)
    assert np.isnan(power[:, :, 1]).all()
    assert np.isfinite(power[:, :, [0, 2, 3]]).all()


def test_bands_above_nyquist_are_left_out():
    assert baselines.band_power(noise(), 50.0).shape == (6, 5 * 4)


def test_functional_connectivity_is_fisher_z_and_dead_regions_are_zero():
    windows = noise(2)
    windows[:, 1] = 0.6 * windows[:, 0] + 0.8 * windows[:, 1]
    expected = np.arctanh(np.corrcoef(windows[0])[np.triu_indices(4, 1)])
    np.testing.assert_allclose(baselines.functional_connectivity(windows, 0.5)[0], expected, atol=1e-12)
    windows[:, 1] = 0
    assert baselines.functional_connectivity(windows, 0.5)[0, 0] == 0


def test_shrinkage_is_that_of_scikit_learn():
    windows = noise(3, channels=6, times=20)
    for window, found in zip(windows, covariances(windows), strict=True):
        np.testing.assert_allclose(found, oas(window.T)[0], atol=1e-12)


def test_a_dead_channel_is_neutral():
    windows = noise()
    windows[:, 1] = 0
    found = covariances(windows)
    alive = np.einsum("ncc->nc", found)[:, [0, 2, 3]]
    np.testing.assert_allclose(found[:, 1, 1], alive.mean(1))
    np.testing.assert_array_equal(found[:, 1, [0, 2, 3]], 0)


def test_the_logarithm_keeps_the_norm():
    matrices = spd(3, 5)
    values = np.log(np.linalg.eigvalsh(matrices))
    np.testing.assert_allclose(np.linalg.norm(log_euclidean(matrices), axis=1), np.linalg.norm(values, axis=1))


def test_the_reference_is_where_the_training_vectors_cancel_whatever_the_mixing():
    matrices = spd(12, 5)
    train, test = np.arange(8), np.arange(8, 12)
    inside, outside = TangentSpace(matrices)(train, test)
    assert np.abs(inside.mean(0)).max() < 1e-4
    mixing = np.random.default_rng(1).standard_normal((5, 5))
    mixed = TangentSpace(mixing @ matrices @ mixing.T)(train, test)[1]
    np.testing.assert_allclose(mixed @ mixed.T, outside @ outside.T, rtol=1e-3, atol=1e-3)  # up to a rotation


def test_tangent_space_learns_its_reference_on_the_training_side_only():
    matrices = spd(10, 4)
    train, test = np.arange(6), np.arange(6, 10)
    inside, outside = TangentSpace(matrices)(train, test)
    moved = matrices.copy()
    moved[7:] *= 50
    inside2, outside2 = TangentSpace(moved)(train, test)
    np.testing.assert_array_equal(inside, inside2)
    np.testing.assert_array_equal(outside[0], outside2[0])
    assert not np.allclose(outside[1], outside2[1])


def test_tangent_space_of_many_channels_is_projected_first():
    inside, outside = TangentSpace(spd(6, 10), rank=3)(np.arange(4), np.arange(4, 6))
    assert inside.shape == (4, 6)
    assert outside.shape == (2, 6)


def test_filter_bank_tells_20_from_30_hz():
    times = np.arange(768) / 256
    windows = noise(40, times=768)
    flicker = np.arange(40) % 2
    for row, fast in enumerate(flicker):
        windows[row, 0] += 0.5 * np.sin(2 * np.pi * (30 if fast else 20) * times)
    inside, _ = baselines.filter_bank_tangent(windows, 256.0)(np.arange(40), np.arange(1))
    difference = inside[flicker == 1].mean(0) - inside[flicker == 0].mean(0)
    diagonal = [int(np.flatnonzero(np.triu_indices(8)[0] * 8 + np.triu_indices(8)[1] == 9 * i)[0]) for i in range(8)]
    assert np.abs(difference[diagonal]).argsort()[-2:].tolist() in ([0, 4], [4, 0])
    assert difference[diagonal[4]] > 0 > difference[diagonal[0]]


def test_windows_of_several_lengths_keep_their_order():
    windows = [noise(1, times=times, seed=times)[0] for times in (512, 256, 512, 256)]
    together = baseline_features("amplitude", "eeg", windows, [128.0] * 4)
    alone = np.concatenate([baselines.amplitude(window[None], 128.0) for window in windows])
    np.testing.assert_allclose(together, alone)
    tangent = baseline_features("tangent space", "eeg", windows, [128.0] * 4)
    np.testing.assert_allclose(tangent.matrices[1], covariances(windows[1][None])[0])
    with pytest.raises(ConfigError, match="did you mean 'band power'"):
        baseline_features("band powr", "eeg", windows, [128.0] * 4)


def test_nearest_mean_finds_the_map_of_each_class():
    rng = np.random.default_rng(0)
    maps, y = rng.standard_normal((3, 20)), np.repeat([0, 1, 2], 4)
    windows = np.repeat((maps[y] + 0.3 * rng.standard_normal((12, 20)))[:, :, None], 6, axis=2)
    rows = np.arange(12) % 4 < 2
    features, read = OWN["nearest mean"]
    X = BASELINES["fmri"][features](windows, 0.5)
    scores = read(X[rows], y[rows], np.arange(6), X[~rows], 3)
    assert (scores.argmax(axis=1) == y[~rows]).all()
    means = np.stack([windows[rows & (y == code)].mean(axis=(0, 2)) for code in range(3)])
    assert scores[0, 1] == pytest.approx(np.corrcoef(windows[~rows][0].mean(axis=1), means[1])[0, 1])


def test_baselines_of_a_task_that_names_none():
    """Volumes below 32 are a block; what is compared takes no reference from a training side."""
    assert default_baselines("fmri", "classification", 31) == ["amplitude", "block means"]
    assert default_baselines("fmri", "classification", 32) == ["amplitude", "functional connectivity"]
    assert default_baselines("fmri", "matching", 100) == ["block means", "time course"]
    for modality in ("eeg", "meg"):
        for kind, last in (("regression", "tangent space"), ("matching", "log covariance")):
            assert default_baselines(modality, kind, 9) == ["amplitude", "band power", last]


def test_two_classes_are_one_decision_and_values_are_refused_by_the_nearest_mean():
    maps = np.random.default_rng(0).standard_normal((6, 20))
    first, second = maps[[0, 2]].mean(axis=0), maps[[1, 3]].mean(axis=0)
    expected = [np.corrcoef(x, second)[0, 1] - np.corrcoef(x, first)[0, 1] for x in maps[4:]]
    y = np.array([0, 1, 0, 1])
    np.testing.assert_allclose(nearest_mean(maps[:4], y, y, maps[4:], 2), expected)
    with pytest.raises(ConfigError, match="nearest mean predicts classes, not values"):
        nearest_mean(maps[:4], y, y, maps[4:], 0)


def test_where_no_band_has_a_bin_power_is_that_of_all_frequencies_but_zero():
    windows = noise() + 100.0
    _, power = welch(windows, 1.8, nperseg=4, average="median", axis=2)
    np.testing.assert_allclose(band_power(windows, 1.8), np.log(power[..., 1:].mean(axis=-1)))
