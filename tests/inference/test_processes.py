"""A model and a corpus in other processes: forked, spawned, and in the workers of a DataLoader."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch

from brainof.channels import Channels
from brainof.corpus import Corpus, CorpusWriter
from brainof.inference.embedding import embed
from brainof.model import BrainOF
from brainof.prepare import Window, default_chain


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    rng = np.random.default_rng(0)
    fields = {"dataset": "d", "modality": "eeg", "subject": "0", "recording": "r", "config": "r", "sfreq": 256.0}
    channels = Channels(tuple("abcd"), ("eeg",) * 4, positions=rng.uniform(-0.1, 0.1, (4, 3)), frame="head")
    windows = [Window(values, onset, {}, "pretrain") for onset, values in enumerate(rng.normal(size=(8, 4, 256)))]
    with CorpusWriter(tmp_path / "c") as writer:
        writer.add_dataset("d", {"steps": default_chain("eeg").to_steps()})
        writer.add(fields, channels, windows)
    return Corpus(tmp_path / "c")


def features(model: BrainOF, corpus: Corpus) -> np.ndarray:
    return embed(corpus, model, contract=None, batch_size=4).values


def _put(queue: multiprocessing.Queue, model: BrainOF, corpus: Corpus) -> None:
    torch.set_num_threads(1)
    queue.put(features(model, corpus))


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_features_of_a_child_are_those_of_its_parent(corpus, how):
    """The parent has read the corpus and used its threads before: a child inherits neither."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug").eval()
    torch.set_num_threads(2)
    try:
        features(model, corpus)
    finally:
        torch.set_num_threads(1)
    context = multiprocessing.get_context(how)
    queue = context.Queue()
    child = context.Process(target=_put, args=(queue, model, corpus), daemon=True)
    child.start()
    found = queue.get(timeout=120)
    child.join(20)
    assert child.exitcode == 0
    np.testing.assert_array_equal(found, features(model, corpus))
    assert len(np.unique(found, axis=0)) == 8


class Windows(torch.utils.data.Dataset):
    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.corpus.read(row)


def test_workers_of_a_dataloader_read_every_window(corpus):
    corpus.read(0)  # its shard is mapped before the workers begin
    loader = torch.utils.data.DataLoader(Windows(corpus), batch_size=2, num_workers=2)
    found = np.concatenate([batch.numpy() for batch in loader])
    np.testing.assert_array_equal(found, [corpus.read(row) for row in range(8)])
