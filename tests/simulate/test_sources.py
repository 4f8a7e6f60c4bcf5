from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, signal
from studies.signal_summary import background, mean_spectrum

from brainof.simulate import CohortParameters, simulate_subject
from brainof.simulate.activity import at_rate
from brainof.simulate.parameters import ArtefactParameters
from brainof.simulate.regions import NETWORKS, make_regions
from brainof.simulate.sources import FRAME_RATE, drift_matrix, envelopes, oscillators

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


EVOKED = {**QUIET, "seconds": 240, "evoked": {"rate": 1.0, "moment": 2e-7, "early": 0.12, "late": 0.35}}


def averaged(signal: np.ndarray, made) -> np.ndarray:
    """Mean over stimuli from 0.1 s before to 0.7 s after, baseline removed, shape (n, n_times)."""
    onsets = np.round(made.truth.timeline.stimuli * 256).astype(int)
    onsets = onsets[(onsets > 26) & (onsets < signal.shape[1] - 180)]
    assert len(onsets) > 80
    mean = np.mean([signal[:, onset - 26 : onset + 180] for onset in onsets], axis=0)
    return mean - mean[:, :26].mean(axis=1, keepdims=True)


def test_evoked_response_has_the_latencies_and_sizes_asked_for():
    made = simulate_subject(CohortParameters.parse(EVOKED), 0)
    networks, times = made.truth.regions.networks, (np.arange(206) - 26) / 256
    mean = averaged(made.truth.sources, made)
    visual = mean[networks == "visual"].mean(axis=0)
    early, late = (times > 0.06) & (times < 0.2), (times > 0.2) & (times < 0.6)
    assert times[early][visual[early].argmin()] == pytest.approx(0.12, abs=0.03)
    assert times[late][visual[late].argmax()] == pytest.approx(0.35, abs=0.04)
    assert visual[late].max() == pytest.approx(2e-7, rel=0.15)
    assert visual[early].min() == pytest.approx(-0.7 * 2e-7, rel=0.25)
    frontal = mean[networks == "frontoparietal"].mean(axis=0)
    assert frontal[late].max() / visual[late].max() == pytest.approx(0.6, abs=0.15)
    assert np.abs(mean[networks == "somatomotor"].mean(axis=0)).max() < 0.3 * visual.max()
    assert set(made.eeg.events.trial_type) == {"rest", "task", "stimulus"}


def test_evoked_response_reaches_the_electrodes_and_bold():
    """At the electrodes it is the lead field times the response; in BOLD it lifts the regions that respond."""
    quiet = {"effects": {"state_strength": 0}, "artefacts": ArtefactParameters.none().to_dict()}
    given = CohortParameters.parse({**EVOKED, **quiet, "modalities": ["eeg", "fmri"]})
    made = simulate_subject(given, 0)
    weight = made.truth.regions.by_network(dict(given.evoked.networks))
    topography = made.truth.lead_fields["eeg"] @ weight
    late = averaged(made.eeg.data, made)[:, 26 + round(0.35 * 256)]
    assert np.corrcoef(late, topography)[0, 1] > 0.95
    silent = simulate_subject(given.replaced(["evoked.activity=0"]), 0)
    difference = made.truth.clean["fmri"] - silent.truth.clean["fmri"]
    assert (difference[weight == 0] == 0).all()
    change = difference[weight == 1].mean(axis=0)
    # one stimulus per second and one SD x s each: a plateau of one SD of activity, in task blocks, some seconds late
    task = made.truth.timeline.task(np.arange(len(change)) * 1.0 - 5)
    assert np.corrcoef(change, task)[0, 1] > 0.7
    assert np.quantile(change, 0.95) == pytest.approx(100, rel=0.3)  # 1 % of 10,000


def test_rhythms_of_the_network_that_is_up_are_lifted():
    given = {
        **QUIET,
        "seconds": 240,
        "switching": {"states": 3, "dwell": 4.0, "amplitude": 1.0},
        "effects": {"state_strength": 0},
        "sources": {"regions": 40, "alpha": {"frequency": 10, "width": 1.5, "amplitude": {}, "elsewhere": 20}},
    }
    made = simulate_subject(CohortParameters.parse(given), 0)
    states = at_rate(made.truth.hidden_states[None].astype(float), 256, made.eeg.n_times)[0]
    sos = signal.butter(2, (6, 14), "band", fs=256, output="sos")
    for state, network in enumerate(NETWORKS[:3]):
        rows = made.truth.regions.networks == network
        power = np.mean(signal.sosfiltfilt(sos, made.truth.sources[rows]) ** 2, axis=0)
        change = 0.5 * np.log(power[states == state].mean() / power[states != state].mean())
        assert change == pytest.approx(1.0, abs=0.3)
