"""The quality page: what preparation noted of each recording, read back from the corpus and drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from brainof.channels import Channels
from brainof.cli import main
from brainof.corpus import Corpus, CorpusWriter
from brainof.datasets import find_recipe
from brainof.datasets.run import prepare
from brainof.errors import CorpusError
from brainof.prepare.quality import before
from brainof.recording import Recording
from brainof.report.maps import flattened
from brainof.report.quality import _kind_of_note, by_sensor, coverage, summary, systems, write_quality_page

RECIPE = """\
name: toy
title: Toy
modality: eeg
license: CC0-1.0
citation: none
files: [{pattern: "sub-{subject}.npz"}]
read: {variable: eeg, time_axis: 1, units: uV, sfreq: 200, channel_names: [Fp1, Fp2, C3, C4, P3, P4, O1, O2, Fz, Cz]}
windows: {length: 2}
"""


@pytest.fixture
def corpus(tmp_path):
    random = np.random.default_rng(0)
    time = np.arange(4000) / 200
    for subject in ("01", "02"):
        data = random.standard_normal((10, 4000)) * 10 + 30 * np.sin(2 * np.pi * 11 * time)
        if subject == "02":
            data[3], data[5] = 0.0, data[5] * 1000
        np.savez(tmp_path / f"sub-{subject}.npz", eeg=data)
    (tmp_path / "sub-03.npz").write_bytes(b"broken")
    (tmp_path / "toy.yaml").write_text(RECIPE)
    prepare(find_recipe(tmp_path / "toy.yaml"), tmp_path, tmp_path / "corpus")
    return Corpus(tmp_path / "corpus")


def test_what_is_noted(corpus):
    clean, broken = sorted(corpus.quality, key=lambda record: record["recording"])
    assert clean["dropped"] == {}
    assert broken["dropped"] == {"C4": "flat", "P4": "too loud"}
    assert (clean["seconds"], clean["sfreq"], clean["channels"], clean["views"]) == (20.0, 200.0, 10, {"pretrain": 10})
    assert clean["seconds_in_windows"] == 20.0
    assert clean["amplitude"]["eeg"]["unit"] == "V"
    assert clean["amplitude"]["eeg"]["median"] == pytest.approx(2.6e-5, rel=0.3)
    spectrum = clean["spectrum"]["eeg"]
    assert spectrum["hz"][int(np.argmax(spectrum["db"]))] == pytest.approx(11, abs=1.0)
    assert [step["step"] for step in clean["steps"]] == ["repair", "resample", "filter", "bad_channels", "normalise"]
    assert len(json.dumps(clean)) < 6000


def test_spectrum_has_the_right_density():
    """White noise of SD s has the density 2 s^2 / sfreq."""
    data = np.random.default_rng(0).standard_normal((8, 20_000)) * 3e-6
    recording = Recording(data, 250.0, "eeg", Channels(tuple("abcdefgh"), ("eeg",) * 8))
    found = before(recording)["spectrum"]["eeg"]
    assert np.mean(found["db"]) == pytest.approx(10 * np.log10(2 * 9e-12 / 250), abs=0.7)


def test_page(corpus, tmp_path):
    page = write_quality_page(corpus, tmp_path / "q.html").read_text()
    for text in (
        "toy (EEG)",
        "too loud",
        "P4 (too loud)",
        "sub-03.npz",
        "Sensors seen from above",
        "data:image/svg+xml",
    ):
        assert text in page
    line = summary(corpus.quality)
    assert (line["recordings"], line["subjects"], line["channels dropped %"]) == (2, 2, 10.0)


def test_command(corpus, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["corpus", "quality", str(corpus.root), "--out", str(page)]) == 0
    assert "2 recordings of 2 subjects" in capsys.readouterr().out
    assert page.exists()


def test_a_corpus_without_notes(tmp_path):
    CorpusWriter(tmp_path / "empty").close()
    with pytest.raises(CorpusError, match="holds no quality notes"):
        write_quality_page(Corpus(tmp_path / "empty"), tmp_path / "q.html")


def test_a_newer_preparation_replaces_the_notes(corpus, tmp_path):
    prepare(find_recipe(tmp_path / "toy.yaml").replaced(["windows.length=4"]), tmp_path, corpus.root)
    assert [record["views"] for record in Corpus(corpus.root).quality] == [{"pretrain": 5}, {"pretrain": 5}]


def test_notes_of_one_kind_are_one_row():
    assert _kind_of_note("60 events come from sub-01_task-a_events.tsv instead of 60 in the file") == (
        "60 events come from *_events.tsv instead of 60 in the file",
        "",
    )
    assert _kind_of_note("bad by sub-02_task-a_channels.tsv: P8, O2") == ("bad by *_channels.tsv", "P8, O2")


def test_seen_from_above():
    points = flattened(np.array([[0.0, 0.0, 0.15], [0.0, 0.1, 0.04], [0.07, 0.0, 0.0]]))
    np.testing.assert_allclose(points[0], 0, atol=1e-9)
    assert points[1] == pytest.approx([0, np.pi / 2])
    assert points[2][0] > np.pi / 2


def test_regions_that_are_lost():
    records = [
        {"modality": "fmri", "channels": 4, "dropped": {"V1": "no signal"}},
        {"modality": "fmri", "channels": 4, "dropped": {}},
    ]
    bars = coverage(records).axes[1]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["V1"]
    assert bars.patches[0].get_width() == 50


def test_amplitudes_are_in_the_units_of_the_field(corpus):
    panel = by_sensor(corpus.quality, "amplitude").axes[0]
    assert panel.get_xlabel() == "amplitude (µV)"
    assert 10 < panel.lines[0].get_xdata()[0] < 40  # 26 uV, not 2.6e-5


def test_each_system_has_its_own_head():
    """CTF in the head frame and KIT in the device frame share no sensor; two helmets of CTF do."""
    ctf = Channels(("MLC11", "MRC11"), ("axial",) * 2, frame="head")
    part = Channels(("MLC11", "MLC12"), ("axial",) * 2, frame="head")
    kit = Channels(("MEG 001", "MEG 002"), ("axial",) * 2, frame="device")
    assert systems({"a": ctf, "b": kit, "c": part}) == [("axial", "head", ["a", "c"]), ("axial", "device", ["b"])]
