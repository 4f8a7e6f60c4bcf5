"""What lies beside a recording: signals as labels, events on another clock, maps without time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainof.datasets.events import with_events
from brainof.datasets.labels import Labels
from brainof.datasets.recipe import EventSource, LabelSource, Patterns, Recipe
from brainof.datasets.tables import read_patterns
from brainof.errors import ConfigError, LabelError

RECIPE = {
    "name": "film",
    "title": "Film",
    "modality": "fmri",
    "license": "none",
    "citation": "none",
    "files": [{"pattern": "sub-{subject}_run-{run}.npz"}],
    "labels": {
        "level": {"signal": "sound_run-{run}.npz", "variable": "rms", "step": "step", "lag": 1, "log": True},
        "mood": {"table": "events_{subject}.tsv", "column": "mood", "values": {"up": "up"}, "optional": True},
    },
}


@pytest.fixture
def film(tmp_path):
    np.savez(tmp_path / "sound_run-1.npz", rms=np.exp(np.arange(40.0) / 10), step=0.5, several=np.ones(3))
    (tmp_path / "events_a.tsv").write_text("onset\tmood\n0\tup\n5\tup\n")
    return tmp_path


def test_a_signal_gives_the_mean_over_the_window_seconds_earlier(film):
    labels = Labels(Recipe.parse(RECIPE), film)
    entities = {"subject": "a", "run": "1"}
    # 4 to 8 s, one second earlier: values 6 to 13 of a logarithm that is their number over ten
    assert float(labels.of_span(entities, 4.0, 4.0)["level"]) == pytest.approx(np.arange(6, 14).mean() / 10)
    assert labels.of_span(entities, 0.0, 4.0) == {}  # begins before the sound
    assert labels.of_span(entities, 18.0, 4.0) == {}
    assert labels.of(entities) == {"mood": "up"}


def test_a_table_of_the_recording_needs_no_key_while_its_rows_agree(film):
    labels = Labels(Recipe.parse(RECIPE), film)
    (film / "events_a.tsv").write_text("onset\tmood\n0\tup\n5\tdown\n")
    with pytest.raises(LabelError, match="2 rows with this recording disagree .down, up."):
        labels.of({"subject": "a", "run": "1"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variable": "rsm"}, "sound_run-1.npz: labels.level: no array 'rsm'; did you mean 'rms'"),
        ({"step": "several"}, "'several' holds 3 values, not one"),
        ({"signal": "sound.npz"}, "sound.npz: labels.level: file is missing"),
    ],
)
def test_a_signal_that_is_not_there_is_named(film, change, message):
    source = {**RECIPE["labels"]["level"], **change}
    labels = Labels(Recipe.parse({**RECIPE, "labels": {"level": source}}), film)
    with pytest.raises(LabelError, match=message):
        labels.of_span({"subject": "a", "run": "1"}, 4.0, 4.0)


def test_a_signal_without_its_step_is_refused():
    with pytest.raises(ConfigError, match="signal, variable and step go together"):
        LabelSource.parse({"signal": "x.npz", "variable": "rms"})


def test_events_on_another_clock_and_without_trial_types(make, tmp_path):
    file = tmp_path / "bold.npz"
    np.savez(file, event_start=836.0)
    (tmp_path / "events.tsv").write_text("onset\tduration\ttemp\trating\n846.5\t12\t45\tn/a\n865\t11\tn/a\t7\n")
    recording = make(np.zeros((2, 100)), 0.5, "roi", provenance={"file": str(file)})
    values = {"file": "events.tsv", "filled": {"heat": "temp", "rate": "rating"}, "origin": "event_start"}
    events = with_events(recording, EventSource.parse(values), tmp_path).events
    assert events["onset"].tolist() == [10.5, 29.0]
    assert events["trial_type"].tolist() == ["heat", "rate"]
    (tmp_path / "events.tsv").write_text("onset\tduration\ttemp\trating\n846.5\t12\t45\t7\n")
    with pytest.raises(LabelError, match="row 1 has not exactly one of temp, rating"):
        with_events(recording, EventSource.parse(values), tmp_path)


def test_maps_become_one_recording_per_subject(tmp_path):
    maps = np.random.default_rng(0).standard_normal((2, 3, 5))
    names = {"subjects": ["x", "y"], "conditions": ["a", "b", "c"], "labels": list("LMNOP")}
    np.savez(tmp_path / "maps.npz", data=maps, **names)
    parts = read_patterns(tmp_path / "maps.npz", Patterns(t_r=2.0, n_times=4), {"task": "maps"})
    assert [part.entities["subject"] for part in parts] == ["x", "y"]
    assert parts[1].data.shape == (5, 12)
    np.testing.assert_allclose(parts[1].data[:, 4:8], np.repeat(maps[1, 1][:, None], 4, axis=1), rtol=1e-6)
    expected = pd.DataFrame({"onset": [0.0, 8.0, 16.0], "duration": 8.0, "trial_type": ["a", "b", "c"]})
    pd.testing.assert_frame_equal(parts[0].events[["onset", "duration", "trial_type"]], expected)
    np.savez(tmp_path / "maps.npz", data=maps[:, :2], **names)
    with pytest.raises(LabelError, match=r"\(2, 2, 5\) is not subjects x conditions x regions \(2, 3, 5\)"):
        read_patterns(tmp_path / "maps.npz", Patterns(t_r=2.0), {})
