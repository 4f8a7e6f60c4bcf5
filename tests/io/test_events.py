from __future__ import annotations

import mne
import numpy as np
import pytest

from brainof.errors import LabelError
from brainof.io.bids import Sidecars
from brainof.io.events import events_from_vector, events_of_raw, read_events_file


def test_runs_of_equal_values_are_events():
    events = events_from_vector([0, 2, 2, 2, 0, 1, 2, 0], 2.0)
    assert events.trial_type.tolist() == ["2", "1", "2"]
    assert events.onset.tolist() == [0.5, 2.5, 3.0]
    assert events.duration.tolist() == [1.0, 0.0, 0.0]


def test_text_vectors_and_gaps():
    events = events_from_vector(np.array(["", "face", "face", "n/a", "house"], dtype=object), 1.0)
    assert events.trial_type.tolist() == ["face", "house"]
    assert events_from_vector([0.0, np.nan, 0.0], 1.0).empty


def test_annotations_and_triggers_count_from_the_first_sample():
    info = mne.create_info(["Cz", "STI 014"], 100.0, ["eeg", "stim"])
    data = np.zeros((2, 500))
    data[1, 250:255] = 7
    raw = mne.io.RawArray(data, info, first_samp=300, verbose="error")
    raw.set_meas_date(0)
    raw.set_annotations(mne.Annotations([4.0], [0.5], ["rest"], orig_time=raw.info["meas_date"]))
    events, notes = events_of_raw(raw, "fif")
    assert notes == []
    assert events.trial_type.tolist() == ["rest", "7"]
    np.testing.assert_allclose(events.onset, [1.0, 2.5])
    np.testing.assert_allclose(events.duration, [0.5, 0.0])


def test_a_noisy_trigger_channel_is_no_trigger():
    info = mne.create_info(["STI 014"], 100.0, ["stim"])
    raw = mne.io.RawArray(np.arange(500)[None] % 5, info, verbose="error")
    events, notes = events_of_raw(raw, "fif")
    assert events.empty
    assert "no triggers" in notes[0]


@pytest.mark.parametrize(
    ("recording", "events"),
    [
        ("sub-1_task-x_bold.nii.gz", "sub-1_task-x_events.tsv"),
        ("sub-1_task-x_space-MNI_desc-preproc_bold.nii.gz", "sub-1_task-x_events.tsv"),
        ("bold_25mm.nii.gz", "bold_events.tsv"),
    ],
)
def test_the_usual_name_beside_the_recording(tmp_path, recording, events):
    assert Sidecars.find(tmp_path / recording).events is None
    (tmp_path / events).write_text("onset\n1\n")
    assert Sidecars.find(tmp_path / recording).events == tmp_path / events


def test_bids_events_file(tmp_path):
    path = tmp_path / "x_events.tsv"
    path.write_text("onset\tduration\ttrial_type\tstim\n3.5\tn/a\tface\ta.png\n1\t2\tn/a\tb.png\n")
    events, notes = read_events_file(path)
    assert notes == []
    assert events.onset.tolist() == [1.0, 3.5]
    assert events.duration.tolist() == [2.0, 0.0]
    assert events.trial_type.tolist() == ["n/a", "face"]
    assert events.stim.tolist() == ["b.png", "a.png"]


@pytest.mark.parametrize(
    ("text", "word"), [("time\n1\n", "onset"), ("onset\n1\nx\n", "line 3"), ("onset\n1e999\n", "line 2")]
)
def test_wrong_events_files_are_refused(tmp_path, text, word):
    path = tmp_path / "x_events.tsv"
    path.write_text(text)
    with pytest.raises(LabelError, match=word):
        read_events_file(path)


@pytest.mark.parametrize(
    ("content", "onsets", "kinds", "note"),
    [
        (b"onset\tduration\ttrial_type\n1\t0\tA\nn/a\tn/a\tB\n2\t0\tC\n", [1, 2], ["A", "C"], "no onset of 1 event in"),
        (b"onset\ttrial_type\nnan\tA\n\tB\n2\tC\n", [2], ["C"], "no onset of 2 events in"),
        (b"onset\tduration\ttrial_type\n1\t0\tA\t\n2\t0\tB\t\n", [1, 2], ["A", "B"], None),
        (b"onset\tduration\ttrial_type\t\n1\t0\tA\t\n2\t0\tB\t\n", [1, 2], ["A", "B"], None),
        ("onset\ttrial_type\n1\tréponse\n".encode("latin-1"), [1], ["réponse"], "save it as UTF-8"),
        ("onset\ttrial_type\n1\tréponse\n".encode("utf-16"), [1], ["réponse"], None),
        ("onset\ttrial_type\n1\tréponse\n".encode("utf-8-sig"), [1], ["réponse"], None),
        (
            b"onset\ttrial_type\r\n1\tNA\r\n2\tnull\r\n3\t01\r\n4\t001\r\n",
            [1, 2, 3, 4],
            ["NA", "null", "01", "001"],
            None,
        ),
        (b'onset\ttrial_type\n1\ta "\n2\tb\n', [1, 2], ['a "', "b"], None),
        (b"", [], [], "is empty"),
        (b"onset\tduration\n", [], [], None),
    ],
)
def test_tables_as_they_are_in_the_field(tmp_path, content, onsets, kinds, note):
    path = tmp_path / "x_events.tsv"
    path.write_bytes(content)
    events, notes = read_events_file(path)
    assert (events.onset.tolist(), events.trial_type.tolist()) == (onsets, kinds)
    assert any(note in line for line in notes) if note else not notes


def test_a_row_with_more_cells_than_the_header_is_refused(tmp_path):
    path = tmp_path / "x_events.tsv"
    path.write_text("onset\tduration\n1\t2\n1\t2\t3\n")
    with pytest.raises(LabelError, match="line 3 has 3 cells, the header has 2"):
        read_events_file(path)
