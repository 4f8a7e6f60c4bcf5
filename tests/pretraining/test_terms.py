from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from brainof.model import log_spectrum
from brainof.pretraining.terms.align import align_loss
from brainof.pretraining.terms.band_power import BANDS, band_matrix, band_power_loss
from brainof.pretraining.terms.comparison import patch_loss
from brainof.pretraining.terms.distill import distill_loss
from brainof.pretraining.terms.latent import latent_loss
from brainof.pretraining.terms.log_spectrum import window_spectrum
from brainof.pretraining.terms.pretexts import pretext_loss
from brainof.pretraining.terms.raw_components import raw_component_loss
from brainof.pretraining.terms.regularisers import REGULARISERS, directions, sigreg
from brainof.pretraining.terms.waveform import waveform_loss


def smooth_l1(a: np.ndarray) -> np.ndarray:
    a = np.abs(a)
    return np.where(a < 1, 0.5 * a**2, a - 0.5)


def example(seed: int = 0):
    rng = np.random.default_rng(seed)
    predicted, target = rng.standard_normal((2, 2, 6, 64)) * 2
    samples = np.ones((2, 6, 64), bool)
    samples[0, 5, 30:] = False  # a patch that ends in padding
    samples[1, 4:] = False  # fillers
    return predicted, target, samples


def tensors(*arrays):
    return [torch.from_numpy(a) for a in arrays]


def test_waveform_loss_averages_over_valid_samples_of_each_patch():
    predicted, target, samples = example()
    expected = sum(smooth_l1(predicted[i] - target[i])[samples[i]].mean() for i in np.ndindex(2, 6) if samples[i].any())
    found = waveform_loss(*tensors(predicted, target, samples))
    np.testing.assert_allclose(found.item(), expected, rtol=1e-5)


def test_log_spectrum_loss_skips_padded_patches_and_fillers():
    _, target, samples = example()
    predicted = np.random.default_rng(1).standard_normal((2, 6, 33))
    spectrum = np.log(np.abs(np.fft.rfft(target, norm="ortho")) + 0.05)
    full = samples.all(-1)
    expected = smooth_l1(predicted - spectrum).mean(-1)[full].sum()
    found = patch_loss(*tensors(predicted, spectrum, full))
    np.testing.assert_allclose(found.item(), expected, rtol=1e-5)
    np.testing.assert_allclose(log_spectrum(torch.from_numpy(target)).numpy(), spectrum, atol=1e-5)


def test_raw_components_equal_those_of_both_signals():
    rng = np.random.default_rng(0)
    made, target = rng.standard_normal((2, 2, 3, 128))
    for axis, along_channels in ((1, True), (2, False)):
        difference = np.fft.rfft(made, axis=axis, norm="ortho") - np.fft.rfft(target, axis=axis, norm="ortho")
        expected = np.mean([smooth_l1(difference.real), smooth_l1(difference.imag)], axis=(0, 2, 3)) @ [7, 2]
        found = raw_component_loss(
            torch.from_numpy(made - target),
            torch.tensor([7, 2]),
            n_times_B=torch.tensor([128, 128]),
            channel_mask_BC=torch.ones(2, 3, dtype=torch.bool),
            place_BC=torch.arange(3).expand(2, 3) if along_channels else None,
            n_places=3,
        )
        np.testing.assert_allclose(found.item(), expected, rtol=1e-6)


