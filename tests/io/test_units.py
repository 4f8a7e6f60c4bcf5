from __future__ import annotations

import numpy as np
import pytest

from brainof.errors import ReadError
from brainof.io.units import factor_to_si, override_factors


@pytest.mark.parametrize(
    ("unit", "si", "factor"),
    [
        ("uV", "V", 1e-6),
        ("µV", "V", 1e-6),
        ("μV", "V", 1e-6),
        ("Microvolts", "V", 1e-6),
        ("nV", "V", 1e-9),
        ("fT", "T", 1e-15),
        ("fT/cm", "T/m", 1e-13),
        ("furlong", "V", None),
        ("fT", "V", None),
    ],
)
def test_factor_to_si(unit, si, factor):
    assert factor_to_si(unit, si) == (factor if factor is None else pytest.approx(factor))


def test_override_by_pattern_leaves_other_channels_alone():
    factors = override_factors({"E*": "mV"}, ["E1", "X1"], ["eeg", "eeg"], None)
    assert factors[0] == 1e-3
    assert np.isnan(factors[1])


def test_override_of_another_quantity_is_refused():
    with pytest.raises(ReadError, match=r"rec\.edf: unit of E1: 'fT' is not a unit of eeg"):
        override_factors("fT", ["E1"], ["eeg"], "rec.edf")
