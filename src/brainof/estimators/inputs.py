"""Whatever a user has -> prepared windows: Epochs, Recordings, files, arrays with metadata, windows of a corpus."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from ..adaptation import CorpusRows, Examples, PreparedWindow, WindowList
from ..channels import MODALITIES, Channels
from ..contract import InputContract, ModalityContract
from ..errors import ConfigError, RecordingError, did_you_mean
from ..plausibility import require_plausible
from ..recording import Recording

#: Rate that rows of a plain 2-D array are taken for where none is given: that of the default chain (Hz)
PLAIN_RATE = 256.0


@dataclass(frozen=True)
class Reading:
    """How samples are read: the arguments of an estimator that concern its input."""

    contract: InputContract | None
    patch: int
    sfreq: float | None = None
    channels: Channels | Sequence[str] | None = None
    modality: str = "eeg"
    units: str | None = None
    prepared: bool = False
    window_seconds: float | None = None
    accept: Collection[str] = ()


@dataclass(frozen=True, eq=False)
class Samples:
    """Prepared windows, and the sample that each belongs to.

    Attributes
    ----------
    examples : Examples
        Windows.
    owner : ndarray of int, shape (n_windows,)
        Sample of each window: a recording longer than the model's window has several.
    n_samples : int
    subjects : ndarray of str, shape (n_samples,), or None
        Person of each sample, where all are known.
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


def is_array(X: Any) -> bool:
    """True for what scikit-learn would take for a table of numbers, False for signals with metadata."""
    if isinstance(X, (CorpusRows, Recording)) or _is_mne(X):
        return False
    if isinstance(X, (list, tuple)) and X:
        return not (isinstance(X[0], (Recording, PathLike, str)) or _is_mne(X[0]))
    return np.ndim(X) != 3 if isinstance(X, np.ndarray) else True


def read_samples(X: Any, reading: Reading) -> Samples:
    """Prepared windows of all samples, checked against the contract.

    Raises
    ------
    ConfigError, ContractError, RecordingError, ReadError
        Name the sample and what to do.
    """
    if isinstance(X, CorpusRows):
        if reading.contract is not None:
            X.check(reading.contract, reading.accept)
        return Samples(CorpusRows(X.corpus, X.rows, reading.patch), np.arange(len(X)), len(X), _known(X.subjects))
    if is_array(X):
        return _plain(np.asarray(X), reading)
    recordings = to_recordings(X, reading)
    if not recordings:
        raise RecordingError("no samples", field="X")
    windows: list[PreparedWindow] = []
    owner: list[int] = []
    for number, recording in enumerate(recordings):
        found = prepare_sample(recording, reading, number)
        windows += found
        owner += [number] * len(found)
    subjects = np.array([recording.entities.get("subject", "") for recording in recordings], dtype=str)
    return Samples(WindowList(windows, reading.patch), np.array(owner), len(recordings), _known(subjects))


def subjects_of(X: Any, reading: Reading) -> np.ndarray | None:
    """The person of each sample, where all are known, without preparing anything."""
    if isinstance(X, CorpusRows):
        return _known(X.subjects)
    if is_array(X) or isinstance(X, np.ndarray):
        return None
    return _known(np.array([r.entities.get("subject", "") for r in to_recordings(X, reading)], dtype=str))


def to_recordings(X: Any, reading: Reading) -> list[Recording]:
    """One Recording per sample."""
    from ..io import from_mne, read

    if isinstance(X, Recording):
        return [X]
    if isinstance(X, np.ndarray) and X.ndim == 3:
        return _recordings_of_array(X, reading)
    found: list[Recording] = []
    for item in [X] if _is_mne(X) else X:
        if isinstance(item, Recording):
            found.append(item)
        elif isinstance(item, (str, PathLike)):
            found.append(read(item))
        elif _is_mne(item):
            made = from_mne(item, modality=reading.modality)
            subjects = _epoch_subjects(item)
            made = made if isinstance(made, list) else [made]
            for number, recording in enumerate(made):
                if subjects is not None:
                    recording = recording.replace(entities={**recording.entities, "subject": subjects[number]})
                found.append(recording)
        else:
            raise ConfigError(
                f"{type(item).__name__} is no sample",
                field="X",
                fix="give Epochs, Recordings, files, an array (n, channels, times) or CorpusRows",
            )
    return found


