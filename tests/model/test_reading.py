"""What inference reads in pieces through one map equals what training does, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from brainof.model import brainof, reading

STREAMS = {
    "streams": True,
    "partition": True,
    "separate_decoders": True,
    "connectivity_features": True,
    "outputs": ["waveform", "log_spectrum", "connectivity"],
    "latents": 9,
}


@pytest.fixture
def reads(monkeypatch):
    """Counts calls of the fast path."""
    made = []
    monkeypatch.setattr(brainof, "read_shared", lambda *args, **kw: made.append(kw) or reading.read_shared(*args, **kw))
    return made


def scale_weights(model):
    """Weights of the norms start at one, where mistakes with them would hide."""
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.data.mul_(torch.rand_like(weight) + 0.5)
    return model


@pytest.mark.parametrize("rows", [4, 40, 1024])
@pytest.mark.parametrize("modality", ["eeg", "meg", "fmri"])
@pytest.mark.parametrize(
    "options",
    [{}, {"log_spectrum_features": False, "outputs": ["waveform"]}, {"connectivity_features": True}, STREAMS],
    ids=["sum", "waveform", "connectivity", "streams"],
)
def test_pieces_equal_whole_windows(make_batch, debug, reads, monkeypatch, options, modality, rows):
    monkeypatch.setattr(reading, "ROWS", rows)  # 15 tokens: windows in pieces, several windows, all at once
    model, batch = scale_weights(debug(**options)), make_batch(modality, windows=5)
    tokens = model.tokens(batch)
    whole = model.encode(tokens, with_sampled=True)
    assert not reads
    with torch.inference_mode():
        for _ in range(2):
            found = model.encode(model.tokens(batch), with_sampled=True)
            torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)
    assert len(reads) == 2 * len(model.config.outputs if "streams" in options else [None])


@pytest.mark.parametrize("options", [{}, STREAMS], ids=["sum", "streams"])
def test_a_mask_that_all_windows_share_is_part_of_the_map(make_batch, debug, reads, options):
    model = scale_weights(debug(**options))
    batch = make_batch(windows=3, patches=4, lengths=[200] * 3)
    agreed = []
    for bad in (1, 3, 1):
        batch.channel_mask_BC[:] = True
        batch.channel_mask_BC[:, bad] = False
        whole = model.forward_features(batch)
        with torch.no_grad():
            torch.testing.assert_close(model.forward_features(batch), whole, rtol=0, atol=1e-12)
        agreed.append(whole)
    assert reads
    assert (agreed[0] - agreed[1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    "options", [{"arness_in": 2}, {"keys": "both"}, {"values": "both"}, {"cross_attention": "dint", "temperature": 0}]
)
def test_other_samplers_go_the_plain_way(make_batch, debug, reads, options):
    model, batch = debug(**options), make_batch()
    whole = model.forward_features(batch)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(batch), whole, rtol=0, atol=1e-12)
    assert not reads


def test_what_differs_between_windows_goes_the_plain_way(make_batch, debug, reads):
    model, batch = debug(), make_batch(patches=4, lengths=[256, 130])
    visible = torch.tensor([[0, 3, 5], [1, 2, 7]])
    other = make_batch("fmri", channels=7)
    with_gradient = [
        model.forward_features(batch),
        model.encode(model.tokens(batch), visible),
        model.encode(model.tokens(other), start_BLD=model.forward_features(make_batch())),
    ]
    with torch.no_grad():
        start = model.forward_features(make_batch())
        assert len(reads) == 1
        without = [
            model.forward_features(batch),  # a mask of each window
            model.encode(model.tokens(batch), visible),
            model.encode(model.tokens(other), start_BLD=start),
        ]
        assert len(reads) == 1
        for found, expected in zip(without, with_gradient, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        mixed = replace(make_batch(), interval_B=torch.tensor([0.01, 0.02]))
        model.forward_features(mixed)  # identities of each window
        assert len(reads) == 1
        fused = model.fuse(model.tokens(make_batch()), model.tokens(other))
        assert len(reads) == 2  # the first side starts where all windows do
    torch.testing.assert_close(fused, with_gradient[2], rtol=0, atol=1e-12)


def test_float32_stays_as_close_as_the_plain_way(make_batch, debug):
    model, batch = scale_weights(debug()), make_batch(windows=4)
    exact = model.forward_features(batch)
    model.float()
    plain = model.forward_features(batch)
    with torch.inference_mode():
        read = model.forward_features(batch)
    assert (read - exact).abs().max() < 4 * (plain - exact).abs().max()


def test_autocast_and_bfloat16_go_the_plain_way(make_batch, debug, reads):
    model, batch = debug().float(), make_batch()
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16):
            model.forward_features(batch)
        model.bfloat16().forward_features(batch)
    assert not reads
    assert not len(model.remembered)
