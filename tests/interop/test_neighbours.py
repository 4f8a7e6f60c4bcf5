"""Adapters to Brainmarks and NeuroAtlas: what they ask of a model, without the packages themselves.

The real packages run in `./run study neighbours`, in an environment of their own.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import brainof
from brainof.channels import Channels
from brainof.errors import ConfigError, ContractError, DependencyError
from brainof.interop import brainmarks, neuroatlas
from brainof.io import from_array
from brainof.recording import Recording
from brainof.release import save_release

NAMES = ["Fp1", "Fp2", "C3", "Cz", "C4", "O1", "O2"]


def sample(n_times: int, n: int = 30, seed: int = 0) -> dict:
    bold = torch.from_numpy(np.random.default_rng(seed).standard_normal((n_times, n)).cumsum(0).astype(np.float32))
    mean, std = bold.mean(0, keepdim=True), bold.std(0, keepdim=True)
    return {"bold": (bold - mean) / std, "mean": 5 + mean, "std": std, "tr": 2.0, "target": seed, "path": "other"}


@pytest.mark.parametrize("n_times", [16, 160, 300])
def test_brainmarks_gets_what_embed_gives(n_times):
    transform, encoder = brainmarks.brainof("debug", space="made")
    samples = [transform(sample(n_times, seed=seed)) for seed in range(2)]
    assert set(samples[0]) == {"signal", "good", "tr", "target"}
    batch = {key: torch.stack([torch.as_tensor(one[key]) for one in samples]) for key in samples[0]}
    with torch.inference_mode():
        cls, registers, patches = encoder(batch)
    assert (cls.shape[:2], registers, patches.shape[0]) == ((2, 1), None, 2)
    if n_times > brainmarks.LONGEST:
        assert patches.shape[1] == 2 * encoder.model.config.sampler.latents
    if n_times != 160:  # `embed` refuses a run of less than a patch, and cuts a longer one by its own options
        return
    raw = sample(n_times, seed=1)
    signal = (raw["bold"] * raw["std"] + raw["mean"]).numpy().T
    channels = Channels(tuple(f"made-{k}" for k in range(1, 31)), ("roi",) * 30, order=np.arange(30), atlas="made")
    wanted = brainof.embed(Recording(signal.astype(float), 0.5, "fmri", channels), encoder.model, contract=None)
    np.testing.assert_allclose(cls[1, 0], wanted.values[0], atol=2e-4)


def test_brainmarks_regions_have_places_where_they_are_given(tmp_path):
    places = np.random.default_rng(0).uniform(-0.06, 0.06, (30, 3))
    np.save(tmp_path / "places.npy", places)
    transform, _ = brainmarks.brainof("debug", positions=str(tmp_path / "places.npy"))
    np.testing.assert_allclose(transform.channels(30).positions, places)
    with pytest.raises(ConfigError, match=r"\(30, 3\) for 31 regions; give one row x, y, z"):
        transform.channels(31)


def contract(modality: str, kind: str, unit: str):
    part = brainof.contract.ModalityContract(units={kind: unit}, steps=[])
    return brainof.contract.InputContract(modalities={modality: part})


def test_brainmarks_is_refused_by_a_contract_without_fmri(tmp_path):
    save_release(tmp_path / "m", brainof.load("debug")[0], contract("eeg", "eeg", "V"))
    transform, _ = brainmarks.brainof(tmp_path / "m")
    with pytest.raises(ContractError, match="not trained on fmri; it accepts eeg"):
        transform(sample(80))


def spec(**changes) -> SimpleNamespace:
    return SimpleNamespace(**{**neuroatlas.checkpoint("debug"), "embedding_key": "embedding", **changes})


def batch(signal: np.ndarray, names: list[str], **meta) -> dict:
    about = {"sampling_rate": 128.0, "unit": "uV", "channels": names, **meta}
    return {"signals": {"eeg": torch.from_numpy(signal)}, "label": [0, 1], "meta": [about, about]}


def test_neuroatlas_gets_what_embed_gives_of_the_eeg_alone():
    signal = 20 * np.random.default_rng(0).standard_normal((2, 8, 512))
    encoder = neuroatlas.WindowEncoder(spec())
    found = encoder.extract_embeddings(batch(signal, [*NAMES, "EOG1"]))
    assert found.shape == (2, spec().embedding_dim)
    for window, row in zip(signal[:, :7], found, strict=True):
        recording = from_array(window * 1e-6, 128.0, "eeg", channel_names=NAMES)
        wanted = brainof.embed(recording, encoder.model, contract=None, window_seconds=4.0)
        np.testing.assert_allclose(row, wanted.values[0], atol=2e-4)
    volts = encoder.extract_embeddings(batch(signal * 1e-6, [*NAMES, "EOG1"], unit="V"))
    np.testing.assert_allclose(volts, found, atol=2e-4)
    assert len({id(module.encoder) for module in encoder._modules.values()}) == 1
    assert encoder.forward_features(batch(signal, [*NAMES, "EOG1"])).requires_grad
    with pytest.raises(ConfigError, match="no EEG among EOG1, EMG"):
        encoder.extract_embeddings(batch(signal[:, :2], ["EOG1", "EMG"]))


def test_a_checkpoint_says_whether_it_is_trained(tmp_path):
    assert spec().source_type == "random_init"
    save_release(tmp_path / "m", brainof.load("debug")[0], contract("eeg", "eeg", "V"))
    trained = neuroatlas.checkpoint(str(tmp_path / "m"))
    assert (trained["source_type"], trained["checkpoint_path"]) == ("local", str(tmp_path / "m"))
    assert neuroatlas.WindowEncoder(spec(**trained)).metadata()["model"] == str(tmp_path / "m")


def test_a_package_that_is_not_here_is_one_line(tmp_path):
    for module, call in (
        ("neuroatlas", lambda: neuroatlas.register("debug", tmp_path)),
        ("brainmarks", lambda: brainmarks.main(["logistic", "brainof"])),
    ):
        try:
            __import__(module)
        except ModuleNotFoundError:
            with pytest.raises(DependencyError, match=f"needs the package {module}"):
                call()
    with pytest.raises(SystemExit, match="logistic,probe,finetune"):
        brainmarks.main([])
