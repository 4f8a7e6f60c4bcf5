"""One small cohort for the tests of this room."""

from __future__ import annotations

import pytest

from brainof.simulate import CohortParameters, Subject, simulate_subject

SMALL = {"subjects": 2, "seed": 3, "channels": 19, "meg": "neuromag306", "seconds": 60, "fmri_blocks": 2}


@pytest.fixture(scope="session")
def parameters() -> CohortParameters:
    return CohortParameters.parse(SMALL)


@pytest.fixture(scope="session")
def subject(parameters: CohortParameters) -> Subject:
    """Shared by tests: never change its arrays."""
    made = simulate_subject(parameters, 0)
    for recording in made.recordings.values():
        recording.data.setflags(write=False)
    return made
