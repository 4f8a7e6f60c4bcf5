from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainof.datasets.events import merged, split_segments, with_events
from brainof.datasets.recipe import EventSource, Segments
from brainof.errors import ConfigError, LabelError
from brainof.io.events import BOUNDARY


def test_table_beside_the_recording(make, tmp_path):
    (tmp_path / "sub-1_events.csv").write_text("start,long,what\n5,2,b\n1,n/a,a\n")
    source = EventSource(
        file="sub-{subject}_events.csv",
        columns={"start": "onset", "long": "duration", "what": "trial_type"},
        values={"a": "alpha"},
        duration=0.5,
    )
    events = with_events(make(np.ones((2, 100)), entities={"subject": "1"}), source, tmp_path).events
    assert events[["onset", "duration", "trial_type"]].to_numpy().tolist() == [[1, 0.5, "alpha"], [5, 2, "b"]]


def test_own_events_are_renamed(make):
    own = pd.DataFrame({"onset": [0.5], "duration": [0.0], "trial_type": ["1"]})
    events = with_events(make(np.ones((2, 100)), events=own), EventSource(values={1: "house"}), ".").events
    assert events["trial_type"].tolist() == ["house"]
    assert own["trial_type"].tolist() == ["1"]


def test_neighbours_are_merged_into_blocks():
    events = pd.DataFrame(
        {
            "onset": [0.0, 1.0, 2.1, 3.0, 9.0],
            "duration": [0.9] * 5,
            "trial_type": ["f", "f", "f", "h", "h"],
            "n": range(5),
        }
    )
    blocks = merged(events, gap=0.5)
    assert blocks["onset"].tolist() == [0.0, 3.0, 9.0]
    assert blocks["duration"].tolist() == pytest.approx([3.0, 0.9, 0.9])
    assert blocks["n"].tolist() == [0, 3, 4]
    assert merged(events.iloc[:0], gap=0.5).empty


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onset\ttrial_type\n1\ta\n", r"e\.tsv: events: no column 'duration'; name it in events\.columns"),
        ("onset\tduration\ttrial_type\nx\t1\ta\n", r"e\.tsv: onset: .*give seconds"),
    ],
)
def test_bad_tables_are_named(make, tmp_path, text, message):
    (tmp_path / "e.tsv").write_text(text)
    with pytest.raises(LabelError, match=message):
        with_events(make(np.ones((2, 100))), EventSource(file="e.tsv"), tmp_path)


@pytest.mark.parametrize(
    ("content", "onsets", "kinds", "note"),
    [
        (
            b"onset\tduration\ttrial_type\nn/a\t1\ta\n2\tn/a\tb\n",
            [2.0],
            ["b"],
            "no onset of 1 event in e.tsv: left out",
        ),
        (b"onset\tduration\ttrial_type\t\n3\t1\t01\t\n2\t1\tNA\t\n", [2.0, 3.0], ["NA", "01"], None),
        ("onset\tduration\ttrial_type\n2\t1\té\n".encode("utf-16"), [2.0], ["é"], None),
        ("onset\tduration\ttrial_type\n2\t1\té\n".encode("latin-1"), [2.0], ["é"], None),
        (b"onset\tduration\ttrial_type\n", [], [], "holds no events"),
        (b"", [], [], "holds no events"),
    ],
)
def test_tables_of_a_recipe_as_they_are_in_the_field(make, tmp_path, content, onsets, kinds, note):
    (tmp_path / "e.tsv").write_bytes(content)
    found = with_events(make(np.ones((2, 100))), EventSource(file="e.tsv", duration=0.5), tmp_path)
    assert (found.events.onset.tolist(), found.events.trial_type.tolist()) == (onsets, kinds)
    assert found.events.duration.tolist() == ([0.5] if "n/a" in str(content) else [1.0] * len(onsets))
    assert any(note in line for line in found.notes) if note else not found.notes


