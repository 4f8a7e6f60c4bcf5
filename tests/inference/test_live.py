from __future__ import annotations

import numpy as np
import pytest

import brainof
from brainof.errors import ConfigError, ContractError
from brainof.inference import StreamingEmbedder, calibrate
from brainof.inference.batches import pooled
from brainof.inference.windows import InputOptions, read_samples
from brainof.io import from_array
from brainof.prepare import default_chain

SECONDS, SFREQ, WINDOW = 24.3, 250.0, 2.0


def recorded(seed: int = 0, seconds: float = SECONDS, bad: bool = True):
    """Rhythms in noise with offsets; channel 5 is flat."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * SFREQ)) / SFREQ
    data = 1e-5 * (rng.standard_normal((9, len(time))) + np.sin(2 * np.pi * 10 * time)) + 1e-4 * np.arange(9)[:, None]
    if bad:
        data[5] = 5e-4
    names = ["Fp1", "Fp2", "C3", "Cz", "C4", "P3", "P4", "O1", "O2"]
    return from_array(data, SFREQ, "eeg", channel_names=names)


@pytest.fixture(scope="module")
def model():
    return brainof.load("debug")[0]


def run(embedder: StreamingEmbedder, data: np.ndarray, size: int):
    parts = [embedder.push(data[:, start : start + size]) for start in range(0, data.shape[1], size)]
    parts.append(embedder.finish())
    return brainof.inference.Embeddings.concatenate([part for part in parts if part is not None])


def offline(model, calibration, recording):
    prepared = InputOptions(None, 64, prepared=True, window_seconds=WINDOW)
    return pooled(model, read_samples(calibration.apply(recording), prepared).examples, "mean_std")


def test_calibrated_on_itself_the_frozen_chain_is_the_offline_chain(model):
    recording = recorded()
    data = recording.data.copy()
    data[2, 100:110] = np.nan  # a gap that is bridged
    recording = recording.replace(data=data)
    calibration = calibrate(recording)
    prepared = default_chain("eeg").apply(recording)
    found = calibration.apply(recording)
    assert found.bads == prepared.bads == ("P3",)
    np.testing.assert_allclose(found.data, prepared.data, atol=1e-5)


def test_the_stream_equals_the_recording_and_no_chunk_size_matters(model):
    """Other data than calibrated on. All sizes agree bit for bit, and with offline as far as the filters forget."""
    recording = recorded(1)
    calibration = calibrate(recorded(0))
    wanted = offline(model, calibration, recording)
    found = {}
    for size in (1, 7, 1000, recording.n_times):
        embedder = StreamingEmbedder(model, calibration, window_seconds=WINDOW)
        found[size] = run(embedder, recording.data, size)
    for part in found.values():
        np.testing.assert_array_equal(part.values, found[1000].values)
        assert part.table["onset"].tolist() == found[1000].table["onset"].tolist()
    assert len(found[1]) == len(wanted) == 13
    assert found[1].table["onset"].iloc[-1] == 24.0
    assert found[1].table["duration"].iloc[-1] == pytest.approx(0.3, abs=0.01)
    spread = wanted.std()
    assert np.abs(found[1].values - wanted).max() < 1e-3 * spread
    # the last windows see the true end, as offline does
    np.testing.assert_allclose(found[1].values[-3:], wanted[-3:], atol=1e-5)


def test_a_longer_lookahead_is_closer_and_a_shorter_one_is_sooner(model):
    recording, calibration = recorded(1), calibrate(recorded(0))
    wanted = offline(model, calibration, recording)[:6]
    errors, latencies = [], []
    for lookahead in (0.0, 2.0, 8.0):
        embedder = StreamingEmbedder(model, calibration, window_seconds=WINDOW, lookahead=lookahead)
        latencies.append(embedder.latency)
        errors.append(np.abs(run(embedder, recording.data, 500).values[:6] - wanted).max())
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert latencies == sorted(latencies)
    assert np.array(latencies) - WINDOW == pytest.approx(
        [0.0, 2.0, 8.0]
    )  # a lookahead that is given is all that is waited
    usual = StreamingEmbedder(model, calibration, window_seconds=WINDOW)
    assert 7.0 < usual.latency - WINDOW < 9.0


def test_an_embedding_comes_with_the_sample_that_completes_it(model):
    recording, calibration = recorded(1), calibrate(recorded(0))
    embedder = StreamingEmbedder(model, calibration, window_seconds=WINDOW, lookahead=1.0)
    due = int(np.ceil(embedder.latency * SFREQ))
    assert embedder.push(recording.data[:, : due - 1]) is None
    assert len(embedder.push(recording.data[:, due - 1 : due])) == 1


def test_memory_of_the_stream_is_bounded(model):
    recording, calibration = recorded(1, 80.0), calibrate(recorded(0))
    embedder = StreamingEmbedder(model, calibration, window_seconds=WINDOW, lookahead=0.0)
    kept = []
    for start in range(0, recording.n_times, 250):
        embedder.push(recording.data[:, start : start + 250])
        kept.append(sum(chunk.shape[1] for chunk in embedder._chunks))
    assert max(kept[60:]) <= max(kept[30:60]) + 250
    assert max(kept) < 30 * SFREQ


def test_long_gaps_mask_their_channel_in_their_windows_only(model):
    recording, calibration = recorded(1, bad=False), calibrate(recorded(0, bad=False))
    data = recording.data.copy()
    data[3, 1000:2000] = np.nan
    embedder = StreamingEmbedder(model, calibration, window_seconds=WINDOW, lookahead=0.0)
    broken = run(embedder, data, 500)
    assert np.isfinite(broken.values).all()
    embedder = StreamingEmbedder(model, calibration, window_seconds=WINDOW, lookahead=0.0)
    whole = run(embedder, recording.data, 500)
    np.testing.assert_array_equal(broken.values[0], whole.values[0])
    assert not np.allclose(broken.values[2], whole.values[2])


def test_wrong_streams_are_one_sentence(model):
    calibration = calibrate(recorded(0))
    embedder = StreamingEmbedder(model, calibration)
    with pytest.raises(ContractError, match=r"shape \(4, 10\), calibrated on 9 channels"):
        embedder.push(np.zeros((4, 10)))
    embedder.finish()
    with pytest.raises(ConfigError, match="after finish"):
        embedder.push(np.zeros((9, 10)))
    with pytest.raises(ContractError, match="are not those of the calibration"):
        calibration.apply(recorded(0).pick([0, 1]))
    regions = from_array(np.random.default_rng(0).standard_normal((4, 200)), 0.5, "fmri")
    with pytest.raises(ConfigError, match="detrend: needs the whole recording"):
        calibrate(regions)
