from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import brainof
import brainof.inference.batches as module
import brainof.inference.windows as windows_module
from brainof.channels import Channels
from brainof.contract import InputContract, ModalityContract
from brainof.errors import ConfigError, ContractError, RecordingError
from brainof.inference.embedding import embed
from brainof.model import BrainOF
from brainof.prepare import default_chain
from brainof.recording import Recording
from brainof.signals import SignalBatch
from brainof.utils import memory

NAMES = ("Fz", "Cz", "Pz")


def eeg(seconds: float = 9.0, sfreq: float = 256.0, events: pd.DataFrame | None = None) -> Recording:
    rng = np.random.default_rng(0)
    channels = Channels(NAMES, ("eeg",) * 3, positions=rng.uniform(-0.05, 0.05, (3, 3)), frame="head")
    data = 2e-5 * rng.standard_normal((3, round(seconds * sfreq))).astype(np.float32)
    options = {} if events is None else {"events": events}
    return Recording(data, sfreq, "eeg", channels, {"subject": "01"}, provenance={"file": "one.edf"}, **options)


def contract(**changes) -> InputContract:
    part = {
        "units": {"eeg": "V"},
        "steps": default_chain("eeg").to_steps(),
        "sfreqs": [256.0],
        "window_seconds": (2.0, 4.0),
        **changes,
    }
    return InputContract(modalities={"eeg": ModalityContract(**part)})


def test_windows_are_as_long_as_in_training_and_the_tail_is_kept(mean_model):
    found = embed(eeg(9.0), mean_model, contract=contract())
    assert found.table["onset"].tolist() == [0.0, 4.0, 8.0]
    assert found.table["duration"].tolist() == [4.0, 4.0, 1.0]
    assert set(found.table["subject"]) == {"01"}
    assert set(found.table["file"]) == {"one.edf"}
    assert found.values.shape == (3, 16)
    assert found.values.dtype == np.float32
    # 0.2 s are less than a patch of 64 samples
    assert len(embed(eeg(8.2), mean_model, contract=contract())) == 2
    assert len(embed(eeg(9.0), mean_model, contract=contract(), window_seconds=1.0)) == 9


def test_the_steps_of_the_contract_are_applied(mean_model):
    steps = default_chain("eeg", {"resample": {"sfreq": 128.0}, "bad_channels": False}).to_steps()
    found = embed(eeg(9.0), mean_model, contract=contract(steps=steps, sfreqs=[128.0]))
    assert found.table["duration"].tolist() == [4.0, 4.0, 1.0]
    prepared = default_chain("eeg", {"resample": {"sfreq": 128.0}, "bad_channels": False}).apply(eeg(9.0))
    batch = SignalBatch.from_arrays([prepared.data[:, :512]], prepared.channels, 128.0, "eeg", 64)
    with torch.no_grad():
        expected = mean_model.eval().pool(mean_model.forward_features(batch), "mean_std")
    np.testing.assert_allclose(found.values[:1], expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
def test_the_batch_size_does_not_change_the_result(modality):
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug").eval()
    if modality == "eeg":
        recording = eeg(19.0)
    else:
        names = tuple("abcde")
        channels = Channels(names, ("roi",) * 5, order=np.arange(5), frame="mni")
        data = np.random.default_rng(0).standard_normal((5, 400)).astype(np.float32)
        recording = Recording(data, 0.5, "fmri", channels)
    alone, together = (embed(recording, model, contract=None, batch_size=size) for size in (1, 8))
    np.testing.assert_allclose(alone.values, together.values, rtol=1e-4, atol=1e-5)
    assert len(np.unique(alone.values.round(4), axis=0)) == len(alone)  # windows differ
    pd.testing.assert_frame_equal(alone.table, together.table)


def test_threads_share_the_batches_and_change_nothing(rest_and_task, monkeypatch):
    model = BrainOF.from_preset("debug").eval()
    sizes, forward = [], model.forward_features
    monkeypatch.setattr(
        model, "forward_features", lambda batch, **kept: sizes.append(len(batch)) or forward(batch, **kept)
    )
    corpus = rest_and_task(n_people=1)
    alone = [embed(source, model, contract=None) for source in (eeg(19.0), corpus)]
    whole = sum(sizes)
    sizes.clear()
    monkeypatch.setattr(module, "MAX_TOKENS", 2 * 2 * 3 * 16)  # of both batches
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        shared = [embed(source, model, contract=None) for source in (eeg(19.0), corpus)]
    finally:
        torch.set_num_threads(before)
    assert sum(sizes) == whole
    assert sorted(sizes) == [1, 2, 2, 6, 6]
    for a, b in zip(alone, shared, strict=True):
        np.testing.assert_allclose(a.values, b.values, rtol=1e-4, atol=1e-5)
        pd.testing.assert_frame_equal(a.table, b.table)


def test_few_windows_are_shared_out_evenly():
    rows = SimpleNamespace(kinds=np.array([0] * 7 + [1]), costs=np.full(8, 24))
    parts = list(module.batches(rows, np.arange(8), 32, threads=2))
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6], [7]]