def test_raw_components_of_padded_windows_and_missing_regions():
    """Each window over its own samples and good channels; regions that are not at hand count as reconstructed."""
    rng = np.random.default_rng(0)
    difference = rng.standard_normal((2, 3, 128))
    difference[1, :, 100:] = 0
    difference[0, 2] = 0
    good = np.array([[True, True, False], [True, True, True]])
    expected = 0.0
    for row, (length, n_hidden) in enumerate(((128, 7), (100, 2))):
        components = np.fft.rfft(difference[row, good[row], :length], axis=1, norm="ortho")
        expected += n_hidden * np.mean([smooth_l1(components.real), smooth_l1(components.imag)])
    shared = {"n_times_B": torch.tensor([128, 100]), "channel_mask_BC": torch.from_numpy(good)}
    found = raw_component_loss(torch.from_numpy(difference), torch.tensor([7, 2]), **shared)
    np.testing.assert_allclose(found.item(), expected, rtol=1e-6)

    place = torch.tensor([[4, 0, 7], [1, 2, 3]])
    expected = 0.0
    for row, (length, n_hidden) in enumerate(((128, 7), (100, 2))):
        axis = np.zeros((9, length))
        axis[place[row]] = difference[row, :, :length]
        components = np.fft.rfft(axis, axis=0, norm="ortho")
        expected += n_hidden * np.mean([smooth_l1(components.real), smooth_l1(components.imag)])
    found = raw_component_loss(torch.from_numpy(difference), torch.tensor([7, 2]), **shared, place_BC=place, n_places=9)
    np.testing.assert_allclose(found.item(), expected, rtol=1e-6)


def test_profiles_are_compared_at_hidden_tokens_alone():
    predicted, target = np.random.default_rng(0).standard_normal((2, 2, 3, 8))
    mask = np.array([[True, True, False], [True, False, False]])
    expected = smooth_l1(predicted - target).mean(-1)[mask].sum()
    np.testing.assert_allclose(patch_loss(*tensors(predicted, target, mask)).item(), expected, rtol=1e-6)


def test_window_spectrum_averages_the_power_of_whole_patches():
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((2, 3, 256))
    power = np.abs(np.fft.rfft(signal.reshape(2, 3, 4, 64), norm="ortho")) ** 2
    found = window_spectrum(torch.from_numpy(signal), torch.tensor([256, 150]), 64).numpy()
    np.testing.assert_allclose(found[0], np.log(np.sqrt(power[0].mean(1)) + 0.05), atol=1e-5)
    np.testing.assert_allclose(found[1], np.log(np.sqrt(power[1, :, :2].mean(1)) + 0.05), atol=1e-5)


def band_powers(log_spectrum: np.ndarray, hertz: np.ndarray, edges) -> np.ndarray:
    """Residuals of a line over log frequency, averaged in bands, in units of what Gaussian noise shows there."""
    used = (hertz >= edges[0]) & (hertz < edges[-1])

    def residual(values):
        return values - np.polyval(np.polyfit(np.log(hertz[used]), values, 1), np.log(hertz[used]))

    bands = [(hertz[used] >= low) & (hertz[used] < high) for low, high in itertools.pairwise(edges)]
    columns = np.stack([residual(unit) for unit in np.eye(used.sum())], 1)
    found = []
    for band in bands:
        if band.any():
            spread = np.pi / np.sqrt(24) * np.sqrt((columns[band].mean(0) ** 2).sum())
            found.append(residual(log_spectrum[used])[band].mean() / spread)
    return np.array(found)


@pytest.mark.parametrize(("modality", "sfreq", "n_bands"), [("eeg", 128.0, 5), ("meg", 256.0, 4), ("fmri", 0.5, 4)])
def test_band_power_is_what_a_line_leaves(modality, sfreq, n_bands):
    rng = np.random.default_rng(0)
    predicted, target = rng.standard_normal((2, 2, 3, 33))
    full = np.array([[True, True, False], [True, False, False]])
    hertz = np.arange(33) * sfreq / 64
    of = [[band_powers(x, hertz, BANDS[modality]) for x in each.reshape(-1, 33)] for each in (predicted, target)]
    assert np.shape(of[0]) == (6, n_bands)
    expected = smooth_l1(np.subtract(*of)).mean(-1).reshape(2, 3)[full].sum()
    found = band_power_loss(*tensors(predicted, target, full), band_matrix(64, sfreq, modality))
    np.testing.assert_allclose(found.item(), expected, rtol=1e-9)


