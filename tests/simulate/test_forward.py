from __future__ import annotations

import numpy as np
import pytest

from brainof.simulate.montages import (
    EEG_LAYOUTS,
    SPHERE_CENTRE,
    SPHERE_RADIUS,
    free_lead_field,
    lead_field,
    sensor_info,
    sensors,
)
from brainof.simulate.regions import make_regions


@pytest.mark.parametrize("n", sorted(EEG_LAYOUTS))
def test_electrodes_lie_on_the_head(n):
    table = sensors(n)
    assert len(table) == n
    assert table.located.all()
    assert table.frame == "head"
    distance = np.linalg.norm(table.positions - SPHERE_CENTRE, axis=1)
    assert np.abs(distance - SPHERE_RADIUS).max() < 0.02
    place = dict(zip(table.names, table.positions, strict=True))
    assert place["Cz"][2] == max(p[2] for p in place.values()) or place["Cz"][2] > 0.12
    assert place["O1"][1] < 0 < place["Fp1"][1]
    assert place["T7"][0] < 0 < place["T8"][0]


@pytest.mark.parametrize(
    ("helmet", "counts"),
    [("neuromag306", {"mag": 102, "grad": 204}), ("neuromag102", {"mag": 102}), ("ctf275", {"axial": 274})],
)
def test_coils_surround_the_head_and_look_outwards(helmet, counts):
    table = sensors(helmet)
    assert {kind: table.types.count(kind) for kind in set(table.types)} == counts
    offset = table.positions - SPHERE_CENTRE
    gap = np.linalg.norm(offset, axis=1) - SPHERE_RADIUS
    assert 0.005 < gap.min() < 0.02
    assert np.median(gap) < 0.03
    np.testing.assert_allclose(np.linalg.norm(table.orientations, axis=1), 1, atol=1e-9)
    assert (np.einsum("ij,ij->i", offset, table.orientations) > 0).all()
    assert len(sensor_info(helmet)["ch_names"]) == len(table)


def test_meg_in_a_sphere_is_blind_to_radial_currents_and_eeg_is_not():
    regions = make_regions(100)
    radial = regions.positions - SPHERE_CENTRE
    radial /= np.linalg.norm(radial, axis=1, keepdims=True)
    tangential = np.cross(radial, [0.3, -0.5, 0.8])
    tangential /= np.linalg.norm(tangential, axis=1, keepdims=True)
    for helmet in ("neuromag306", "ctf275"):
        silent, seen = lead_field(helmet, radial), lead_field(helmet, tangential)
        assert np.abs(silent).max() < 1e-6 * np.abs(seen).max()
    both = [np.abs(lead_field(32, directions)).mean() for directions in (radial, tangential)]
    assert 0.5 < both[0] / both[1] < 2


def test_magnetometers_follow_the_formula_of_a_dipole_in_a_sphere():
    """Second method: Sarvas (1987), equation 25, at the coil centre (a point magnetometer)."""
    regions, table = make_regions(16), sensors("neuromag102")
    found = free_lead_field("neuromag102", 16)
    r = table.positions - SPHERE_CENTRE
    for region in range(0, 16, 5):
        r0 = regions.positions[region] - SPHERE_CENTRE
        for axis, moment in enumerate(np.eye(3)):
            a_vector = r - r0
            a, radius = np.linalg.norm(a_vector, axis=1), np.linalg.norm(r, axis=1)
            f = a * (radius * a + radius**2 - r @ r0)
            slope = ((a**2 / radius + np.einsum("ij,ij->i", a_vector, r) / a + 2 * a + 2 * radius)[:, None] * r) - (
                a + 2 * radius + np.einsum("ij,ij->i", a_vector, r) / a
            )[:, None] * r0
            cross = np.cross(moment, r0)
            field = 1e-7 / f[:, None] ** 2 * (f[:, None] * cross - (r @ cross)[:, None] * slope)
            expected = np.einsum("ij,ij->i", field, table.orientations)
            # the real coil is 21 mm wide, the formula is for its centre
            assert np.linalg.norm(found[:, region, axis] - expected) < 0.05 * np.linalg.norm(found[:, region]) + 1e-9


def test_eeg_has_an_average_reference():
    gain = free_lead_field(64, 100)
    assert np.abs(gain.mean(axis=0)).max() < 1e-9 * np.abs(gain).max()


@pytest.mark.real
def test_lead_field_resembles_a_measured_geometry(real_data):
    """Topographies, sizes and rank against the three-layer model of one real head in one real helmet."""
    with np.load(real_data / "sample_leadfield" / "sample_leadfield.npz") as archive:
        measured = {name: archive[name] for name in ("G", "ch_names", "ch_types", "ch_loc", "src_rr")}
    regions = make_regions(100)
    distance = np.linalg.norm(regions.positions[:, None] - measured["src_rr"], axis=2)
    near, rows = distance.argmin(axis=1), np.flatnonzero(distance.min(axis=1) < 0.009)

    info, names = sensor_info("neuromag306"), list(measured["ch_names"])
    order = [names.index(name) for name in info["ch_names"]]
    ours, theirs = free_lead_field("neuromag306", 100), measured["G"][order]
    kinds = np.array(sensors("neuromag306").types)
    for kind, similar in (("mag", 0.8), ("grad", 0.7)):
        pairs = [
            (ours[kinds == kind, i] @ regions.orientations[i], theirs[kinds == kind, near[i]] @ regions.orientations[i])
            for i in rows
        ]
        _check_alike(pairs, similar)
    electrodes = measured["ch_types"] == "eeg"
    places = measured["ch_loc"][electrodes, :3]
    partner = np.linalg.norm(places[:, None] - sensors(128).positions, axis=2).argmin(axis=1)
    ours, theirs = free_lead_field(128, 100)[partner], measured["G"][electrodes]
    ours, theirs = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
    _check_alike(
        [(ours[:, i] @ regions.orientations[i], theirs[:, near[i]] @ regions.orientations[i]) for i in rows], 0.9
    )


def _check_alike(pairs, similar):
    """Median correlation and ratio of norms; and how many dimensions the sensors tell apart."""
    assert np.median([np.corrcoef(a, b)[0, 1] for a, b in pairs]) > similar
    assert 0.6 < np.median([np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]) < 1.7
    ranks = []
    for side in (0, 1):
        values = np.linalg.svd(np.stack([pair[side] for pair in pairs], axis=1), compute_uv=False)
        ranks.append((values > 0.02 * values[0]).sum())
    assert 0.75 < ranks[0] / ranks[1] < 1.33
