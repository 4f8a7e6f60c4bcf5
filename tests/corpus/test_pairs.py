from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainof.corpus.selection import pairs
from brainof.errors import CorpusError

BOTH = {"eeg": "a_eeg", "fmri": "a_fmri"}


def rows(modality: str, subject: str, onsets, length: float, **values) -> list[dict]:
    """Index rows at 1 Hz."""
    base = {"dataset": f"a_{modality}", "modality": modality, "subject": subject, "view": "pretrain", "sfreq": 1.0}
    base |= {"session": None, "task": "t", "run": None, "recording": f"{subject}_{modality}", "n_times": int(length)}
    return [{**base, "onset": float(onset), "label.state": None, **values} for onset in onsets]


def frame(*parts: list[dict]) -> pd.DataFrame:
    return pd.DataFrame([row for part in parts for row in part])


def test_windows_of_one_person_and_time_are_matched():
    index = frame(
        rows("eeg", "2", range(0, 120, 4), 4), rows("fmri", "1", [0, 64], 64), rows("eeg", "1", range(0, 120, 4), 4)
    )
    index = pd.concat([index, frame(rows("fmri", "2", [32], 64))], ignore_index=True)
    table = pairs(index, BOTH)
    eeg, fmri = index.loc[table["eeg"]], index.loc[table["fmri"]]
    np.testing.assert_array_equal(eeg["subject"], fmri["subject"])
    inside = (eeg["onset"].to_numpy() >= fmri["onset"].to_numpy()) & (
        eeg["onset"].to_numpy() + 4 <= fmri["onset"].to_numpy() + 64
    )
    assert inside.all()
    assert (eeg["subject"] == "1").sum() == 30
    assert (eeg["subject"] == "2").sum() == 16
    # seen from fMRI there is one row per volume window
    assert len(pairs(index, BOTH, anchor="fmri")) == 3
    with_missing = pairs(index, BOTH, complete=False)
    assert len(with_missing) == 60
    assert (with_missing["fmri"] == -1).sum() == 14


def test_windows_that_two_of_three_modalities_show_are_no_whole_pairs():
    index = frame(
        rows("eeg", "1", [0, 10], 10), rows("fmri", "1", [0], 20), rows("eeg", "2", [0], 10), rows("meg", "2", [0], 10)
    )
    three = {**BOTH, "meg": "a_meg"}
    with pytest.raises(CorpusError, match="no window of a_eeg and a_fmri and a_meg shows one subject at one time"):
        pairs(index, three)
    assert pairs(index, three, complete=False).to_numpy().tolist() == [[0, 2, -1], [1, 2, -1], [3, -1, 4]]


def test_a_lag_moves_the_clock_of_one_modality():
    index = frame(rows("eeg", "1", [0, 10, 20], 10), rows("fmri", "1", [6, 16, 26], 10))
    plain = pairs(index, BOTH, overlap=0.1)
    moved = pairs(index, BOTH, lag={"fmri": 6.0}, overlap=1.0)
    assert moved.to_numpy().tolist() == [[0, 3], [1, 4], [2, 5]]
    assert plain.to_numpy().tolist() == [[0, 3], [1, 3], [2, 4]]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    length=st.integers(1, 12),
    other=st.integers(1, 12),
    overlap=st.floats(0.05, 1.0),
)
def test_the_partner_overlaps_longest(seed, length, other, overlap):
    """Against every pair tried one by one."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 40, 8), rng.integers(0, 40, 8)
    index = frame(rows("eeg", "1", first, length), rows("fmri", "1", second, other))
    shared = np.minimum.outer(first + length, second + other) - np.maximum.outer(first, second)
    best = shared.max(axis=1)
    if not (best >= overlap * min(length, other) - 1e-6).any():
        with pytest.raises(CorpusError, match="one subject at one time"):
            pairs(index, BOTH, overlap=overlap)
        return
    table = pairs(index, BOTH, overlap=overlap, complete=False).set_index("eeg")["fmri"]
    for row in range(8):
        if best[row] >= overlap * min(length, other) - 1e-6:
            assert shared[row, table[row] - 8] == best[row]
        else:
            assert table[row] == -1


def test_a_file_with_both_modalities_pairs_with_itself():
    one = [rows(m, "1", [0, 1], 1, recording="f1") for m in ("eeg", "fmri")]
    two = [rows(m, "1", [0, 1], 1, recording="f2") for m in ("eeg", "fmri")]
    index = frame(*one, *two)
    table = pairs(index, BOTH)
    assert (index.loc[table["eeg"], "recording"].to_numpy() == index.loc[table["fmri"], "recording"].to_numpy()).all()
    assert len(table) == 4


def test_two_clocks_are_not_mixed_up():
    runs = frame(
        rows("eeg", "1", [0], 4, run="1", recording="e1"),
        rows("eeg", "1", [0], 4, run="2", recording="e2"),
        rows("fmri", "1", [0], 4, run="2", recording="f2"),
    )
    assert pairs(runs, BOTH).to_numpy().tolist() == [[1, 2]]
    unclear = frame(rows("eeg", "1", [0], 4, recording="e"), *(rows("fmri", "1", [0], 4, recording=f) for f in "fg"))
    with pytest.raises(CorpusError, match="several recordings"):
        pairs(unclear, BOTH)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"datasets": {"eeg": "a_eeg"}}, "two or more"),
        ({"datasets": {"eeg": "a_eeg", "fmri": "a_fmr"}}, "did you mean 'a_fmri'"),
        ({"anchor": "meg"}, "anchor 'meg'"),
        ({"view": "pretrian"}, "did you mean 'pretrain'"),
    ],
)
def test_wrong_input_is_named(change, match):
    index = frame(rows("eeg", "1", [0], 4), rows("fmri", "1", [0], 4))
    given_ = {"datasets": BOTH, **change}
    with pytest.raises(CorpusError, match=match):
        pairs(index, given_.pop("datasets"), **given_)
