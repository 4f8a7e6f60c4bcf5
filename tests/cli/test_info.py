from __future__ import annotations

import json

import edfio
import numpy as np
import pytest

from brainof.cli import main


@pytest.fixture
def edf(tmp_path):
    values = np.random.default_rng(0).normal(0, 20, (2, 500))
    signals = [
        edfio.EdfSignal(row, 100, label=name, physical_dimension="uV", physical_range=(-200, 200))
        for row, name in zip(values, ("EEG Fp1", "X1"), strict=True)
    ]
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(1.0, 0.5, "left")]).write(tmp_path / "rec.edf")
    return tmp_path / "rec.edf"


def test_json_holds_what_was_understood(edf, capsys):
    assert main(["info", str(edf), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["modality"] == "eeg"
    assert values["types"] == {"eeg": 2}
    assert values["units"] == {"eeg": "V"}
    assert (values["sfreq"], values["duration"], values["n_times"]) == (100, 5, 500)
    assert values["positions"] == {"known": 1, "unknown": 1}
    assert values["frame"] == "head"
    assert values["events"] == {"left": 1}
    assert values["plausible"] is True
    assert 1e-5 < values["amplitude"]["eeg"] < 5e-5
    assert values["channels"] == ["EEG Fp1", "X1"]


def test_text_shows_the_same_and_a_wrong_unit(edf, capsys):
    assert main(["info", str(edf), "--units", "V", "--drop", "X*"]) == 0
    shown = capsys.readouterr().out
    assert "1 eeg [V]: EEG Fp1" in shown
    assert "NOT plausible" in shown
    assert "note" in shown


def test_what_is_not_there_to_drop_is_said_once(edf, tmp_path, capsys):
    table = tmp_path / "table.csv"
    np.savetxt(table, np.random.default_rng(0).normal(0, 20, (300, 3)), delimiter=",", header="Cz,Pz,EOG", comments="")
    for file, real, extra in ((edf, "X*", []), (table, "Pz", ["--drop", "EO*", "--sfreq", "100", "--units", "uV"])):
        words = ["info", str(file), "--drop", real, "--drop", "Y*", "--drop", "mag", *extra, "--json"]
        assert main(words) == 0
        notes = json.loads(capsys.readouterr().out)["notes"]
        said = [note for note in notes if "to drop" in note]
        assert said == ["no channel 'Y*' to drop", "no channel 'mag' to drop"]


def test_explain_says_how_files_were_read_before_the_work(edf, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    words = ["explain", "debug", str(edf), "--drop", "Y*", "--drop", "EEG Fp2", "--out", str(tmp_path / "taken")]
    assert main(words) == 3
    said = capsys.readouterr().err.splitlines()
    assert f"brainof: {edf}: no channel 'Y*' to drop" in said
    assert f"brainof: {edf}: no channel 'EEG Fp2' to drop; did you mean 'EEG Fp1'?" in said


def test_fmri_options(tmp_path, capsys):
    np.savez(tmp_path / "ts.npz", a=np.random.default_rng(0).normal(size=(30, 5)), b=np.ones((3, 3)))
    argv = ["info", str(tmp_path / "ts.npz"), "--variable", "a", "--time-axis", "0", "--t-r", "2", "--json"]
    assert main(argv) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["modality"], values["t_r"], values["types"]) == ("fmri", 2.0, {"roi": 5})


def test_a_missing_file_suggests_the_nearest_and_exits_2(edf, capsys):
    assert main(["info", str(edf.with_name("recc.edf"))]) == 2
    assert "did you mean 'rec.edf'" in capsys.readouterr().err


def test_wrong_options_exit_2(edf, capsys):
    assert main(["info", str(edf), "--units", "furlong"]) == 2
    assert main(["info", str(edf), "--t-r", "2", "--sfreq", "100"]) == 2
    assert main(["info", str(edf), "--t-r", "2000"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_presets(capsys):
    pytest.importorskip("brainof.model.presets")
    assert main(["info", "debug", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["preset"] == "debug"
    assert main(["info", "debugg"]) == 2
    assert "debug" in capsys.readouterr().err


def test_a_preset_is_shown_with_its_counts_the_published_ones_and_what_is_active(capsys):
    assert main(["info", "giant"]) == 0
    shown = capsys.readouterr().out
    assert main(["info", "giant", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert abs(facts["published"]["total_difference_percent"]) < 2
    assert abs(facts["published"]["active_difference_percent"]) < 2
    assert facts["active_includes"] in " ".join(shown.split())
    for part in ("tokens", "sampler", "attention", "router", "routed", "shared", "norms", "decoder"):
        assert facts["parameters"][part] > 0
        assert part in shown


def test_model_folders(tmp_path, capsys, monkeypatch):
    import sys
    from types import ModuleType

    release = ModuleType("brainof.release")
    release.PRETRAINED = "pretrained"
    release.describe = lambda path: {"model": str(path.name), "parameters": {"total": 1234567}}
    monkeypatch.setitem(sys.modules, "brainof.release", release)
    (tmp_path / "contract.json").write_text("{}")
    assert main(["info", str(tmp_path)]) == 0
    assert "1,234,567" in capsys.readouterr().out
    part = {"units": {"roi": "a.u."}, "sfreqs": [0.5], "window_seconds": [60.0, 64.0], "atlases": {"aal": "1f"},
            "steps": [{"step": "repair", "max_gap": 5.0}, {"step": "detrend"}],
            "regions": {"aal": {"order": {f"region {n}": n for n in range(100)}}}}  # fmt: skip
    about = {"steps": 400, "seed": 3, "data": [{"dataset": "rest", "modality": "fmri", "people": 1, "windows": 2000}],
             "health": {"rest": {"r2": 0.25, "r2_shuffled": -0.1}}}  # fmt: skip
    config = {"dim": 128, "patch": 64, "sampler": {"latents": 96}, "backbone": {"depth": 2}}
    release.describe = lambda path: {
        "file": "run", "parameters": {"total": 2000, "active": 1500}, "config": config,
        "contract": {"modalities": {"fmri": part}}, "about": about,
    }  # fmt: skip
    assert main(["info", str(tmp_path)]) == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "model run",
        "parameters 2,000 (1,500 active)",
        "shape 96 latents of width 128, 2 layers, patches of 64 samples",
        "fmri roi [a.u.], 0.5 Hz, windows of 60-64 s, atlas aal; repair, detrend",
        "trained 400 steps, seed 3",
        "rest fmri, 1 subject, 2,000 windows",
        "R2 rest 0.25 of hidden patches, -0.10 with latents of other windows",
        "all settings: --json",
    ]
