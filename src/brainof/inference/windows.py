"""What a caller has -> checked windows: the one place where signals are read, checked against the contract, and cut."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..channels import MODALITIES, Channels
from ..contract import InputContract, ModalityContract, check_accept
from ..errors import ConfigError, RecordingError, did_you_mean
from ..io import ReadOptions, from_array, from_mne, read
from ..io.formats import first_part
from ..plausibility import require_plausible
from ..prepare import Chain, cut, default_chain
from ..prepare.windows import DEFAULT_WINDOWS, WindowOptions, bad_stretches
from ..recording import Recording
from ..utils.memory import each_row, release
from ..utils.values import counted
from .examples import CorpusRows, Examples, PreparedWindow, WindowList

#: Rate that rows of a plain 2-D array are taken for where none is given: that of the default chain (Hz)
PLAIN_RATE = 256.0

_FIX = "give Epochs, Raw, Recordings, files, an array (n, channels, times) or CorpusRows"


@dataclass(frozen=True)
class InputOptions:
    """How the input is read and checked: the arguments of `embed` and of the estimators that concern it."""

    contract: InputContract | None
    patch: int
    sfreq: float | None = None
    channels: Channels | Sequence[str] | None = None
    modality: str = "eeg"
    units: str | None = None
    prepared: bool = False
    window_seconds: float | None = None
    accept: Collection[str] = ()

    def __post_init__(self) -> None:
        check_accept(self.accept)  # also where there is no contract to compare with
        if self.window_seconds is not None and not self.window_seconds > 0:
            raise ConfigError(f"{self.window_seconds:g}", field="window_seconds", fix="give seconds above 0")


@dataclass(frozen=True, eq=False)
class Samples:
    """Checked windows; `owner` numbers the sample of each: a recording longer than the model's window has several.

    `subjects` (n_samples,) are those of the samples, empty text where one is not known; None where none is.
    """

    examples: Examples
    owner: np.ndarray
    n_samples: int
    subjects: np.ndarray | None

    def average(self, values: np.ndarray) -> np.ndarray:
        """Means over the windows of each sample, of values (..., n_windows, F)."""
        if self.n_samples == len(self.owner):
            return values
        by_window = np.moveaxis(values, -2, 0)
        total = np.zeros((self.n_samples, *by_window.shape[1:]))
        np.add.at(total, self.owner, by_window)
        return np.moveaxis(total, 0, -2) / np.bincount(self.owner, minlength=self.n_samples)[:, None]


def as_input(X: Any, field: str = "X") -> Any:
    """X with tensors and lists of arrays or numbers as one array; everything else as it is; `field` is its name.

    A ConfigError where it holds no signals, an average over trials, or arrays of several shapes; a RecordingError where
    it is empty.
    """
    items = X if isinstance(X, (list, tuple)) else [X]
    if not items:
        raise RecordingError("no samples", field=field)
    if any(_is_mne(item, "Evoked") for item in items):
        raise ConfigError(
            "an Evoked is an average over trials, the model reads single ones",
            field=field,
            fix="give the Epochs, or mne.EpochsArray(evoked.data[None], evoked.info) to take it as one",
        )
    if isinstance(X, CorpusRows) or any(map(_is_signal, items)):
        return X
    if X is items:
        return _stacked(items, field)
    if isinstance(X, torch.Tensor):
        return (X.detach().cpu().float() if X.dtype == torch.bfloat16 else X.detach().cpu()).numpy()
    n_dims = X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim
    if n_dims == 0 or n_dims > 3 or (n_dims == 3 and not isinstance(X, np.ndarray)):
        got = f"an array of shape {X.shape}" if isinstance(X, np.ndarray) else type(X).__name__
        raise ConfigError(f"expected signals, got {got}", field=field, fix=_FIX)
    if n_dims == 1 and len(X) and X.dtype == object and np.ndim(next(iter(X))):  # a column of arrays
        return _stacked(list(X), field)
    if n_dims == 3 and X.dtype == object:
        try:
            return X.astype(float)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"its values are not numbers ({error})", field=field, fix=_FIX) from None
    return X


def _stacked(items: Sequence[Any], field: str) -> np.ndarray:
    """Arrays, tensors or lists of numbers of one shape as one array."""
    try:
        parts = [as_input(item) if isinstance(item, torch.Tensor) else np.asarray(item) for item in items]
    except ValueError as error:  # of lists of several lengths
        raise ConfigError(f"expected signals, got lists ({error})", field=field, fix=_FIX) from None
    shapes = sorted({part.shape for part in parts})
    if len(shapes) > 1:
        raise ConfigError(
            f"arrays of shapes {shapes[0]} and {shapes[1]}",
            field=field,
            fix="cut them to one length, or give a list of brainof.from_array(...)",
        )
    return np.stack(parts)


def is_array(X: Any) -> bool:
    """True for what scikit-learn would take for a table of numbers, False for signals with metadata."""
    if isinstance(X, CorpusRows) or any(map(_is_signal, X if isinstance(X, (list, tuple)) else [X])):
        return False
    return np.ndim(X) != 3 if isinstance(X, np.ndarray) else True


def read_samples(X: Any, options: InputOptions) -> Samples:
    """Prepared windows of all samples, checked against the contract; errors name the sample and what to do."""
    if isinstance(X, CorpusRows):
        if options.contract is not None:
            X.check(options.contract, options.accept)
        return Samples(CorpusRows(X.corpus, X.rows, options.patch), np.arange(len(X)), len(X), _known(X.subjects))
    if is_array(X):
        return _rows(np.asarray(X), options)
    windows: list[PreparedWindow] = []
    owner: list[int] = []
    subjects: list[str] = []
    for number, recording in enumerate(to_recordings(X, options)):
        found = prepare_sample(recording, options, number)
        windows += found
        owner += [number] * len(found)
        subjects.append(str(recording.entities.get("subject", "")))
    if not subjects:
        raise RecordingError("no samples", field="X")
    return Samples(WindowList(windows, options.patch), np.array(owner), len(subjects), _known(np.array(subjects)))


def subjects_of(X: Any, options: InputOptions) -> np.ndarray | None:
    """The subject of each sample (see `Samples`), without preparing anything."""
    if isinstance(X, CorpusRows):
        return _known(X.subjects)
    if is_array(X) or isinstance(X, np.ndarray):
        return None
    return _known(np.array([r.entities.get("subject", "") for r in to_recordings(X, options)], dtype=str))


def to_recordings(X: Any, options: InputOptions) -> Iterator[Recording]:
    """One Recording per sample; files are read one by one."""
    if isinstance(X, np.ndarray):
        yield from _recordings_of_array(X, options)
        return
    items = X if isinstance(X, (list, tuple)) else [X]
    paths = {str(item) for item in items if isinstance(item, (str, PathLike))}
    for item in items:
        if isinstance(item, Recording):
            yield item
        elif isinstance(item, (str, PathLike)):
            if (first := first_part(Path(item))) is not None and str(first) in paths:
                raise ConfigError(f"is read with {first.name}, which is given too", file=item, fix="leave it out")
            yield read(item, options=ReadOptions(units=options.units) if options.units else None)
        elif _is_mne(item):
            made = from_mne(item, modality=options.modality, options=ReadOptions(units=options.units))
            recordings = made if isinstance(made, list) else [made]
            metadata = getattr(item, "metadata", None)
            if metadata is not None and "subject" in metadata:
                names = metadata["subject"].astype(str).where(metadata["subject"].notna(), "")
                of_each = zip(recordings, names, strict=False)
                recordings = [one.replace(entities={**one.entities, "subject": name}) for one, name in of_each]
            yield from recordings
        else:
            raise ConfigError(f"expected signals, got {type(item).__name__}", field="X", fix=_FIX)


def prepare_sample(recording: Recording, options: InputOptions, number: int) -> list[PreparedWindow]:
    """The windows of one recording, by the steps of the contract."""
    known = recording.file
    if known is None:  # errors should name something
        recording = recording.replace(provenance={**recording.provenance, "file": f"sample {number}"})
    file = recording.file
    if options.prepared:
        part, ready = options.contract.part(recording) if options.contract else None, recording
    else:
        part, chain = preparation(recording, options.contract)
        ready = chain.apply(recording)
    if not all(np.isfinite(values).all() for values in each_row(ready.data)):
        raise RecordingError("holds NaN or infinite values", file=file, field="data", fix="repair or leave it out")
    release(ready.data)
    if ready.n_times < options.patch:
        text = f"{counted(ready.n_times, 'sample')} ({ready.duration:.3g} s) after preparation"
        text += f", a patch of the model has {options.patch}"
        raise RecordingError(text, file=file, field="duration", fix="give a longer recording")
    windows = cut(ready, window_options(ready, part, options.window_seconds, options.patch))
    if part is not None:
        part.check(ready, options.accept, options.window_seconds)
    if not windows:
        fix, free, start = "correct the annotations", 0.0, 0.0
        for first, last in sorted([*bad_stretches(ready).tolist(), [ready.n_times, ready.n_times]]):
            free, start = max(free, first - start), max(start, last)
        if free >= options.patch:
            fix = f"use window_seconds={free / ready.sfreq:.4g} or less, the longest stretch between them, or {fix}"
        raise RecordingError("every window touches a stretch that is marked bad", file=file, fix=fix)
    good = np.array([name not in ready.bads for name in ready.channels.names])
    origin = {"modality": ready.modality, **recording.entities, **({} if known is None else {"file": str(known)})}
    return [
        PreparedWindow(
            np.asarray(window.data, np.float32),
            ready.channels,
            ready.sfreq,
            ready.modality,
            good,
            {**origin, "onset": window.onset, "duration": window.data.shape[1] / ready.sfreq},
        )
        for window in windows
    ]


def preparation(recording: Recording, contract: InputContract | None) -> tuple[ModalityContract | None, Chain]:
    """The contract's part for a recording and the chain it stores; without a contract, the default of the modality.

    A ContractError where the modality or a sensor type was never trained, or the amplitude is implausible.
    """
    part = contract.part(recording) if contract else None
    require_plausible(recording)
    return part, Chain.from_steps(part.steps) if part else default_chain(recording.modality)


def window_options(
    prepared: Recording, part: ModalityContract | None, window_seconds: float | None, patch: int
) -> WindowOptions:
    """How a prepared recording is cut for embedding: as long as in training, with everything down to one patch kept.

    fMRI is cut into the fewest equal windows, of at most the default number of volumes: seconds alone would make
    windows of a short TR longer than any in training.
    """
    usual = DEFAULT_WINDOWS[prepared.modality]
    seconds = window_seconds or (part.window_seconds[1] if part is not None else 0) or usual.get("length")
    n_times = usual["n_times"] if seconds is None else max(patch, round(seconds * prepared.sfreq))
    shortest = patch / prepared.sfreq
    if not usual.get("whole"):
        return WindowOptions(n_times=n_times, min_length=shortest)
    if window_seconds is None:
        n_times = min(n_times, usual["n_times"])
    return WindowOptions(whole=True, n_times=n_times, min_length=shortest)


def _rows(X: np.ndarray, options: InputOptions) -> Samples:
    """Rows of a 2-D array: prepared windows of one channel whose place is unknown."""
    channels = Channels(("unknown",), (_usual_type(options.modality),))
    sfreq = options.sfreq or PLAIN_RATE
    if options.contract is not None:
        stub = Recording(np.zeros((1, max(X.shape[1], 2)), np.float32), sfreq, options.modality, channels)
        options.contract.part(stub).check(stub, options.accept)
    good = np.ones(1, bool)
    windows = [PreparedWindow(row[None].astype(np.float32), channels, sfreq, options.modality, good) for row in X]
    return Samples(WindowList(windows, options.patch), np.arange(len(X)), len(X), None)


def _recordings_of_array(X: np.ndarray, options: InputOptions) -> list[Recording]:
    if not len(X):
        raise RecordingError("no samples", field="X")
    if options.sfreq is None:
        raise ConfigError("is unknown", field="sfreq", fix="give the samples per second of the array (1 / TR for fMRI)")
    table = options.channels if isinstance(options.channels, Channels) else None
    names: Any = table.names if table is not None else options.channels
    _usual_type(options.modality)
    if names is not None and len(names) != X.shape[1]:
        text = f"{counted(len(names), 'name')} for {counted(X.shape[1], 'channel')} of an array of shape {X.shape}"
        raise ConfigError(text, field="channels", fix="arrays are (n, channels, times)")
    for number, window in enumerate(X):
        if not np.isfinite(window).all():
            raise RecordingError("holds NaN or infinite values", file=f"sample {number}", fix="repair or leave it out")
    given: dict[str, Any] = {} if table is None else {"channel_types": table.types, "positions": table.positions}
    # all samples as one recording: names, positions and units are looked up once
    joined = X.transpose(1, 0, 2).reshape(X.shape[1], -1)
    whole = from_array(joined, options.sfreq, options.modality, channel_names=names, units=options.units, **given)
    if table is not None:
        whole = whole.replace(channels=table)
    return [whole.replace(data=part) for part in np.split(whole.data, len(X), axis=1)]


def _usual_type(modality: str) -> str:
    if modality not in MODALITIES:
        raise ConfigError(f"{modality!r}", field="modality", fix=did_you_mean(str(modality), MODALITIES))
    return {"eeg": "eeg", "meg": "mag", "fmri": "roi"}[modality]


#: Where the classes of MNE live; nobody holds an object of a module that was never imported
_HOMES = {"BaseEpochs": "mne.epochs", "BaseRaw": "mne.io.base", "Evoked": "mne.evoked"}


def _is_mne(X: Any, *names: str) -> bool:
    homes = {name: sys.modules.get(_HOMES[name]) for name in names or ("BaseEpochs", "BaseRaw")}
    return any(home is not None and isinstance(X, getattr(home, name)) for name, home in homes.items())


def _is_signal(X: Any) -> bool:
    return isinstance(X, (Recording, str, PathLike)) or _is_mne(X)


def _known(subjects: np.ndarray) -> np.ndarray | None:
    return subjects if (subjects != "").any() else None
