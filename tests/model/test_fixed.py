"""Outputs that are read by addresses of their own, which stay random; and whitening of their latents within people."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.errors import ConfigError
from brainof.model import BrainOF
from brainof.model.config import BrainOFConfig
from brainof.model.presets import count
from brainof.model.whitening import RANK, SHRINKAGE, Whitening

PER_OUTPUT = {
    "tokens": {"connectivity": True},
    "decoder": {"kind": "per_output", "outputs": ["waveform", "log_spectrum", "connectivity"]},
}


@pytest.fixture
def fixed(debug):
    def make(*outputs: str, **changes) -> BrainOF:
        return debug(**PER_OUTPUT, sampler={"latents": 12, "fixed": outputs}, **changes)

    return make


def trained_on(model: BrainOF, batch, steps: int = 3) -> BrainOF:
    """A few steps of everything that can be trained, with weight decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(model.parameter_groups(0.1), lr=0.01)
    for _ in range(steps):
        tokens = model.tokens(batch)
        latents = model.encode(tokens)
        sum(x.square().mean() for x in model.decode(latents, tokens.identity_BND).values()).backward()
        assert all(p.grad is not None for p in parameters)
        optimizer.step()
        optimizer.zero_grad()
    return model


def test_latents_of_a_fixed_output_do_not_change_in_training(fixed, make_batch):
    model, batch = fixed("connectivity"), make_batch("fmri")
    own = model.config.latents_of("connectivity")
    before = model.forward_features(batch).detach()
    trained_on(model, batch)
    after = model.forward_features(batch).detach()
    torch.testing.assert_close(after[:, own], before[:, own], rtol=0, atol=0)
    torch.testing.assert_close(
        after[:, own].square().mean(-1), torch.ones(2, 4, dtype=torch.float64), atol=1e-3, rtol=0
    )
    others = [number for number in range(12) if number not in range(*own.indices(12))]
    assert (after[:, others] - before[:, others]).abs().amax() > 1e-3


def assert_the_ways_agree(model: BrainOF, batch, atol: float) -> torch.Tensor:
    """Latents with gradients, without, with a layout, without no part and from the static vectors; the first."""
    latents = model.forward_features(batch).detach()
    with torch.no_grad():
        fast = [model.forward_features(batch), model.forward_features(batch, model.layout(batch))]
        tokens = model.tokens(batch)
        nothing = next(model.encode_without(tokens, [torch.empty(0, dtype=torch.int64)]))
        start = model.encode(tokens, start_BLD=model.latents_LD[None].expand(len(batch), -1, -1))
    for other in (*fast, nothing, start):
        torch.testing.assert_close(other, latents, rtol=0, atol=atol)
    return latents


def test_the_ways_to_the_latents_agree(fixed, make_batch):
    assert_the_ways_agree(fixed("connectivity"), make_batch("fmri", windows=3), 1e-12)


def test_a_decoder_starts_at_the_addresses_that_are_read():
    sampler = {"latents": 12, "fixed": ("connectivity",), "initial_addressing": "tied"}
    model = BrainOF.from_preset("debug", **PER_OUTPUT, sampler=sampler)
    for decoder, encoder in zip(model.decoders, (model.encoder, model.encoder, model.fixed["encoder"]), strict=True):
        query, key = decoder.blocks[0].attention.query.weight, encoder.blocks[0].attention.key.weight
        torch.testing.assert_close(query, key)


def test_weights_of_fixed_parts_are_counted(fixed):
    model = fixed("connectivity")
    assert count(model.config)["total"] == sum(p.numel() for p in model.parameters())


def test_fine_tuning_may_train_what_pretraining_keeps(fixed):
    model = fixed("connectivity").freeze(["backbone"])
    assert all(p.requires_grad for p in model.fixed.parameters())
    assert not any(p.requires_grad for p in model.freeze(["sampler"]).fixed.parameters())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sampler": {"fixed": ["connectivity"]}}, "sampler.fixed needs decoder.kind 'per_output'"),
        ({**PER_OUTPUT, "sampler": {"latents": 12, "fixed": ["waveform"]}}, "sampler.fixed"),
        (
            {"decoder": {"kind": "per_output"}, "sampler": {"latents": 12, "fixed": ["connectivity"]}},
            "sampler.fixed: 'connectivity' is no output",
        ),
        ({"whitening": {"fmri": "connectivity"}}, "whitening: 'connectivity' is no output"),
        ({"whitening": {"ecg": "waveform"}}, "whitening.ecg"),
    ],
)
def test_wrong_outputs_are_named(changes, text):
    with pytest.raises(ConfigError, match=text):
        BrainOFConfig.parse(changes)


