from __future__ import annotations

import re

import numpy as np
import pytest

from brainof.channels import SHOWN_UNITS, UNITS, Channels
from brainof.contract import InputContract, ModalityContract, Regions
from brainof.errors import ConfigError, ContractError
from brainof.plausibility import implausible_amplitudes, require_plausible
from brainof.recording import Recording

CONTRACT = InputContract(modalities={"eeg": ModalityContract(units={"eeg": "V"}, steps=[])})


def recording(scale: float, kind: str = "eeg", modality: str = "eeg") -> Recording:
    data = np.random.default_rng(0).standard_normal((2, 500)) * scale
    return Recording(data, 100.0, modality, Channels(("a", "b"), (kind,) * 2))


@pytest.mark.parametrize(("kind", "scale"), [("eeg", 2e-5), ("mag", 5e-13), ("grad", 2e-11), ("axial", 5e-13)])
def test_amplitudes_of_living_heads_pass_and_wrong_units_do_not(kind, scale):
    modality = "eeg" if kind == "eeg" else "meg"
    assert implausible_amplitudes(recording(scale, kind, modality)) == []
    (problem,) = implausible_amplitudes(recording(scale * 1e6, kind, modality))
    assert f" {SHOWN_UNITS[UNITS[kind]][0]} is outside" in problem


def test_contract_refuses_other_modalities_types_and_units():
    assert CONTRACT.part(recording(2e-5)).units == {"eeg": "V"}
    with pytest.raises(ContractError, match="not trained on meg; it accepts eeg"):
        CONTRACT.part(recording(5e-13, "mag", "meg"))
    with pytest.raises(ContractError, match="give the unit"):
        require_plausible(recording(20.0))
    microvolts = InputContract(modalities={"eeg": ModalityContract(units={"eeg": "uV"}, steps=[])})
    with pytest.raises(ContractError, match="needs uV, but the recording is in V"):
        microvolts.part(recording(2e-5))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("window_seconds", [-5, 1], "window_seconds.0: Input should be greater than or equal to 0"),
        ("window_seconds", [5, 1], "the shortest window, 5 s, is longer than the longest, 1 s"),
        ("window_seconds", [0, float("inf")], "window_seconds.1: Input should be a finite number"),
        ("window_seconds", [float("nan"), 1], "window_seconds.0: Input should be a finite number"),
        ("sfreqs", [0], "sfreqs.0: Input should be greater than 0"),
        ("sfreqs", [1e7], "sfreqs.0: Input should be less than or equal to 100000"),
        ("sfreqs", [float("nan")], "sfreqs.0: Input should be a finite number"),
        ("regions", {"x": {"order": {"a": -1}}}, "regions.x.order.a: Input should be greater than or equal to 0"),
        ("regions", {"x": {"order": {"a": 1, "b": 1}}}, "two regions have one rank"),
        ("regions", {"x": {"order": {"a": 1}, "places": {"b": [0, 0, 0]}}}, "'b' has a place and no rank"),
        ("regions", {"x": {"order": {"a": 1}, "places": {"a": [0, 0, float("inf")]}}}, "should be a finite number"),
    ],
)
def test_numbers_of_a_contract_are_within_their_bounds(field, value, message):
    values = {"modalities": {"eeg": {"units": {"eeg": "V"}, "steps": [], field: value}}}
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        InputContract.parse(values, "preprocessing.json")
    assert str(raised.value).startswith("preprocessing.json: modalities.eeg")