def test_large_windows_make_smaller_batches(mean_model, monkeypatch):
    embed(eeg(40.0), mean_model, contract=None, batch_size=8)
    assert mean_model.sizes == [8, 2]
    mean_model.sizes.clear()
    monkeypatch.setattr(module, "MAX_TOKENS", 2 * 3 * 16)
    embed(eeg(40.0), mean_model, contract=None, batch_size=8)
    assert mean_model.sizes == [2] * 5


def test_corpus_windows_come_back_in_the_order_asked_for(rest_and_task, mean_model):
    corpus = rest_and_task(n_people=2)
    corpus.windows[3] = corpus.windows[3][:, :200]
    corpus.index.loc[3, "n_times"] = 200
    rows = np.array([7, 3, 0, 20])
    found = embed(corpus, mean_model, rows=rows, batch_size=2)
    everything = embed(corpus, mean_model, batch_size=5)
    np.testing.assert_allclose(found.values, everything.values[rows], rtol=1e-5)
    assert found.table["onset"].tolist() == corpus.index["onset"].iloc[rows].tolist()
    assert found.table["duration"].tolist() == [2.0, 200 / 128, 2.0, 2.0]
    assert found.table["label.condition"].tolist() == corpus.index["label.condition"].iloc[rows].tolist()
    with pytest.raises(ConfigError, match="no windows to embed"):
        embed(corpus, mean_model, rows=[])


def test_the_mode_of_the_model_is_given_back(mean_model):
    mean_model.train()
    embed(eeg(4.0), mean_model, contract=None)
    assert mean_model.training


def test_stretches_marked_bad_are_left_out(mean_model):
    bad = pd.DataFrame({"onset": [4.5], "duration": [1.0], "trial_type": ["BAD_jump"]})
    found = embed(eeg(12.0, events=bad), mean_model, contract=None)
    assert found.table["onset"].tolist() == [0.0, 8.0]
    all_bad = pd.DataFrame({"onset": [0.0], "duration": [12.0], "trial_type": ["bad"]})
    with pytest.raises(RecordingError, match="every window touches"):
        embed(eeg(12.0, events=all_bad), mean_model, contract=None)


def test_wrong_input_is_refused_before_the_model_runs(mean_model):
    loud = eeg()
    with pytest.raises(ContractError, match=r"one\.edf: unit: eeg amplitude"):
        embed(loud.replace(data=loud.data * 1e6), mean_model, contract=contract())
    with pytest.raises(ContractError, match="eeg amplitude"):
        embed(loud.replace(data=loud.data * 1e6), mean_model, contract=None)
    with pytest.raises(ContractError, match="was not trained on eeg"):
        embed(eeg(), mean_model, contract=InputContract(modalities={"meg": contract().modalities["eeg"]}))
    with pytest.raises(RecordingError, match=r"one\.edf"):
        embed(eeg(0.1), mean_model, contract=contract())
    with pytest.raises(ConfigError, match="batch_size"):
        embed(eeg(), mean_model, contract=None, batch_size=0)
    assert mean_model.sizes == []


