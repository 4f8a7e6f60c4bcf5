from __future__ import annotations

import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from brainof.channels import Channels
from brainof.errors import ConfigError
from brainof.inference.batches import patch_of, pooled
from brainof.inference.examples import PreparedWindow, WindowList
from brainof.model import BrainOF
from brainof.utils.modules import evaluating


def windows(mean_model, n: int = 4) -> WindowList:
    rng = np.random.default_rng(0)
    channels = Channels(("Fz", "Cz", "Pz"), ("eeg",) * 3, rng.uniform(-0.05, 0.05, (3, 3)), frame="head")
    data = rng.standard_normal((n, 3, 128)).astype(np.float32)
    return WindowList([PreparedWindow(part, channels, 128.0, "eeg", np.ones(3, bool)) for part in data], 64)


@pytest.mark.parametrize("first", ["eeg", "meg"])
def test_modalities_whose_features_are_shorter_end_in_zeros(first):
    choice = {"default": "concat@log_spectrum", "eeg": "concat"}
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", decoder={"kind": "per_output"}, pooling=choice).eval()
    rng = np.random.default_rng(0)
    made = []
    for modality in (first, *{"eeg", "meg"} - {first}):
        channels = Channels(("a", "b"), ({"eeg": "eeg", "meg": "mag"}[modality],) * 2, rng.normal(0, 0.05, (2, 3)))
        data = rng.standard_normal((2, 128)).astype(np.float32)
        made.append(PreparedWindow(data, channels, 128.0, modality, np.ones(2, bool)))
    found = pooled(model, WindowList(made, 64))
    eeg, meg = (found[[w.modality for w in made].index(name)] for name in ("eeg", "meg"))
    assert found.shape == (2, 256)
    assert eeg.all()
    assert meg[:128].all()
    assert not meg[128:].any()


def test_each_submodule_gets_its_mode_back():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout())
    model.train()
    model[1].eval()
    with evaluating(model):
        assert not model[0].training
        assert torch.is_inference_mode_enabled()
    assert [part.training for part in model.modules()] == [True, True, False]


def test_eval_mode_with_gradients_gives_each_submodule_its_mode_back():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(3, 1))
    model[0].eval()
    with torch.no_grad(), evaluating(model, gradients=True):
        assert not any(part.training for part in model.modules())
        assert model(torch.ones(2, 3)).requires_grad
    assert [part.training for part in model.modules()] == [True, False, True]


def test_threads_that_embed_at_once_leave_a_training_model_in_training(mean_model):
    """The first to leave must not switch dropout on for the others, nor the last leave it off."""
    inside, outside = threading.Event(), threading.Event()
    model = torch.nn.Dropout().train()
    seen = []

    def first() -> None:
        with evaluating(model):
            inside.set()
            outside.wait(10)
        seen.append(("first is out", model.training))

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(10)
    with evaluating(model):
        outside.set()
        thread.join()
        seen.append(("second is in", model.training))
    assert seen == [("first is out", False), ("second is in", False)]
    assert model.training


def test_four_threads_of_a_user_get_what_one_gets(mean_model):
    examples = windows(mean_model)
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug").train()
    expected = pooled(model, examples)
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(pooled(model, examples))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for values in found:
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    assert all(part.training for part in model.modules())


def test_a_layout_is_computed_once_per_kind(mean_model, monkeypatch):
    examples = windows(mean_model, 6)
    model = BrainOF.from_preset("debug").eval()
    asked, layout = [], model.layout
    monkeypatch.setattr(model, "layout", lambda batch: asked.append(len(batch)) or layout(batch))
    found = pooled(model, examples, batch_size=2)
    assert len(asked) == 1
    with torch.no_grad():
        plain = model.pool(model.forward_features(examples.batch(np.arange(6))), "auto", "eeg").numpy()
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-5)


def test_a_batch_is_gone_before_the_next_is_made(mean_model, monkeypatch):
    """Two of them at once are 8 MB more for windows of 64 channels."""
    examples, made = windows(mean_model, 6), []
    batch = examples.batch

    def watched(rows):
        assert all(reference() is None for reference in made)
        found = batch(rows)
        made.append(weakref.ref(found.signal_BCT))
        return found

    monkeypatch.setattr(examples, "batch", watched)
    pooled(mean_model, examples, batch_size=2)
    assert len(made) == 3


def test_the_patch_is_said_by_the_contract_or_the_model_and_never_guessed():
    assert patch_of(SimpleNamespace(config=SimpleNamespace(patch=32))) == 32
    assert patch_of(SimpleNamespace(), SimpleNamespace(patch=16)) == 16
    with pytest.raises(ConfigError, match=r"patch: is not known of SimpleNamespace; give a contract, or set model"):
        patch_of(SimpleNamespace())


def test_no_examples_are_refused(mean_model):
    with pytest.raises(ConfigError, match="no examples"):
        pooled(mean_model, windows(mean_model, 0))


def test_windows_of_one_kind_may_differ_in_length_on_the_grid_of_the_model():
    """200 and 256 samples at 128 Hz are four patches, at 256 Hz seven and eight."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", rates={"eeg": 256.0}).eval()
    rng, channels = np.random.default_rng(0), Channels(tuple("abc"), ("eeg",) * 3)
    windows = [
        PreparedWindow(rng.standard_normal((3, n)).astype(np.float32), channels, 128.0, "eeg", np.ones(3, bool))
        for n in (200, 256, 200)
    ]
    examples = WindowList(windows, 64)
    one = pooled(model, examples, "mean", batch_size=1)
    np.testing.assert_allclose(one, pooled(model, examples, "mean", batch_size=3), atol=1e-5)
