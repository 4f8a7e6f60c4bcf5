"""Recording: the one in-memory type for EEG, MEG and fMRI signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from .channels import MODALITIES, MODALITY_OF_TYPE, Channels
from .errors import RecordingError, did_you_mean

EVENT_COLUMNS = ("onset", "duration", "trial_type")


def no_events() -> pd.DataFrame:
    """An empty events table: onset and duration in seconds from the first sample, trial_type as text."""
    return pd.DataFrame(
        {"onset": pd.Series(dtype=float), "duration": pd.Series(dtype=float), "trial_type": pd.Series(dtype=str)}
    )


@dataclass(frozen=True, eq=False)
class Recording:
    """One continuous recording of one modality.

    Attributes
    ----------
    data : ndarray, shape (n_channels, n_times), float32 or float64
        Values in the SI unit of each channel's type (`channels.units`); "a.u." for fMRI.
    sfreq : float
        Samples per second; 1 / TR for fMRI.
    modality : {"eeg", "meg", "fmri"}
        All channels belong to it.
    channels : Channels
        The channel table.
    entities : dict of str
        BIDS entities that are known: subject, session, task, run, ...
    events : DataFrame
        Columns onset (s), duration (s), trial_type; further columns are kept.
    bads : tuple of str
        Names of channels marked bad in the file or by preparation.
    provenance : dict
        Where it came from: `file`, `format`, `notes` (list of sentences a user should read), and what else is known.
    info : mne.Info, optional
        MEG from a file: MNE's measurement info of these channels in this order (coils, device-to-head transform,
        digitisation), which Maxwell filtering needs.
    """

    data: np.ndarray
    sfreq: float
    modality: str
    channels: Channels
    entities: dict[str, str] = field(default_factory=dict)
    events: pd.DataFrame = field(default_factory=no_events)
    bads: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    info: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        file = self.file
        if self.modality not in MODALITIES:
            fix = did_you_mean(self.modality, MODALITIES)
            raise RecordingError(f"{self.modality!r}", file=file, field="modality", fix=fix)
        if self.data.ndim != 2 or len(self.data) != len(self.channels):
            raise RecordingError(f"shape {self.data.shape} for {len(self.channels)} channels", file=file, field="data")
        if self.data.dtype not in (np.float32, np.float64):
            fix = "convert to float32 or float64"
            raise RecordingError(f"dtype {self.data.dtype}", file=file, field="data", fix=fix)
        if not (np.isfinite(self.sfreq) and self.sfreq > 0):
            raise RecordingError(f"{self.sfreq}", file=file, field="sfreq", fix="give a rate above 0 Hz")
        for name, kind in zip(self.channels.names, self.channels.types, strict=True):
            if MODALITY_OF_TYPE[kind] != self.modality:
                raise RecordingError(f"a {kind} channel in {self.modality} data", file=file, field=name)
        missing = [column for column in EVENT_COLUMNS if column not in self.events.columns]
        if missing:
            raise RecordingError(f"columns {missing} are missing", file=file, field="events")

    @property
    def n_channels(self) -> int:
        return self.data.shape[0]

    @property
    def n_times(self) -> int:
        return self.data.shape[1]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.n_times / self.sfreq

    @property
    def t_r(self) -> float:
        """Repetition time in seconds: the sampling interval, under fMRI's own name."""
        return 1 / self.sfreq

    @property
    def file(self) -> str | None:
        """The file it was read from."""
        return self.provenance.get("file")

    @property
    def notes(self) -> list[str]:
        """Sentences a user should read: what was assumed, left out or found odd."""
        return list(self.provenance.get("notes", ()))

    def replace(self, **changes: Any) -> Recording:
        """A copy with some attributes changed."""
        return replace(self, **changes)

    def noted(self, *notes: str) -> Recording:
        """A copy with notes added."""
        return replace(self, provenance={**self.provenance, "notes": [*self.notes, *notes]})

    def pick(self, picks: Sequence[str] | Sequence[int] | np.ndarray) -> Recording:
        """The channels named (or numbered) in `picks`, in that order."""
        places = {name: row for row, name in enumerate(self.channels.names)}
        for pick in picks:
            if isinstance(pick, str) and pick not in places:
                raise RecordingError(f"no channel {pick!r}", file=self.file, fix=did_you_mean(pick, places))
        indices = [places[pick] if isinstance(pick, str) else int(pick) for pick in picks]
        channels = self.channels.take(indices)
        return replace(
            self,
            data=self.data[indices],
            channels=channels,
            bads=tuple(b for b in self.bads if b in channels.names),
            info=None if indices != list(range(self.n_channels)) else self.info,
        )

    def reorder(self, names: Sequence[str]) -> Recording:
        """Regions in the order of an atlas: as `pick`, and each takes its rank in `names`; absent ones are left out.

        `names` are all regions of the atlas, in its order: `contract.modalities["fmri"].regions[atlas].names`.

        Raises
        ------
        RecordingError
            A region of the recording is not in `names`.
        """
        ranks = {name: rank for rank, name in enumerate(names)}
        for name in self.channels.names:
            if name not in ranks:
                fix = f"leave it out with pick, or {did_you_mean(name, ranks)}"
                raise RecordingError(f"no region {name!r} in the order given", field="names", fix=fix)
        picked = self.pick([name for name in names if name in self.channels.names])
        order = np.array([ranks[name] for name in picked.channels.names])
        return picked.replace(channels=replace(picked.channels, order=order))

    def __repr__(self) -> str:
        size = f"{self.n_channels} channels x {self.n_times} samples"
        return f"<Recording {self.modality}, {size}, {self.sfreq:g} Hz, {self.duration:.1f} s>"