@pytest.mark.parametrize("values", [{"version": 2}, {"patch": 0}, {"patch": 10**9}])
def test_version_and_patch_of_a_contract_are_known_ones(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        InputContract.parse({**values, "modalities": {}})


def test_contract_survives_its_file():
    assert InputContract.parse(CONTRACT.to_dict()) == CONTRACT


def located(names=("Fz", "Cz", "Pz"), **changes) -> Recording:
    places = np.random.default_rng(1).uniform(-0.08, 0.08, (len(names), 3))
    values = {"positions": places, "frame": "head", **changes}
    channels = Channels(tuple(names), ("eeg",) * len(names), **values)
    data = 2e-5 * np.random.default_rng(0).standard_normal((len(names), 400))
    return Recording(data, 100.0, "eeg", channels)


def part(**changes) -> ModalityContract:
    values = {"units": {"eeg": "V"}, "steps": [], "sfreqs": [100.0], "window_seconds": (4.0, 4.0), "frames": ["head"]}
    return ModalityContract(**{**values, **changes})


def test_channels_that_training_never_saw_are_fine_where_their_positions_are_known():
    part().check(located(("X1", "X2", "X3", "X4")))


@pytest.mark.parametrize(
    ("contract", "recording", "accept", "message"),
    [
        (
            part(sfreqs=[128.0, 256.0]),
            located(),
            "sfreq",
            r"100 Hz .* trained at 128, 256 Hz; .*resample\(recording, 128\)",
        ),
        (
            part(),
            located(positions=[[0, 0, 0.1], [0.1, 0, 0], [np.nan] * 3]),
            "positions",
            r"'Pz'; read it without them: drop='Pz'",
        ),
        (part(), located(positions=None), "positions", "3 of 3 channels have no position.*montage"),
        (part(), located(frame="device"), "frame", "frame 'device', the model was trained in head"),
        (
            part(),
            located().replace(bads=("Fz", "Cz")),
            "bads",
            r"2 of 3 channels are bad; .*interpolate",
        ),
        (part(window_seconds=(6.0, 8.0)), located(), "window", r"4 s are shorter than any window of training \(6 to 8"),
    ],
)
def test_what_differs_is_named_with_its_cure_and_may_be_accepted(contract, recording, accept, message):
    with pytest.raises(ContractError, match=message):
        contract.check(recording)
    contract.check(recording, accept=(accept,))
    with pytest.raises(ConfigError, match=r"did you mean|known"):
        contract.check(recording, accept=("everything",))


def test_windows_longer_than_any_of_training_are_refused():
    part().check(located(), window_seconds=2.0)
    with pytest.raises(ContractError, match="windows of 9 s, the model was trained on 4 to 4 s; use window_seconds=4"):
        part().check(located(), window_seconds=9.0)


def test_training_with_channels_of_unknown_place_accepts_them():
    part(unlocated=True).check(located(positions=None, frame="unknown"))


def regions(names, order, atlas="made", shift=0.0) -> Recording:
    places = np.arange(3.0 * len(names)).reshape(-1, 3) / 100 + shift
    channels = Channels(tuple(names), ("roi",) * len(names), places, order=order, frame="mni", atlas=atlas)
    return Recording(np.random.default_rng(0).standard_normal((len(names), 100)), 0.5, "fmri", channels)


def test_region_order_and_atlas_are_compared_by_hash_then_by_name():
    trained = regions("abcd", range(4))
    table = trained.channels
    fmri = part(
        units={"roi": "a.u."},
        sfreqs=[0.5],
        window_seconds=(0.0, 200.0),
        frames=["mni"],
        atlases={"made": table.digest},
        regions={"made": Regions.from_channels([table])},
    )
    fmri.check(trained)
    fmri.check(trained.pick(["c", "a"]))  # the rank travels with the region
    shuffled = regions("cabd", range(4)).replace()
    with pytest.raises(ContractError, match=r"region 'c' has rank 0 in this made, 2 in training; recording\.reorder"):
        fmri.check(shuffled)
    # the cure that the message names
    cured = shuffled.reorder(fmri.regions["made"].names)
    assert cured.channels.names == tuple("abcd")
    assert cured.channels.order.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(cured.data[2], shuffled.data[0])
    with pytest.raises(ContractError, match="1 of 2 regions are not in the made of training, such as 'z'"):
        fmri.check(regions("az", [0, 1]))
    with pytest.raises(ContractError, match="region 'a' sits 17 mm from where training had it"):
        fmri.check(regions("abcd", range(4), shift=0.01))
    with pytest.raises(ContractError, match="atlas other, the model was trained on made"):
        fmri.check(regions("abcd", range(4), atlas="other"))
    assert InputContract.parse(InputContract(modalities={"fmri": fmri}).to_dict()).modalities["fmri"] == fmri
