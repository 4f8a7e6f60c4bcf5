"""Shared fixtures: the folder of real recordings (tests that need it are skipped where it is absent) and one thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REAL_DATA = Path(os.environ.get("BRAINOF_REAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def pytest_configure(config: pytest.Config) -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; the test is skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"real recordings are not at {REAL_DATA} (set BRAINOF_REAL_DATA)")
    return REAL_DATA
