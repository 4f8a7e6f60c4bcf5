from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainof.errors import ConfigError
from brainof.model import BrainOF, log_spectrum
from brainof.model.connectivity import connectivity_profile
from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.masking import Masking
from brainof.pretraining.masks import WindowRandom
from brainof.pretraining.objective import Objective
from brainof.pretraining.optimizer import Average
from brainof.pretraining.terms import TERMS, Term
from brainof.pretraining.terms.band_power import band_matrix
from brainof.pretraining.terms.connectivity import connectivity_targets
from brainof.pretraining.terms.latent import latent_loss
from brainof.pretraining.views import View

OUTPUTS = ["waveform", "log_spectrum", "connectivity"]
CONNECTIVITY = {"tokens": {"connectivity": True}, "decoder": {"outputs": OUTPUTS}}
PER_OUTPUT = {**CONNECTIVITY, "decoder": {"outputs": OUTPUTS, "kind": "per_output"}, "sampler": {"latents": 12}}


def masked_of(batch, seed=0, predict="hidden", **mask):
    return Masking(MaskConfig(**mask), 64, predict=predict).plan(batch, np.random.default_rng(seed))


def smooth_l1(a: np.ndarray) -> np.ndarray:
    a = np.abs(a)
    return np.where(a < 1, 0.5 * a**2, a - 0.5)