def test_what_training_did_not_see_is_refused_until_it_is_accepted(mean_model):
    foreign = contract(sfreqs=[100.0], frames=["mni"])
    with pytest.raises(ContractError, match=r"trained at 100 Hz; .*resample\(recording, 100\), or .* accept='sfreq'"):
        embed(eeg(4.0), mean_model, contract=foreign)
    with pytest.raises(ContractError, match="frame 'head', the model was trained in mni"):
        embed(eeg(4.0), mean_model, contract=foreign, accept=["sfreq"])
    assert len(embed(eeg(4.0), mean_model, contract=foreign, accept=["sfreq", "frame"])) == 1
    with pytest.raises(ContractError, match="windows of 8 s, the model was trained on 2 to 4 s; use window_seconds=4"):
        embed(eeg(9.0), mean_model, contract=contract(), window_seconds=8)


def test_a_memory_budget_changes_no_number(tmp_path):
    """Arrays of more than a kilobyte live in files; from a file and from memory."""
    mne = pytest.importorskip("mne")
    from brainof.utils.memory import OVERHEAD, SHARE

    data = 1e-5 * np.random.default_rng(0).standard_normal((4, 3000))
    raw = mne.io.RawArray(data, mne.create_info(["C3", "Cz", "C4", "Pz"], 250.0, "eeg"), verbose="error")
    raw.save(tmp_path / "rest_raw.fif", verbose="error")
    model = brainof.load("debug")[0]
    whole = embed(tmp_path / "rest_raw.fif", model, contract=None, memory=None)
    tight = OVERHEAD + SHARE * 1000
    for source in (tmp_path / "rest_raw.fif", brainof.read(tmp_path / "rest_raw.fif")):
        found = embed(source, model, contract=None, memory=tight)
        np.testing.assert_array_equal(found.values, whole.values)
    with pytest.raises(ConfigError, match="less than the program itself needs"):
        embed(tmp_path / "rest_raw.fif", model, contract=None, memory="100MB")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say what is mapped")
def test_of_a_long_recording_little_is_mapped_at_once(mean_model, make, monkeypatch):
    """40 MB in files: neither the check of all values nor a batch of windows may bring most of them into memory."""

    def mapped() -> int:
        return next(int(li.split()[1]) for li in Path("/proc/self/status").read_text().splitlines() if "RssFile" in li)

    data = 1e-5 * np.random.default_rng(0).standard_normal((64, 153_600), dtype=np.float32)
    embed(make(data[:, :2560]), mean_model, contract=None)  # the program itself
    seen, release = [], memory.release
    for place in (memory, windows_module):
        monkeypatch.setattr(place, "release", lambda *arrays: seen.append(mapped()) or release(*arrays))
    monkeypatch.setattr(memory, "OVERHEAD", 0)
    whole = embed(make(data), mean_model, contract=None, memory=10**6)
    assert len(whole.values) == 150
    assert max(seen) - min(seen) < data.nbytes / 1024 / 4


