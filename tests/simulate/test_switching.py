from __future__ import annotations

import numpy as np
import pytest

from brainof.simulate import CohortParameters, simulate_subject
from brainof.simulate.parameters import SwitchingParameters
from brainof.simulate.regions import NETWORKS
from brainof.simulate.timeline import SLOW_RATE, hidden_states


@pytest.mark.parametrize(("states", "dwell"), [(2, 0.5), (4, 3.0), (8, 1.0)])
def test_visits_have_the_dwell_time_asked_for_and_share_the_time(states, dwell):
    found = hidden_states(SwitchingParameters(states=states, dwell=dwell), 4000.0, np.random.default_rng(0))
    assert len(found) == 4000 * SLOW_RATE + 1
    edges = np.flatnonzero(np.diff(found)) + 1
    visits = np.diff(edges) / SLOW_RATE
    assert visits.mean() == pytest.approx(dwell, rel=0.1)
    assert visits.min() >= dwell / 4 - 1 / SLOW_RATE
    assert np.bincount(found, minlength=states) / len(found) == pytest.approx(1 / states, rel=0.2)


def test_states_are_shared_by_all_modalities_and_seen_in_bold():
    base = CohortParameters.parse({"modalities": ["fmri"], "fmri_blocks": 4, "effects": {"state_strength": 0}})
    moved = simulate_subject(base.replaced(["switching.states=2", "switching.dwell=20", "switching.activity=1"]), 0)
    still = simulate_subject(base, 0)
    assert len(still.truth.hidden_states) == 0
    np.testing.assert_array_equal(moved.truth.spontaneous, still.truth.spontaneous)  # a stream of its own
    difference = moved.truth.activity - still.truth.activity
    regions = moved.truth.regions
    for network in NETWORKS:  # only the network of the state is up
        up = moved.truth.hidden_states == NETWORKS.index(network)
        rows = difference[regions.networks == network]
        np.testing.assert_allclose(rows, np.broadcast_to(up, rows.shape), atol=1e-5)
    visual = regions.networks == "visual"
    change = (moved.truth.clean["fmri"] - still.truth.clean["fmri"])[visual].mean(axis=0)
    late = moved.truth.hidden_states[(np.arange(len(change)) * SLOW_RATE - 5 * SLOW_RATE).clip(0)]
    assert np.corrcoef(change, late == 0)[0, 1] > 0.6