def prepare_sample(recording: Recording, reading: Reading, number: int) -> list[PreparedWindow]:
    """The windows of one recording, by the steps of the contract."""
    from ..inference.embedding import window_options
    from ..prepare import Chain, cut, default_chain

    if recording.provenance.get("file") is None:  # errors should name something
        recording = recording.replace(provenance={**recording.provenance, "file": f"sample {number}"})
    file = recording.provenance["file"]
    part: ModalityContract | None = None
    if reading.prepared:
        if reading.contract:
            part = reading.contract.part(recording)
        ready = recording
    else:
        part = reading.contract.part(recording) if reading.contract else None
        require_plausible(recording)
        chain = Chain.from_steps(part.steps) if part else default_chain(recording.modality)
        ready = chain.apply(recording)
    if not np.isfinite(ready.data).all():
        raise RecordingError("holds NaN or infinite values", file=file, field="data", fix="repair or leave it out")
    windows = cut(ready, window_options(ready, part, reading.window_seconds, reading.patch))
    if part is not None:
        part.check(ready, reading.accept, reading.window_seconds)
    if not windows:
        raise RecordingError("every window touches a stretch that is marked bad", file=file, fix="leave it out")
    good = np.array([name not in ready.bads for name in ready.channels.names])
    return [
        PreparedWindow(np.asarray(window.data, np.float32), ready.channels, ready.sfreq, ready.modality, good)
        for window in windows
    ]


def _plain(X: np.ndarray, reading: Reading) -> Samples:
    """Rows of a 2-D array: prepared windows of one channel whose place is unknown."""
    channels = Channels(("unknown",), (_usual_type(reading.modality),))
    rate = reading.sfreq or PLAIN_RATE
    if reading.contract is not None:
        stub = Recording(np.zeros((1, max(X.shape[1], 2)), np.float32), rate, reading.modality, channels)
        reading.contract.part(stub).check(stub, reading.accept)
    good = np.ones(1, bool)
    windows = [PreparedWindow(row[None].astype(np.float32), channels, rate, reading.modality, good) for row in X]
    return Samples(WindowList(windows, reading.patch), np.arange(len(X)), len(X), None)


def _recordings_of_array(X: np.ndarray, reading: Reading) -> list[Recording]:
    from ..io import from_array

    if reading.sfreq is None:
        raise ConfigError("is unknown", field="sfreq", fix="give the samples per second of the array (1 / TR for fMRI)")
    table = reading.channels if isinstance(reading.channels, Channels) else None
    names: Any = table.names if table is not None else reading.channels
    _usual_type(reading.modality)
    for number, window in enumerate(X):
        if not np.isfinite(window).all():
            raise RecordingError("holds NaN or infinite values", file=f"sample {number}", fix="repair or leave it out")
    given: dict[str, Any] = {} if table is None else {"channel_types": table.types, "positions": table.positions}
    # all samples as one recording: names, positions and units are looked up once
    joined = X.transpose(1, 0, 2).reshape(X.shape[1], -1)
    whole = from_array(joined, reading.sfreq, reading.modality, channel_names=names, units=reading.units, **given)
    if table is not None:
        whole = whole.replace(channels=table)
    return [whole.replace(data=part) for part in np.split(whole.data, len(X), axis=1)]


def _usual_type(modality: str) -> str:
    if modality not in MODALITIES:
        raise ConfigError(f"{modality!r}", field="modality", fix=did_you_mean(str(modality), MODALITIES))
    return {"eeg": "eeg", "meg": "mag", "fmri": "roi"}[modality]


def _is_mne(X: Any) -> bool:
    # nobody holds an object of a module that was never imported
    homes = (("mne.epochs", "BaseEpochs"), ("mne.io.base", "BaseRaw"))
    return any(isinstance(X, getattr(sys.modules[home], name)) for home, name in homes if home in sys.modules)


def _epoch_subjects(instance: Any) -> list[str] | None:
    metadata = getattr(instance, "metadata", None)
    if metadata is None or "subject" not in metadata:
        return None
    return metadata["subject"].astype(str).tolist()


def _known(subjects: np.ndarray) -> np.ndarray | None:
    return subjects if len(subjects) and (subjects != "").all() else None
