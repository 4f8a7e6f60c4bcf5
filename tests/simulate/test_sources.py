from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, signal

from brainof.simulate import CohortParameters, simulate_subject
from brainof.simulate.realism import background, mean_spectrum
from brainof.simulate.regions import make_regions
from brainof.simulate.sources import FRAME_RATE, drift_matrix, envelopes, evoked_response, oscillators

QUIET = {"modalities": ["eeg"], "channels": 19, "sfreq": 256, "seconds": 120, "fmri_blocks": 0}


@pytest.mark.parametrize("coupling", [0.0, 0.6, 0.99])
@pytest.mark.parametrize("speed", [0.5, 6.0, 100.0])
def test_oscillators_are_stable_below_coupling_one(coupling, speed):
    a = drift_matrix(40, 10.0, 1.5, coupling, speed)
    assert np.linalg.eigvals(a).real.min() >= np.pi * 1.5 * (1 - coupling) - 1e-9


def test_modes_reproduce_the_lyapunov_covariance():
    """Second method: the stationary covariance solves A P + P A* = I."""
    a = drift_matrix(16, 10.0, 2.0, 0.6, 6.0)
    expected = linalg.solve_continuous_lyapunov(a, np.eye(16))
    scale = np.sqrt(np.diag(expected).real)
    expected = expected / np.outer(scale, scale)
    model = oscillators(16, 10.0, 2.0, 0.6, 6.0)
    noise = model.kick.astype(complex) @ model.kick.astype(complex).conj().T
    # the stationary covariance of an AR(1) in the modes, element by element
    modes = noise / (1 - model.step[:, None] * model.step.conj())
    found = model.shapes.astype(complex) @ modes @ model.shapes.astype(complex).conj().T
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_narrow_band_delays_are_close_to_true_delays():
    """The frequency response with delays as phases at the carrier against the exact one, within the band."""
    regions, gamma, coupling, speed, carrier = make_regions(40), np.pi * 1.5, 0.6, 6.0, 10.0
    a = drift_matrix(40, carrier, 1.5, coupling, speed)
    delays = regions.distances / speed
    own = np.diag(a) - np.diag(coupling * gamma * regions.structure() * np.exp(-2j * np.pi * carrier * delays))
    for offset in (-1.0, 0.0, 1.0):
        omega = 2j * np.pi * offset
        near = np.linalg.inv(omega * np.eye(40) + a)
        exact_coupling = regions.structure() * np.exp(-2j * np.pi * (carrier + offset) * delays)
        exact = np.linalg.inv(omega * np.eye(40) + np.diag(own) - coupling * gamma * exact_coupling)
        assert np.linalg.norm(near - exact) / np.linalg.norm(exact) < 0.05


def test_envelopes_have_unit_mean_square():
    parameters = CohortParameters()
    rng = np.random.default_rng(0)
    found = envelopes(parameters.sources.alpha, parameters.sources, 40, 400 * FRAME_RATE, rng)
    settled = found[:, 10 * FRAME_RATE :]
    assert np.mean(np.abs(settled) ** 2) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("exponent", [0.5, 1.5])
def test_background_has_the_exponent_asked_for(exponent):
    rhythms = {
        name: {"frequency": f, "width": 2, "amplitude": {}, "elsewhere": 0}
        for name, f in (("theta", 6), ("alpha", 10), ("beta", 20))
    }
    made = simulate_subject(
        CohortParameters.parse({**QUIET, "sources": {"regions": 40, "exponent": exponent, **rhythms}}), 0
    )
    frequency, power = mean_spectrum(made.truth.sources, 256.0)
    assert -background(frequency, power)[0] == pytest.approx(made.truth.person.exponent, abs=0.05)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_alpha_peaks_where_the_person_says(index):
    made = simulate_subject(CohortParameters.parse(QUIET), index)
    visual = made.truth.sources[made.truth.regions.networks == "visual"]
    frequency, power = mean_spectrum(visual, 256.0)
    band = (frequency > 6) & (frequency < 15)
    # posterior regions oscillate a little faster than the mean of the head
    assert frequency[band][power[band].argmax()] == pytest.approx(made.truth.person.alpha_frequency, abs=0.6)


@pytest.mark.parametrize("strength", [0.0, 1.0, 2.0])
def test_task_changes_alpha_amplitude_by_the_parameter(strength):
    changes = []
    given = {
        **QUIET,
        "seconds": 240,
        "effects": {"state_strength": strength, "state": {"amplitude": {"alpha": {"visual": -0.5}}}},
        "sources": {"regions": 40, "alpha": {"frequency": 10, "width": 1.5, "amplitude": {"visual": 50}}},
    }
    for index in range(2):
        made = simulate_subject(CohortParameters.parse(given), index)
        rows = made.truth.regions.networks == "visual"
        sos = signal.butter(2, (6, 14), "band", fs=256, output="sos")
        power = np.mean(signal.sosfiltfilt(sos, made.truth.sources[rows]) ** 2, axis=0)
        task = made.truth.timeline.task(np.arange(len(power)) / 256) == 1
        changes.append(0.5 * np.log(power[task].mean() / power[~task].mean()))
    assert np.mean(changes) == pytest.approx(-0.5 * strength, abs=0.15)


def test_frequency_effect_moves_the_peak_and_keeps_the_power():
    given = {
        **QUIET,
        "effects": {"state": {"amplitude": {}, "activity": {}, "frequency": 2.0}},
        "sources": {"regions": 40, "alpha": {"frequency": 10, "width": 1, "amplitude": {"visual": 50}}},
    }
    made = simulate_subject(CohortParameters.parse({**given, "seconds": 240}), 0)
    visual = made.truth.sources[made.truth.regions.networks == "visual"]
    task = made.truth.timeline.task(np.arange(visual.shape[1]) / 256) == 1
    centre, power = [], []
    for rows in (task, ~task):
        frequency, spectrum = signal.welch(visual[:, rows], 256, nperseg=512)
        band = (frequency > 6) & (frequency < 16)
        mean = spectrum[:, band].mean(axis=0)
        centre.append((frequency[band] * mean).sum() / mean.sum())
        power.append(mean.sum())
    assert centre[0] - centre[1] == pytest.approx(2.0, abs=0.4)
    assert np.log(power[0] / power[1]) == pytest.approx(0, abs=0.35)


def test_evoked_response_appears_after_stimuli():
    given = {**QUIET, "evoked": {"rate": 1.0, "moment": 2e-7}}
    made = simulate_subject(CohortParameters.parse(given), 0)
    onsets = np.round(made.truth.timeline.stimuli * 256).astype(int)
    onsets = onsets[onsets < made.truth.sources.shape[1] - 200]
    row = int(np.flatnonzero(made.truth.regions.networks == "visual")[0])
    mean = np.mean([made.truth.sources[row, onset : onset + 153] for onset in onsets], axis=0)
    assert len(onsets) > 20
    assert np.corrcoef(mean, evoked_response(256)[:153])[0, 1] > 0.8
    assert set(made.eeg.events.trial_type) == {"rest", "task", "stimulus"}
