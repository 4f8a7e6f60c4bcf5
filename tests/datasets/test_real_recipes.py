"""The shipped recipes on real recordings: shapes, labels and windows as the datasets' own descriptions have them."""

from __future__ import annotations

import mne
import numpy as np
import pytest

from brainof.corpus import Corpus
from brainof.datasets import find_recipe
from brainof.datasets.discover import discover
from brainof.datasets.job import Job
from brainof.datasets.run import prepare

pytestmark = pytest.mark.real

#: recipe -> folder, files found, channels of a file, rate, windows of that file by view
EXPECTED = {
    "eegmat": ("eegmat", 36, 19, 256.0, {"pretrain": 15}),
    "eegmmidb": ("eegmmidb_S001", 4, 64, 256.0, {"pretrain": 31, "fists": 15}),
    "muse_n170": ("muse_n170", 14, 4, 256.0, {"pretrain": 30, "faces": 197}),
    "muse_ssvep": ("muse_ssvep", 20, 4, 256.0, {"pretrain": 30, "flicker": 32}),
    "stages_fep": ("stages_fep_rsfmri", 40, 419, 0.5, {"pretrain": 2, "identification": 1}),
    "hcp_aal2": ("hcp_aal2_rsfmri", 4, 94, 1 / 0.72, {"pretrain": 7}),
    "hcp_glasser360": ("hcp_glasser360_rest", 20, 360, 1 / 0.72, {"pretrain": 7}),
    "rpn_rest": ("rpn_rest_mist122", 90, 122, 0.4, {"pretrain": 2}),
    "studyforrest_movie": (
        "studyforrest_movie_shen",
        64,
        273,
        0.5,
        {"pretrain": 3, "segments_16s": 56, "segments_30s": 30, "segments_100s": 9, "loudness": 88},
    ),
    "pain_regulation": (
        "ds000140_pain_mist122",
        66,
        122,
        0.5,
        {"pretrain": 2, "epoch": 22, "temperature": 11, "identification": 1},
    ),
    "cni_adhd": ("cni_adhd_rsfmri", 200, 116, 0.4, {"pretrain": 1}),
    "haxby2001": ("haxby2001_mini", 12, None, 0.4, {"pretrain": 1, "categories": 8}),
    "haxby2001_slice": ("haxby2001_mini", 1, None, 0.4, {"pretrain": 1, "categories": 8}),
    "studyforrest_localizer": ("studyforrest_localizer_bold", 1, None, 0.5, {"pretrain": 1, "categories": 12}),
    "meg_vendor_clips": ("meg_vendor_clips", 6, None, 256.0, None),
    "meg_vendor_clips_eeg": ("meg_vendor_clips", 2, 60, 256.0, None),
    "eeg_vendor_clips": ("eeg_vendor_clips", 4, None, 256.0, None),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_one_file_of_each(real_data, name):
    folder, n_files, n_channels, sfreq, views = EXPECTED[name]
    recipe = find_recipe(name)
    found = discover(recipe.files, real_data / folder, name)
    assert len(found) == n_files
    entry = found[-2] if name == "eegmmidb" else found[-1 if name in ("eegmat", "stages_fep") else 0]
    if name == "muse_n170":
        entry = next(f for f in found if f.name == "subject1_session1_run01.npz")
    parts = list(Job(recipe, real_data / folder).parts(entry, "x"))
    row, recording, windows = parts[0]
    assert len(parts) == (12 if name == "haxby2001_slice" else 1)
    assert n_channels is None or recording.n_channels == n_channels
    assert recording.sfreq == pytest.approx(sfreq)
    assert np.isfinite(recording.data).all()
    assert np.abs(recording.data).max() <= 10
    counts = {view: sum(w.view == view for w in windows) for view in recipe.views()}
    assert counts == views if views else counts["pretrain"] >= 1
    assert row["subject"] == entry.entities["subject"]
    for task_name, task in recipe.tasks.items():
        mine = [w for w in windows if w.view == recipe.view_of(task_name)]
        if name != "eegmmidb" or task_name == "fists":
            assert name == "pain_regulation" or all(w.labels.get(task.label) for w in mine)


def test_labels_follow_the_descriptions(real_data):
    job = Job(find_recipe("cni_adhd"), real_data / "cni_adhd_rsfmri")
    labels = [job.labels.of(entry.entities) for entry in discover(job.recipe.files, job.root)]
    assert sorted({label["diagnosis"] for label in labels}) == ["ADHD", "Control"]
    assert sum(label["diagnosis"] == "ADHD" for label in labels) == 100
    job = Job(find_recipe("eegmat"), real_data / "eegmat")
    assert job.labels.of({"subject": "04", "run": "2"}) == {
        "condition": "arithmetic",
        "quality": "bad",
        "age": "17",
        "sex": "F",
    }


def test_eegmat_agrees_with_a_float64_chain_of_mne(real_data):
    job = Job(find_recipe("eegmat"), real_data / "eegmat")
    entry = discover(job.recipe.files, job.root)[0]
    raw = mne.io.read_raw_edf(entry.path, preload=True, verbose="error")
    raw.pick([name for name in raw.ch_names if "ECG" not in name and "A2-A1" not in name])
    raw.resample(256.0, method="polyphase", verbose="error")
    raw.filter(0.5, 45.0, method="iir", iir_params={"order": 4, "ftype": "butter", "output": "sos"}, verbose="error")
    values = raw.get_data()
    low, middle, high = np.percentile(values, (25, 50, 75), axis=1)
    expected = (values - middle[:, None]) / np.median((high - low) / 1.349)
    ours = next(job.parts(entry, "x"))[1].data
    inner = slice(512, -512)
    assert np.corrcoef(ours[:, inner].ravel(), expected[:, inner].ravel())[0, 1] > 0.9999
    assert np.abs(ours - np.clip(expected, -10, 10))[:, inner].max() < 0.1


def test_regions_and_people_in_the_corpus(real_data, tmp_path):
    prepare(find_recipe("stages_fep"), real_data / "stages_fep_rsfmri", tmp_path / "c", subjects=["sub-001", "sub-002"])
    index = Corpus(tmp_path / "c").index
    assert set(index["subject"].astype(str)) == {"sub-001", "sub-002"}
    assert set(index["session"].astype(str)) == {"1", "2"}
    assert index["channel_set"].nunique() == 1  # equal order at every visit, dead regions masked
    assert (index["good"].astype(str).str.len() == 419).all()


def test_people_of_two_sites_with_one_number_stay_apart(real_data):
    recipe = find_recipe("rpn_rest")
    found = discover(recipe.files, real_data / "rpn_rest_mist122")
    assert len({entry.entities["subject"] for entry in found}) == 90
    job = Job(recipe, real_data / "rpn_rest_mist122")
    labels = [job.labels.of(entry.entities) for entry in found]
    sites = [label["site"] for label in labels]
    assert (sites.count("bochum"), sites.count("essen")) == (41, 49)
    sexes = [label.get("sex") for label in labels]  # written 1.0 at one site and 1 at the other
    assert (sexes.count("male"), sexes.count("female"), sexes.count(None)) == (47, 41, 2)


def test_regions_of_the_film_are_placed_by_the_id_in_their_name(real_data):
    recipe, root = find_recipe("studyforrest_movie"), real_data / "studyforrest_movie_shen"
    channels = []
    for person in ("01", "06"):
        entry = next(
            f for f in discover(recipe.files, root) if f.entities == {"subject": person, "run": "1", "task": "movie"}
        )
        channels.append(next(Job(recipe, root).parts(entry, "x"))[1].channels)
    places = [dict(zip(table.names, table.order.tolist(), strict=True)) for table in channels]
    shared = places[0].keys() & places[1].keys()
    assert (len(places[0]), len(places[1])) == (273, 267)
    assert all(places[0][name] == places[1][name] == int(name[4:]) - 1 for name in shared)


def test_loudness_is_the_sound_four_seconds_before_the_window(real_data):
    recipe, root = find_recipe("studyforrest_movie"), real_data / "studyforrest_movie_shen"
    entry = discover(recipe.files, root)[0]
    windows = [w for w in next(Job(recipe, root).parts(entry, "x"))[2] if w.view == "loudness"]
    with np.load(root / "events" / "audio_run-1.npz") as audio:
        level = np.log(np.maximum(audio["rms"].astype(float), 1e-4))
    assert windows[0].onset == 16.0  # what repeats the run before is left out
    assert float(windows[3].labels["loudness"]) == pytest.approx(level[1050:1300].mean(), rel=1e-5)


def test_events_of_the_pain_runs_count_from_the_start_of_the_run(real_data):
    recipe, root = find_recipe("pain_regulation"), real_data / "ds000140_pain_mist122"
    job = Job(recipe, root)
    for run, regulation in (("01", None), ("03", "up"), ("07", "down")):
        entry = next(f for f in discover(recipe.files, root) if f.name.endswith(f"sub-05_run-{run}.npz"))
        _, recording, windows = next(job.parts(entry, "x"))
        heat = [w for w in windows if w.view == "epoch" and w.labels["epoch"] == "heat"]
        assert len(heat) == (11 if run == "01" else 10)
        # 10.216 s into each run, 4 s of haemodynamics later, on the grid of 2 s
        assert heat[0].onset == 14.0
        assert heat[0].labels["temperature"] == ("46.300000" if run == "01" else "42.300000")
        assert {w.labels.get("regulation") for w in windows} == {regulation}
        assert 0 < float(heat[0].labels["motion"]) < 1
        assert recording.sfreq == 0.5


def test_maps_without_time_become_blocks(real_data):
    recipe, root = find_recipe("hcp_glasser360_tasks"), real_data / "hcp_glasser360_rest"
    parts = list(Job(recipe, root).parts(discover(recipe.files, root)[0], "x"))
    assert len(parts) == 20
    row, recording, windows = parts[3]
    blocks = [w for w in windows if w.view == "conditions"]
    assert len({w.labels["condition"] for w in blocks}) == len(blocks) == 24
    with np.load(root / "task_betas.npz") as file:
        betas, subjects = file["data"][3].astype(float), file["subjects"]
    assert row["subject"] == subjects[3]
    ours = np.stack([w.data.mean(axis=1) for w in blocks])
    block = np.repeat(np.arange(24), 16)
    line = np.polynomial.legendre.legvander(np.linspace(-1, 1, len(block)), 1)
    held = betas[block] - line @ np.linalg.lstsq(line, betas[block], rcond=None)[0]
    centred = held.reshape(24, 16, -1).mean(axis=1)
    per_region = [np.corrcoef(a, b)[0, 1] for a, b in zip(ours.T, centred.T, strict=True)]
    assert min(per_region) > 0.99
