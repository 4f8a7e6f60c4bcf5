"""Occlusion finds what was planted, where it was planted, and nothing where nothing was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainof.channels import Channels, network_of
from brainof.errors import ConfigError
from brainof.explain import gather, occlusion
from brainof.explain.effects import effect_map, sign_flip_p
from brainof.explain.hiding import band_stopped, channel_groups, grid_of, hidden_features, token_parts
from brainof.explain.source import spread
from brainof.inference.examples import WindowList
from brainof.model import BrainOF


@pytest.mark.parametrize(
    ("by", "where", "seed", "pool"),
    [
        ("channel", "E2", 0, "auto"),
        # a quarter of what was planted is found with some draws of weights alone, and covariance is of whole windows
        ("time", ("1-1.25 s", "1.25-1.5 s", "1.5-1.75 s", "1.75-2 s"), 1, "concat@waveform+log_spectrum"),
        ("time", ("1-1.25 s", "1.25-1.5 s", "1.5-1.75 s", "1.75-2 s"), 5, "auto"),
        ("band", "alpha (8-13 Hz)", 0, "auto"),
    ],
)
def test_what_was_planted_is_found_with_labels(planted, by, where, seed, pool):
    torch.manual_seed(seed)
    model = BrainOF.from_preset("per_output", backbone={"depth": 1}).eval()
    found = occlusion(planted(), model, by=by, n_untrained=0, n_permutations=60, pool=pool)
    assert found.to_frame()[by][0] in where
    assert found.beats[found.names.index(found.to_frame()[by][0])]
    assert found.low[found.effect.argmax()] > 0
    assert found.verdict.startswith("beats its null (permuted labels)")
    assert (found.unit, found.n_units) == ("subjects", 7)


def test_nothing_planted_does_not_beat_its_null(planted, able_model):
    found = occlusion(planted(effect=0.0), able_model, n_untrained=1, n_permutations=60)
    assert not found.beats.any()
    assert found.verdict.startswith("DOES NOT BEAT ITS NULL")


def test_an_untrained_model_does_not_beat_random_weights(planted, able_model):
    """The model itself has random weights: another draw of them is no better and no worse."""
    found = occlusion(planted(), able_model, n_untrained=1, n_permutations=60)
    assert found.p_labels.min() < 0.05
    assert found.p_untrained.min() >= 0.05
    assert found.verdict == "DOES NOT BEAT ITS NULL (random weights)"


def test_a_channel_that_the_model_never_saw_has_no_effect(planted, debug_model):
    explained = planted(n_subjects=2, per_subject=4)
    bad = np.array([True, True, True, False, True, True])
    windows = [replace(window, good=bad) for window in explained.examples.windows]
    found = occlusion(replace(explained, examples=WindowList(windows, 64), y=None), debug_model)
    assert found.effect[3] == pytest.approx(0, abs=1e-5)
    assert (np.delete(found.effect, 3) > 1e-3).all()
    assert found.p_labels is None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sampler": {"blocks": 2}},
        {"tokens": {"connectivity": True}},
        {"sampler": {"kind": "interpolate", "interpolate_channels": 4}},
        {"decoder": {"kind": "per_output", "outputs": ["waveform", "log_spectrum"]}},
        {
            "tokens": {"connectivity": True},
            "sampler": {"latents": 12},
            "decoder": {"kind": "per_output", "outputs": ["waveform", "log_spectrum", "connectivity"]},
        },
    ],
)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_hidden_tokens_are_hidden_exactly(planted, changes, padded, apart):
    """Against the encoder given all other tokens, one part after the other, in float64."""
    torch.manual_seed(1)
    model = BrainOF.from_preset("debug", **changes).double().eval()
    batch = planted().examples.batch([0, 1, 2])
    ends = torch.tensor([256, 200, 256]) if padded else batch.n_times_B
    batch = replace(batch, signal_BCT=batch.signal_BCT.double(), n_times_B=ends)
    parts = [torch.arange(8, 12), torch.tensor([0, 5, 17]), torch.arange(3, 24, 4)]  # channel, anything, time
    if apart:  # no token in two parts, and a part that holds none
        parts = [torch.arange(8, 12), torch.tensor([5, 0, 17]), torch.tensor([], dtype=torch.int64), torch.arange(3, 5)]
    with torch.inference_mode():
        tokens = model.tokens(batch)
        for part, latents in zip(parts, model.encode_without(tokens, parts), strict=True):
            kept = [n for n in range(24) if n not in part.tolist()]
            expected = model.encode(tokens, torch.tensor(kept).expand(3, -1))
            torch.testing.assert_close(latents, expected, atol=1e-10, rtol=1e-10)


def test_parts_are_stretches_of_time_on_the_grid_of_the_model(planted, debug_model):
    """Windows of 128 Hz, read at 256 Hz: short ones share the parts of long ones, and lack the last of them."""
    explained = planted(n_subjects=2, per_subject=4)
    short = [replace(window, data=window.data[:, :200]) for window in explained.examples.windows[:4]]
    windows = WindowList([*short, *explained.examples.windows[4:]], 64)
    assert grid_of(debug_model, explained.examples) == grid_of(debug_model, windows) == (8, 0.25)
    assert grid_of(debug_model, WindowList(short, 64)) == (7, 0.25)
    parts = [np.zeros((6, 8), bool) for _ in range(2)]
    parts[0][1], parts[1][:, 7] = True, True  # a channel, and the last quarter of a second
    intact, hidden = hidden_features(debug_model, WindowList(short, 64), parts, "mean")
    with torch.inference_mode():
        tokens = debug_model.tokens(debug_model.on_grid(WindowList(short, 64).batch(range(4))))
        kept = torch.tensor([n for n in range(42) if not 7 <= n < 14]).expand(4, -1)
        expected = debug_model.encode(tokens, kept).mean(1).numpy()
    np.testing.assert_allclose(hidden[0], expected, atol=1e-5)
    np.testing.assert_allclose(hidden[1], intact, atol=1e-5)


def test_a_band_is_taken_out_and_nothing_else(planted):
    batch = planted().examples.batch([1])
    left = torch.fft.rfft(band_stopped(batch, (8.0, 13.0)) - batch.signal_BCT).abs()[0]
    hz = torch.fft.rfftfreq(256, 1 / 128)
    inside = (hz >= 8) & (hz < 13)
    assert left[:, ~inside].max() < 1e-3
    assert left[2, inside].max() > 10


def test_parts():
    channels = Channels(
        ("F", "B", "L", "R", "T", "X"),
        ("eeg",) * 6,
        positions=[[0, 0.1, 0.05], [0, -0.1, 0.05], [-0.08, 0, 0.04], [0.08, 0, 0.04], [0, 0, 0.14], [np.nan] * 3],
        frame="head",
    )
    groups = channel_groups("region", channels)
    assert groups == {
        "central": [4], "frontal": [0], "left temporal": [2], "parieto-occipital": [1], "right temporal": [3]
    }  # fmt: skip
    assert np.flatnonzero(token_parts("channel", channels, 4, 0.5)["L"]).tolist() == [8, 9, 10, 11]
    assert np.flatnonzero(token_parts("time", channels, 4, 0.5)["0.5-1 s"]).tolist() == [1, 5, 9, 13, 17, 21]
    with pytest.raises(ConfigError, match="names such as 'F' name no network; explain by channel"):
        token_parts("network", channels, 4, 0.5)
    with pytest.raises(ConfigError, match="did you mean 'channel'"):
        token_parts("chanel", channels, 4, 0.5)
    nowhere = Channels(("a", "b"), ("eeg",) * 2)
    with pytest.raises(ConfigError, match="positions are unknown"):
        token_parts("region", nowhere, 4, 0.5)


@pytest.mark.parametrize(
    ("name", "network"),
    [("7Networks_LH_Vis_1", "Vis"), ("17Networks_RH_SomMotA_12", "SomMotA"), ("7Networks_LH_Default_PFC_3", "Default"),
     ("L_dorsal_attention_7", "dorsal_attention"), ("Precentral_L", ""), ("Cz", "")],
)  # fmt: skip
def test_networks_are_read_from_names(name, network):
    assert network_of(name) == network


def test_sign_flips_are_exact_for_few_subjects():
    same = np.ones((4, 1)) + np.arange(4)[:, None] * 0.01
    assert sign_flip_p(same)[0] == 1 / 16
    rng = np.random.default_rng(0)
    p = [sign_flip_p(rng.standard_normal((12, 5)), seed, most=300).min() for seed in range(60)]
    assert 0.0 <= np.mean(np.array(p) < 0.05) <= 0.15  # family-wise


def test_intervals_and_nulls_of_a_map():
    effect = np.array([[1.0, 0.0], [1.2, 0.1], [0.8, -0.1], [1.0, 0.0]])
    labels = np.tile([[0.1, 0.2]], (99, 1))
    found = effect_map(effect, None, labels, by="channel", names=("a", "b"), measure="m", unit="subjects")
    half = 3.1824 * effect[:, 0].std(ddof=1) / 2  # Student's t of three degrees of freedom
    assert found.high[0] - found.effect[0] == pytest.approx(half, rel=1e-4)
    assert found.p_labels.tolist() == [0.01, 1.0]
    assert found.labels_95 == pytest.approx(0.2)
    assert found.to_dict()["beats_nulls"] == [True, False]
    one = effect_map(effect[:1], effect[None, :1], None, by="channel", names=("a", "b"), measure="m", unit="windows")
    assert np.isnan(one.low).all()
    assert one.verdict == "not tested: one of windows"


def test_windows_are_spread_over_subjects_and_labels():
    groups = np.repeat(["a", "b"], [20, 4])
    y = np.tile([0, 1], 12)
    kept = spread(groups, y, 8)
    assert len(kept) == 8
    assert {(groups[i], y[i]) for i in kept} == {("a", 0), ("a", 1), ("b", 0), ("b", 1)}


def test_the_windows_of_a_file_and_of_a_corpus(make, debug_model, rest_and_task):
    rng = np.random.default_rng(0)
    recording = make(rng.standard_normal((4, 256 * 20)) * 1e-5)
    (one,) = gather(recording, debug_model, contract=None)
    assert (len(one), one.unit, one.modality, one.y) == (5, "windows", "eeg", None)
    with pytest.raises(ConfigError, match="recordings have no tasks"):
        gather(recording, debug_model, task="a/b", contract=None)
    (labelled,) = gather([recording, recording], debug_model, y=["a", "b"], groups=["x", "y"], contract=None)
    assert labelled.classes == ("a", "b")
    assert (labelled.unit, len(labelled), labelled.y.tolist()) == ("subjects", 10, [0] * 5 + [1] * 5)
