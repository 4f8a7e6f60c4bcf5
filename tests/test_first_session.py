"""docs/start.md typed into a clean folder by somebody who has one EDF file."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import mne
import numpy as np
import pytest

START = Path(__file__).parents[1] / "docs" / "start.md"


@pytest.mark.timeout(400)
def test_from_an_edf_to_a_figure(tmp_path):
    pytest.importorskip("edfio")
    names = ["Fz", "Cz", "Pz", "O1", "O2", "C3", "C4"]
    data = np.random.default_rng(0).normal(0, 1e-5, (len(names), 256 * 20))
    mne.io.RawArray(data, mne.create_info(names, 256, "eeg"), verbose="error").export(
        tmp_path / "my.edf", verbose="error"
    )
    blocks = re.findall(r"<!-- session -->\n```(\w+)\n(.*?)```", START.read_text(), re.DOTALL)
    assert len(blocks) == 3
    for language, text in blocks:
        if language == "python":
            commands = [[sys.executable, "-c", text]]
        else:
            commands = [[sys.executable, "-m", *shlex.split(line, comments=True)] for line in text.splitlines() if line]
        for command in commands:
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    assert {"signal.png", "embedding.png", "my.parquet"} <= {file.name for file in tmp_path.iterdir()}