def test_band_power_knows_no_slope_and_is_standardised():
    """Power laws of any slope and gain are 0; those of Gaussian noise spread by 1 in each band."""
    hertz = np.maximum(np.arange(33) * 2.0, 1e-3)
    matrix = band_matrix(64, 128.0, "eeg").numpy()
    np.testing.assert_allclose(matrix @ (3.0 - 1.7 * np.log(hertz)), 0, atol=1e-9)
    noise = np.log(np.abs(np.fft.rfft(np.random.default_rng(0).standard_normal((20000, 64)))))
    np.testing.assert_allclose((noise @ matrix.T).std(0), 1, atol=0.02)
    none = band_matrix(64, 4000.0, "meg")  # no component between 1 and 45 Hz
    assert not len(none)
    assert band_power_loss(*tensors(noise[None, :2], noise[None, :2] + 1), torch.ones(1, 2), none) == 0


def test_latents_predict_those_of_the_whole_window_and_stay_apart():
    rng = np.random.default_rng(0)
    own, whole = rng.standard_normal((2, 5, 3, 4)) * 0.8
    predicted = np.array([4, 0, 2, 7, 1])
    error = ((own - whole) ** 2).mean((1, 2)) @ predicted
    low = np.maximum(0, 1 - np.sqrt(own.var(0, ddof=1) + 1e-4)).mean()
    covariance = sum(np.cov(own[:, latent].T) for latent in range(3)) / 3
    off = (covariance**2).sum() - (np.diag(covariance) ** 2).sum()
    found = latent_loss(*tensors(own, whole, predicted))
    np.testing.assert_allclose(found.item(), error + predicted.sum() * (low + 0.04 * off / 4), rtol=1e-9)
    one = latent_loss(*tensors(own[:1], whole[:1], predicted[:1]))
    np.testing.assert_allclose(one.item(), ((own[0] - whole[0]) ** 2).mean() * 4, rtol=1e-9)


def test_only_the_regularisation_holds_constant_latents_apart():
    """From nearly one point: the spread grows under descent, and no gradient goes to the target."""
    torch.manual_seed(0)
    latents = (0.01 * torch.randn(8, 2, 3, dtype=torch.float64)).requires_grad_()
    whole = latents.detach().clone().requires_grad_()
    for _ in range(300):
        (gradient,) = torch.autograd.grad(latent_loss(latents, latents.detach(), torch.ones(8)), latents)
        latents.data -= 0.2 * gradient
    assert latents.std(0).min() > 0.9
    assert torch.autograd.grad(latent_loss(latents, whole, torch.ones(8)), whole, allow_unused=True) == (None,)


def test_two_views_have_the_same_latents_and_both_stay_apart():
    rng = np.random.default_rng(0)
    own, view = rng.standard_normal((2, 5, 3, 4)) * 0.8
    predicted = np.array([4, 0, 2, 7, 1])
    error = ((own - view) ** 2).mean((1, 2)) @ predicted

    def vicreg(x):
        covariance = sum(np.cov(x[:, latent].T) for latent in range(3)) / 3
        off = (covariance**2).sum() - (np.diag(covariance) ** 2).sum()
        return np.maximum(0, 1 - np.sqrt(x.var(0, ddof=1) + 1e-4)).mean() + 0.04 * off / 4

    found = latent_loss(*tensors(own, view, predicted), "vicreg", 0, views=True)
    expected = error + predicted.sum() * (vicreg(own) + vicreg(view)) / 2
    np.testing.assert_allclose(found.item(), expected, rtol=1e-9)
    np.testing.assert_allclose(
        latent_loss(*tensors(own, view, predicted), "none", 0, views=True).item(), error, rtol=1e-9
    )
    with_gradient = torch.from_numpy(view).requires_grad_()
    latent_loss(*tensors(own), with_gradient, *tensors(predicted), "none", 0, views=True).backward()
    assert with_gradient.grad.abs().sum() > 0


