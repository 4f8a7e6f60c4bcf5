"""What the sidecars of a BIDS dataset change about the reading of an EEG or MEG file."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import ReadError
from ...recording import Recording
from ...utils.values import counted, listed
from ..names import kind_of_name, renamed, unique
from ..options import ReadOptions
from ..text_table import read_text_table
from ..units import factor_to_si
from .electrodes import find_electrodes
from .sidecars import Sidecars

#: BIDS type -> our type; MEG types are left to the file, which knows its coils
_TYPES = {
    "EEG": "eeg",
    "EOG": "eog",
    "VEOG": "eog",
    "HEOG": "eog",
    "ECG": "ecg",
    "EMG": "emg",
    "RESP": "resp",
    "TRIG": "stim",
    **dict.fromkeys(("SEEG", "ECOG", "DBS", "PUPIL", "EYEGAZE", "GSR", "PPG", "TEMP", "AUDIO", "PD"), "misc"),
    **dict.fromkeys(("PHOTODIODE", "MISC", "OTHER", "REF", "ADC", "DAC", "SYSCLOCK", "FITERR", "HLU"), "misc"),
}


@dataclass(frozen=True)
class ChannelTable:
    """Rows of a channels.tsv."""

    path: Path
    names: tuple[str, ...]
    types: dict[str, str]  # Name -> type of ours, where the table gives one that is used
    bads: tuple[str, ...]
    units: dict[str, str]  # Name -> unit as written
    notes: tuple[str, ...] = ()

    def compare(self, there: Sequence[str]) -> None:
        """Hold the table against the file's channels; ReadError where either lacks one (triggers and body apart)."""
        known, listed_names = set(there), set(self.names)
        absent = [name for name in self.names if name not in known]
        extra = [name for name in there if name not in listed_names and kind_of_name(name) is None]
        if not absent and not extra:
            return
        parts = [f"lists {listed(absent, 4)}, which the recording does not have"] if absent else []
        parts += [f"does not list {listed(extra, 4)}"] if extra else []
        fix = "correct it, or read it alone with sidecars=False"
        raise ReadError(" and ".join(parts), file=self.path, field="name", fix=fix)


def read_channels(path: Path) -> ChannelTable:
    """Read a channels.tsv; ReadError where it is no table or has no column `name`."""
    table, notes = read_text_table(path, error=ReadError)
    if "name" not in table.columns:
        raise ReadError("no column 'name'", file=path, field="channels", fix="see the BIDS specification")
    names = unique(table["name"].tolist())

    def column(name: str) -> list[str]:
        return table[name].tolist() if name in table.columns else [""] * len(names)

    types = {n: _TYPES[kind.upper()] for n, kind in zip(names, column("type"), strict=True) if kind.upper() in _TYPES}
    bads = tuple(n for n, state in zip(names, column("status"), strict=True) if state.lower() == "bad")
    units = {n: unit for n, unit in zip(names, column("units"), strict=True) if unit not in ("", "n/a")}
    return ChannelTable(path, tuple(names), types, bads, units, tuple(notes))


def channel_table(sidecars: Sidecars, options: ReadOptions) -> ChannelTable | None:
    """The channels.tsv of a BIDS recording; None where there is none or the options name channels themselves."""
    path = sidecars.first("channels", ".tsv") if sidecars.is_bids and options.channel_names is None else None
    return None if path is None else read_channels(path)


def with_types(options: ReadOptions, table: ChannelTable) -> ReadOptions:
    """The options with the types of the table; patterns of the options come first and win."""
    names = renamed(list(table.types), options, table.path)
    types = {glob.escape(name): kind for name, kind in zip(names, table.types.values(), strict=True)}
    return options.model_copy(update={"channel_types": {**options.channel_types, **types}})


def without_serial(table: ChannelTable) -> ChannelTable:
    """CTF names without the number of the system: MLC11 for MLC11-4408, as they are read."""

    def short(name: str) -> str:
        return re.sub(r"-\d+$", "", name)

    return replace(
        table,
        names=tuple(map(short, table.names)),
        types={short(name): kind for name, kind in table.types.items()},
        bads=tuple(map(short, table.bads)),
        units={short(name): unit for name, unit in table.units.items()},
    )


def with_states(
    recording: Recording, table: ChannelTable, stored: Mapping[str, float], options: ReadOptions
) -> Recording:
    """The bad channels of the table, and a note where its units contradict `stored` (channel -> SI of one unit)."""
    names = dict(zip(table.names, renamed(list(table.names), options, table.path), strict=True))
    there = set(recording.channels.names)
    bads = [names[bad] for bad in table.bads if names[bad] in there and names[bad] not in recording.bads]
    notes = [f"bad by {table.path.name}: {listed(bads)}"] if bads else []
    odd = {}
    for name, unit in table.units.items():
        factor = factor_to_si(unit, "V")
        own = stored.get(names[name]) if names[name] in there else None
        if factor is not None and own is not None and not np.isclose(factor, own, rtol=1e-3, atol=0):
            odd[names[name]] = unit
    if odd and options.units is None:
        what = f"{next(iter(odd.values()))} where the file says otherwise (the file's holds)"
        notes.append(f"{table.path.name} gives {what}: {listed([*odd])}")
    return recording.replace(bads=(*recording.bads, *bads)).noted(*table.notes, *notes)


def with_dataset(recording: Recording, sidecars: Sidecars, options: ReadOptions) -> Recording:
    """The recording with positions from electrodes.tsv, and notes where the JSON sidecar contradicts the file."""
    if not sidecars.is_bids or recording.modality == "fmri":
        return recording
    said = sidecars.number("SamplingFrequency")
    if options.rate is None and said is not None and abs(said - recording.sfreq) > 1e-3 * recording.sfreq:
        recording = recording.noted(f"the JSON says {said:g} Hz, the file {recording.sfreq:g} Hz: the file's was taken")
    if recording.modality != "eeg" or options.montage is not None:
        return recording
    places, notes = find_electrodes(sidecars)
    unknown = np.full(3, np.nan)
    positions = np.array([places.get(name.upper(), unknown) for name in recording.channels.names]).reshape(-1, 3)
    known = np.isfinite(positions).all(axis=1)
    recording = recording.noted(*notes)
    if not known.any():
        return recording
    if recording.channels.frame == "head":  # an unknown frame cannot stand beside the head frame
        positions = np.where(known[:, None], positions, recording.channels.positions)
    channels = replace(recording.channels, positions=positions, frame="head")
    left = int((~np.isfinite(positions).all(axis=1)).sum())
    note = f"{counted(int(known.sum()), 'position', 'come')} from electrodes.tsv" + (
        f", {left} unknown" if left else ""
    )
    outdated = re.compile(r"\d+ positions? comes? from|no position for|electrode positions of the file")
    notes = [line for line in recording.notes if not outdated.match(line)]
    return recording.replace(channels=channels, provenance={**recording.provenance, "notes": [*notes, note]})