# Whitening


def people(rng, n=12, windows=6, width=24):
    """Latents of windows of people, noisy along some directions; the person and the data set of each."""
    persons = np.repeat(rng.normal(size=(n, width)), windows, 0)
    noise = rng.normal(size=(n * windows, width)) * np.geomspace(4, 0.1, width)
    return 5 + persons + noise, np.repeat(np.arange(n), windows), np.repeat(np.arange(n) % 2, windows)


def test_whitening_is_the_shrunk_inverse_root_of_the_covariance_within_people():
    values, person, dataset = people(np.random.default_rng(0))
    whitening = Whitening(24).double()
    whitening.fit(values, person, dataset)
    centred = np.concatenate([values[person == p] - values[person == p].mean(0) for p in range(12)])
    covariance = centred.T @ centred / len(centred)
    floor = SHRINKAGE * np.trace(covariance) / 24
    scale, axes = np.linalg.eigh(covariance)
    root = (axes * np.sqrt(floor / (scale + floor))) @ axes.T
    means = [np.mean([values[person == p].mean(0) for p in range(12) if p % 2 == half], 0) for half in (0, 1)]
    expected = (values - np.mean(means, 0)) @ root
    found = whitening(torch.tensor(values).view(-1, 4, 6)).flatten(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_people_are_told_apart_better_on_windows_it_never_saw():
    rng = np.random.default_rng(1)
    values, person, dataset = people(rng)
    whitening = Whitening(24).double()
    whitening.fit(values, person, dataset)
    new, who, _ = people(rng, n=30, windows=2)
    apart = []
    for x in (new, whitening(torch.tensor(new).view(-1, 1, 24)).flatten(1).numpy()):
        first, second = x[::2], x[1::2]
        nearest = np.linalg.norm(first[:, None] - second[None], axis=-1).argmin(1)
        apart.append((nearest == np.arange(len(who) // 2)).mean())
    assert apart[1] > apart[0] + 0.1


def test_whitening_changes_nothing_before_it_is_estimated_nor_for_other_modalities_and_outputs(fixed, make_batch):
    model, batch = fixed("connectivity", whitening={"fmri": "connectivity"}), make_batch("fmri")
    latents = model.forward_features(batch).detach()
    before = model.pool(latents, "concat", "fmri")
    torch.testing.assert_close(before, model.pool(latents, "concat"), rtol=0, atol=0)
    rng = np.random.default_rng(0)
    model.whitening["fmri"].fit(rng.normal(size=(40, 4 * 32)), np.arange(40) // 4, np.zeros(40))
    for kind in ("concat@waveform", "concat@log_spectrum"):
        torch.testing.assert_close(model.pool(latents, kind, "fmri"), model.pool(latents, kind), rtol=0, atol=0)
    torch.testing.assert_close(model.pool(latents, "concat", "eeg"), before, rtol=0, atol=0)
    whitened = model.whitening["fmri"](latents[:, 8:]).flatten(1)
    torch.testing.assert_close(model.pool(latents, "concat@connectivity", "fmri"), whitened)
    torch.testing.assert_close(model.pool(latents, "concat", "fmri")[:, 8 * 32 :], whitened)
    other = fixed("connectivity", whitening={"fmri": "connectivity"})
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.pool(latents, "concat", "fmri"), model.pool(latents, "concat", "fmri"))


def test_more_windows_than_directions_and_people_of_one_window():
    rng = np.random.default_rng(0)
    whitening = Whitening(RANK + 50)
    whitening.fit(rng.normal(size=(2 * RANK, RANK + 50)), np.arange(2 * RANK) // 2, np.zeros(2 * RANK))
    assert (whitening.gain_R < 0).all()
    whitening.fit(values := rng.normal(size=(5, RANK + 50)), np.arange(5), np.zeros(5))
    x = torch.tensor(values, dtype=torch.float32).unsqueeze(1)
    torch.testing.assert_close(whitening(x), x - x.mean(0, keepdim=True))