def test_sigreg_is_the_distance_of_characteristic_functions():
    z = np.random.default_rng(0).standard_normal((6, 2, 3)) * 1.5 + 0.3
    u = directions(3, seed=7).numpy()
    np.testing.assert_allclose(np.linalg.norm(u, axis=0), 1)
    assert not torch.equal(directions(3, 7), directions(3, 8))
    t = np.linspace(-5, 5, 17)
    total = []
    for latent in range(2):
        for direction in u.T:
            empirical = np.exp(1j * t[:, None] * (z[:, latent] @ direction)).mean(1)
            gap = np.abs(empirical - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2)
            total.append(((gap[1:] + gap[:-1]) / 2 * (t[1] - t[0])).sum())
    np.testing.assert_allclose(sigreg(torch.from_numpy(z), 7).item(), np.mean(total), rtol=1e-9)
    normal = torch.randn(4000, 1, 8, generator=torch.Generator().manual_seed(0))
    assert sigreg(normal) < 1e-3 < 0.3 < sigreg(normal * 0)
    assert sigreg(normal[:1]) == 0
    assert set(REGULARISERS) == {"vicreg", "sigreg", "none"}


def test_distillation_is_the_cross_entropy_of_a_centred_and_sharpened_target():
    rng = np.random.default_rng(0)
    own, view = rng.standard_normal((2, 3, 2, 4))
    predicted = np.array([3, 1, 2])
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    softmax = lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)  # noqa: E731
    target = softmax((unit(view) - unit(view).mean(0)) / 0.04)
    expected = -(target * np.log(softmax(unit(own) / 0.1))).sum(-1).mean(-1) @ predicted
    student, teacher = (torch.from_numpy(x).requires_grad_() for x in (own, view))
    found = distill_loss(student, teacher, torch.from_numpy(predicted))
    np.testing.assert_allclose(found.item(), expected, rtol=1e-9)
    assert torch.autograd.grad(found, teacher, allow_unused=True, retain_graph=True) == (None,)
    assert torch.autograd.grad(found, student)[0].abs().sum() > 0
    assert distill_loss(student[:1], teacher[:1], torch.ones(1)) == 0


def test_alignment_finds_the_partner_among_other_moments():
    """Windows 0 and 1 are of one run 40 s apart: neither alike nor unlike. Window 3 has no partner."""
    rng = np.random.default_rng(0)
    own, partner = rng.standard_normal((2, 4, 2, 3))
    about = np.array([[1, 0, 0], [1, 0, 40_000], [1, 0, 100_000], [0, -4, 0]])
    predicted = np.array([2, 1, 3, 5])
    unit = lambda x: x.reshape(4, -1) / np.linalg.norm(x.reshape(4, -1), axis=1, keepdims=True)  # noqa: E731
    logits = np.exp(unit(own) @ unit(partner).T / 0.1)
    against = {0: [0, 2, 3], 1: [1, 2, 3], 2: [0, 1, 2, 3]}
    expected = -sum(predicted[i] * np.log(logits[i, i] / logits[i, others].sum()) for i, others in against.items())
    found = align_loss(*tensors(own, partner, about, predicted))
    np.testing.assert_allclose(found.item(), expected, rtol=1e-9)
    assert align_loss(*tensors(own[3:], partner[3:], about[3:], predicted[3:])) == 0


def test_pretexts_are_cross_entropies():
    logits, label, predicted = (
        np.random.default_rng(0).standard_normal((3, 4)),
        np.array([1, 3, 0]),
        np.array([2, 1, 4]),
    )
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(chances[range(3), label]) @ predicted
    np.testing.assert_allclose(pretext_loss(*tensors(logits, label, predicted)).item(), expected, rtol=1e-6)
