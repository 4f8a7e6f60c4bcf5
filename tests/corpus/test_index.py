from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from brainof.corpus.index import column_values, from_frame, in_order, recording_row, subjects, to_frame
from brainof.errors import CorpusError


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"subject": ""}, "subject: is required"),
        ({"subjct": "p1"}, "did you mean 'subject'"),
        ({"dataset": "../up"}, "dataset: '../up'"),
        ({"modality": "fmr"}, "did you mean 'fmri'"),
        ({"sfreq": 0}, "sfreq: 0"),
        ({"sfreq": "fast"}, "sfreq: 'fast'"),
    ],
)
def test_a_recording_with_a_wrong_field_is_refused_by_name(make, change, words):
    with pytest.raises(CorpusError, match=words) as caught:
        recording_row(make.recording("p1_rest", **change))
    assert "\n" not in str(caught.value)


def test_numbers_become_text_and_unknown_entities_null(make):
    row = recording_row(make.recording("p1_rest", subject=7, session="", run=None))
    assert (row["subject"], row["session"], row["run"]) == ("7", None, None)


def test_frame_and_table_are_inverse(make):
    index = make.index([{"modality": "eeg", "dataset": "a", "count": 3, "label.state": "x", "run": "1"}])
    pd.testing.assert_frame_equal(to_frame([from_frame(index)]), index)


def test_order_does_not_depend_on_shards(make):
    groups = [{"modality": "eeg", "dataset": d, "count": 10} for d in "ab"]
    index = make.index(groups).assign(crc32c=np.arange(20, dtype=np.uint32))
    index["shard"] = (index["dataset"].astype(str) + index["recording"].astype(str)).astype("category")
    shuffled = index.sample(frac=1, random_state=0).sort_values("crc32c", key=lambda c: (c * 7) % 5, kind="stable")
    # a recording's own windows keep their order, recordings come in the order of their names
    by_recording = [part.sort_values("crc32c") for _, part in shuffled.groupby(["dataset", "recording"], sort=False)]
    found, superseded = in_order(pd.concat(by_recording[::-1]))
    expected = index.sort_values(["dataset", "recording"], kind="stable")["crc32c"].tolist()
    assert found["crc32c"].tolist() == expected
    assert found.index.tolist() == list(range(20))
    assert superseded == []


def test_of_a_recording_in_two_shards_the_newest_counts(make):
    old, new = ({"modality": "eeg", "dataset": "a", "count": 5, "shard": f"a-2026010{day}"} for day in (1, 2))
    index = make.index([new, old, {"modality": "eeg", "dataset": "b", "count": 1, "shard": "b-20250101"}])
    found, superseded = in_order(index)
    assert found["shard"].tolist() == ["a-20260102"] * 5 + ["b-20250101"]
    assert superseded == [f"a/r{i}" for i in range(5)]


def test_people_are_named_by_dataset_and_subject(make):
    index = make.index([{"modality": "eeg", "dataset": d, "count": 7} for d in "ab"])
    expected = index["dataset"].astype(str) + "/" + index["subject"].astype(str)
    assert subjects(index).astype(str).tolist() == expected.tolist()
    assert subjects(index[:0]).tolist() == []


@pytest.mark.parametrize("n_names", [3, 128, 129, 40_000])
def test_a_column_is_the_same_in_parts_as_whole(n_names):
    """Text of parts with dictionaries of their own, unknown values among it, with the smallest codes that hold it."""
    random = np.random.default_rng(n_names)
    values = [f"n{i}" for i in random.permutation(n_names)] + [None, "n0", None, "n1"]
    whole = pd.Categorical(values, categories=list(dict.fromkeys(value for value in values if value)))
    cuts = [0, *sorted(random.integers(0, len(values), 4)), len(values)]
    parts = [pa.array(values[a:b], pa.string()).dictionary_encode() for a, b in pairwise(cuts)]
    found = column_values("task", iter(parts), len(values))
    assert found.tolist() == whole.tolist()
    assert found.categories.tolist() == whole.categories.tolist()
    assert found.codes.dtype == whole.codes.dtype


def test_a_number_that_is_missing_is_not_made_up():
    with pytest.raises(CorpusError, match="n_times: is unknown"):
        column_values("n_times", [pa.array([1, None, 3], pa.int32())], 3)
