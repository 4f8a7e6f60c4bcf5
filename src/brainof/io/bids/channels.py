"""channels.tsv: types, states and units of channels as a BIDS dataset gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ReadError
from ...utils.values import listed
from ..names import kind_of_name, unique
from ..text_table import read_text_table

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
    **dict.fromkeys(
        ("SEEG", "ECOG", "DBS", "PUPIL", "EYEGAZE", "GSR", "PPG", "TEMP", "AUDIO", "PD", "PHOTODIODE"), "misc"
    ),
    **dict.fromkeys(("MISC", "OTHER", "REF", "ADC", "DAC", "SYSCLOCK", "FITERR", "HLU"), "misc"),
}


@dataclass(frozen=True)
class ChannelTable:
    """Rows of a channels.tsv.

    Attributes
    ----------
    path : Path
    names : tuple of str
    types : dict of str
        name -> type of ours, where the table gives one that is used.
    bads : tuple of str
    units : dict of str
        name -> unit as written.
    notes : tuple of str
    """

    path: Path
    names: tuple[str, ...]
    types: dict[str, str]
    bads: tuple[str, ...]
    units: dict[str, str]
    notes: tuple[str, ...] = ()

    def compare(self, there: Sequence[str]) -> None:
        """Hold the table against the channels of the file.

        Raises ReadError: a name of the table is not in the file, or a channel of the file (other than a trigger or of
        the body) not in the table.
        """
        known, listed_names = set(there), set(self.names)
        absent = [name for name in self.names if name not in known]
        extra = [name for name in there if name not in listed_names and kind_of_name(name) is None]
        if not absent and not extra:
            return
        parts = [f"lists {listed(absent, 4)}, which the recording does not have"] if absent else []
        parts += [f"does not list {listed(extra, 4)}"] if extra else []
        raise ReadError(
            " and ".join(parts), file=self.path, field="name", fix="correct it, or read it alone with sidecars=False"
        )


def read_channels(path: Path) -> ChannelTable:
    """Read a channels.tsv.

    Raises ReadError: it is no table or has no column `name`.
    """
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
