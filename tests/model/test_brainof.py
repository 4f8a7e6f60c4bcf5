"""The whole model: invariances, round trips, groups, options."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainof.errors import ConfigError, ContractError, RecordingError
from brainof.model import BrainOF, BrainOFConfig, attention, balance_metrics, move_biases
from brainof.signals import SignalBatch

MODALITIES = ("eeg", "meg", "fmri")
PER_OUTPUT = {
    "tokens": {"connectivity": True},
    "sampler": {"latents": 12, "initial_addressing": "tied"},
    "decoder": {"kind": "per_output", "outputs": ["waveform", "log_spectrum", "connectivity"]},
}
OPTIONS = [
    {},
    {"backbone": {"attention": "softmax"}},
    {"backbone": {"attention": "diff"}},
    {"backbone": {"ffn": "dense", "layer_scale": 0}},
    {"sampler": {"blocks": 2}, "decoder": {"kind": "separate", "blocks": 2}},
    {"tokens": {"log_spectrum": False}, "backbone": {"shared": 0}, "decoder": {"outputs": ["waveform"]}},
    PER_OUTPUT,
]


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_shapes_gradients_and_finite_values(make_batch, modality, options):
    model = BrainOF.from_preset("debug", **options)
    tokens = model.tokens(make_batch(modality))
    hidden = torch.arange(15).expand(2, -1)
    latents = model.encode(tokens, hidden[:, ::2])
    predictions = model.decode(latents, tokens.identity_BND)
    assert latents.shape == (2, model.config.sampler.latents, 32)
    assert {name: x.shape for name, x in predictions.items()} == {
        name: (2, 15, model.config.width_of(name)) for name in model.config.decoder.outputs
    }
    sum(x.square().mean() for x in predictions.values()).backward()
    silent = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.isfinite().all()  # every parameter takes part
    ]
    assert silent == []


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_visible_tokens_are_all_that_counts(make_batch, debug, options):
    model, batch = debug(**options), make_batch()
    tokens = model.tokens(batch)
    visible = torch.tensor([[0, 3, 5, 9], [1, 2, 8, 14]])
    latents = model.encode(tokens, visible)
    noise = torch.randn_like(tokens.patch_BNS)
    hidden = torch.ones(2, 15, dtype=torch.bool).scatter(1, visible, False)
    noisy = tokens.with_patches(torch.where(hidden[..., None], noise, tokens.patch_BNS))
    torch.testing.assert_close(model.encode(noisy, visible), latents)
    masked = replace(tokens, mask_BN=~hidden, complete=False)
    torch.testing.assert_close(model.encode(masked), latents)
    filled = torch.cat([visible, torch.zeros(2, 3, dtype=torch.int64)], 1)
    counts = torch.arange(7).expand(2, -1) < 4
    torch.testing.assert_close(model.encode(tokens, filled, counts), latents)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_decoding_chosen_positions_equals_decoding_all(make_batch, debug, options):
    model = debug(**options)
    tokens = model.tokens(make_batch())
    latents, index = model.encode(tokens), torch.tensor([[0, 3, 5], [14, 1, 2]])
    everything = model.decode(latents, tokens.identity_BND)
    for name, chosen in model.decode(latents, tokens.identity_BND, index).items():
        torch.testing.assert_close(chosen, everything[name].gather(1, index[..., None].expand_as(chosen)))


def test_shared_identities_equal_separate_ones(make_batch, debug):
    model = debug()
    tokens = model.tokens(make_batch())
    separate = replace(tokens, identity_BND=tokens.identity_BND.expand(2, -1, -1))
    for visible in (None, torch.tensor([[0, 3], [1, 2]])):
        a, b = model.encode(tokens, visible), model.encode(separate, visible)
        torch.testing.assert_close(a, b)
        for name, x in model.decode(a, tokens.identity_BND).items():
            torch.testing.assert_close(x, model.decode(b, separate.identity_BND)[name])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_layout_that_is_kept_equals_one_made_anew(make_batch, debug, options):
    model, batch = debug(**options), make_batch()
    with torch.no_grad():
        layout = model.layout(make_batch(windows=1))
        assert torch.equal(model.forward_features(batch, layout=layout), model.forward_features(batch))
        with pytest.raises(ConfigError, match="layout: 1 x 15 tokens, the batch has 2 x 12"):
            model.forward_features(make_batch(channels=4), layout=layout)


def test_latents_to_start_from_change_what_is_encoded(make_batch, debug):
    model, eeg = debug(), make_batch("eeg")
    fmri = model.tokens(make_batch("fmri", channels=7))
    fused = model.encode(fmri, start_BLD=model.encode(model.tokens(eeg)))
    assert fused.shape == (2, 8, 32)
    assert (fused - model.encode(fmri)).abs().max() > 1e-3
    other = model.tokens(replace(eeg, signal_BCT=-2 * eeg.signal_BCT))
    assert (fused - model.encode(fmri, start_BLD=model.encode(other))).abs().max() > 1e-3


@pytest.mark.parametrize("channels", [3, 4, 9])
def test_the_interpolating_sampler_runs_the_same_path(make_batch, channels):
    model = BrainOF.from_preset("debug", sampler={"kind": "interpolate", "interpolate_channels": 4})
    tokens = model.tokens(make_batch(channels=channels))
    latents = model.encode(tokens, torch.tensor([[0, 3], [1, 2]]))
    predictions = model.decode(latents, tokens.identity_BND, shape=(channels, 3))
    assert predictions["waveform"].shape == (2, channels * 3, 64)
    with pytest.raises(ConfigError, match="shape"):
        model.decode(latents, tokens.identity_BND)


def test_interpolation_is_exact_when_nothing_needs_it(debug):
    from brainof.model.interpolate import resize

    x = torch.randn(2, 4, 6, 8, dtype=torch.float64)
    torch.testing.assert_close(resize(x, 4, 6), x)
    padded = resize(x, 5, 6)
    assert torch.equal(padded[:, 4], torch.zeros(2, 6, 8, dtype=torch.float64))
    ramp = torch.arange(6.0).view(1, 1, 6, 1)
    torch.testing.assert_close(resize(ramp, 1, 3).flatten(), torch.tensor([0.5, 2.5, 4.5]))


def test_bfloat16_autocast_stays_close(make_batch):
    model, batch = BrainOF.from_preset("debug").eval(), make_batch()
    exact = model.forward_features(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.forward_features(batch)
    assert (rough - exact).norm() / exact.norm() < 2e-2


def test_weights_made_on_the_meta_device_start_like_others():
    with torch.device("meta"):
        meta = BrainOF.from_preset("debug")
    meta.to_empty(device="cpu")
    for tensor in meta.state_dict().values():
        tensor.fill_(torch.nan)  # whatever the memory held
    states = []
    for model in (meta, BrainOF.from_preset("debug")):
        torch.manual_seed(5)
        model.init_weights()
        states.append(model.state_dict() | dict(model.named_buffers()))
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name


def test_state_survives_a_round_trip(make_batch):
    model, batch = BrainOF.from_preset("debug"), make_batch()
    model.train()
    model.forward_features(batch)
    move_biases(model, gamma=0.1)
    other = BrainOF(BrainOFConfig.parse(model.config.to_dict()))
    other.load_state_dict(model.state_dict())
    assert any(block.ffn.selection_bias.abs().max() > 0 for block in other.blocks)
    assert torch.equal(other.eval().forward_features(batch), model.eval().forward_features(batch))


def test_mixed_modalities_are_counted_apart(make_batch):
    model = BrainOF.from_preset("debug")
    for modality in ("eeg", "fmri"):
        model.forward_features(make_batch(modality))
    metrics = balance_metrics(move_biases(model))
    assert set(metrics) == {"max_vio", "max_vio_worst", "max_vio/eeg", "max_vio/fmri", "idle_experts"}


def test_head_and_frozen_parts(make_batch):
    model, batch = BrainOF.from_preset("debug"), make_batch()
    features = model.eval()(batch)
    assert torch.equal(features, model.pool(model.forward_features(batch), modality="eeg"))
    model.train().reset_head(3, pool="mean").freeze()
    assert model(batch).shape == (2, 3)
    model(batch).sum().backward()
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None} == {"head"}
    assert all(p.requires_grad for p in model.freeze(["tokens"]).part("backbone"))
    with pytest.raises(ConfigError, match="did you mean 'backbone'"):
        model.freeze("backbon")
    assert model.reset_head(0).head is None


def test_parts_cover_every_parameter_once():
    model = BrainOF.from_preset("debug").reset_head(2)
    parts = [id(p) for name in ("tokens", "sampler", "backbone", "decoder", "head") for p in model.part(name)]
    assert sorted(parts) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_parameter_groups(layer_decay):
    model = BrainOF.from_preset("debug").reset_head(2)
    groups = model.parameter_groups(0.1, layer_decay)
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    of = {name: group for group in groups for name in group["names"]}
    assert of["blocks.1.ffn.gate_up_ED2F"]["weight_decay"] == 0.1
    for name in (
        "latents_LD",
        "blocks.0.attention.lambda_4d",
        "blocks.0.ffn.router_ED",
        "norm.weight",
        "head.linear.bias",
    ):
        assert of[name]["weight_decay"] == 0
    assert of["head.linear.weight"]["lr_scale"] == 1
    assert of["blocks.1.ffn.gate_up_ED2F"]["lr_scale"] == layer_decay
    assert of["content.linear.weight"]["lr_scale"] == layer_decay**3
    torch.optim.AdamW(groups, lr=1e-3)  # an optimizer accepts them
    model.freeze(["decoder"])
    assert not any(name.startswith("decoders") for group in model.parameter_groups() for name in group["names"])


def test_gradients_reach_every_parameter_in_float64(make_batch, debug):
    """The analytic gradient of a loss of the whole path agrees with finite differences along random directions."""
    model, batch = debug(), make_batch()

    def loss() -> torch.Tensor:
        tokens = model.tokens(batch)
        predictions = model.decode(model.encode(tokens, torch.tensor([[0, 3, 5], [1, 2, 8]])), tokens.identity_BND)
        return sum(x.square().mean() for x in predictions.values())

    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = [torch.from_numpy(rng.normal(size=p.shape)) for p in parameters]
        slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True)).item()
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                for p, d in zip(parameters, direction, strict=True):
                    p += sign * 1e-6 * d
                values.append(loss().item())
                for p, d in zip(parameters, direction, strict=True):
                    p -= sign * 1e-6 * d
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(slope, rel=1e-4)


def test_preset_overrides_are_checked():
    with pytest.raises(ConfigError, match="top_k"):
        BrainOF.from_preset("debug", backbone={"top_k": 9})


@pytest.mark.parametrize("fused", [False, True])
def test_a_window_without_visible_tokens_among_others_stays_finite(make_batch, debug, fused, monkeypatch):
    monkeypatch.setattr(attention, "use_fused", lambda *_: fused)
    model = debug()
    tokens, visible = model.tokens(make_batch()), torch.tensor([[0, 3, 5], [1, 1, 1]])
    counts = torch.tensor([[True] * 3, [False] * 3])
    latents = model.encode(tokens, visible, counts)
    assert latents.isfinite().all()
    torch.testing.assert_close(latents[:1], model.encode(tokens, visible)[:1])


def test_what_cannot_be_encoded_is_refused_by_field(make_batch, debug):
    model, batch = debug(), make_batch(lengths=[192, 100])
    tokens, latents = model.tokens(batch), torch.randn(2, 8, 32, dtype=torch.float64)
    with pytest.raises(ConfigError, match="visible_BV: no token is visible"):
        model.encode(tokens, torch.zeros(2, 0, dtype=torch.int64))
    with pytest.raises(ConfigError, match="start_BLD: 7 x 32 per window, but the model has 8 x 32"):
        model.encode(tokens, start_BLD=latents[:, 1:])
    with pytest.raises(ContractError, match="start_BLD: not finite in window 1"):
        model.encode(tokens, start_BLD=spoiled(latents))
    patches = tokens.patch_BNS.clone()
    patches[~tokens.valid_BNS] = torch.nan  # padding may hold anything
    assert model.encode(tokens.with_patches(patches)).isfinite().all()
    patches[1, 3, 0] = torch.inf
    with pytest.raises(RecordingError, match="patch_BNS: window 1 is not finite at token 3"):
        tokens.with_patches(patches)


def test_what_cannot_be_decoded_is_refused_by_field(make_batch, debug):
    model = debug()
    tokens, latents = model.tokens(make_batch()), torch.randn(2, 8, 32, dtype=torch.float64)
    with pytest.raises(ConfigError, match="latents: 8 x 16 per window, but the model has 8 x 32"):
        model.decode(latents[..., :16], tokens.identity_BND)
    with pytest.raises(ContractError, match="latents: not finite in window 1"):
        model.decode(spoiled(latents), tokens.identity_BND)


def spoiled(latents: torch.Tensor) -> torch.Tensor:
    latents = latents.clone()
    latents[1, 2, 3] = torch.nan
    return latents


def test_a_tensor_gives_what_its_batch_gives():
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug").eval()
    signal, places = torch.randn(2, 5, 128), 0.1 * torch.randn(5, 3)
    batch = SignalBatch.from_tensor(signal, 128.0, model.config.patch, positions=places)
    expected = model.pool(model.forward_features(batch), modality="eeg")
    assert torch.equal(model(signal, sfreq=128.0, positions=places), expected)
    signal.requires_grad_()
    model.reset_head(2)(signal, sfreq=128.0, positions=places).sum().backward()
    assert (signal.grad != 0).any()
    with pytest.raises(ConfigError, match="sfreq"):
        model(signal)
