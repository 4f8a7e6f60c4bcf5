"""Fetching from a PhysioNet of one loopback port."""

from __future__ import annotations

import errno
import functools
import hashlib
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import edfio
import numpy as np
import pytest

from brainof.datasets import fetch, fetch_chb_mit, fetch_eegmat, fetch_eegmmidb
from brainof.errors import FetchError, LabelError, StorageError


class _Quiet(SimpleHTTPRequestHandler):
    asked: list[str] = []

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()


@pytest.fixture
def physionet(tmp_path, monkeypatch):
    """A folder that is served, with its checksums."""
    root = tmp_path / "served"
    for name in ("eegmat/1.0.0", "eegmmidb/1.0.0/S001", "eegmmidb/1.0.0/S002", "chbmit/1.0.0/chb01"):
        (root / name).mkdir(parents=True)
    files = {f"eegmat/1.0.0/Subject{n:02d}_{run}.edf": f"{n} {run}" for n in (0, 1) for run in (1, 2)}
    files |= {"eegmat/1.0.0/subject-info.csv": "Subject,Age", "eegmat/1.0.0/notes.txt": "no"}
    files |= {f"eegmmidb/1.0.0/S{n:03d}/S{n:03d}R01.edf": f"movement {n}" for n in (1, 2)}
    summary = (
        "File Name: chb01_01.edf\nNumber of Seizures in File: 0\nFile Name: chb01_02.edf\nSeizure 1 Start Time: 30 "
    )
    summary += (
        "seconds\nSeizure 1 End Time: 40 seconds\nSeizure 2 Start Time:110 seconds\nSeizure 2 End Time: 120 seconds"
    )
    files |= {"chbmit/1.0.0/chb01/chb01-summary.txt": summary}
    for name, text in files.items():
        (root / name).write_text(text)
    for run in (1, 2):
        signal = edfio.EdfSignal(np.zeros(2 * 120), 2, label="Fz", physical_range=(-1, 1))
        edfio.Edf([signal], data_record_duration=2).write(root / f"chbmit/1.0.0/chb01/chb01_0{run}.edf")
    for name in ("eegmat/1.0.0", "eegmmidb/1.0.0", "chbmit/1.0.0"):
        there = [file for file in sorted((root / name).rglob("*")) if file.is_file()]
        lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()} {file.relative_to(root / name)}" for file in there]
        (root / name / "SHA256SUMS.txt").write_text("\n".join(lines) + "\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(fetch, "PHYSIONET", f"http://127.0.0.1:{server.server_port}")
    _Quiet.asked.clear()
    yield root
    server.shutdown()
    server.server_close()


def test_files_lie_where_the_recipe_looks_and_are_fetched_once(physionet, tmp_path):
    folder = fetch_eegmat(tmp_path / "d")
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*.edf")) == [
        f"edf/Subject{n:02d}_{run}.edf" for n in (0, 1) for run in (1, 2)
    ]
    assert (folder / "subject-info.csv").read_text() == "Subject,Age"
    asked = len(_Quiet.asked)
    assert fetch_eegmat(tmp_path / "d") == folder
    assert len(_Quiet.asked) == asked


def test_subjects_and_the_default_folder(physionet, tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINOF_DATA", str(tmp_path / "home"))
    folder = fetch_eegmmidb()
    assert folder == tmp_path / "home" / "eegmmidb"
    assert [file.name for file in folder.rglob("*.edf")] == ["S001R01.edf"]
    with pytest.raises(LabelError, match=r"no subject 7; there are 1 to 2"):
        fetch_eegmmidb(subjects=[2, 7])


def test_seizures_become_events(physionet, tmp_path):
    folder = fetch_chb_mit(tmp_path / "d")
    rows = ["0\t30\tbackground", "30\t10\tseizure", "40\t70\tbackground", "110\t10\tseizure"]
    assert (folder / "events/chb01_01.tsv").read_text().splitlines()[1:] == ["0\t120\tbackground"]
    assert (folder / "events/chb01_02.tsv").read_text().splitlines()[1:] == rows


def test_a_full_disk_is_no_absent_server(physionet, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pooch.retrieve", full)
    with pytest.raises(StorageError, match="cannot be written .No space left on device."):
        fetch_eegmat(tmp_path)


def test_a_changed_file_and_an_absent_server_are_one_line(physionet, tmp_path, monkeypatch):
    (physionet / "eegmat/1.0.0/Subject01_2.edf").write_text("changed")
    with pytest.raises(FetchError, match=r"Subject01_2\.edf"):
        fetch_eegmat(tmp_path / "d")
    assert not (tmp_path / "d/edf/Subject01_2.edf").exists()
    monkeypatch.setattr(fetch, "PHYSIONET", "http://127.0.0.1:9")
    with pytest.raises(FetchError, match="cannot be fetched"):
        fetch_eegmat(tmp_path / "e")
