from __future__ import annotations

import json

import mne
import numpy as np
import pytest
import torch

import brainof
from brainof.contract import InputContract, ModalityContract
from brainof.errors import ConfigError, ContractError
from brainof.interop import BrainOFModule
from brainof.io import from_array, from_mne
from brainof.io.positions import default_montage
from brainof.prepare import default_chain
from brainof.release import save_release

NAMES = ["Fp1", "Fp2", "C3", "Cz", "C4", "P3", "P4", "O1", "O2"]


def volts(n: int = 3, n_chans: int = 9, n_times: int = 500, seed: int = 0) -> np.ndarray:
    """Windows in volts: an alpha rhythm in noise, with an offset."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_times) / 250
    waves = np.sin(2 * np.pi * 10 * time + rng.uniform(0, 6, (n, n_chans, 1)))
    return 1e-5 * (rng.standard_normal((n, n_chans, n_times)) + waves) + 3e-5


@pytest.fixture
def info() -> mne.Info:
    made = mne.create_info(NAMES, 250.0, "eeg")
    made.set_montage(default_montage())
    return made


def epochs(info: mne.Info, n: int = 24) -> mne.EpochsArray:
    data = volts(n)
    data[::2, 0] *= 1 + 2 * np.sin(np.arange(500) / 4)  # class 0
    events = np.stack([np.arange(n), np.zeros(n), np.arange(n) % 2], 1).astype(int)
    return mne.EpochsArray(data, info, events, event_id={"a": 0, "b": 1}, verbose="error")


def test_features_are_those_of_embed_for_a_recording_of_one_window(info):
    module = BrainOFModule(2, chs_info=info["chs"], n_times=500, sfreq=250.0, model="debug").eval()
    data = volts()
    data[1, 3] = 1e-5  # a flat channel is masked
    with torch.inference_mode():
        features = module(torch.tensor(data * 1e6), return_features=True)["features"]
    model, _ = brainof.load("debug")
    model.load_state_dict(module.encoder.state_dict())
    for window, found in zip(data, features, strict=True):
        recording = from_mne(mne.io.RawArray(window, info, verbose="error"))
        wanted = brainof.embed(recording, model, contract=None, window_seconds=2.0)
        np.testing.assert_allclose(found, wanted.values[0], atol=2e-4)


def test_two_types_of_sensors_go_through_the_chain():
    """MEG scaled by channel, one channel flat: what the module encodes is the chain's."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((12, 900)).cumsum(1) * 1e-12
    data[8:] /= 20
    data[2] = 0
    types = ["grad"] * 8 + ["mag"] * 4
    recording = from_array(data, 300.0, "meg", channel_types=types)
    chain = default_chain("meg", {"notch": {"freqs": (50.0,)}, "normalise": {"per": "channel"}})
    part = ModalityContract(units={"grad": "T/m", "mag": "T"}, steps=chain.to_steps())
    coils = {"grad": 3012, "mag": 3024}
    info = mne.create_info([f"M{i}" for i in range(12)], 300.0, types)
    for channel, kind in zip(info["chs"], types, strict=True):
        channel["coil_type"] = coils[kind]
    module = BrainOFModule(
        2, chs_info=info["chs"], n_times=900, sfreq=300.0, model=brainof.load("debug")[0],
        contract=InputContract(modalities={"meg": part}), unit="none",
    )  # fmt: skip
    batch = module._prepared(torch.tensor(data[None]))
    signal, good = batch.signal_BCT[..., : batch.n_times_B[0]], batch.channel_mask_BC
    prepared = chain.apply(recording)
    np.testing.assert_allclose(signal[0], prepared.data, atol=1e-5)
    assert good[0].tolist() == [name not in prepared.bads for name in recording.channels.names]
    assert not good[0, 2]


def test_gradients_reach_the_weights(info):
    module = BrainOFModule(3, chs_info=info["chs"], n_times=500, sfreq=250.0, model="debug")
    x = torch.tensor(volts(2) * 1e6, dtype=torch.float32)
    module(x).square().sum().backward()
    assert (
        module.encoder.blocks[0].norm1.weight.grad is not None if hasattr(module.encoder.blocks[0], "norm1") else True
    )
    assert module.encoder.latents_LD.grad.abs().sum() > 0
    frozen = BrainOFModule(3, chs_info=info["chs"], n_times=500, sfreq=250.0, model="debug", adapt="frozen")
    frozen(x).sum().backward()
    assert {name for name, p in frozen.named_parameters() if p.grad is not None} == {
        "norm.weight",
        "final_layer.weight",
        "final_layer.bias",
    }


def test_heads_and_configuration(info):
    module = BrainOFModule(4, chs_info=info["chs"], input_window_seconds=2.0, sfreq=250.0, model="debug").eval()
    assert (module.n_chans, module.n_times, module.final_layer.out_features) == (9, 500, 4)
    config = json.loads(json.dumps(module.get_config()))
    again = BrainOFModule.from_config(config).eval()
    again.load_state_dict(module.state_dict())
    x = torch.tensor(volts() * 1e6)
    torch.testing.assert_close(again(x), module(x))
    assert module.reset_head(7)(x).shape == (3, 7)
    assert module.reset_head(None)(x).shape == (3, 64)


