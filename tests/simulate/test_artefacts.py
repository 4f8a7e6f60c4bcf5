from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from brainof.simulate import CohortParameters, simulate_subject
from brainof.simulate.artefacts import contaminate, contaminate_bold, magnetic_pattern
from brainof.simulate.montages import sensor_info, sensors
from brainof.simulate.parameters import ArtefactParameters
from brainof.simulate.persons import stream

NONE = ArtefactParameters.none()
N = 256 * 60


def own(purpose: str) -> np.random.Generator:
    return stream(0, 0, purpose)


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return (1e-5 * np.random.default_rng(0).standard_normal((32, N))).astype(np.float32)


def test_everything_switched_off_leaves_the_clean_signals():
    made = simulate_subject(CohortParameters(seconds=40, channels=19, meg="neuromag102", artefacts=NONE), 0)
    for modality, recording in made.recordings.items():
        np.testing.assert_array_equal(recording.data, made.truth.clean[modality])
        assert recording.bads == ()


@pytest.mark.parametrize("name", ["eeg_noise", "line", "drift", "blinks", "muscle", "heart", "bad_channels"])
def test_each_switch_adds_something_and_nothing_else_changes(clean, name):
    default = getattr(ArtefactParameters(), name)
    level = NONE.model_copy(update={name: 0.2 if name == "bad_channels" else default})
    before = clean.copy()
    found = contaminate(clean, 32, 256.0, level, own)
    np.testing.assert_array_equal(clean, before)
    added = found.data - clean
    assert added.std() > 0
    assert np.isfinite(found.data).all()
    if name in ("blinks", "muscle"):
        mask = found.masks[name]
        assert 0 < mask.mean() < 0.6
        assert np.abs(added[:, ~mask]).max() < 1e-7
    if name == "bad_channels":
        assert set(found.bads) == {n for n, bad in zip(sensors(32).names, found.masks[name], strict=True) if bad}
        assert np.abs(added[~found.masks[name]]).max() == 0


def test_blinks_are_frontal_and_as_large_as_real_ones(clean):
    level = NONE.model_copy(update={"blinks": 20.0})
    table = sensors(32)
    added = contaminate(clean, 32, 256.0, level, own).data - clean
    peak = dict(zip(table.names, np.abs(added).max(axis=1), strict=True))
    assert 50e-6 < peak["Fp1"] < 400e-6
    assert peak["Fp1"] > 3 * peak["O1"]


def test_heart_beats_are_masked_at_their_peaks(clean):
    level = NONE.model_copy(update={"heart": 60.0})
    found = contaminate(clean, 32, 256.0, level, own)
    mask, size = found.masks["heart"], np.abs(found.data - clean).max(axis=0)
    assert np.diff(mask.astype(int)).clip(0).sum() == pytest.approx(60, abs=6)
    assert size[mask].max() == size.max()
    assert size[~mask].max() < 0.3 * size.max()  # only T waves remain


def test_noise_of_a_site_is_louder():
    base = {"modalities": ["eeg", "fmri"], "seconds": 40, "channels": 19, "effects": {"site_noise": 1.0, "sites": 2}}
    off = {
        name: 0 for name in ArtefactParameters.model_fields if name not in ("eeg_noise", "fmri_noise", "line_frequency")
    }
    parameters = CohortParameters.parse({**base, "artefacts": off})
    people = [simulate_subject(parameters, index) for index in range(4)]
    for modality in ("eeg", "fmri"):
        noise = {
            p.truth.person.site: (p.recordings[modality].data - p.truth.clean[modality]).std()
            / (p.truth.clean["fmri"].std(axis=1).mean() if modality == "fmri" else 1)
            for p in people
        }
        assert np.log(noise["site2"] / noise["site1"]) == pytest.approx(1.0, abs=0.25)


def test_eeg_and_meg_show_the_same_blinks():
    made = simulate_subject(CohortParameters(seconds=60, channels=19, meg="neuromag102"), 1)
    np.testing.assert_array_equal(made.truth.masks["eeg"]["blinks"], made.truth.masks["meg"]["blinks"])


def test_line_is_at_its_frequency(clean):
    level = NONE.model_copy(update={"line": 2.0, "line_frequency": 60.0})
    found = contaminate(clean, 32, 256.0, level, own).data
    frequency, power = signal.welch(found, 256, nperseg=1024)
    assert frequency[power.mean(axis=0).argmax()] == pytest.approx(60)


def test_white_noise_has_the_density_asked_for():
    table = sensors("neuromag306")
    level = NONE.model_copy(update={"mag_noise": 3e-15, "grad_noise": 3e-13})
    silent = np.zeros((306, 256 * 20), np.float32)
    found = contaminate(silent, "neuromag306", 256.0, level, own).data
    _, density = signal.welch(found, 256, nperseg=512)
    kinds = np.array(table.types)
    assert np.sqrt(np.median(density[kinds == "mag"])) == pytest.approx(3e-15, rel=0.1)
    assert np.sqrt(np.median(density[kinds == "grad"])) == pytest.approx(3e-13, rel=0.1)


def test_planar_gradiometers_see_the_slope_of_the_field():
    """Second method: finite differences of the magnetometer formula at points between the coils."""
    table, place, moment = sensors("neuromag306"), np.array([0.05, 0.05, -0.35]), np.array([0.5, 0.3, -0.8])
    found = magnetic_pattern("neuromag306", place, moment)
    along = np.array([channel["loc"][3:6] for channel in sensor_info("neuromag306")["chs"]])
    small = 1e-4

    def field(points: np.ndarray) -> np.ndarray:
        """(3 n (n m) - m) / r^3 along the normals of the coils."""
        r = np.linalg.norm(points - place, axis=1, keepdims=True)
        n = (points - place) / r
        return np.einsum("ij,ij->i", (3 * n * (n @ moment)[:, None] - moment) / r**3, table.orientations)

    up, down = (field(table.positions + sign * small * along) for sign in (1, -1))
    planar = np.array(table.types) == "grad"
    np.testing.assert_allclose(
        found[planar], ((up - down) / (2 * small))[planar], rtol=0.02, atol=0.02 * found[planar].std()
    )


def test_motion_marks_its_volumes():
    rng = np.random.default_rng(0)
    clean = (10_000 + 100 * rng.standard_normal((20, 400))).astype(np.float32)
    level = NONE.model_copy(update={"motion": 5.0})
    found = contaminate_bold(clean, rng.standard_normal((20, 3)), 1.0, level, own)
    mask = found.masks["motion"]
    assert 5 < mask.sum() < 80
    jump = np.abs(np.diff(found.data - clean, axis=1)).max(axis=0)
    assert jump[~mask[1:] & ~mask[:-1]].max() < 1e-2
    assert (jump[mask[1:]] > 10).all()
