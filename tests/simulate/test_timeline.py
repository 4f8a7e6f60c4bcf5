from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainof.simulate import CohortParameters
from brainof.simulate.timeline import make_timeline


@settings(max_examples=50, deadline=None)
@given(
    seconds=st.floats(60, 600),
    block=st.floats(8, 30),
    t_r=st.floats(0.2, 4),
    blocks=st.integers(0, 6),
    rate=st.floats(0, 2),
)
def test_blocks_tile_the_session_and_alternate(seconds, block, t_r, blocks, rate):
    parameters = CohortParameters(seconds=seconds, block=block, t_r=t_r, fmri_blocks=blocks, evoked={"rate": rate})
    timeline = make_timeline(parameters, True, np.random.default_rng(0))
    assert timeline.edges[0] == 0
    assert (np.diff(timeline.edges) > 0).all()
    assert timeline.duration == pytest.approx(parameters.volumes * t_r)
    assert timeline.duration >= seconds - 1e-6
    n_short = len(timeline.working) - blocks
    assert (np.diff(timeline.working[:n_short].astype(int)) != 0).all()
    assert timeline.task(timeline.stimuli).all()  # stimuli are shown during task only
    events = timeline.events(0, seconds, 4.0)
    epochs = events[events.trial_type != "stimulus"]
    assert (epochs.onset + epochs.duration <= seconds + 1e-6).all()
    inside = timeline.task(epochs.onset.to_numpy() + 2.0)
    np.testing.assert_array_equal(epochs.trial_type == "task", inside == 1)


def test_pairs_hide_the_label_from_each_modality():
    parameters = CohortParameters.parse(
        {"seconds": 512, "block": 32, "t_r": 0.5, "fmri_blocks": 0, "effects": {"pair": True}}
    )
    for seed in range(20):
        timeline = make_timeline(parameters, False, np.random.default_rng(seed))
        np.testing.assert_array_equal(timeline.rhythms ^ timeline.bold, timeline.working)
        for state in (False, True):  # half of each label has the bit set: it is independent of the label
            rows = timeline.working == state
            assert timeline.rhythms[rows].sum() * 2 == rows.sum()
            assert timeline.bold[rows].sum() * 2 == rows.sum()
