from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.channels import Channels
from brainof.errors import ConfigError, ContractError, RecordingError
from brainof.inference.reconstruct import inpaint, predict_at, upsample
from brainof.model import BrainOF
from brainof.prepare.chain import default_chain
from brainof.recording import Recording


def recording(sfreq: float = 200.0, seconds: float = 7.0, n: int = 8) -> Recording:
    """EEG whose channels are smooth functions of place times a few rhythms, tens of microvolts."""
    rng = np.random.default_rng(0)
    positions = rng.normal(0, 1, (n, 3))
    positions = 0.09 * positions / np.linalg.norm(positions, axis=1, keepdims=True) + [0, 0, 0.04]
    times = np.arange(round(seconds * sfreq)) / sfreq
    waves = np.stack([np.sin(2 * np.pi * rate * times) for rate in (3, 7, 11)])
    data = 2e-5 * (positions @ rng.normal(0, 10, (3, 3)) @ waves)
    channels = Channels(tuple(f"E{i}" for i in range(n)), ("eeg",) * n, positions, frame="head")
    return Recording(data.astype(np.float32), sfreq, "eeg", channels)


class Constant(torch.nn.Module):
    """Decodes, at every position, z (in units of 0.1 m) for each sample: a model whose answer is known."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = BrainOF.from_preset("debug", decoder={"outputs": ["waveform"]})
        self.config, self.tokens, self.encode = self.inner.config, self._tokens, self.inner.encode
        self.seen: list[np.ndarray] = []

    def _tokens(self, batch):
        self.z = batch.sensors.position_BC3[0, :, 2] / 0.1
        self.patches = batch.signal_BCT.shape[2] // 64
        self.seen.append(batch.signal_BCT.numpy())
        return self.inner.tokens(batch)

    def decode(self, latents, identity, index):
        z = self.z.repeat_interleave(self.patches)[index]
        return {"waveform": z[..., None].expand(*z.shape, 64)}


@pytest.mark.parametrize("sfreq", [200.0, 256.0, 1000.0])
def test_units_rate_and_length_are_those_of_the_recording(sfreq):
    raw, model = recording(sfreq), Constant()
    prepared = default_chain("eeg").apply(raw.replace(bads=("E2", "E5")))
    scale = next(step["scale"]["eeg"] for step in prepared.provenance["steps"] if step["step"] == "normalise")
    found = inpaint(raw, model, bads=("E2", "E5"))
    assert (found.n_times, found.sfreq, found.bads) == (raw.n_times, sfreq, ())
    expected = scale * (raw.channels.positions[[2, 5], 2] - 0.04) / 0.1
    inner = found.data[[2, 5], round(0.2 * sfreq) : -round(0.2 * sfreq)]
    np.testing.assert_allclose(inner, np.broadcast_to(expected[:, None], inner.shape), rtol=2e-3)
    others = [0, 1, 3, 4, 6, 7]
    np.testing.assert_array_equal(found.data[others], raw.data[others])
    assert found.provenance["reconstructed"] == ["E2", "E5"]


def test_the_bad_channel_itself_is_never_seen():
    raw = recording()
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", decoder={"outputs": ["waveform"]})
    wild = raw.data.copy()
    wild[3] = 1e-3 * np.random.default_rng(1).standard_normal(raw.n_times)
    one = inpaint(raw, model, bads=("E3",))
    other = inpaint(raw.replace(data=wild.astype(np.float32)), model, bads=("E3",))
    np.testing.assert_allclose(one.data, other.data, rtol=1e-4, atol=1e-9)
    changed = raw.data.copy()
    changed[4] *= -1
    assert np.abs(inpaint(raw.replace(data=changed), model, bads=("E3",)).data[3] - one.data[3]).max() > 1e-9


def test_upsampling_a_left_out_channel_is_inpainting_it():
    raw = recording()
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", decoder={"outputs": ["waveform"]})
    kept = [0, 1, 2, 4, 5, 6, 7]
    dense = upsample(raw.pick(kept), model, raw.channels.take([3]))
    assert dense.channels.names == (*[f"E{i}" for i in kept], "E3")
    np.testing.assert_array_equal(dense.data[:7], raw.data[kept])
    np.testing.assert_allclose(dense.data[7], inpaint(raw, model, bads=("E3",)).data[3], rtol=1e-4, atol=1e-9)


def test_windows_are_joined_without_seams():
    raw, model = recording(256.0, seconds=11.3), Constant()
    place = Channels(("new",), ("eeg",), positions=np.array([[0.0, 0.0, 0.1]]), frame="head")
    values = predict_at(raw, model, place)
    assert values.shape == (1, raw.n_times)
    np.testing.assert_allclose(values / values[0, 0], 1, rtol=1e-5)
    assert sum(len(batch) for batch in model.seen) == 5  # 4 s every 2 s, and the end


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda r, m: inpaint(r, m), RecordingError, "no bad channel"),
        (lambda r, m: inpaint(r, m, bads=("E33",)), RecordingError, "did you mean 'E3'"),
        (lambda r, m: upsample(r, m, r.channels.take([1])), RecordingError, "'E1' is there already"),
        (lambda r, m: upsample(r, m, Channels(("X",), ("eeg",), frame="head")), RecordingError, "X: has no position"),
        (
            lambda r, m: upsample(r, m, Channels(("X",), ("eeg",), np.zeros((1, 3)), frame="mni")),
            RecordingError,
            "frame 'mni'",
        ),
        (
            lambda r, m: upsample(r, m, Channels(("X",), ("mag",), np.zeros((1, 3)), frame="head")),
            RecordingError,
            "mag channel in eeg",
        ),
        (
            lambda r, m: inpaint(
                Recording(r.data, 1.0, "fmri", Channels(r.channels.names, ("roi",) * 8)), m, bads=("E1",)
            ),
            ContractError,
            "EEG or MEG",
        ),
        (
            lambda r, m: inpaint(r, BrainOF.from_preset("debug", decoder={"outputs": ["log_spectrum"]}), bads=("E1",)),
            ConfigError,
            "no waveform",
        ),
    ],
)
def test_what_cannot_be_done_is_said(call, error, match):
    with pytest.raises(error, match=match):
        call(recording(), BrainOF.from_preset("debug"))
