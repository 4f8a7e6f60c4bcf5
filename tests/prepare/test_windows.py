from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainof.channels import Channels
from brainof.errors import ConfigError, RecordingError
from brainof.prepare.windows import WindowOptions, cut
from brainof.recording import Recording


def counting(n_times: int, sfreq: float = 10.0, events: list[tuple[float, float, str]] | None = None) -> Recording:
    """Two channels whose samples are their own numbers, so that a window shows where it was cut."""
    data = np.arange(n_times, dtype=np.float32)[None].repeat(2, axis=0)
    table = pd.DataFrame(events or [], columns=["onset", "duration", "trial_type"])
    return Recording(data, sfreq, "eeg", Channels(("a", "b"), ("eeg", "eeg")), events=table)


def spans(windows) -> list[tuple[int, int]]:
    return [(int(w.data[0, 0]), int(w.data[0, -1]) + 1) for w in windows]


@settings(deadline=None, max_examples=50)
@given(
    n_times=st.integers(1, 300),
    length=st.integers(1, 60),
    stride=st.none() | st.integers(1, 60),
    shortest=st.none() | st.integers(1, 60),
)
def test_sliding_windows(n_times, length, stride, shortest):
    options = WindowOptions(
        length=length / 10,
        stride=None if stride is None else stride / 10,
        min_length=None if shortest is None else shortest / 10,
    )
    recording = counting(n_times)
    if n_times < min(length, shortest or length):
        with pytest.raises(RecordingError, match="shorter than one window"):
            cut(recording, options)
        return
    windows = cut(recording, options)
    found = spans(windows)
    full = [span for span in found if span[1] - span[0] == length]
    assert [w.onset for w in windows] == pytest.approx([start / 10 for start, _ in found])
    assert all(0 <= start < stop <= n_times for start, stop in found)
    assert all(b[0] - a[0] == (stride or length) for a, b in pairwise(found))
    assert len(full) == max(0, (n_times - length) // (stride or length) + 1)
    assert len(found) - len(full) in (0, 1)
    if len(found) > len(full):
        assert found[-1][1] == n_times
        assert found[-1][1] - found[-1][0] >= shortest


@settings(deadline=None, max_examples=50)
@given(n_times=st.integers(2, 600), cap=st.none() | st.integers(2, 400))
def test_whole_recordings_lose_less_than_one_sample_per_window(n_times, cap):
    found = spans(cut(counting(n_times), WindowOptions(whole=True, n_times=cap)))
    lengths = {stop - start for start, stop in found}
    assert len(lengths) == 1
    assert lengths.pop() <= (cap or n_times)
    assert n_times - found[-1][1] < len(found)
    assert len(found) == -(-n_times // (cap or n_times))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 12), st.integers(1, 40))
def test_max_windows_are_spread_evenly(most, n_windows):
    found = spans(cut(counting(n_windows * 10), WindowOptions(length=1, max_windows=most)))
    assert len(found) == len(set(found)) == min(most, n_windows)
    if most > 1:
        assert (found[0][0], found[-1][1]) == (0, n_windows * 10)


EVENTS = [(1.0, 2.0, "a"), (4.0, 0.5, "b"), (9.5, 2.0, "a"), (6.0, np.nan, "c")]


def test_windows_around_events():
    options = WindowOptions(events=["a", "b"], tmin=-0.2, tmax=1.0)
    assert spans(cut(counting(100, events=EVENTS), options)) == [(8, 20), (38, 50)]  # the third reaches over the end


def test_blocks_last_as_long_as_their_event_and_lag_shifts_them():
    assert spans(cut(counting(130, events=EVENTS), WindowOptions(events="all"))) == [(10, 30), (40, 45), (95, 115)]
    assert spans(cut(counting(130, events=EVENTS), WindowOptions(events=["a"], lag=0.5))) == [(15, 35), (100, 120)]


def test_event_labels_join_those_of_the_recording():
    windows = cut(
        counting(130, events=EVENTS),
        WindowOptions(events="all"),
        {"group": "x"},
        view="sounds",
        event_labels=lambda row: {"sound": row["trial_type"].upper()},
    )
    assert [w.labels for w in windows] == [{"group": "x", "sound": s} for s in "ABA"]
    assert {w.view for w in windows} == {"sounds"}


def test_windows_of_one_length_inside_events():
    recording = counting(100, events=[(0.5, 3.2, "A"), (5.0, 0.4, "A"), (6.0, 9.0, "B")])
    assert spans(cut(recording, WindowOptions(events=["A"], length=1))) == [(5, 15), (15, 25), (25, 35)]
    halves = WindowOptions(events=["A"], length=1, stride=0.5)
    assert [start for start, _ in spans(cut(recording, halves))] == [5, 10, 15, 20, 25]
    assert spans(cut(recording, WindowOptions(events=["B"], length=2))) == [(60, 80), (80, 100)]  # until the end


def test_no_matching_event_gives_no_window():
    assert cut(counting(100, events=EVENTS), WindowOptions(events=["z"], tmax=1)) == []


def test_windows_do_not_touch_bad_stretches():
    recording = counting(60, events=[(1.5, 1.0, "BAD_jump"), (4.05, 0.0, "bad"), (5.0, 1.0, "good")])
    assert spans(cut(recording, WindowOptions(length=1))) == [(0, 10), (30, 40), (50, 60)]


def test_windows_are_views():
    recording = counting(40)
    assert all(np.shares_memory(w.data, recording.data) for w in cut(recording, WindowOptions(length=1)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give length"),
        ({"length": 1, "whole": True}, "give one of"),
        ({"length": 1, "n_times": 3}, "give one of"),
        ({"length": 1, "tmax": 2}, "need events"),
        ({"events": "all", "tmin": 2, "tmax": 1}, "must be above tmin"),
        ({"events": "all", "length": 1, "tmax": 1}, "not both"),
        ({"events": "all", "stride": 1}, "stride without length"),
        ({"lenght": 1}, "did you mean 'length'"),
        ({"length": -1}, "greater than 0"),
    ],
)
def test_wrong_options_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        WindowOptions.parse(values)


def test_the_start_of_a_recording_can_be_left_out(make):
    recording = make(np.arange(100.0)[None], 1.0)
    windows = cut(recording, WindowOptions(length=10, skip=16))
    assert [window.onset for window in windows] == [16.0, 26.0, 36.0, 46.0, 56.0, 66.0, 76.0, 86.0]
    with pytest.raises(ConfigError, match="skip goes with length or n_times"):
        WindowOptions.parse({"whole": True, "skip": 3})
    with pytest.raises(RecordingError, match="shorter than one window .26 samples"):
        cut(make(np.zeros((1, 20)), 1.0), WindowOptions(length=10, skip=16))
