from __future__ import annotations

import json

import pytest

from brainof.cli import main
from brainof.corpus import Corpus
from brainof.pretraining.run_folder import read_metrics
from brainof.report.sections import reconstruction_section

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
    for heading in ("Recordings", "Pretraining", "Reconstructions", "What the frozen features decode"):
        assert heading in page
    panels = reconstruction_section(Corpus(tmp_path / "corpus"), tmp_path / "run").images[0].figure.axes
    names = {tick.get_text() for panel in panels for tick in panel.get_yticklabels()}
    assert {"Fp1", "MEG 0111", "L_visual_1"} <= names  # channels by name, all of them there
    assert all("R2" in panel.get_title() for panel in panels)
    rows = json.loads((tmp_path / "scores.json").read_text())
    scored = {(row["modality"], row["features"]) for row in rows if row["row"] == "score"}
    fair = (("eeg", "band power"), ("meg", "band power"), ("fmri", "functional connectivity"), ("fmri", "block means"))
    for modality, baseline in fair:
        assert {(modality, name) for name in ("pretrained", "untrained", "chance", baseline)} <= scored
    modalities = {row["modality"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in row}
    assert modalities == {"eeg", "meg", "fmri"}
    # a second call finds everything done and writes the same scores
    assert main(command) == 0
    assert "4 recordings prepared (4 already up to date)" in capsys.readouterr().out
    assert json.loads((tmp_path / "scores.json").read_text()) == rows
