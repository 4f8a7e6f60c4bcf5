"""Recording: the one in-memory type for EEG, MEG and fMRI signals."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from .channels import MODALITIES, MODALITY_OF_TYPE, UNITS, Channels
from .errors import RecordingError, check_known, did_you_mean

EVENT_COLUMNS = ("onset", "duration", "trial_type")
_NO_EVENTS = pd.DataFrame(
    {"onset": pd.Series(dtype=float), "duration": pd.Series(dtype=float), "trial_type": pd.Series(dtype=str)}
)


def no_events() -> pd.DataFrame:
    """An empty events table: onset and duration in seconds from the first sample, trial_type as text."""
    return _NO_EVENTS.copy()


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
        check_known(self.modality, MODALITIES, RecordingError, file=file, field="modality")
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
        """The channels named (or numbered) in `picks`, in that order; a type ("mag") stands for all of its channels.

        Raises
        ------
        RecordingError
            There is no channel of that name (the nearest is named), nor of that type.
        """
        places = {name: [row] for row, name in enumerate(self.channels.names)}
        kinds = np.array(self.channels.types)
        known: dict[str, list[int]] = {kind: np.flatnonzero(kinds == kind).tolist() for kind in kinds.tolist()} | places
        for pick in picks:
            if isinstance(pick, str) and pick not in known:
                raise RecordingError(f"no channel {pick!r}", file=self.file, fix=did_you_mean(pick, known))
        indices = [row for pick in picks for row in (known[pick] if isinstance(pick, str) else [int(pick)])]
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

    def to_mne(self, annotations: bool = True) -> Any:
        """An `mne.io.RawArray` (float64 copy) with types, bad channels, known positions and events as annotations.

        MEG keeps the measurement info of its file where the reader kept it (`info`); without it only names and types
        are known, and nothing that needs coils can run.

        Raises
        ------
        RecordingError
            fMRI, which MNE does not hold.
        """
        import mne

        if self.modality == "fmri":
            raise RecordingError("MNE holds no fMRI", file=self.file, fix="use data and channels, or plot()")
        channels = self.channels
        if self.info is not None:
            info = self.info.copy()
            with info._unlock():
                info["sfreq"] = self.sfreq
        else:
            kinds = ["mag" if kind == "axial" else kind for kind in channels.types]
            info = mne.create_info(list(channels.names), self.sfreq, kinds, verbose="error")
            if self.modality == "eeg" and channels.frame == "head" and channels.located.any():
                places = {channels.names[row]: channels.positions[row] for row in np.flatnonzero(channels.located)}
                montage = mne.channels.make_dig_montage(places, coord_frame="head")
                info.set_montage(montage, on_missing="ignore")
        info["bads"] = list(self.bads)
        raw = mne.io.RawArray(self.data.astype(np.float64), info, verbose="error")
        if annotations:
            onset, duration = self.events["onset"], self.events["duration"].fillna(0)
            raw.set_annotations(mne.Annotations(onset, duration, self.events["trial_type"]), emit_warning=False)
        return raw

    def plot(self, start: float = 0.0, duration: float = 20.0, n_channels: int = 20, show: bool = False) -> Any:
        """A figure of the signal: MNE's browser for EEG and MEG, a carpet (regions by time) for fMRI.

        Parameters
        ----------
        start, duration : float
            Seconds shown (EEG and MEG; a carpet shows all).
        n_channels : int
            Channels shown at once (EEG and MEG).
        show : bool
            Open a window, where there is a screen.

        Returns
        -------
        matplotlib.figure.Figure, or the window of mne-qt-browser where that is installed and `show` is True

        Examples
        --------
        >>> import numpy as np, brainof
        >>> recording = brainof.from_array(np.random.randn(4, 60), 0.5, "fmri")
        >>> recording.plot().savefig("carpet.png")  # doctest: +SKIP
        """
        if self.modality != "fmri":
            import mne

            raw = self.to_mne()
            centred = np.abs(self.data - np.median(self.data, axis=1, keepdims=True))
            kinds = np.array(raw.get_channel_types())
            scalings = {kind: np.percentile(centred[kinds == kind], 99) or 1.0 for kind in set(kinds)}
            extent = {"start": start, "duration": min(duration, self.duration)}
            extent |= {"n_channels": min(n_channels, self.n_channels)}
            with mne.viz.use_browser_backend(mne.viz.get_browser_backend() if show else "matplotlib"):
                return raw.plot(**extent, scalings=scalings, remove_dc=True, show=show, block=show, verbose="error")
        import matplotlib.pyplot as plt

        spread = self.data.std(axis=1, keepdims=True)
        standard = (self.data - self.data.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
        figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
        shown = axes.imshow(
            standard, aspect="auto", cmap="gray", vmin=-2.5, vmax=2.5, extent=(0, self.duration, self.n_channels, 0)
        )
        axes.set(xlabel="time (s)", ylabel=f"region of {self.channels.atlas or 'the atlas'}")
        figure.colorbar(shown, label="standard deviations of the region")
        if show:
            plt.show()
        else:
            plt.close(figure)
        return figure

    def rows(self) -> dict[str, str]:
        """What it is at a glance, as text by name: file, channels, signal, positions, events, ..."""
        channels, names = self.channels, self.channels.names
        kinds = ", ".join(f"{n} {kind} [{UNITS[kind]}]" for kind, n in sorted(Counter(channels.types).items()))
        rate = f"TR {round(self.t_r, 6):g} s" if self.modality == "fmri" else f"{round(self.sfreq, 6):g} Hz"
        located = int(channels.located.sum())
        places = f"{located} known, {self.n_channels - located} unknown, frame {channels.frame}"
        events = [f"{n} x {kind}" for kind, n in self.events["trial_type"].value_counts()[:12].items()]
        rows = {
            "file": self.file or "from memory",
            "format": self.provenance.get("format", "") + " (cut)" * bool(self.provenance.get("truncated")),
            "modality": self.modality,
            "channels": f"{kinds}: {', '.join(names[:6])}{', ...' * (len(names) > 6)}",
            "signal": f"{self.n_times} samples, {rate}, {round(self.duration, 3):g} s",
            "positions": places + (f", atlas {channels.atlas}" if channels.atlas else ""),
            "events": ", ".join(events) or "none",
            "bad": ", ".join(self.bads[:12]) or "none",
            "entities": ", ".join(f"{key} {value}" for key, value in self.entities.items()),
        }
        return {name: text for name, text in rows.items() if text}

    def _repr_html_(self) -> str:
        """The table that a notebook shows."""
        about = self.rows() | {f"note {number}": note for number, note in enumerate(self.notes, 1)}
        rows = (f"<tr><th>{key}</th><td>{html.escape(value)}</td></tr>" for key, value in about.items())
        return f"<table><caption>Recording</caption>{''.join(rows)}</table>"

    def __repr__(self) -> str:
        size = f"{self.n_channels} channels x {self.n_times} samples"
        return f"<Recording {self.modality}, {size}, {self.sfreq:g} Hz, {self.duration:.1f} s>"