def test_channels_that_hold_no_brain_signal_are_left_out(info):
    more = mne.create_info([*NAMES, "EOG1"], 250.0, ["eeg"] * 9 + ["eog"])
    more.set_montage(default_montage())
    module = BrainOFModule(2, chs_info=more["chs"], n_times=500, sfreq=250.0, model="debug").eval()
    alone = BrainOFModule(2, chs_info=info["chs"], n_times=500, sfreq=250.0, model="debug").eval()
    alone.load_state_dict(module.state_dict())
    x = torch.tensor(volts(2, 10) * 1e6)
    torch.testing.assert_close(module(x), alone(x[:, :9]))


def test_names_give_positions_and_nothing_gives_a_warning(info, caplog):
    named = BrainOFModule(2, ch_names=NAMES, n_times=500, sfreq=250.0, model="debug")
    assert named.channels.located.all()
    assert not caplog.records
    BrainOFModule(2, n_chans=9, n_times=500, sfreq=250.0, model="debug")
    assert "no channel has a position" in caplog.text


def test_wrong_input_is_one_sentence(info, tmp_path):
    make = {"chs_info": info["chs"], "n_times": 500, "sfreq": 250.0, "model": "debug"}
    module = BrainOFModule(2, **make)
    with pytest.raises(ContractError, match=r"shape \(1, 9, 400\), expected \(batch, 9, 500\)"):
        module(torch.zeros(1, 9, 400))
    with pytest.raises(ContractError, match="eeg amplitude .* µV is outside .* µV, taken as uV; say what the values"):
        module(torch.tensor(volts() * 1e12))
    BrainOFModule(2, **make, unit="none")(torch.tensor(volts() * 1e12))
    with pytest.raises(ConfigError, match="sfreq: is missing; give sfreq .in skorch: module__sfreq."):
        BrainOFModule(2, n_chans=9, n_times=500, model="debug")
    with pytest.raises(ConfigError, match="500 samples are not 3 s at 250 Hz"):
        BrainOFModule(2, **make, input_window_seconds=3.0)
    with pytest.raises(ConfigError, match="9 channels, n_chans says 8"):
        BrainOFModule(2, n_chans=8, **make)
    contract = InputContract(modalities={"meg": ModalityContract(units={"mag": "T"}, steps=[])})
    save_release(tmp_path / "m", brainof.load("debug")[0], contract)
    with pytest.raises(ContractError, match="not trained on eeg; it accepts meg"):
        BrainOFModule(2, **{**make, "model": tmp_path / "m"})


@pytest.mark.timeout(300)  # the import of braindecode alone takes 12 s of CPU time
def test_inside_the_classifier_of_braindecode(info):
    braindecode = pytest.importorskip("braindecode")
    from sklearn.base import clone

    made = epochs(info)
    classifier = braindecode.EEGClassifier(
        BrainOFModule, module__model="debug", optimizer=torch.optim.AdamW, lr=1e-2, max_epochs=3, batch_size=8,
        train_split=None, verbose=0,
    )  # fmt: skip
    labels = made.events[:, 2]
    torch.manual_seed(0)
    classifier = clone(classifier).fit(made, labels)
    assert classifier.module_.n_outputs == 2
    assert classifier.module_.channels.located.all()  # positions travel with the epochs
    assert classifier.predict(made).shape == (24,)
    assert classifier.history[-1]["train_loss"] < classifier.history[0]["train_loss"]
    arrays = braindecode.EEGClassifier(
        BrainOFModule, module__model="debug", module__sfreq=250.0, module__ch_names=NAMES,
        max_epochs=1, batch_size=8, train_split=None, verbose=0,
    )  # fmt: skip
    assert arrays.fit(made.get_data(units="uV"), labels).predict_proba(made.get_data(units="uV")).shape == (24, 2)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("return_epochs", [True, False])
def test_inside_a_moabb_evaluation(tmp_path, return_epochs, monkeypatch):
    moabb = pytest.importorskip("moabb")
    from braindecode import EEGClassifier
    from moabb.datasets.fake import FakeDataset
    from moabb.evaluations import WithinSessionEvaluation
    from moabb.paradigms import LeftRightImagery
    from sklearn.pipeline import make_pipeline

    monkeypatch.setenv("MNE_DATA", str(tmp_path))
    moabb.set_log_level("error")
    dataset = FakeDataset(
        ["left_hand", "right_hand"], n_sessions=1, n_runs=1, n_subjects=1, n_events=20, duration=62, seed=1
    )
    extra = {} if return_epochs else {"module__sfreq": 128.0, "module__ch_names": ["C3", "Cz", "C4"]}
    network = EEGClassifier(
        BrainOFModule, module__model="debug", module__adapt="frozen", max_epochs=1, batch_size=8, train_split=None,
        verbose=0, **extra,
    )  # fmt: skip
    evaluation = WithinSessionEvaluation(
        paradigm=LeftRightImagery(), datasets=[dataset], overwrite=True, hdf5_path=str(tmp_path), random_state=1,
        return_epochs=return_epochs,
    )  # fmt: skip
    results = evaluation.process({"Brain-OF": make_pipeline(network)})
    assert len(results) == 1
    assert 0 <= results["score"].iloc[0] <= 1
    assert results["pipeline"].iloc[0] == "Brain-OF"
