from __future__ import annotations

import time
import uuid

import mne
import numpy as np
import pytest

import brainof
from brainof.errors import ContractError, DependencyError, ReadError
from brainof.inference import StreamingEmbedder, calibrate
from brainof.interop import stream_lsl
from brainof.io import from_array

NAMES = ["C3", "Cz", "C4"]


def recording(seconds: float = 12.0):
    data = 1e-5 * np.random.default_rng(0).standard_normal((3, round(100 * seconds)))
    return from_array(data, 100.0, "eeg", channel_names=NAMES)


@pytest.fixture(scope="module")
def model():
    return brainof.load("debug")[0]


def embedder(model, given) -> StreamingEmbedder:
    return StreamingEmbedder(model, calibrate(given), window_seconds=2.0, lookahead=0.5)


class FakeStream:
    """What the adapter uses of mne_lsl.stream.StreamLSL: a ring buffer of 2 s in microvolts, in another order."""

    ch_names = ["Cz", "trigger", "C4", "C3"]
    connected = True

    def __init__(self, given, step: int = 70, sfreq: float = 100.0) -> None:
        self.info = {"sfreq": sfreq}
        volts = {name: given.data[row] for row, name in enumerate(NAMES)} | {"trigger": given.data[0]}
        self.data = np.stack([volts[name] for name in self.ch_names]) * 1e6
        self.times = 1000 + np.arange(given.n_times) / 100
        self.stop, self.step = 0, step

    def get_channel_units(self):
        return [(107, -6)] * 4

    def get_data(self, exclude=()):
        self.stop = min(self.stop + self.step, len(self.times))
        first = max(0, self.stop - 200)
        empty = 200 - (self.stop - first)
        data = np.pad(self.data[:, first : self.stop], ((0, 0), (empty, 0)))
        return data, np.pad(self.times[first : self.stop], (empty, 0))


def collect(parts):
    return brainof.inference.Embeddings.concatenate(list(parts))


def test_the_stream_is_picked_ordered_and_scaled(model):
    given = recording()
    wanted = collect(part for part in (lambda e: (e.push(given.data), e.finish()))(embedder(model, given)) if part)
    found = collect(stream_lsl(embedder(model, given), FakeStream(given), seconds=12.0, poll=0.0))
    assert len(found) == 6
    np.testing.assert_allclose(found.values, wanted.values, atol=1e-4)


def test_wrong_streams_are_one_sentence(model, monkeypatch):
    given = recording()
    with pytest.raises(ReadError, match="samples were lost; give a longer bufsize"):
        collect(stream_lsl(embedder(model, given), FakeStream(given, step=300), seconds=12.0, poll=0.0))
    with pytest.raises(ContractError, match="200 Hz, calibrated at 100 Hz"):
        collect(stream_lsl(embedder(model, given), FakeStream(given, sfreq=200.0)))
    other = given.pick([0, 1])
    stream = FakeStream(given)
    stream.ch_names = ["Cz", "trigger", "C4", "x"]
    with pytest.raises(ContractError, match="no channel 'C3' in the stream"):
        collect(stream_lsl(embedder(model, other), stream))
    for name in ("mne_lsl", "mne_lsl.stream"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(DependencyError, match=r"stream_lsl: needs the package mne_lsl.*brainof\[lsl\]"):
        collect(stream_lsl(embedder(model, given), "nobody"))


def test_over_a_real_outlet(model):
    """Played through liblsl on this machine, three times as fast as life."""
    lsl = pytest.importorskip("mne_lsl.lsl")
    given, name = recording(), uuid.uuid4().hex
    info = lsl.StreamInfo(name, "eeg", 3, 100.0, "float32", name)
    info.set_channel_names(NAMES)
    info.set_channel_types("eeg")
    info.set_channel_units("volts")
    outlet = lsl.StreamOutlet(info, chunk_size=20)
    from mne_lsl.stream import StreamLSL

    with mne.use_log_level("error"):
        stream = StreamLSL(30.0, name=name).connect(timeout=10)
    try:
        found = []
        parts = stream_lsl(embedder(model, given), stream, seconds=12.0, poll=0.01)
        now = lsl.local_clock()
        for start in range(0, given.n_times, 20):
            outlet.push_chunk(np.ascontiguousarray(given.data[:, start : start + 20].T), now + (start + 19) / 100)
        time.sleep(0.2)
        found = collect(parts)
    finally:
        stream.disconnect()
    wanted = collect(part for part in (lambda e: (e.push(given.data), e.finish()))(embedder(model, given)) if part)
    np.testing.assert_allclose(found.values, wanted.values, atol=1e-4)
