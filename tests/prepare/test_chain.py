from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import mne
import numpy as np
import pytest

from brainof.errors import ConfigError, RecordingError
from brainof.prepare.chain import DEFAULTS, STEPS, Chain, default_chain


@pytest.mark.parametrize("modality", ["eeg", "meg", "fmri"])
def test_serialised_chain_does_the_same(make, modality):
    kind = {"eeg": "eeg", "meg": "mag", "fmri": "roi"}[modality]
    recording = make(np.random.default_rng(0).standard_normal((20, 600)).cumsum(axis=1), 200.0, kind)
    chain = default_chain(modality)
    again = Chain.from_steps(json.loads(json.dumps(chain.to_steps())))
    assert again == chain
    prepared = chain.apply(recording)
    np.testing.assert_array_equal(again.apply(recording).data, prepared.data)
    assert prepared.data.dtype == np.float32
    assert prepared.sfreq == (chain.sfreq or 200.0)
    assert prepared.provenance["chain"] == chain.to_steps()
    assert [step["step"] for step in prepared.provenance["steps"]] == [step["step"] for step in chain.to_steps()]
    json.dumps(prepared.provenance)


def test_equals_a_plain_mne_chain(make):
    """MNE in float64: polyphase, the same Butterworth filter, average reference, robust scale."""
    generator = np.random.default_rng(2)
    raw = (
        mne.filter.filter_data(generator.standard_normal((24, 30_000)) * 2e-5, 500.0, 0.2, 80.0, verbose="error") + 1e-3
    )
    low = mne.filter.resample(raw - raw.mean(axis=1, keepdims=True), 256.0, 500.0, method="polyphase", verbose="error")
    low = mne.filter.filter_data(
        low,
        256.0,
        0.5,
        45.0,
        method="iir",
        iir_params={"order": 4, "ftype": "butter", "output": "sos"},
        verbose="error",
    )
    low -= low.mean(axis=0)
    expected = (low - np.median(low, axis=1, keepdims=True)) / np.median(
        np.subtract(*np.percentile(low, (75, 25), axis=1)) / 1.349
    )
    chain = default_chain("eeg", {"reference": {"kind": "average"}})
    ours = chain.apply(make(raw, 500.0)).data
    inner = slice(1024, -1024)
    assert np.abs(ours - expected)[:, inner].max() < 0.02
    assert np.corrcoef(ours[:, inner].ravel(), expected[:, inner].ravel())[0, 1] > 0.99999


def test_one_nan_does_not_spread(make):
    values = np.random.default_rng(0).standard_normal((20, 2560))
    holed = values.copy()
    holed[3, 1200] = np.nan
    difference = np.abs(default_chain("eeg").apply(make(holed)).data - default_chain("eeg").apply(make(values)).data)
    assert (difference.max(axis=0) > 0.05).sum() < 30


def test_overrides_keep_the_order_of_steps():
    chain = default_chain("meg", {"notch": {"freqs": [50]}, "filter": {"high": 40}, "bad_channels": False})
    assert [step.name for step in chain.steps] == ["repair", "resample", "notch", "filter", "normalise"]
    assert chain.to_steps()[3] == {"step": "filter", "low": 0.5, "high": 40.0, "order": 4}
    assert "filter" not in DEFAULTS["fmri"]
    assert "filter" in [step.name for step in default_chain("fmri", {"filter": {"low": 0.01, "high": 0.1}}).steps]
    assert default_chain("fmri").sfreq is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"fliter": {}}, r"r\.yaml: prepare\.fliter: unknown step; did you mean 'filter'\?"),
        ({"filter": {"hihg": 3}}, r"r\.yaml: prepare\.filter\.hihg: unknown key; did you mean 'high'\?"),
        ({"resample": {"sfreq": -1}}, r"prepare\.resample\.sfreq: Input should be greater than 0"),
        ({"notch": True}, r"prepare\.notch\.freqs: is required"),
    ],
)
def test_wrong_overrides_are_named(overrides, message):
    with pytest.raises(ConfigError, match=message):
        default_chain("eeg", overrides, "r.yaml")


def test_every_step_is_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "guide" / "recipes.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.strip("`") in STEPS] == [f"`{name}`" for name in STEPS]  # in order


def test_unknown_modality_and_step():
    with pytest.raises(ConfigError, match="did you mean 'meg'"):
        default_chain("mega")
    with pytest.raises(ConfigError, match="unknown step 'resampel'; did you mean 'resample'"):
        Chain.from_steps([{"step": "resampel"}])


def test_empty_recording(make):
    with pytest.raises(RecordingError, match="empty recording"):
        default_chain("eeg").apply(make(np.zeros((3, 0))))


def test_every_step_is_pure(make):
    values = np.random.default_rng(0).standard_normal((20, 700))
    for name, step in STEPS.items():
        recording = make(values.copy())
        options = {"notch": {"freqs": (50.0,)}, "autoreject": {"length": 0.2}}.get(name, {})
        step(**options).apply(recording)
        np.testing.assert_array_equal(recording.data, values, err_msg=name)


def test_memory_stays_under_three_times_the_recording(make):
    recording = make(np.random.default_rng(0).standard_normal((64, 60_000)), 500.0)
    tracemalloc.start()
    try:
        default_chain("eeg").apply(recording)
        peak = tracemalloc.get_traced_memory()[1]  # beside the recording itself, which is older
    finally:
        tracemalloc.stop()
    assert peak + recording.data.nbytes < 3 * recording.data.nbytes


def test_an_open_edge_survives_the_file():
    chain = default_chain("eeg", {"filter": {"low": None}})
    again = Chain.from_steps(json.loads(json.dumps(chain.to_steps())))
    assert again == chain
    assert next(step for step in again.steps if step.name == "filter").low is None
