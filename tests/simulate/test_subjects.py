from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from brainof.plausibility import implausible_amplitudes
from brainof.simulate import CohortParameters, cohort, simulate_subject
from brainof.simulate.activity import BASELINE, bold, mixing
from brainof.simulate.persons import make_person
from brainof.simulate.regions import make_regions
from brainof.simulate.timeline import SLOW_RATE


def test_recordings_are_paired_and_complete(subject, parameters):
    assert subject.eeg.duration == subject.meg.duration == 60
    assert subject.fmri.n_times == parameters.volumes == 64 + 2 * 128
    assert {r.entities["subject"] for r in subject.recordings.values()} == {"001"}
    for recording in subject.recordings.values():
        assert recording.data.dtype == np.float32
        assert np.isfinite(recording.data).all()
        kinds = set(recording.events.trial_type)
        assert {"rest", "task"} <= kinds


def test_events_tell_the_state_in_every_modality(subject):
    timeline = subject.truth.timeline
    for recording in subject.recordings.values():
        for onset, duration, kind in recording.events[["onset", "duration", "trial_type"]].itertuples(index=False):
            inside = timeline.task(np.linspace(onset, onset + duration - 1e-3, 7))
            assert set(inside) == {1.0 if kind.startswith("task") else 0.0}
    windows = subject.fmri.events[subject.fmri.events.trial_type.isin(["rest", "task"])]
    assert (windows.duration == 64).all()


def test_the_same_seed_gives_the_same_subject(parameters, subject):
    again = simulate_subject(parameters, 0)
    for modality, recording in subject.recordings.items():
        np.testing.assert_array_equal(recording.data, again.recordings[modality].data)
    other = simulate_subject(parameters.replaced(["seed=4", "modalities=[eeg]"]), 0)
    assert np.abs(other.eeg.data - subject.eeg.data).max() > 1e-6


def test_a_subject_depends_on_nothing_but_its_number(parameters, subject):
    """Other modalities, other subjects and other people's artefacts leave it as it is."""
    alone = simulate_subject(parameters.replaced(["modalities=[eeg]", "subjects=7"]), 0)
    np.testing.assert_array_equal(alone.eeg.data, subject.eeg.data)
    bold_only = simulate_subject(parameters.replaced(["modalities=[fmri]"]), 0)
    np.testing.assert_array_equal(bold_only.fmri.data, subject.fmri.data)
    quiet = simulate_subject(parameters.replaced(["artefacts.blinks=0", "modalities=[eeg]"]), 0)
    np.testing.assert_array_equal(quiet.truth.clean["eeg"], subject.truth.clean["eeg"])


def test_cohort_streams(parameters):
    found = cohort(parameters.replaced(["modalities=[fmri]"]))
    assert [made.name for made in found] == ["001", "002"]


def test_eeg_and_meg_are_the_lead_field_times_the_same_sources(subject):
    truth = subject.truth
    for modality, gain in truth.lead_fields.items():
        expected = np.exp(truth.person.log_gain) * gain @ truth.sources[:, :2000].astype(np.float64)
        found = truth.clean[modality][:, :2000]
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    # MEG is predicted from EEG only as far as the lead fields share directions: not at all perfectly
    eeg, meg = truth.clean["eeg"], truth.clean["meg"]
    weights, *_ = np.linalg.lstsq(eeg.T, meg.T, rcond=None)
    explained = 1 - ((meg - weights.T @ eeg) ** 2).sum() / (meg**2).sum()
    assert 0.05 < explained < 0.9


def test_bold_is_the_response_to_the_activity_that_sets_the_envelopes(parameters):
    """Beta power, convolved with the response, follows clean BOLD region by region."""
    given = parameters.replaced(
        [
            "modalities=[eeg, fmri]",
            "seconds=300",
            "effects.state_strength=0",
            "artefacts.fmri_noise=0",
            "sources.regions=40",
            "sources.beta.activity=1.0",
            "sources.beta.elsewhere=6",
            "sources.beta.amplitude={}",
        ]
    )
    made = simulate_subject(given, 0)
    truth = made.truth
    expected = BASELINE * (1 + bold(truth.activity, 1.0, given.volumes, 6.0))
    assert np.median([np.corrcoef(a, b)[0, 1] for a, b in zip(expected, truth.clean["fmri"], strict=True)]) > 0.99
    sos = signal.butter(2, (13, 28), "band", fs=256, output="sos")
    power = np.log(signal.sosfiltfilt(sos, truth.sources) ** 2 + 1e-30)
    seconds = power.reshape(len(power), 300, 256).mean(axis=2)
    convolved = bold(np.repeat(seconds, SLOW_RATE, axis=1).astype(np.float32), 1.0, 300)
    match = [np.corrcoef(a[32:], b[32:300])[0, 1] for a, b in zip(convolved, truth.clean["fmri"], strict=True)]
    assert np.median(match) > 0.7


