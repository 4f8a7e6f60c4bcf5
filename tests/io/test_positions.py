from __future__ import annotations

import mne
import numpy as np
import pytest

from brainof.errors import ReadError
from brainof.io.positions import coils, default_montage, digitised_electrodes, electrode_positions


def test_names_give_what_set_montage_gives():
    names = ["Fp1", "T7", "Cz", "O2"]
    info = mne.create_info(names, 100.0, "eeg").set_montage(default_montage())
    expected = np.array([channel["loc"][:3] for channel in info["chs"]])
    np.testing.assert_allclose(electrode_positions(names), expected, atol=1e-12)


def test_old_and_new_names_prefixes_dots_and_case_agree():
    names = ["T3", "T7", "EEG T3-REF", "t7..", "T5", "P7", "EEG P7-LE"]
    found = electrode_positions(names)
    np.testing.assert_allclose(found[:4] - found[0], 0, atol=1e-12)
    np.testing.assert_allclose(found[4:] - found[4], 0, atol=1e-12)


def test_bipolar_leads_sit_at_the_midpoint_only_where_that_is_a_place():
    f7, t7, lead, ears, unknown = electrode_positions(["F7", "T7", "F7-T7", "A2-A1", "F7-XX"])
    np.testing.assert_allclose(lead, (f7 + t7) / 2)
    assert np.isnan(ears).all()
    assert np.isnan(unknown).all()


@pytest.mark.parametrize("names", [["1", "2"], ["A1", "A2", "A3", "B1"]])
def test_unknown_names_stay_unknown(names):
    assert np.isnan(electrode_positions(names)).all()


def test_no_montage_on_request_and_unknown_montage():
    assert np.isnan(electrode_positions(["Cz"], "none")).all()
    with pytest.raises(ReadError, match="biosemi64"):
        electrode_positions(["Cz"], "biosemi46", "rec.edf")


def test_a_sphere_with_invented_fiducials_is_not_the_head_frame():
    sphere = {"Cz": [0, 0, 0.095], "Fpz": [0, 0.095, 0], "T7": [-0.095, 0, 0]}
    montage = mne.channels.make_dig_montage(sphere, coord_frame="head")
    info = mne.create_info(list(sphere), 100.0, "eeg").set_montage(montage)
    mne._fiff._digitization._ensure_fiducials_head(info["dig"])  # what the EEGLAB reader does
    positions, in_head = digitised_electrodes(info, [0, 1, 2])
    assert np.isfinite(positions).all()
    assert not in_head


def test_real_fiducials_vouch_for_the_head_frame():
    info = mne.create_info(["Fp1", "Cz", "O2"], 100.0, "eeg").set_montage("biosemi64")
    assert digitised_electrodes(info, [0, 1, 2])[1]


def _meg_info(dev_head_t) -> mne.Info:
    info = mne.create_info(2, 100.0, "mag")
    with info._unlock():
        info["dev_head_t"] = dev_head_t
    for row, normal in enumerate(([0, 0, 2.0], [0, 0, 0])):
        info["chs"][row]["loc"][:] = [0.1, 0, 0.02 * row, 1, 0, 0, 0, 1, 0, *normal]
    return info


def test_coils_are_turned_and_moved_into_the_head_frame():
    turn = mne.transforms.rotation(0, 0, np.pi / 2)
    turn[:3, 3] = 0.0, 0.0, 0.05
    positions, normals, frame = coils(_meg_info(mne.Transform("meg", "head", turn)), [0, 1])
    assert frame == "head"
    np.testing.assert_allclose(positions[0], [0, 0.1, 0.05], atol=1e-12)
    np.testing.assert_allclose(normals[0], [0, 0, 1], atol=1e-12)
    assert np.isnan(positions[1]).all()  # a coil without a normal was never localised


@pytest.mark.parametrize("transform", [None, mne.Transform("meg", "head", np.eye(4))])
def test_without_a_measured_head_position_coils_stay_in_the_device_frame(transform):
    assert coils(_meg_info(transform), [0])[2] == "device"
