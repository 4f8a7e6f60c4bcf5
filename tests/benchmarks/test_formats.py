"""`./run bench formats DIR` counts what is equal to MNE, and notices what is not."""

from __future__ import annotations

import mne
import numpy as np
import pytest

from benchmarks import formats
from brainof.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    info = mne.create_info(["Fp1", "C3"], 100.0, "eeg")
    raw = mne.io.RawArray(np.random.default_rng(0).normal(0, 2e-5, (2, 1000)), info, verbose="error")
    raw.set_annotations(mne.Annotations([2.0, 5.0], 0, ["a", "b"]))
    raw.crop(1, 9).save(tmp_path / "x_raw.fif", verbose="error")
    (tmp_path / "y.edf").write_bytes(b"no EDF")
    return tmp_path


def counts(folder):
    return {name.removeprefix("formats_"): value for name, value, _ in formats.run(str(folder))}


def test_equal_and_refused_files_are_counted(folder, capsys):
    assert counts(folder) == {"equal": 1, "differ": 0, "refused": 1}
    assert "y.edf: refused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.replace(data=r.data * 1.001), "Fp1 differs, in size by 1"),
        (lambda r: r.replace(data=r.data[:, 1:]), "800 samples"),
        (lambda r: r.replace(events=r.events.assign(onset=r.events.onset + 1)), "annotation 'a' at 1 s"),
    ],
)
def test_every_difference_is_printed(folder, monkeypatch, capsys, change, words):
    monkeypatch.setattr(formats, "read", lambda *args, _read=formats.read, **more: change(_read(*args, **more)))
    assert counts(folder)["differ"] == 1
    assert words in capsys.readouterr().out


def test_a_folder_is_needed():
    with pytest.raises(ConfigError, match="bench formats DIR"):
        next(formats.run())