def test_a_model_by_name_brings_its_contract(tmp_path):
    """A path, MNE objects, Recordings and arrays, with a model folder: checked; without a contract: refused."""
    mne = pytest.importorskip("mne")
    from brainof.io.positions import default_montage
    from brainof.release import save_release

    save_release(tmp_path / "run", brainof.load("debug")[0], contract(frames=["head"]))
    names = ["C3", "Cz", "C4", "Pz"]
    info = mne.create_info(names, 256.0, "eeg")
    info.set_montage(default_montage())
    data = 1e-5 * np.random.default_rng(0).standard_normal((4, 2048))
    raw = mne.io.RawArray(data, info, verbose="error")
    raw.save(tmp_path / "rest_raw.fif", verbose="error")
    epochs = mne.EpochsArray(data.reshape(4, 2, 1024).swapaxes(0, 1), info, verbose="error")
    wanted = embed(tmp_path / "rest_raw.fif", tmp_path / "run")
    assert wanted.table["onset"].tolist() == [0.0, 4.0]
    np.testing.assert_allclose(embed(raw, str(tmp_path / "run")).values, wanted.values, atol=1e-4)
    loaded, own = brainof.load(tmp_path / "run")
    np.testing.assert_array_equal(embed(tmp_path / "rest_raw.fif", loaded).values, wanted.values)
    np.testing.assert_array_equal(embed(tmp_path / "rest_raw.fif", loaded, contract=own).values, wanted.values)
    each = embed(epochs, tmp_path / "run")
    assert each.table["sample"].tolist() == [0, 1]
    array = embed(epochs.get_data(), tmp_path / "run", sfreq=256.0, channels=names)
    micro = embed(1e6 * epochs.get_data(), tmp_path / "run", sfreq=256.0, channels=names, units="uV")
    np.testing.assert_allclose(array.values, each.values, atol=1e-3)
    np.testing.assert_allclose(micro.values, array.values, atol=1e-4)
    with pytest.raises(ContractError, match="windows of 8 s, the model was trained on 2 to 4 s"):
        embed(raw, tmp_path / "run", window_seconds=8)
    for model in ("debug", BrainOF.from_preset("debug")):
        with pytest.raises(ContractError, match="brings no contract.*or contract=None for the default preparation"):
            embed(raw, model)
        assert len(embed(raw, model, contract=None)) == 2


def test_what_cannot_be_embedded_is_named(mean_model):
    with pytest.raises(ConfigError, match=r"source: expected signals, got an array of shape \(3, 100\); give a path"):
        embed(np.zeros((3, 100)), mean_model, contract=None)
    with pytest.raises(ConfigError, match="source: expected signals, got dict"):
        embed({}, mean_model, contract=None)
    with pytest.raises(ConfigError, match="model: expected a model, got int"):
        embed(eeg(), 3)
    with pytest.raises(ConfigError, match=r"arrays of shapes \(3, 5\) and \(3, 6\)"):
        embed([np.zeros((3, 5)), np.zeros((3, 6))], mean_model, contract=None)


def test_a_corpus_is_checked_against_a_contract_that_is_given(rest_and_task, mean_model):
    with pytest.raises(ContractError, match="was not trained on eeg"):
        embed(
            rest_and_task(n_people=1),
            mean_model,
            contract=InputContract(modalities={"meg": contract().modalities["eeg"]}),
        )


def test_stretches_that_are_too_short_for_a_window_say_how_long_they_are():
    """Epochs of 2, 3 and 3 s, joined: no window of 4 s lies in one."""
    events = pd.DataFrame({"onset": [2.0, 5.0], "duration": [0.0, 0.0], "trial_type": ["BAD boundary"] * 2})
    data = 2e-5 * np.random.default_rng(0).standard_normal((4, 8 * 128))
    channels = Channels(("Fz", "Cz", "Pz", "Oz"), ("eeg",) * 4)
    joined = Recording(data, 128.0, "eeg", channels, events=events)
    with pytest.raises(RecordingError, match="marked bad; use window_seconds=3 or less, the longest"):
        brainof.embed(joined, "debug", contract=None)
    assert len(brainof.embed(joined, "debug", contract=None, window_seconds=2)) == 3


def test_an_unknown_difference_is_named_also_without_a_contract():
    data = 2e-5 * np.random.default_rng(0).standard_normal((1, 2, 512))
    with pytest.raises(ConfigError, match="accept: 'foo'; known: atlas"):
        brainof.embed(data, "debug", contract=None, sfreq=128, channels=["Fz", "Cz"], accept=["foo"])


def test_a_tensor_is_no_batch_of_signals():
    model = BrainOF.from_preset("debug")
    with pytest.raises(TypeError, match="expected a SignalBatch, got Tensor; call model"):
        model.forward_features(torch.zeros(1, 2, 256))
