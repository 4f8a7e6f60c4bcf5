"""Recordings or corpus windows -> embeddings, with the preparation that the model was trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from ..contract import InputContract, ModalityContract
from ..corpus.index import LABEL
from ..errors import ConfigError, RecordingError
from ..plausibility import require_plausible
from ..recording import Recording
from ..signals import SignalBatch
from ..utils.memory import memory_budget, parse_bytes, release
from ..utils.threads import side_by_side
from .embeddings import Embeddings

if TYPE_CHECKING:
    from ..corpus import Windows
    from ..prepare.windows import WindowOptions

#: Batches under way hold no more tokens than this, so that 306 channels need no more memory than 19
MAX_TOKENS = 65_536

#: Batches encoded at once at most
MAX_THREADS = 8

_TABLE = ("dataset", "modality", "subject", "session", "task", "run", "recording", "view")


def embed(
    source: Recording | Windows | str | PathLike[str],
    model: torch.nn.Module,
    *,
    contract: InputContract | None = None,
    rows: Sequence[int] | np.ndarray | None = None,
    batch_size: int = 32,
    pool: str = "auto",
    window_seconds: float | None = None,
    patch: int | None = None,
    accept: Collection[str] = (),
    memory: int | str | None = "1GB",
) -> Embeddings:
    """Embed every window of a recording, or the windows of a corpus.

    Parameters
    ----------
    source : Recording, path, Corpus or Corpora
        A recording (or its file) is checked against `contract`, prepared by the steps stored in it and cut into
        windows. Windows of a corpus are prepared already.
    model : module
        With `forward_features(batch) -> latents (B, L, D)` and `pool(latents, kind, modality) -> (B, F)`. It is put
        into eval mode for the call.
    contract : InputContract, optional
        What the model accepts; without one (random weights) the default chain and windows of the modality are used.
    rows : sequence of int, optional
        Rows of the corpus index, in the order of the result; all rows by default.
    batch_size : int
        Windows per batch at most; fewer where windows are large. The result does not depend on it.
    pool : str
        Pooling over latents (see `BrainOF.pool`); "auto" is the model's own for the modality.
    window_seconds : float, optional
        Length of the windows cut from a recording; by default the longest the model was trained on.
    patch : int, optional
        Samples per patch; by default the contract's, or the model's `config.patch`, or 64.
    accept : collection of str
        Differences from training that are taken as they are: "sfreq", "window", "frame", "atlas", "positions", "bads"
        (see `ModalityContract.check`).
    memory : int or str, optional
        Bytes (`"1GB"`) that the process should stay below while it reads and prepares: larger arrays live in files of
        the system's temporary folder that have no name. What the caller holds, such as the data of a recording in
        memory or a large model, comes on top. The result does not depend on it. None: all in memory.

    Returns
    -------
    Embeddings
        Values (n, F) in float32 and one table row per window.

    Raises
    ------
    ContractError
        The recording does not meet the contract.
    RecordingError
        The recording is shorter than one patch after preparation, or marked bad throughout.

    Notes
    -----
    On a processor as many batches of a `BrainOF` are encoded side by side as operators have threads
    (`torch.set_num_threads`), at most `MAX_THREADS`; meanwhile operators use what is left of them.
    """
    patch = patch or (contract.patch if contract else int(getattr(getattr(model, "config", None), "patch", 64)))
    if batch_size < 1:
        raise ConfigError(f"{batch_size}", field="batch_size", fix="give 1 or more")
    if isinstance(source, (str, PathLike, Recording)):
        with memory_budget(parse_bytes(memory) if memory is not None else None):
            return _embed_recording(source, model, contract, batch_size, pool, window_seconds, patch, accept)
    return _embed_corpus(source, model, rows, batch_size, pool, patch)


def _embed_recording(
    source: Recording | str | PathLike[str],
    model: torch.nn.Module,
    contract: InputContract | None,
    batch_size: int,
    pool: str,
    window_seconds: float | None,
    patch: int,
    accept: Collection[str],
) -> Embeddings:
    from ..prepare import Chain, cut, default_chain

    recording = source if isinstance(source, Recording) else _read(source)
    file = recording.provenance.get("file")
    part = contract.part(recording) if contract else None
    require_plausible(recording)
    chain = Chain.from_steps(part.steps) if part else default_chain(recording.modality)
    prepared = chain.apply(recording)
    entities = recording.entities
    del source, recording  # nothing but the caller needs the raw data any more
    windows = cut(prepared, window_options(prepared, part, window_seconds, patch))
    if part is not None:
        part.check(prepared, accept, window_seconds)
    if not windows:
        raise RecordingError(
            "every window touches a stretch that is marked bad", file=file, fix="correct the annotations"
        )
    values = embed_windows([window.data for window in windows], prepared, model, batch_size, pool, patch)
    table = pd.DataFrame(
        {
            "onset": [window.onset for window in windows],
            "duration": [window.data.shape[1] / prepared.sfreq for window in windows],
            "modality": prepared.modality,
            **{name: value for name, value in entities.items() if name not in ("onset", "duration")},
        }
    )
    if file is not None:
        table["file"] = str(file)
    return Embeddings(values, table)


def embed_windows(
    windows: Sequence[np.ndarray],
    prepared: Recording,
    model: torch.nn.Module,
    batch_size: int,
    pool: str,
    patch: int,
    good: np.ndarray | None = None,
) -> np.ndarray:
    """Embed windows (n_channels, n_times) that were cut from a prepared recording; values (n, F), float32.

    `prepared` says what the channels are; `good` (bool per channel) replaces its bad channels.
    """
    if good is None:
        good = np.array([name not in prepared.bads for name in prepared.channels.names])
    lengths = np.array([window.shape[1] for window in windows])
    count = _threads(model)
    runs = list(_runs(lengths, prepared.n_channels, patch, batch_size, count))

    def batches() -> Iterator[SignalBatch]:
        for run in runs:
            signals = [windows[i] for i in run]
            yield SignalBatch.from_arrays(signals, prepared.channels, prepared.sfreq, prepared.modality, patch, good)

    values: list[np.ndarray] = []
    with _evaluation(model):
        for encoded in side_by_side(partial(_encode, model, pool), batches(), min(count, len(runs))):
            values.append(encoded)
            release(prepared.data)
    return np.concatenate(values)


def _read(path: str | PathLike[str]) -> Recording:
    from ..io import read

    return read(path)


def _embed_corpus(
    corpus: Windows,
    model: torch.nn.Module,
    rows: Sequence[int] | np.ndarray | None,
    batch_size: int,
    pool: str,
    patch: int,
) -> Embeddings:
    index = corpus.index
    chosen = np.arange(len(index)) if rows is None else np.asarray(rows, dtype=np.int64)
    if not len(chosen):
        raise ConfigError("no windows to embed", field="rows")
    table = index.iloc[chosen]
    patches = -(-table["n_times"].to_numpy(dtype=np.int64) // patch)
    kinds = table.assign(_patches=patches, _position=np.arange(len(chosen))).groupby(
        ["modality", "channel_set", "sfreq", "_patches"], sort=True, observed=True
    )["_position"]
    count = _threads(model)
    parts: list[np.ndarray] = []
    for _, positions in kinds:
        first = positions.iloc[0]
        tokens = int(table["n_channels"].iloc[first]) * int(patches[first])
        parts += _chunks(positions.to_numpy(), _batch_length(batch_size, tokens, len(positions), count))
    batches = (corpus.batch(chosen[part].tolist(), patch) for part in parts)
    with _evaluation(model):
        encoded = list(side_by_side(partial(_encode, model, pool), batches, min(count, len(parts))))
    values = np.empty((len(chosen), encoded[0].shape[1]), np.float32)
    for part, rows_of_part in zip(parts, encoded, strict=True):
        values[part] = rows_of_part
    described = pd.DataFrame({"onset": table["onset"].to_numpy(), "duration": (table["n_times"] / table["sfreq"])})
    described = described.reset_index(drop=True)
    for name in (*(name for name in _TABLE if name in table), *(c for c in table if str(c).startswith(LABEL))):
        described[name] = table[name].astype("string").to_numpy(dtype=object)
    return Embeddings(values, described)


def window_options(
    prepared: Recording, part: ModalityContract | None, window_seconds: float | None, patch: int
) -> WindowOptions:
    """How a prepared recording is cut for embedding: as long as in training, with everything down to one patch kept.

    fMRI is cut into the fewest equal windows, of at most the default number of volumes: seconds alone would make
    windows of a short TR longer than any in training.
    """
    from ..prepare.windows import DEFAULT_WINDOWS, WindowOptions

    usual = DEFAULT_WINDOWS[prepared.modality]
    seconds = window_seconds or (part.window_seconds[1] if part is not None else 0) or usual.get("length")
    n_times = usual["n_times"] if seconds is None else max(patch, round(seconds * prepared.sfreq))
    shortest = patch / prepared.sfreq
    if not usual.get("whole"):
        return WindowOptions(n_times=n_times, min_length=shortest)
    if window_seconds is None:
        n_times = min(n_times, usual["n_times"])
    return WindowOptions(whole=True, n_times=n_times, min_length=shortest)


def _threads(model: torch.nn.Module) -> int:
    """Batches encoded side by side: of a `BrainOF` on a processor as many as operators have threads, else one."""
    from ..model import BrainOF

    if not isinstance(model, BrainOF) or model.latents_LD.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return 1  # autocast belongs to the caller's thread
    return min(torch.get_num_threads(), MAX_THREADS)


def _batch_length(batch_size: int, tokens: int, windows: int, count: int) -> int:
    """Windows per batch: `count` batches at once keep below MAX_TOKENS, and few windows are shared out evenly."""
    return max(1, min(batch_size, MAX_TOKENS // count // max(1, tokens), -(-windows // count)))


def _chunks(items: Any, size: int) -> Iterator[Any]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _runs(lengths: np.ndarray, n_channels: int, patch: int, batch_size: int, count: int) -> Iterator[range]:
    """Neighbouring windows of one length in chunks: padding then never depends on the neighbours."""
    start = 0
    while start < len(lengths):
        same = int((np.append(lengths[start:], -1) != lengths[start]).argmax())
        size = _batch_length(batch_size, n_channels * -(-int(lengths[start]) // patch), same, count)
        yield from _chunks(range(start, start + same), size)
        start += same


def _encode(model: Any, pool: str, batch: SignalBatch) -> np.ndarray:
    parameter = next(iter(model.parameters()), None)
    if parameter is not None and parameter.device.type != "cpu":
        batch = batch.to(parameter.device)
    with torch.inference_mode():  # a thread's own
        pooled = model.pool(model.forward_features(batch), pool, batch.modality)
        return pooled.float().cpu().numpy()


@contextlib.contextmanager
def _evaluation(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode; the mode of the model is restored."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
