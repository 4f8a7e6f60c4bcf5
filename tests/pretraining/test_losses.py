from __future__ import annotations

import numpy as np
import torch

from brainof.pretraining.losses import LOG_FLOOR, log_spectrum, log_spectrum_loss, raw_component_loss, waveform_loss


def smooth_l1(a: np.ndarray) -> np.ndarray:
    a = np.abs(a)
    return np.where(a < 1, 0.5 * a**2, a - 0.5)


def example(seed: int = 0):
    rng = np.random.default_rng(seed)
    predicted, target = rng.standard_normal((2, 2, 6, 64)) * 2
    hidden = rng.random((2, 6)) < 0.5
    samples = np.ones((2, 6, 64), bool)
    samples[0, 5, 30:] = False
    return predicted, target, hidden, samples


def tensors(*arrays):
    return [torch.from_numpy(a) for a in arrays]


def test_waveform_loss_averages_over_valid_samples_of_hidden_patches():
    predicted, target, hidden, samples = example()
    hidden[0, 5] = True
    expected = sum(
        smooth_l1(predicted[i] - target[i])[samples[i]].mean() for i in zip(*np.nonzero(hidden), strict=True)
    )
    found = waveform_loss(*tensors(predicted, target, hidden, samples))
    np.testing.assert_allclose(found.item(), expected, rtol=1e-5)


def test_log_spectrum_loss_skips_padded_patches():
    _, target, hidden, samples = example()
    hidden[0, 5] = True
    predicted = np.random.default_rng(1).standard_normal((2, 6, 33))
    spectrum = np.log(np.abs(np.fft.rfft(target, norm="ortho")) + LOG_FLOOR)
    full = samples.all(-1)
    expected = smooth_l1(predicted - spectrum).mean(-1)[hidden & full].sum()
    found = log_spectrum_loss(*tensors(predicted, target, hidden, full))
    np.testing.assert_allclose(found.item(), expected, rtol=1e-5)
    np.testing.assert_allclose(log_spectrum(torch.from_numpy(target)).numpy(), spectrum, atol=1e-5)


def test_raw_components_judge_hidden_patches_only():
    predicted, target, hidden, _ = example()
    visible_changed = np.where(hidden[..., None], predicted, target + 100)
    for along in (False, True):
        a, b = (raw_component_loss(*tensors(p, target, hidden), 3, along).item() for p in (predicted, visible_changed))
        np.testing.assert_allclose(a, b, rtol=1e-6)
    window = np.where(hidden[..., None], predicted, target).reshape(2, 3, 128)
    difference = np.fft.rfft(window - target.reshape(2, 3, 128), norm="ortho")
    expected = np.mean([smooth_l1(difference.real), smooth_l1(difference.imag)]) * hidden.sum()
    found = raw_component_loss(*tensors(predicted, target, hidden), 3, False).item()
    np.testing.assert_allclose(found, expected, rtol=1e-4)
