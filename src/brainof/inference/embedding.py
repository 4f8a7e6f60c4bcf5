"""`embed`: signals -> embeddings, with the preparation that the model was trained on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from os import PathLike
from typing import Any, Literal

import numpy as np
import torch

from ..channels import Channels
from ..contract import InputContract
from ..errors import ConfigError, ContractError
from ..release import PRETRAINED, load
from ..utils.memory import memory_budget, parse_bytes
from .batches import patch_of, pooled
from .embeddings import Embeddings
from .examples import CorpusRows
from .windows import InputOptions, as_input, is_array, read_samples


def embed(
    source: Any,
    model: torch.nn.Module | str | PathLike[str] = PRETRAINED,
    *,
    contract: InputContract | Literal["auto"] | None = "auto",
    rows: Sequence[int] | np.ndarray | None = None,
    batch_size: int = 32,
    pool: str = "auto",
    window_seconds: float | None = None,
    accept: Collection[str] = (),
    memory: int | str | None = "1GB",
    sfreq: float | None = None,
    channels: Channels | Sequence[str] | None = None,
    modality: str = "eeg",
    units: str | None = None,
) -> Embeddings:
    """Embed every window of recordings, or the windows of a corpus.

    Parameters
    ----------
    source : path, Recording, mne.io.Raw, mne.Epochs, a list of these, array (n, channels, times), Corpus or several
        Signals are checked against the contract, prepared by the steps stored in it and cut into windows, each
        recording by itself. Windows of a corpus are prepared already.
    model : module, str or path
        What `brainof.load` takes or gives; by default the weights that come with brainof. Any module does that has
        `forward_features(batch) -> latents (B, L, D)` and `pool(latents, kind, modality) -> (B, F)`. It is in eval
        mode during the call.
    contract : InputContract, None or "auto"
        What the model accepts. "auto": the one that the model was loaded with; a model without one is refused.
        None: the default chain and windows of the modality, unchecked. A corpus is checked against one that is given.
    rows : sequence of int, optional
        Rows of the corpus index, in the order of the result; all rows by default.
    batch_size : int
        Windows per batch at most; fewer where windows are large. The result depends on it in the last bits only.
    pool : str
        Pooling over latents (see `BrainOF.pool`); "auto" is the model's own for the modality.
    window_seconds : float, optional
        Length of the windows cut from a recording; by default the longest the model was trained on.
    accept : collection of str
        Differences from training that are taken as they are: "sfreq", "window", "frame", "atlas", "positions", "bads"
        (see `ModalityContract.check`).
    memory : int or str, optional
        Bytes (`"1GB"`) that the process should stay below while it reads and prepares: larger arrays live in files of
        the system's temporary folder that have no name. What the caller holds, such as the data of a recording in
        memory or a large model, comes on top. The result does not depend on it. None: all in memory.
    sfreq, channels : float, Channels or list of str, optional
        Of an array: samples per second, and its channels.
    modality : {"eeg", "meg", "fmri"}
        What an array holds, and what is read of MNE objects that hold several.
    units : str, optional
        Unit of an array or file, such as "uV"; by default SI units, or what the file says.

    Returns
    -------
    Embeddings
        Values (n, F) in float32 and one table row per window.

    Raises
    ------
    ContractError
        The recording does not meet the contract, or the model has none.
    RecordingError
        A recording is shorter than one patch after preparation, or marked bad throughout.
    ConfigError
        `source` is nothing that can be embedded.

    Examples
    --------
    >>> brainof.embed("rest.edf", "runs/first").to_frame()  # doctest: +SKIP
    """
    if batch_size < 1:
        raise ConfigError(f"{batch_size}", field="batch_size", fix="give 1 or more")
    network: Any = model
    own = getattr(model, "contract", None)
    if isinstance(model, (str, PathLike)):
        network, own = load(model)
    elif not hasattr(model, "forward_features"):
        raise ConfigError(f"expected a model, got {type(model).__name__}", field="model", fix="see brainof.load")
    corpus = hasattr(source, "index") and hasattr(source, "batch")
    checked = contract if not isinstance(contract, str) else None if corpus else own
    if checked is None and contract is not None and not corpus:
        raise ContractError(
            "the model brings no contract, so that nothing can be checked",
            field="contract",
            fix="pass the contract that brainof.load gives, or contract=None for the default preparation, unchecked",
        )
    options = InputOptions(
        checked, patch_of(network, checked), sfreq, channels, modality, units, False, window_seconds, accept
    )
    with memory_budget(parse_bytes(memory) if memory is not None and not corpus else None):
        if corpus:
            X = CorpusRows(source, rows, options.patch)
        else:
            X = as_input(source, "source")
            if is_array(X):
                got = f"an array of shape {np.shape(X)}" if isinstance(X, np.ndarray) else type(source).__name__
                fix = "give a path, Recording, Raw, Epochs, an array (n, channels, times) or a Corpus"
                raise ConfigError(f"expected signals, got {got}", field="source", fix=fix)
        del source
        samples = read_samples(X, options)
        del X  # nothing but the caller needs the raw data any more
        values = pooled(network, samples.examples, pool, batch_size)
    table = samples.examples.describe()  # type: ignore[attr-defined]
    order = [name for name in ("onset", "duration") if name in table]
    if samples.n_samples > 1 and not corpus:
        table.insert(0, "sample", samples.owner)
    return Embeddings(values.astype(np.float32), table[[*order, *(name for name in table if name not in order)]])
