from __future__ import annotations

import threading
from dataclasses import fields
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from brainof.corpus import BatchSampler, Corpus, Loader
from brainof.corpus.augment import AugmentConfig
from brainof.corpus.loader import on_device
from brainof.errors import ConfigError, CorpusError


def _take(loader, n):
    iterator = iter(loader)
    found = [batch.rows for batch in islice(iterator, n)]
    iterator.close()
    return found


@settings(max_examples=12, deadline=None)
@given(stop=st.integers(0, 25), prefetch=st.integers(0, 4), threads=st.integers(1, 3), weighted=st.booleans())
def test_resume_gives_the_identical_continuation(session_corpus, stop, prefetch, threads, weighted):
    def fresh(**settings):
        weights = {"dataset": "equal"} if weighted else None
        return Loader(session_corpus, BatchSampler(session_corpus.index, 5, weights, seed=2), **settings)

    whole = _take(fresh(prefetch=0), 30)
    first = fresh(prefetch=prefetch, threads=threads)
    assert _take(first, stop) == whole[:stop]
    state = first.state_dict()
    assert set(state) == {"epoch", "batch"}
    second = fresh(prefetch=prefetch)
    second.load_state_dict(state)
    assert _take(second, 30 - stop) == whole[stop:]
    # the loader itself goes on as well
    assert _take(first, 30 - stop) == whole[stop:]


@pytest.fixture(scope="session")
def session_corpus(tmp_path_factory, make):
    from brainof.corpus import CorpusWriter

    root = tmp_path_factory.mktemp("loader") / "corpus"
    with CorpusWriter(root) as writer:
        for i in range(6):
            writer.add(make.recording(f"p{i}"), make.channels(5), make.windows(i))
        writer.add(make.recording("q", modality="fmri", sfreq=0.5), make.channels(7, "fmri"), make.windows(7, 3, 7, 70))
    return Corpus(root)


def test_epochs_end_where_they_should(session_corpus):
    sampler = BatchSampler(session_corpus.index, 5)
    loader = Loader(session_corpus, sampler)
    for epoch in range(2):
        assert loader.position == (epoch, 0)
        assert [list(rows) for rows in _take(loader, len(sampler))] == sampler.batches(epoch)
    _take(loader, 2)
    assert loader.position == (2, 2)
    assert [list(rows) for rows in _take(loader, len(sampler) - 2)] == sampler.batches(2)[2:]
    assert loader.position == (3, 0)


def test_the_position_counts_what_was_handed_out(session_corpus):
    loader = Loader(session_corpus, BatchSampler(session_corpus.index, 5), prefetch=4)
    iterator = iter(loader)
    next(iterator)
    assert loader.state_dict() == {"epoch": 0, "batch": 1}
    iterator.close()


def test_batches_are_those_of_the_corpus(session_corpus):
    sampler = BatchSampler(session_corpus.index, 5, patch=50)
    for batch in islice(Loader(session_corpus, sampler, dtype=torch.float16), len(sampler)):
        truth = session_corpus.batch(batch.rows, 50)
        assert batch.signal_BCT.shape[2] % 50 == 0
        assert torch.equal(batch.signal_BCT.float(), truth.signal_BCT)
        assert torch.equal(batch.channel_mask_BC, truth.channel_mask_BC)


class _Copies(TorchDispatchMode):
    """Notes what travels to the device "meta", which stands for any that is not the processor."""

    def __init__(self) -> None:
        super().__init__()
        self.travelled = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        copied = function(*args, **(kwargs or {}))
        if isinstance(copied, torch.Tensor) and copied.is_meta and not args[0].is_meta:
            self.travelled.append((args[0].dtype, copied.dtype, args[0].ndim))
        return copied


@pytest.mark.parametrize(
    ("augmentation", "travels_as"), [(None, torch.float16), (AugmentConfig(gain=0.5), torch.float32)]
)
def test_signals_travel_to_a_device_as_stored_and_are_cast_there(session_corpus, augmentation, travels_as):
    sampler = BatchSampler(session_corpus.index, 5)
    loader = Loader(session_corpus, sampler, augmentation=augmentation, device="meta")
    with _Copies() as copies:
        batch = next(iter(loader))
    assert batch.signal_BCT.is_meta
    assert batch.sensors.position_BC3.is_meta
    assert batch.signal_BCT.dtype == torch.float32
    signals = [(before, after) for before, after, ndim in copies.travelled if ndim == 3 and before == travels_as]
    assert (travels_as, travels_as) in signals
    floats = [pair for pair in copies.travelled if torch.float16 in pair[:2]]
    assert len(floats) == (travels_as == torch.float16)  # the signal, once, and not cast on the way


def test_the_cast_on_a_device_changes_no_value(session_corpus):
    rows = BatchSampler(session_corpus.index, 5).batches(0)[0]
    half, whole = (session_corpus.batch(rows, dtype=dtype) for dtype in (torch.float16, torch.float32))
    assert torch.equal(on_device(half, torch.device("cpu"), torch.float32).signal_BCT, whole.signal_BCT)
    assert not whole.signal_BCT.is_pinned()


def test_an_error_in_the_background_is_raised_in_its_turn(corpus_root, shard_files):
    corpus = Corpus(corpus_root)
    sampler = BatchSampler(corpus.index, 4)
    shard_files()[-1].unlink()
    before = set(threading.enumerate())
    with pytest.raises(CorpusError, match="shard is missing"):
        list(islice(Loader(corpus, sampler), len(sampler)))
    assert set(threading.enumerate()) == before  # no thread is left behind


@pytest.mark.parametrize("start", [(-1, 0), (0, -1), (0, 1000)])
def test_a_position_outside_the_epochs_is_refused(session_corpus, start):
    with pytest.raises(ConfigError, match="position"):
        loader = Loader(session_corpus, BatchSampler(session_corpus.index, 5))
        loader.load_state_dict(dict(zip(("epoch", "batch"), start, strict=True)))


@pytest.mark.parametrize(("device", "pinned"), [("cuda", True), ("cpu", False), ("meta", False)])
def test_only_what_a_cuda_device_gets_is_pinned(session_corpus, monkeypatch, device, pinned):
    """Every tensor of it, the sensors too; pinning and moving are stood in for, so that no such device is needed."""
    kept = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: kept.append(tensor.clone()) or kept[-1])
    monkeypatch.setattr("brainof.corpus.loader.on_device", lambda batch, device, dtype: batch)
    batch = next(iter(Loader(session_corpus, BatchSampler(session_corpus.index, 5), device=device, prefetch=0)))
    parts = [getattr(one, entry.name) for one in (batch, batch.sensors) for entry in fields(one)]
    tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    assert len(tensors) == 10
    assert [any(tensor is one for one in kept) for tensor in tensors] == [pinned] * 10
