from __future__ import annotations

import pytest

from brainof.errors import ConfigError
from brainof.simulate import TASKS, CohortParameters, cohort, task_parameters


@pytest.mark.parametrize(
    ("values", "field", "limit"),
    [
        ({"t_r": 0}, "t_r", "0.1"),
        ({"t_r": -2}, "t_r", "0.1"),
        ({"channels": 500}, "", "19, 32, 64, 128"),
        ({"rois": 101}, "", "100 regions"),
        ({"rois": 0}, "", "100 regions"),
        ({"rois": ["visuel"]}, "", "did you mean 'visual'"),
        ({"rois": []}, "", "one region at least"),
        ({"switching": {"states": 1}}, "switching.states", "2 to 8"),
        ({"switching": {"dwell": 0}}, "switching.dwell", "0.25"),
        ({"evoked": {"early": 0.2, "late": 0.2}}, "evoked", "1.5 times early"),
        ({"sources": {"coupling": 1.0}}, "sources.coupling", "less than 1"),
        ({"sources": {"regions": 33}}, "sources.regions", "multiple of 2"),
        ({"subjects": 0}, "subjects", "1"),
        ({"modalities": []}, "", "one at least"),
        ({"modalities": ["eeg", "eeg"]}, "", "at most once"),
        ({"modalities": ["ecog"]}, "modalities", "'eeg', 'meg' or 'fmri'"),
        ({"seconds": 30}, "", "two blocks of 20 s"),
        ({"meg_epoch": 30}, "", "longer than its block (20)"),
        ({"sfreq": 128, "artefacts": {"line_frequency": 65}}, "", "64 Hz"),
        ({"effects": {"state": {"amplitude": {"gamma": {}}}}}, "effects.state.amplitude", "'alpha'"),
        ({"effects": {"group_balance": 1}}, "effects.group_balance", "less than 1"),
    ],
)
def test_impossible_values_are_refused_with_the_limit(values, field, limit):
    with pytest.raises(ConfigError) as caught:
        cohort(values)
    assert field in str(caught.value)
    assert limit in str(caught.value)


def test_unknown_key_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'blinks'"):
        CohortParameters.parse({"artefacts": {"blink": 3}})


def test_parameters_survive_their_own_text():
    given = CohortParameters.parse({"effects": {"state": {"amplitude": {"alpha": {"visual": -1.0}}}}, "rois": 10})
    assert CohortParameters.parse(given.to_dict()) == given


def test_fmri_covers_the_electric_recording_in_whole_patches():
    given = CohortParameters(seconds=100, t_r=0.72, fmri_blocks=0)
    assert given.paired_volumes % 64 == 0
    assert given.paired_volumes * 0.72 >= 100 > (given.paired_volumes - 64) * 0.72


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_is_a_valid_cohort(name):
    assert task_parameters(name, subjects=3).subjects == 3


def test_unknown_task_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'pair'"):
        task_parameters("pairs")