def test_amplitudes_are_those_of_living_heads(subject):
    for recording in subject.recordings.values():
        assert implausible_amplitudes(recording) == []
    kinds = np.array(subject.meg.channels.types)
    eeg, meg = subject.truth.clean["eeg"], subject.truth.clean["meg"]
    assert 3e-6 < np.median(eeg.std(axis=1)) < 50e-6
    assert 1e-13 < np.median(meg[kinds == "mag"].std(axis=1)) < 3e-12
    assert 1e-12 < np.median(meg[kinds == "grad"].std(axis=1)) < 3e-11
    change = subject.truth.clean["fmri"].std(axis=1) / BASELINE
    assert 0.002 < np.median(change) < 0.03


def test_ctf_helmet_and_other_sizes_work():
    made = simulate_subject(
        CohortParameters(meg="ctf275", channels=128, seconds=40, t_r=2.0, rois=30, sources={"regions": 40}), 0
    )
    assert set(made.meg.channels.types) == {"axial"}
    assert made.eeg.n_channels == 128
    assert made.fmri.n_channels == 30
    assert implausible_amplitudes(made.meg) == []


def test_group_effect_has_the_size_asked_for():
    parameters = CohortParameters.parse({"effects": {"group_alpha": 1.0, "group_connectivity": 0.5, "age_alpha": 0}})
    regions = make_regions(100)
    people = [make_person(parameters, index, regions) for index in range(1000)]
    alpha = np.array([person.alpha_frequency for person in people])
    patient = np.array([person.group == "patient" for person in people])
    assert patient.mean() == 0.5
    d = (alpha[~patient].mean() - alpha[patient].mean()) / alpha[~patient].std()
    assert d == pytest.approx(1.0, abs=0.15)
    default = np.ix_(regions.networks == "default", regions.networks == "default")
    inside = []
    for person in people[:40]:
        matrix = mixing(person, regions)
        inside.append((matrix @ matrix.T)[default].mean())
    assert np.mean(np.array(inside)[patient[:40]]) < 0.8 * np.mean(np.array(inside)[~patient[:40]])


def test_age_effect_and_site_confound():
    regions = make_regions(16)
    aged = CohortParameters.parse({"effects": {"age_alpha": -0.03, "alpha_sd": 0.1, "group_alpha": 0}})
    people = [make_person(aged, index, regions) for index in range(300)]
    slope = np.polyfit([p.age for p in people], [p.alpha_frequency for p in people], 1)[0]
    assert slope == pytest.approx(-0.03, abs=0.003)
    for confound, expected in ((0.0, 0.5), (1.0, 1.0)):
        mixed = CohortParameters.parse({"effects": {"site_confound": confound}})
        people = [make_person(mixed, index, regions) for index in range(80)]
        agree = np.mean([(p.group == "patient") == (p.site == "site2") for p in people])
        assert agree == pytest.approx(expected, abs=0.01)


def test_activity_has_the_connectivity_of_its_mixing_matrix(parameters):
    long = parameters.replaced(
        ["modalities=[fmri]", "fmri_blocks=60", "effects.state_strength=0", "sources.regions=40"]
    )
    truth = simulate_subject(long, 0).truth
    matrix = mixing(truth.person, truth.regions)
    np.testing.assert_allclose((matrix**2).sum(axis=1), 1, atol=1e-9)
    upper = np.triu_indices(40, 1)
    found = np.corrcoef(truth.spontaneous)[upper]
    assert np.corrcoef(found, (matrix @ matrix.T)[upper])[0, 1] > 0.9
    assert truth.spontaneous.std() == pytest.approx(1, abs=0.1)
