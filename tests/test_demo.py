from __future__ import annotations

import json

import pandas as pd
import pytest

from brainof.cli import main
from brainof.pretraining.run_folder import read_metrics

#: a model and a run that only show that the path holds together
SMALL = ["steps=6", "health_every=3", "checkpoint_every=3", "log_every=1", "batch_size=4"]
SMALL += [
    "model={preset: per_output, dim: 32, sampler: {heads: 2, latents: 12}, "
    "backbone: {depth: 2, heads: 2, experts: 4, hidden: 16, shared: 32}}"
]
SMALL += ["health_margin=0", "max_tokens=64", "precision=float32", "threads=1"]


@pytest.mark.timeout(300)
def test_from_raw_files_to_one_page(tmp_path, capsys):
    command = ["demo", "--out", str(tmp_path), "--subjects", "4", *SMALL]
    assert main(command) == 0
    page = (tmp_path / "report.html").read_text()
    assert "http" not in page.split("<body", 1)[1]  # nothing is loaded from elsewhere
    for heading in (
        "Data of run",
        "Pretraining of run",
        "Scores of run",
        "What a model uses",
        "Against random weights",
    ):
        assert heading in page
    explained = tmp_path / "run" / "explained" / "explain.json"
    made, maps = explained.stat().st_mtime_ns, json.loads(explained.read_text())["maps"]
    assert [each["about"]["modality"] for each in maps] == ["eeg", "meg", "fmri"]
    drawn = "".join(path.read_text() for path in (tmp_path / "run" / "explained").glob("*.svg"))
    assert all(name in drawn for name in ("Fp1", "MEG 0111", "L_visual_1", "R2"))  # channels by name, all of them
    lines = pd.read_csv(tmp_path / "run" / "evaluation" / "summary.csv")
    scored = set(zip(lines["modality"], lines["entry"], strict=True))
    fair = (("eeg", "band power"), ("meg", "band power"), ("fmri", "functional connectivity"), ("fmri", "block means"))
    for modality, baseline in fair:
        assert {(modality, name) for name in ("run", "random weights", "chance", baseline)} <= scored
    modalities = {row["modality"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in row}
    assert modalities == {"eeg", "meg", "fmri"}
    # a second call finds everything done and writes the same scores
    assert main(command) == 0
    assert explained.stat().st_mtime_ns == made
    assert "4 recordings prepared (4 already up to date)" in capsys.readouterr().out
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "run" / "evaluation" / "summary.csv"), lines)
