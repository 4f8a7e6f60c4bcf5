"""What the sidecars of a BIDS dataset change about the reading of an EEG or MEG file."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...recording import Recording
from ...utils.values import listed
from ..names import renamed
from ..options import ReadOptions
from ..units import factor_to_si
from .channels import ChannelTable, read_channels
from .electrodes import find_electrodes, positions_of
from .sidecars import Sidecars


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

    return ChannelTable(
        table.path,
        tuple(map(short, table.names)),
        {short(name): kind for name, kind in table.types.items()},
        tuple(map(short, table.bads)),
        {short(name): unit for name, unit in table.units.items()},
        table.notes,
    )


def with_states(
    recording: Recording, table: ChannelTable, stored: Mapping[str, float], options: ReadOptions
) -> Recording:
    """The recording with the bad channels of the table, and a note where its units contradict the file's.

    Parameters
    ----------
    stored : mapping of channel name to float
        SI value of one unit as the file stores it; empty where the format has no units.
    """
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
        unit = next(iter(odd.values()))
        notes.append(
            f"{table.path.name} gives {unit} where the file says otherwise (the file's holds): {listed([*odd])}"
        )
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
    electrodes = find_electrodes(sidecars)
    if electrodes is None:
        return recording
    positions = positions_of(recording.channels.names, electrodes)
    known = np.isfinite(positions).all(axis=1)
    recording = recording.noted(*electrodes.notes)
    if not known.any():
        return recording
    if recording.channels.frame == "head":  # an unknown frame cannot stand beside the head frame
        positions = np.where(known[:, None], positions, recording.channels.positions)
    channels = replace(recording.channels, positions=positions, frame="head")
    left = int((~np.isfinite(positions).all(axis=1)).sum())
    note = f"{known.sum()} positions come from electrodes.tsv" + (f", {left} are unknown" if left else "")
    notes = [line for line in recording.notes if not _about_positions(line)]
    recording = recording.replace(channels=channels, provenance={**recording.provenance, "notes": notes})
    return recording.noted(note)


def _about_positions(note: str) -> bool:
    """Notes of the reader on positions that are not true any more."""
    return bool(re.match(r"(\d+ positions come from|no position for|electrode positions of the file)", note))