def test_missing_entity(make, tmp_path):
    with pytest.raises(ConfigError, match=r"names \{run\}"):
        with_events(make(np.ones((2, 100))), EventSource(file="{run}.tsv"), tmp_path)


def segments(tmp_path, rows: str) -> Segments:
    (tmp_path / "attributes.txt").write_text(rows)
    return Segments(file="attributes.txt", columns=["what", "run"], trial_type="what", split=["run"])


def test_parts_keep_the_events_of_their_own_stretch(make, tmp_path):
    (tmp_path / "runs.txt").write_text("0\n" * 6 + "1\n" * 6)
    own = pd.DataFrame({"onset": [2.0, 14.0], "duration": [0.0, 0.0], "trial_type": ["a", "b"]})
    recording = make(np.ones((2, 12)), 0.5, "roi", entities={"subject": "1"}).replace(events=own)
    parts = split_segments(recording, Segments(file="runs.txt", columns=["run"], split=["run"]), tmp_path)
    assert [part.events[["onset", "trial_type"]].to_numpy().tolist() for part in parts] == [[[2.0, "a"]], [[2.0, "b"]]]


def test_segments_split_and_become_events(make, tmp_path):
    data = np.arange(12.0)[None].repeat(2, axis=0)
    recording = make(data, 0.5, "roi", entities={"subject": "1"})
    options = segments(tmp_path, "rest 0\n" * 2 + "face 0\n" * 3 + "face 1\n" * 2 + "cat 1\n" * 3 + "rest 0\n" * 2)
    parts = split_segments(recording, options, tmp_path)
    assert [part.entities["run"] for part in parts] == ["0", "1", "0"]
    assert [part.data[0].tolist() for part in parts] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    assert parts[0].events.to_numpy().tolist() == [[0.0, 4.0, "rest"], [4.0, 6.0, "face"]]
    assert parts[1].events.to_numpy().tolist() == [[0.0, 4.0, "face"], [4.0, 6.0, "cat"]]


def test_segments_of_another_length(make, tmp_path):
    with pytest.raises(LabelError, match=r"attributes\.txt: segments: 2 rows for 12 samples"):
        split_segments(make(np.ones((2, 12))), segments(tmp_path, "rest 0\nrest 0\n"), tmp_path)


def test_names_of_conditions_stay_as_they_are_written(make, tmp_path):
    (tmp_path / "e.tsv").write_text("onset\tduration\ttrial_type\n1\tNA\tNA\n2\t0\t01\n3\t0\tn/a\n")
    events = with_events(make(np.ones((2, 100))), EventSource(file="e.tsv"), tmp_path).events
    assert events.trial_type.tolist() == ["NA", "01", ""]
    assert np.isnan(events.duration[0])


def test_pauses_stay_points_when_a_table_gives_the_events(make, tmp_path):
    (tmp_path / "e.tsv").write_text("onset\tduration\ttrial_type\n1\t0\tgo\n")
    own = pd.DataFrame({"onset": [0.1, 0.5], "duration": [0.0, 0.0], "trial_type": ["old", BOUNDARY]})
    source = EventSource(file="e.tsv", duration=2.0, merge=5.0)
    events = with_events(make(np.ones((2, 100)), events=own), source, tmp_path).events
    assert events[["onset", "duration", "trial_type"]].to_numpy().tolist() == [[0.5, 0.0, BOUNDARY], [1.0, 2.0, "go"]]


def test_a_hypnogram_gives_the_events(make, tmp_path):
    import edfio

    stages = [edfio.EdfAnnotation(30 * i, 30, f"Sleep stage {stage}") for i, stage in enumerate("W12")]
    edfio.Edf([], annotations=stages).write(tmp_path / "h.edf")
    events = with_events(make(np.ones((2, 100))), EventSource(file="h.edf"), tmp_path).events
    assert events.onset.tolist() == [0, 30, 60]
    assert events.duration.tolist() == [30, 30, 30]
    assert events.trial_type.tolist() == ["Sleep stage W", "Sleep stage 1", "Sleep stage 2"]