def written_out(config, masked, clean_BCT, outputs, modality) -> float:
    """The loss of a masked batch from the formula, window by window and patch by patch, in numpy."""
    times = masked.batch.n_times_B.numpy()
    good = masked.batch.channel_mask_BC.numpy()
    C, P = clean_BCT.shape[1], clean_BCT.shape[2] // 64
    total = 0.0
    for b in range(len(clean_BCT)):
        tokens = masked.predicted_BH[b, masked.predicted_mask_BH[b]].numpy()
        signal = np.where((np.arange(P * 64) < times[b]) & good[b][:, None], clean_BCT[b], 0.0)
        difference = np.zeros((C, P * 64))
        for h, token in enumerate(tokens):
            channel, patch = divmod(int(token), P)
            n = min(64, times[b] - 64 * patch)
            span = slice(64 * patch, 64 * patch + n)
            error = outputs["waveform"][b, h, :n] - signal[channel, span]
            difference[channel, span] = error
            time = smooth_l1(error).mean()
            frequency = 0.0
            if config.frequency == "log_spectrum" and n == 64:
                whole = signal[channel].reshape(P, 64)[: times[b] // 64]
                amplitude = np.abs(np.fft.rfft(whole, norm="ortho"))
                if config.spectrum_of == "window":
                    spectrum = np.log(np.sqrt((amplitude**2).mean(0)) + 0.05)
                else:
                    spectrum = np.log(amplitude[patch] + 0.05)
                frequency = smooth_l1(outputs["log_spectrum"][b, h] - spectrum).mean()
            total += (1 - config.alpha) * time + config.alpha * frequency
        if config.frequency == "raw":
            if modality == "fmri":
                axis = np.zeros_like(difference[:, : times[b]])
                axis[masked.place_BC[b].numpy()] = difference[:, : times[b]]
                components = np.fft.rfft(axis, axis=0, norm="ortho")
            else:
                components = np.fft.rfft(difference[good[b], : times[b]], axis=1, norm="ortho")
            mean = np.mean([smooth_l1(components.real), smooth_l1(components.imag)])
            total += config.alpha * mean * len(tokens)
    return total / masked.n_predicted


@pytest.mark.parametrize("modality", ["eeg", "meg", "fmri"])
@pytest.mark.parametrize("predict", ["hidden", "all"])
@pytest.mark.parametrize(
    "config",
    [
        {"frequency": "log_spectrum", "alpha": 0.3},
        {"frequency": "log_spectrum", "alpha": 0.3, "spectrum_of": "window"},
        {"frequency": "raw", "alpha": 0.7},
        {"frequency": "none", "alpha": 0.0},
    ],
    ids=lambda config: "-".join(map(str, config.values())),
)
def test_the_loss_is_the_formula(make_batch, modality, predict, config):
    """Padding, a bad channel, and for fMRI a table that is not in the order of the atlas."""
    torch.manual_seed(0)
    objective = Objective(BrainOF.from_preset("debug").eval(), ObjectiveConfig(**config))
    batch = make_batch(modality, lengths=(256, 256, 100, 192))
    batch.channel_mask_BC[1, 2] = False
    if modality == "fmri":
        order = torch.tensor([[3, 0, 5, 1, 4, 2]])
        batch = replace(batch, sensors=replace(batch.sensors, order_BC=order))
    masked = masked_of(batch, predict=predict)
    clean = batch.signal_BCT.double().numpy()
    with torch.no_grad():
        tokens = objective.model.tokens(masked.batch)
        outputs = objective.decode(masked, tokens, objective.encode(masked, tokens))
        found = objective(masked, masked.counts)["loss"].item()
    values = {name: value.double().numpy() for name, value in outputs.items()}
    assert found == pytest.approx(written_out(objective.config, masked, clean, values, modality), rel=1e-5)


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
def test_the_connectivity_term_compares_profiles_of_the_clean_window(make_batch, modality):
    """Second method: correlations of whole clean windows, projected on identities of the other channels."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", **CONNECTIVITY).eval()
    batch = make_batch(modality, n_channels=5)
    masked = masked_of(batch, fourier_ratio=0.5)
    both = [Objective(model, ObjectiveConfig(frequency="none", connectivity=weight)) for weight in (0.0, 0.7)]
    with torch.no_grad():
        plain, found = (objective(masked, masked.counts)["loss"].item() for objective in both)
        tokens = model.tokens(masked.batch)
        predicted = both[1].decode(masked, tokens, both[1].encode(masked, tokens))["connectivity"].double().numpy()
    identity = tokens.identity_BND[0].double().numpy().reshape(5, 4, -1)
    expected = 0.0
    for b in range(len(batch)):
        signal = batch.signal_BCT[b].double().numpy()
        signal = signal - signal.mean(1, keepdims=True)
        unit = (signal / np.linalg.norm(signal, axis=1, keepdims=True)).reshape(5, 4, 64)
        profile = np.zeros((5, identity.shape[-1]))
        for i in range(5):
            for p in range(4):
                phi = (identity[:, p] - identity[:, p].mean(0)) / np.sqrt(5)
                for j in set(range(5)) - {i}:
                    profile[i] += unit[i, p] @ unit[j, p] * phi[j]
        profile /= np.sqrt((profile**2).mean(1, keepdims=True))
        tokens_b = masked.predicted_BH[b, masked.predicted_mask_BH[b]].numpy()
        expected += sum(smooth_l1(predicted[b, h] - profile[t // 4]).mean() for h, t in enumerate(tokens_b))
    assert found - plain == pytest.approx(0.7 * expected / masked.n_predicted, rel=1e-4)


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
def test_differences_are_profiles_less_their_mean_over_the_batch(make_batch, modality):
    """Second method: the mean over windows of the profiles that are compared without it; batches may be split."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", **CONNECTIVITY).eval().double()
    batch = make_batch(modality, n_channels=5)
    batch = replace(batch, signal_BCT=batch.signal_BCT.double())
    masking = Masking(MaskConfig(fourier_ratio=0.0), 64, differences=True)
    masked = masking.plan(batch, np.random.default_rng(0))
    assert masked is not None
    assert masked.mean_1PCC is not None
    assert masked.mean_1PCC.shape == (1, 4, 5, 5)
    with torch.no_grad():
        tokens = model.tokens(masked.batch)
        whole = connectivity_profile(
            tokens.patch_BNS, tokens.identity_BND, tokens.mask_BN, tokens.n_channels, tokens.valid_BNS
        )
        expected = whole - whole.mean(0)
        expected = expected / expected.square().mean(-1, keepdim=True).sqrt()
        torch.testing.assert_close(connectivity_targets(tokens, masked.mean_1PCC), expected, rtol=1e-9, atol=1e-9)
        first = masked.take_windows(torch.tensor([1]))
        alone = connectivity_targets(model.tokens(first.batch), first.mean_1PCC)
        torch.testing.assert_close(alone, expected[1:2], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shared", [False, True])
def test_identities_learn_nothing_from_the_profiles_that_are_predicted(make_batch, shared):
    tokens = BrainOF.from_preset("debug", **CONNECTIVITY).tokens(make_batch())
    assert tokens.identity_BND.requires_grad
    mean_1PCC = torch.rand(1, 4, 6, 6) if shared else None
    assert not connectivity_targets(tokens, mean_1PCC).requires_grad


def test_no_difference_is_asked_of_windows_that_share_no_mean(make_batch):
    """One window alone; channels of their own."""
    masking = Masking(MaskConfig(), 64, differences=True)
    batch = make_batch("eeg", n_channels=5)
    alone = masking.plan(batch.take_windows(torch.tensor([0])), np.random.default_rng(0))
    own = replace(batch, sensors=batch.sensors.take(torch.arange(5).expand(len(batch), 5)))
    found = masking.plan(own, np.random.default_rng(0))
    assert alone is not None
    assert found is not None
    assert alone.mean_1PCC is None
    assert found.mean_1PCC is None


def test_weights_follow_the_recipe(model):
    config = ObjectiveConfig(alpha=0.3, frequency_start=0.5)
    objective = Objective(model, config)
    assert objective.weights(0.49) == {"time": 1.0, "frequency": 0.0}
    assert objective.weights(0.5) == {"time": 0.7, "frequency": 0.3}
    assert Objective(model, ObjectiveConfig(frequency="none")).weights(1.0) == {"time": 1.0}


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
def test_hidden_patches_never_reach_the_encoder(model, make_batch, modality):
    objective = Objective(model.eval(), ObjectiveConfig())
    masked = masked_of(make_batch(modality), fourier_ratio=0)
    tokens = model.tokens(masked.batch)
    before = objective.encode(masked, tokens)
    hidden = masked.predicted_BH
    seen = masked.batch.signal_BCT.reshape(4, -1, 64).scatter(1, hidden[..., None].expand(-1, -1, 64), 1e3)
    after = objective.encode(replace(masked, seen_BCT=seen.reshape(masked.batch.signal_BCT.shape)), tokens)
    assert torch.equal(before, after)


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
@pytest.mark.parametrize("frequency", ["log_spectrum", "raw"])
def test_loss_and_gradients_are_the_same_however_a_batch_is_cut(make_batch, modality, frequency):
    """One batch, its parts, and windows of unequal length masked one by one: all divided by one count of patches."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", **CONNECTIVITY).double().eval()
    objective = Objective(model, ObjectiveConfig(frequency=frequency, connectivity=0.5))
    masking = Masking(MaskConfig(), 64)
    batch = make_batch(modality, lengths=(256, 256, 100, 192))
    batch = replace(batch, signal_BCT=batch.signal_BCT.double())
    batch.channel_mask_BC[1, 2] = False
    whole = masking.plan(batch, np.random.default_rng(0), windows=WindowRandom((0, 0), range(4)))
    ones = []
    for row in range(4):
        window = batch.take_windows(torch.tensor([row]))
        length = -(-int(batch.n_times_B[row]) // 64) * 64
        window = replace(window, signal_BCT=window.signal_BCT[:, :, :length])
        ones.append(masking.plan(window, np.random.default_rng(row), windows=WindowRandom((0, 0), [row])))
    found = []
    for parts in ([whole], whole.split(3), ones):
        model.zero_grad()
        assert sum(part.n_predicted for part in parts) == whole.n_predicted
        losses = [objective(part, whole.counts)["loss"] for part in parts]
        for loss in losses:
            loss.backward()
        found.append((sum(losses).item(), [p.grad for p in model.parameters()]))
    for value, gradients in found[1:]:
        assert value == pytest.approx(found[0][0], rel=1e-7)  # identities are float32
        for a, b in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
@pytest.mark.parametrize("frequency", ["log_spectrum", "raw"])
def test_bad_channels_and_padding_may_hold_anything(make_batch, modality, frequency):
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", **CONNECTIVITY).eval()
    objective = Objective(model, ObjectiveConfig(frequency=frequency, connectivity=0.5))
    totals = []
    for filler in (0.0, torch.nan):
        batch = make_batch(modality, lengths=(256, 256, 100))
        batch.channel_mask_BC[1, 2] = False
        batch.signal_BCT[1, 2] = filler
        batch.signal_BCT[2, :, 100:] = filler
        masked = masked_of(batch, fourier_ratio=0.5)
        totals.append(objective(masked, masked.counts)["loss"])
    assert totals[0].isfinite()
    assert totals[1] == totals[0]


def test_the_interpolating_sampler_is_trained_on_the_same_objective(make_batch):
    model = BrainOF.from_preset("debug", sampler={"kind": "interpolate", "interpolate_channels": 4})
    masked = masked_of(make_batch(lengths=(256, 100)))
    Objective(model, ObjectiveConfig())(masked, masked.counts)["loss"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert model.decoders[0].ffn.down.weight.grad.abs().max() > 0


@pytest.mark.parametrize("frequency", ["log_spectrum", "raw", "none"])
def test_every_objective_reaches_all_weights_it_should(model, make_batch, frequency):
    masked = masked_of(make_batch())
    losses = Objective(model, ObjectiveConfig(frequency=frequency))(masked, masked.counts)
    losses["loss"].backward()
    assert torch.isfinite(losses["time"])
    assert ("frequency" in losses) == (frequency != "none")
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    unused = ["identity.unlocated_D"]  # all positions are known here
    if frequency != "log_spectrum":
        unused += [f"decoders.0.heads.linears.1.{name}" for name in ("weight", "bias")]
    assert silent == unused


def test_an_objective_whose_output_the_model_lacks_is_refused(model):
    with pytest.raises(ConfigError, match="needs the output 'connectivity', but the model has only"):
        Objective(model, ObjectiveConfig(connectivity=1.0))


def encoder_gradient(model, config, parts, counts, progress=1.0):
    """Gradient that the parts of a step send into the blocks, as one vector."""
    model.zero_grad()
    objective = Objective(model, config)
    for part in parts:
        objective(part, counts, progress)["loss"].backward()
    return torch.cat([p.grad.flatten() for p in model.blocks.parameters() if p.grad is not None])


def test_weights_act_on_the_encoder_where_gradients_are_normalised(make_batch):
    """Each term alone gives a gradient; a step has their sum by weight, as a mean over windows, however it is cut."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", **PER_OUTPUT).double().eval()
    batch = make_batch(n_windows=4)
    masked = masked_of(replace(batch, signal_BCT=batch.signal_BCT.double()))

    def of(alpha, connectivity, parts=None, counts=None, progress=1.0, **options):
        config = ObjectiveConfig(alpha=alpha, connectivity=connectivity, **options)
        return encoder_gradient(model, config, parts or [masked], counts or masked.counts, progress)

    time, frequency, both = of(0.0, 0.0), of(1.0, 0.0), of(0.0, 1.0)
    assert min(g.norm() for g in (time, frequency, both - time)) > 0
    for alpha, weight in ((0.01, 1e-6), (0.5, 1.0), (0.9, 0.2)):
        expected = (1 - alpha) * time + alpha * frequency + weight * (both - time)
        torch.testing.assert_close(of(alpha, weight), expected, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(of(0.5, 0.0, progress=0.1, frequency_start=0.5), time)
    whole = of(0.3, 0.5)
    torch.testing.assert_close(of(0.3, 0.5, masked.split(3)), whole, rtol=1e-6, atol=1e-12)
    twice = {name: 2 * value for name, value in masked.counts.items()}
    torch.testing.assert_close(of(0.3, 0.5, [masked, masked], twice), whole, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("fields", [{}, {"decoder": {"kind": "separate"}}], ids=["shared", "separate"])
def test_the_gradient_is_the_weighted_sum_of_those_of_the_terms(make_batch, fields):
    """Without normalisation: of each term alone, by its weight, for every parameter."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", **fields).double().eval()
    batch = make_batch(n_windows=2)
    masked = masked_of(replace(batch, signal_BCT=batch.signal_BCT.double()))

    def of(alpha, **terms):
        config = ObjectiveConfig(alpha=alpha, terms=terms)
        return encoder_gradient(model, config, [masked], masked.counts)

    time, frequency = of(0.0), of(1.0)
    raw = of(0.0, raw=1.0) - time
    assert min(g.norm() for g in (time, frequency, raw)) > 0
    for alpha, weight in ((0.1, 0.3), (0.7, 2.0)):
        expected = (1 - alpha) * time + alpha * frequency + weight * raw
        torch.testing.assert_close(of(alpha, raw=weight), expected, rtol=1e-6, atol=1e-12)


def test_terms_of_one_normalised_output_share_its_gradient_by_weight(make_batch):
    """The norm is that of the sum of weights; the direction moves from the waveform's to that of its components."""
    torch.manual_seed(0)
    options = {"tokens": {"connectivity": True}, "decoder": {"outputs": ["waveform"], "kind": "per_output"}}
    model = BrainOF.from_preset("debug", **options).double().eval()
    batch = make_batch("fmri", n_windows=1)
    masked = masked_of(replace(batch, signal_BCT=3 * batch.signal_BCT.double()))

    def of(alpha):
        objective = Objective(model, ObjectiveConfig(frequency="raw", alpha=alpha))
        tokens = model.tokens(masked.batch)
        latents = objective.encode(masked, tokens).detach().requires_grad_()
        outputs = objective.decode(masked, tokens, latents, objective.gradient_fractions(1))
        losses = objective.compare(masked, tokens, outputs, latents)
        (gradient,) = torch.autograd.grad(objective.combine(losses), latents)
        return gradient.flatten()

    def cosine(a, b):
        return float(torch.nn.functional.cosine_similarity(a, b, dim=0))

    time, half, frequency = of(0.0), of(0.5), of(1.0)
    for gradient in (time, half, frequency):
        assert gradient.norm().item() == pytest.approx(0.02, rel=1e-9)
    assert cosine(time, frequency) < 0.999
    assert min(cosine(half, time), cosine(half, frequency)) > cosine(time, frequency)


def test_a_term_of_ones_own_is_one_entry(model, make_batch, monkeypatch):
    """Here the mean square of the latents, which needs no output."""
    monkeypatch.setitem(TERMS, "quiet", Term(lambda of: of.latents_BLD.square().sum(), None))
    masked = masked_of(make_batch())
    plain, more = (Objective(model.eval(), ObjectiveConfig(terms=terms)) for terms in ({}, {"quiet": 0.5}))
    losses = more(masked, masked.counts)
    latents = more.encode(masked, model.tokens(masked.batch))
    assert losses["quiet"].item() == pytest.approx(latents.square().sum().item(), rel=1e-5)
    expected = plain(masked, masked.counts)["loss"] + 0.5 * losses["quiet"] / masked.n_predicted
    torch.testing.assert_close(losses["loss"], expected)


def test_unknown_and_doubled_terms_are_named(model):
    with pytest.raises(ConfigError, match=r"objective.terms.wavefrom.*did you mean 'waveform'"):
        Objective(model, ObjectiveConfig(terms={"wavefrom": 1.0}))
    with pytest.raises(ConfigError, match=r"objective.terms.connectivity.*has this term already"):
        Objective(model, ObjectiveConfig(connectivity=1.0, terms={"connectivity": 1.0}))
    with pytest.raises(ConfigError, match=r"objective.terms.latnet.*did you mean 'latent'"):
        Objective(model, ObjectiveConfig(terms={"latnet": 1.0}))


def test_new_terms_add_their_weighted_gradients(make_batch):
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug").double().eval()
    batch = make_batch(n_windows=4)
    masked = masked_of(replace(batch, signal_BCT=batch.signal_BCT.double()))

    def of(**terms):
        return encoder_gradient(model, ObjectiveConfig(terms=terms), [masked], masked.counts)

    plain = of()
    for name in ("band_power", "latent"):
        one = of(**{name: 1.0}) - plain
        assert one.norm() > 0
        torch.testing.assert_close(of(**{name: 0.2}), plain + 0.2 * one, rtol=1e-6, atol=1e-12)


LOOKS = {"view": "view", "distill": "view", "align": "partner", "band": "distorted", "shift": "distorted"}


@pytest.mark.parametrize("name", [*LOOKS, "order"])
def test_terms_of_second_looks_add_their_weighted_gradients(make_batch, name):
    torch.manual_seed(0)
    outputs = {"outputs": ["waveform", "log_spectrum", "pretext"]}
    model = BrainOF.from_preset("debug", decoder=outputs).double().eval()
    batch = make_batch(n_windows=4)
    masked = masked_of(replace(batch, signal_BCT=batch.signal_BCT.double()))
    look = LOOKS.get(name, "distorted")
    about = {"view": [], "partner": [1, 0, 0], "distorted": [1, 2, 1]}[look]
    other = make_batch(n_windows=4, seed=1).take_channels(torch.arange(4))
    about_BK = torch.tensor([about] * 4, dtype=torch.int64)
    if look == "partner":
        about_BK[:, 2] = torch.arange(4) * 100_000
    view = View(replace(other, signal_BCT=other.signal_BCT.double()), about_BK)
    masked = replace(masked, **{look: view})

    def of(**terms):
        return encoder_gradient(model, ObjectiveConfig(terms=terms), [masked], masked.counts)

    plain = of()
    one = of(**{name: 1.0}) - plain
    assert one.norm() > 1e-6
    torch.testing.assert_close(of(**{name: 0.2}), plain + 0.2 * one, rtol=1e-6, atol=1e-12)


def test_alignment_of_one_output_leaves_the_latents_of_the_others_alone(make_batch):
    torch.manual_seed(0)
    outputs = ["waveform", "log_spectrum"]
    model = BrainOF.from_preset("debug", decoder={"kind": "per_output", "outputs": outputs}).double().eval()
    batch = make_batch(n_windows=4)
    batch = replace(batch, signal_BCT=batch.signal_BCT.double())
    about_BK = torch.tensor([[1, 0, 100_000 * window] for window in range(4)])
    masked = replace(masked_of(batch), partner=View(batch, about_BK))
    own = model.config.latents_of("waveform")

    def gradient(**options):
        objective = Objective(model, ObjectiveConfig(terms={"align": 1.0}, **options))
        latents_BLD = model.encode(model.tokens(batch)).detach().requires_grad_()
        looks = {"partner": model.encode(model.tokens(batch)).detach().flip(0)}
        outputs = objective.decode(masked, model.tokens(batch), latents_BLD)
        loss = objective.compare(masked, model.tokens(batch), outputs, latents_BLD, None, looks)["align"]
        return torch.autograd.grad(loss, latents_BLD)[0].abs().sum((0, 2))

    of_all, of_one = gradient(), gradient(aligned="waveform")
    assert (of_all > 0).all()
    assert (of_one[own] > 0).all()
    assert (of_one.clone().index_fill_(0, torch.arange(len(of_one))[own], 0) == 0).all()
    with pytest.raises(ConfigError, match=r"objective.aligned: the model has no latents of 'connectivity' alone"):
        Objective(model, ObjectiveConfig(terms={"align": 1.0}, aligned="connectivity"))
    with pytest.raises(ConfigError, match=r"no latents of 'waveform' alone; set model.decoder.kind=per_output"):
        Objective(BrainOF.from_preset("debug"), ObjectiveConfig(terms={"align": 1.0}, aligned="waveform"))


def test_a_view_of_the_teacher_has_no_gradient_and_a_teacher_needs_the_same_layout(make_batch, model):
    view = View(make_batch(seed=1), torch.zeros(4, 0))
    masked = replace(masked_of(make_batch()), view=view)
    objective = Objective(model.eval(), ObjectiveConfig(terms={"view": 1.0}))
    assert objective.asked == {"view"}
    assert objective.look("view", view, {}).requires_grad
    objective.learn_from(Average(model, 0.5).model_of(model))
    seen = objective.look("view", view, {})
    assert not seen.requires_grad
    torch.testing.assert_close(seen, model.encode(model.tokens(view.batch)))
    assert objective(masked, masked.counts)["view"] > 0
    with pytest.raises(ConfigError, match=r"teacher has 16 x 32 latents of patches of 64 samples, the model 8 x 32"):
        objective.learn_from(BrainOF.from_preset("debug", sampler={"latents": 16}))


def test_pretexts_need_their_output(model):
    with pytest.raises(ConfigError, match=r"needs the output 'pretext'.*or leave objective.terms.band out"):
        Objective(model, ObjectiveConfig(terms={"band": 0.1}))


def test_band_power_is_read_off_the_log_spectrum_at_each_rate(make_batch):
    """Windows of 256 and 128 Hz in one batch: each with the bands of its own rate."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug").eval()
    batch = make_batch(n_windows=2)
    masked = masked_of(replace(batch, interval_B=torch.tensor([1 / 256, 1 / 128])))
    objective = Objective(model, ObjectiveConfig(terms={"band_power": 1.0}))
    tokens = model.tokens(masked.batch)
    latents = objective.encode(masked, tokens)
    outputs = objective.decode(masked, tokens, latents)
    target = log_spectrum(tokens.patch_BNS.gather(1, masked.predicted_BH[..., None].expand(-1, -1, 64)))
    expected = 0.0
    for row, sfreq in enumerate((256.0, 128.0)):
        matrix = band_matrix(64, sfreq, "eeg").float().T
        error = (outputs["log_spectrum"][row] - target[row]) @ matrix
        expected += (smooth_l1(error.detach().numpy()).mean(-1) * masked.predicted_mask_BH[row].numpy()).sum()
    found = objective.compare(masked, tokens, outputs, latents)["band_power"].item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_target_of_latents_is_the_whole_window_by_the_model_or_its_teacher(make_batch, model):
    masked = masked_of(make_batch())
    objective = Objective(model.eval(), ObjectiveConfig(terms={"latent": 1.0}))
    tokens = model.tokens(masked.batch)
    latents = objective.encode(masked, tokens)
    of = (masked.predicted_mask_BH.sum(1),)
    assert objective(masked, masked.counts)["latent"].item() == pytest.approx(
        latent_loss(latents, model.encode(tokens), *of).item(), rel=1e-5
    )
    average = Average(model, 0.5)
    objective.learn_from(average.model_of(model))
    assert len(list(objective.parameters())) == len(list(model.parameters()))
    before = objective.whole(masked, tokens)
    torch.testing.assert_close(before, model.encode(tokens))
    with torch.no_grad():
        model.latents_LD += 1.0
    average.update()
    torch.testing.assert_close(objective.teacher.latents_LD, model.latents_LD - 0.5)
    expected = latent_loss(objective.encode(masked, tokens), objective.whole(masked, tokens), *of).item()
    assert (objective.whole(masked, tokens) - before).abs().max() > 1e-3
    assert objective(masked, masked.counts)["latent"].item() == pytest.approx(expected, rel=1e-5)


def test_band_power_without_a_log_spectrum_says_what_to_set():
    model = BrainOF.from_preset("debug", decoder={"outputs": ["waveform"]})
    with pytest.raises(ConfigError, match=r"needs the output 'log_spectrum'.*or leave objective.terms.band_power out"):
        Objective(model, ObjectiveConfig(frequency="raw", terms={"band_power": 1.0}))
    with pytest.raises(ConfigError, match=r"terms.latent: Input should be greater than 0"):
        ObjectiveConfig.parse({"terms": {"latent": -0.5}})


INTERPOLATE = {"sampler": {"kind": "interpolate", "latents": 32, "initial_addressing": "independent"}}


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
@pytest.mark.parametrize(
    ("overrides", "config"),
    [
        ({}, {}),
        ({}, {"frequency": "none"}),
        ({}, {"frequency": "raw", "predict": "all"}),
        (INTERPOLATE, {"frequency": "none", "terms": {"latent": 0.5}}),
        (CONNECTIVITY, {"frequency": "none"}),
        (PER_OUTPUT, {"connectivity": 0.5}),
        (PER_OUTPUT, {"frequency": "none"}),
        ({**PER_OUTPUT, "decoder": {"outputs": OUTPUTS, "kind": "separate"}}, {"frequency": "none"}),
    ],
)
def test_every_step_reaches_all_parameters_but_those_of_outputs_that_are_not_compared(
    make_batch, overrides, config, modality
):
    """So that no rank waits for a gradient, and nothing looks for unused parameters in each step."""
    objective = Objective(BrainOF.from_preset("debug", **overrides), config=ObjectiveConfig.parse(config))
    masked = masked_of(make_batch(modality), predict=config.get("predict", "hidden"))
    objective(masked, masked.counts)["loss"].backward()
    names = {id(parameter): name for name, parameter in objective.named_parameters()}
    without = {name for name, parameter in objective.named_parameters() if parameter.grad is None}
    assert {names[id(parameter)] for parameter in objective.unreached()} == without
    assert bool(without) == (config.get("frequency") in ("none", "raw"))


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
def test_each_pretext_reads_its_own_logits_and_its_own_label(make_batch, modality):
    """Second method: logits are those of the bands, then of 4 phases, then of 2 orders; fMRI has one band fewer."""
    torch.manual_seed(0)
    outputs = {"outputs": ["waveform", "log_spectrum", "pretext"]}
    objective = Objective(
        BrainOF.from_preset("debug", decoder=outputs),
        ObjectiveConfig(terms=dict.fromkeys(["band", "shift", "order"], 0.1)),
    )
    masked = masked_of(make_batch(modality, n_windows=3, lengths=(256, 128, 192)))
    about = np.array([[1, 3, 0], [3, 0, 1], [2, 1, 1]])
    masked = replace(masked, distorted=View(masked.batch, torch.from_numpy(about)))
    logits = torch.randn(3, 11)
    tokens = objective.model.tokens(masked.batch)
    latents = objective.encode(masked, tokens)
    made = objective.decode(masked, tokens, latents)
    found = objective.compare(masked, tokens, made, latents, None, {"distorted": logits})
    n_predicted = masked.predicted_mask_BH.sum(1).numpy()
    bands = slice(0, 5 if modality == "eeg" else 4)
    for place, (name, own) in enumerate((("band", bands), ("shift", slice(5, 9)), ("order", slice(9, 11)))):
        chances = np.exp(logits[:, own].numpy())
        chances /= chances.sum(1, keepdims=True)
        expected = -np.log(chances[range(3), about[:, place]]) @ n_predicted
        assert found[name].item() == pytest.approx(expected, rel=1e-5)


def test_what_a_distortion_is_told_from_is_the_mean_over_places_from_the_first_to_the_last(make_batch):
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", decoder={"outputs": ["waveform", "log_spectrum", "pretext"]}).eval()
    objective = Objective(model, ObjectiveConfig(terms={"band": 0.1}))
    for n_channels, places in ((3, range(12)), (4, range(16)), (19, range(0, 76, 5))):
        batch = make_batch(n_windows=2, n_channels=n_channels)
        tokens = model.tokens(batch)
        latents = model.encode(tokens)
        asked = torch.tensor([list(places)] * 2)
        expected = model.decode(latents, tokens.identity_BND, asked, (n_channels, 4))["pretext"].mean(1)
        found = objective.look("distorted", View(batch, torch.zeros(2, 3, dtype=torch.int64)), {})
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("regulariser", ["vicreg", "sigreg", "none"])
def test_latents_are_regularised_as_the_recipe_says_along_directions_of_the_batch(make_batch, model, regulariser):
    """Those of `sigreg` are drawn anew for other rows."""
    terms = {"latent": 1.0, "view": 1.0}
    objective = Objective(model.eval(), ObjectiveConfig(terms=terms, regulariser=regulariser))
    masked = masked_of(replace(make_batch(), rows=(3, 5, 8, 9)))
    masked = replace(masked, view=View(make_batch(seed=1), torch.zeros(4, 0, dtype=torch.int64)))
    with torch.no_grad():
        latents, whole, view = torch.randn(3, 4, 8, 32)
        tokens = model.tokens(masked.batch)
        made = objective.decode(masked, tokens, latents)
        found = objective.compare(masked, tokens, made, latents, whole, {"view": view})
    n = masked.predicted_mask_BH.sum(1)
    assert found["latent"].item() == pytest.approx(latent_loss(latents, whole, n, regulariser, 25).item(), rel=1e-6)
    assert found["view"].item() == pytest.approx(
        latent_loss(latents, view, n, regulariser, 25, views=True).item(), rel=1e-6
    )
    other = latent_loss(latents, whole, n, regulariser, 26).item()
    assert (found["latent"].item() != pytest.approx(other, rel=1e-6)) == (regulariser == "sigreg")
