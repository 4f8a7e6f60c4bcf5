"""A trained-looking release of the debug model, and made signals in all the forms that estimators take."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof import BrainOF, Recording
from brainof.channels import Channels
from brainof.contract import InputContract, ModalityContract
from brainof.io.positions import electrode_positions
from brainof.prepare import default_chain
from brainof.release import save_release

NAMES = ("Fz", "Cz", "Pz", "Oz")
SFREQ = 128.0


@pytest.fixture
def contract() -> InputContract:
    part = ModalityContract(
        units={"eeg": "V"},
        steps=default_chain("eeg", {"resample": {"sfreq": SFREQ}}).to_steps(),
        sfreqs=[SFREQ],
        window_seconds=(2.0, 2.0),
        frames=["head"],
    )
    return InputContract(modalities={"eeg": part})


@pytest.fixture
def release(tmp_path, contract) -> str:
    torch.manual_seed(0)
    save_release(tmp_path / "release", BrainOF.from_preset("debug"), contract)
    return str(tmp_path / "release")


@pytest.fixture
def signals():
    """Array (n, channels, times) in volts, labels and people: an alpha rhythm at the back in one class."""

    def make(n_people: int = 6, each: int = 4, seconds: float = 2.0, seed: int = 0):
        rng = np.random.default_rng(seed)
        time = np.arange(round(seconds * SFREQ)) / SFREQ
        n = n_people * each
        X = 2e-5 * rng.standard_normal((n, len(NAMES), len(time)))
        y = np.tile(["rest", "task"], n // 2)
        for row in np.flatnonzero(y == "task"):
            X[row, 2:] += 6e-5 * np.sin(2 * np.pi * 10 * time + rng.uniform(0, 6))
        return X, y, np.repeat([f"p{person}" for person in range(n_people)], each)

    return make


@pytest.fixture
def recordings():
    def make(X, people=None) -> list[Recording]:
        channels = Channels(NAMES, ("eeg",) * len(NAMES), electrode_positions(NAMES), frame="head")
        entities = [
            {} if people is None else {"subject": str(person)} for person in (people if people is not None else X)
        ]
        return [Recording(x, SFREQ, "eeg", channels, about) for x, about in zip(X, entities, strict=True)]

    return make


@pytest.fixture
def epochs():
    def make(X, people=None):
        import mne
        import pandas as pd

        info = mne.create_info(list(NAMES), SFREQ, "eeg", verbose="error")
        info.set_montage("colin27_1005" if "colin27_1005" in mne.channels.get_builtin_montages() else "standard_1005")
        metadata = None if people is None else pd.DataFrame({"subject": people})
        return mne.EpochsArray(X, info, metadata=metadata, verbose="error")

    return make


@pytest.fixture
def rest_corpus(tmp_path):
    """A corpus of six people, rest and task, four windows each."""
    from brainof.corpus import Corpus, CorpusWriter
    from brainof.prepare import Window

    rng = np.random.default_rng(0)
    channels = Channels(NAMES, ("eeg",) * len(NAMES), electrode_positions(NAMES), frame="head")
    writer = CorpusWriter(tmp_path / "corpus")
    writer.add_dataset("made", {"license": "CC0"})
    for person in range(6):
        for condition in ("rest", "task"):
            row = {"dataset": "made", "modality": "eeg", "subject": f"{person:02d}", "sfreq": SFREQ, "config": "x"}
            row |= {"recording": f"{person:02d}-{condition}"}
            windows = [
                Window(rng.standard_normal((4, 256)).astype(np.float32), 2.0 * number, {"condition": condition})
                for number in range(4)
            ]
            writer.add(row, channels, windows)
    writer.close()
    return Corpus(tmp_path / "corpus")
