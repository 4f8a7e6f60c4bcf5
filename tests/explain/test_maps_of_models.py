"""Attention, DINT parts, experts, embeddings, similarity, gradients, Shapley: right values, and nulls that hold."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from brainof.channels import Channels
from brainof.errors import ConfigError, DependencyError
from brainof.explain import dint_parts, embedding_map, expert_usage, gather, gradients, occlusion
from brainof.explain.attention import attended, rank_p
from brainof.explain.effects import beyond_p
from brainof.explain.embedding import variance_share
from brainof.explain.experts import mutual_information
from brainof.explain.reconstruction import reconstructed
from brainof.explain.run import explain
from brainof.explain.shapley import _shapley
from brainof.explain.similarity import centred_gram, cka_of, layer_similarity, layers_of
from brainof.inference.examples import CorpusRows
from brainof.model import BrainOF
from brainof.model.experts import Experts


def test_attention_is_that_of_the_forward_pass(planted, debug_model):
    explained = planted(n_subjects=2, per_subject=3)
    found = attended(explained, debug_model, n_untrained=2)
    assert found.weights.shape == (8, 6, 8)  # 2 s on the time grid of the model
    assert found.seconds == 0.25
    np.testing.assert_allclose(found.weights.sum((1, 2)), 1, rtol=1e-5)
    assert found.p_untrained is not None
    assert 1 <= found.reach.min() <= found.reach.max() <= 6
    # latents of each output, also those that an encoder of their own reads, but not those that are a covariance
    model = BrainOF.from_preset("per_output", backbone={"depth": 1})
    assert attended(planted(n_subjects=2, per_subject=3), model, n_untrained=0).weights.shape == (64, 6, 8)
    reading = {"latents": 96, "heads": 8, "fixed": ["connectivity"], "covariance": []}
    model = BrainOF.from_preset("per_output", backbone={"depth": 1}, sampler=reading)
    assert attended(planted(n_subjects=2, per_subject=3), model, n_untrained=0).weights.shape == (96, 6, 8)
    debug = BrainOF.from_preset("debug", sampler={"kind": "interpolate", "interpolate_channels": 4})
    with pytest.raises(ConfigError, match="attends to nothing"):
        attended(explained, debug)


def test_the_parts_of_dint_add_up_to_the_map(planted, debug_model):
    explained = planted(n_subjects=2, per_subject=3)
    found = dint_parts(explained, debug_model, n_untrained=0)
    parts = found.parts
    np.testing.assert_allclose(parts["A"], parts["A1"] - parts["lam A2"] + parts["lam G"], atol=1e-6)
    np.testing.assert_allclose(parts["A"].sum(-1), 1, atol=1e-5)
    with pytest.raises(ConfigError, match="'softmax'"):
        dint_parts(explained, BrainOF.from_preset("debug", backbone={"attention": "softmax"}))


def test_ranks_among_random_models():
    assert rank_p(3.0, [0.1 * k for k in range(20)]) == 1 / 21
    assert rank_p(1.0, [0.1 * k for k in range(20)]) > 0.5
    assert rank_p(1.0, []) is None
    assert beyond_p(np.array([9.0, 0.0]), np.random.default_rng(0).standard_normal((2, 2)))[1] == 1.0
    assert beyond_p(np.array([9.0, 0.0]), np.random.default_rng(0).standard_normal((5, 6)))[0] < 0.01


def test_expert_counts_are_those_of_the_router(planted, debug_model):
    torch.manual_seed(0)
    one, two = planted(n_subjects=2, per_subject=4), planted(n_subjects=2, per_subject=4, seed=1)
    found = expert_usage([one, two], debug_model, n_untrained=1, n_permutations=30)
    np.testing.assert_allclose(found.share.sum(-1), 1)
    assert found.share.shape == (2, 2, 4)
    first = debug_model.blocks[0].ffn
    assert isinstance(first, Experts)
    ids = []
    handle = first.register_forward_hook(lambda module, inputs, output: ids.append(output[1]))
    with torch.inference_mode():
        debug_model.forward_features(one.examples.batch(np.arange(8)))
    handle.remove()
    expected = torch.bincount(ids[0].flatten(), minlength=4).double()
    np.testing.assert_allclose(found.share[0, 0], expected / expected.sum())
    assert found.p_labels.min() > 0.05  # two draws of the same windows
    assert "DOES NOT BEAT" in found.verdict
    assert mutual_information(np.array([[[1.0, 0.0]], [[0.0, 1.0]]])) == pytest.approx([1.0])
    assert mutual_information(np.array([[[0.5, 0.5]], [[0.5, 0.5]]])) == pytest.approx([0.0])


def test_shares_of_variance():
    x = np.array([[0.0, 1.0], [0.0, -1.0], [2.0, 1.0], [2.0, -1.0]])
    assert variance_share(x, np.array(list("aabb"))) == pytest.approx(0.5)
    assert variance_share(x, np.array(list("abcd"))) == pytest.approx(1.0)


def test_an_embedding_map_says_what_label_and_subject_explain(planted, able_model):
    found = embedding_map(planted(), able_model, n_untrained=0, n_permutations=40)
    label, subject = found.factors
    assert (label.name, subject.name) == ("label", "subject")
    assert label.p_labels < 0.05
    assert found.coordinates["pca"].shape == found.coordinates["tsne"].shape == (42, 2)
    nothing = embedding_map(planted(effect=0.0), able_model, methods=["pca"], n_untrained=0, n_permutations=40)
    assert nothing.factors[0].p_labels > 0.05
    assert "DOES NOT BEAT ITS NULL (permuted labels)" in nothing.factors[0].verdict
    with pytest.raises(ConfigError, match="did you mean 'pca'"):
        embedding_map(planted(), able_model, methods=["pcaa"])


def test_similarity_of_grams():
    rng = np.random.default_rng(0)
    x, other = rng.standard_normal((40, 6)), rng.standard_normal((40, 6))
    turned = x @ np.linalg.qr(rng.standard_normal((6, 6)))[0] * 3
    assert cka_of(centred_gram(x), centred_gram(turned)) == pytest.approx(1)
    assert abs(cka_of(centred_gram(x), centred_gram(other))) < 0.15  # without bias it may be below 0
    np.testing.assert_allclose(centred_gram(x).sum(0), 0, atol=1e-9)


def test_layers_and_pairs(memory_corpus, debug_model):
    """Pairs that hold the same signal are more alike than shuffled ones; unrelated ones are not."""
    rng = np.random.default_rng(0)
    tables = {"four": Channels(tuple("abcd"), ("eeg",) * 4)}
    signal = [rng.standard_normal((4, 256)).astype(np.float32) for _ in range(24)]
    windows = signal + signal + [rng.standard_normal((4, 256)).astype(np.float32) for _ in range(24)]
    row = {"dataset": "d", "subject": "s", "recording": "r", "sfreq": 128.0, "channel_set": "four"}
    corpus = memory_corpus(windows, [{**row, "modality": "eeg"} for _ in windows], tables)
    examples = {name: CorpusRows(corpus, range(24 * k, 24 * k + 24)) for k, name in enumerate(("eeg", "meg", "fmri"))}
    found = layer_similarity(examples, debug_model, n_untrained=0, n_permutations=20)
    pairs = {(each.first, each.second): each for each in found}
    same, apart = pairs["eeg", "meg"], pairs["eeg", "fmri"]
    assert same.cka.diagonal() == pytest.approx(np.ones(3), abs=1e-4)
    assert same.p_pairing == pytest.approx(1 / 21)
    assert apart.p_pairing > 0.05
    assert "DOES NOT BEAT ITS NULL (shuffled pairs)" in apart.verdict
    assert len(layers_of(debug_model, CorpusRows(corpus, [0, 1]))) == 3


def test_gradients_find_the_planted_channel(planted, able_model):
    pytest.importorskip("captum")
    before = [parameter.requires_grad for parameter in able_model.parameters()]
    found = gradients(planted(n_subjects=4), able_model, n_untrained=1, n_steps=2)
    assert found.names[found.effect.argmax()] == "E2"
    assert found.effect.sum() == pytest.approx(1)
    assert found.p_labels == pytest.approx(np.where(np.arange(6) == 2, 1 / 21, 1.0))
    assert found.effect[2] > found.labels_95 > found.effect[[0, 1, 3, 4, 5]].max()
    assert not found.beats.any()  # random weights point there as well
    assert [parameter.requires_grad for parameter in able_model.parameters()] == before


def test_an_extra_that_is_missing_is_one_line(planted, able_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(DependencyError, match=r"needs the package captum.*pip install 'brainof\[explain\]'"):
        gradients(planted(n_subjects=2), able_model)


def test_shapley_values_of_a_known_game():
    """Only both together are worth something: each gets half; a third that adds nothing gets nothing."""
    values = {}
    for subset in ("", "a", "b", "c", "ab", "ac", "bc", "abc"):
        values[tuple(subset)] = np.array([[0.9 if {"a", "b"} <= set(subset) else 0.5]])
    found = [_shapley(values, name, ["a", "b", "c"]).item() for name in "abc"]
    assert found == pytest.approx([0.2, 0.2, 0.0])


def test_a_reconstruction_of_random_weights_does_not_beat_its_nulls(planted, able_model):
    found = reconstructed(planted(n_subjects=2, per_subject=4), able_model, n_untrained=1)
    assert found.verdict.startswith("DOES NOT BEAT ITS NULL")
    assert found.examples[0].names == found.channels.names
    assert found.examples[0].sfreq == 256  # patches are hidden on the time grid of the model (docs/decisions/0079)
    assert found.examples[0].hidden_CT.shape == (6, 512)
    example = found.examples[0]
    error = (example.true_CT - example.reconstructed_CT)[example.hidden_CT]
    assert example.r2 == pytest.approx(1 - (error**2).sum() / (example.true_CT[example.hidden_CT] ** 2).sum())


def test_what_cannot_be_made_is_a_line_and_the_rest_is_made(make, debug_model):
    recording = make(np.random.default_rng(0).standard_normal((4, 256 * 20)) * 1e-5)
    said: list[str] = []
    found = list(
        explain(
            debug_model, recording, contract=None, what=["region", "channel", "experts"], n_untrained=0, say=said.append
        )
    )  # fmt: skip
    assert [type(each).__name__ for each in found] == ["EffectMap", "ExpertUsage"]
    assert said == ["region is left out: positions are unknown; explain by channel"]
    with pytest.raises(ConfigError, match="what: 'chanel'; did you mean 'channel'"):
        list(explain(debug_model, recording, what=["chanel"]))
    one = make(np.random.default_rng(0).standard_normal((4, 1024)) * 1e-5)
    (alone,) = gather(one, debug_model, contract=None)
    with pytest.raises(ConfigError, match="one window only"):
        occlusion(alone, debug_model)
