from __future__ import annotations

import numpy as np
import pytest

from brainof.channels import UNITS, Channels
from brainof.contract import InputContract, ModalityContract, implausible_amplitudes
from brainof.errors import ContractError
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
    assert UNITS[kind] in problem


def test_contract_refuses_other_modalities_types_and_units():
    assert CONTRACT.of(recording(2e-5)).units == {"eeg": "V"}
    with pytest.raises(ContractError, match="not trained on meg; it accepts eeg"):
        CONTRACT.of(recording(5e-13, "mag", "meg"))
    with pytest.raises(ContractError, match="give the unit"):
        CONTRACT.of(recording(20.0))
    microvolts = InputContract(modalities={"eeg": ModalityContract(units={"eeg": "uV"}, steps=[])})
    with pytest.raises(ContractError, match="takes uV"):
        microvolts.of(recording(2e-5))


def test_contract_survives_its_file():
    assert InputContract.parse(CONTRACT.to_dict()) == CONTRACT
