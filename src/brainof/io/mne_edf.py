"""Opening EDF and BDF with MNE: the channels that are wanted, their units, the annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..channels import SENSOR_TYPES
from ..errors import ReadError
from ..utils.values import counted
from .edf_annotations import read_annotations
from .edf_header import EdfHeader, EdfSignal, read_edf_header
from .mne_convert import Opened, opened_in_volts
from .names import chosen_type, drops_of_nothing, kept, kind_of_name, renamed, unique
from .options import ReadOptions, ReadRequest
from .units import filled_units, is_body_unit, unknown_unit, volts_per_unit


def open_edf(request: ReadRequest, table: Mapping[str, str]) -> Opened:
    """EDF and BDF with only the channels that are wanted, so that a fast ECG does not resample the EEG."""
    import mne

    path, format_name, options = request.path, request.format, request.options
    header = read_edf_header(path)
    if (header.bytes_per_sample == 3) != (format_name == "bdf"):
        true, end = ("BDF", ".bdf") if header.bytes_per_sample == 3 else ("EDF", ".edf")
        raise ReadError(f"begins like {true}", file=path, field="format", fix=f"let its name end in {end}")
    if all(signal.is_annotation for signal in header.signals):
        fix = "name it as events.file in a recipe, beside the recording"
        raise ReadError("empty recording: holds annotations only, no signal", file=path, field="signals", fix=fix)
    if not header.record_seconds and options.rate is None:
        raise ReadError("is 0: the sampling rate is unknown", file=path, field="record duration", fix="give sfreq=")
    labels = unique([signal.label for signal in header.signals])
    signals = {label: signal for label, signal in zip(labels, header.signals, strict=True) if not signal.is_annotation}
    names = dict(zip(signals, renamed(list(signals), options, path), strict=True))
    # MNE knows microvolts and millivolts and takes everything else for volts
    known_to_mne = dict.fromkeys(("uV", "\u03bcV", "\u00b5V", "\x83\xcaV"), 1e-6) | {"mV": 1e-3}
    of_mne = {names[label]: known_to_mne.get(signal.unit, 1.0) for label, signal in signals.items()}
    units, of_table = filled_units({label: signal.unit for label, signal in signals.items()}, table)
    wanted, notes = _edf_channels(path, header, signals, units, names, options)
    notes += of_table
    exclude = [label for label in signals if label not in wanted and label.lower() not in ("status", "trigger")]
    open_with_mne = getattr(mne.io, f"read_raw_{format_name}")
    raw = open_with_mne(path, preload=False, exclude=exclude, exclude_after_unique=True, encoding="latin1")
    events, more = read_annotations(path, header)
    notes += more
    raw.rename_channels({label: names[label] for label in raw.ch_names if label in names})
    rates = sorted({signals[label].rate for label in wanted})
    if len(rates) > 1:
        texts = ", ".join(f"{rate:g}" for rate in rates)
        notes.append(f"channels of {texts} Hz were brought to {rates[-1]:g} Hz by MNE")
    return opened_in_volts(
        raw,
        {names[label]: units[label] for label in wanted},
        of_mne,
        notes=notes,
        truncated=header.truncated,
        at_once=len(rates) > 1,
        names=list(signals),
        options=options.model_copy(update={"rename": {}, "channel_names": None, "drop": _types_alone(options.drop)}),
        annotations=events,
    )


def _types_alone(words: Sequence[str]) -> tuple[str, ...]:
    """What is left to drop of the channels that opening has left: those of types, which it does not know."""
    return tuple(word for word in words if word in SENSOR_TYPES)


def _edf_channels(
    path: Path,
    header: EdfHeader,
    signals: dict[str, EdfSignal],
    units: dict[str, str],
    names: dict[str, str],
    options: ReadOptions,
) -> tuple[list[str], list[str]]:
    """Labels of the EEG channels that can be used, and notes on those that cannot."""
    notes = [*header.notes, *drops_of_nothing(list(names.values()), options)]
    wanted, other, ranges = [], [], []
    for label, signal in signals.items():
        told = chosen_type(names[label], options)
        kind = told or kind_of_name(names[label])
        if kind is not None and kind != "eeg":
            other.append(names[label])
        elif told is None and options.units is None and is_body_unit(units[label]):
            other.append(f"{names[label]} [{units[label]}]")
        elif not signal.has_range:
            ranges.append(names[label])
        else:
            wanted.append(label)
    if other:
        notes.append(f"ignored {counted(len(other), 'non-EEG channel')}: {', '.join(map(repr, other))}")
    if ranges:
        notes.append(f"left out, their minimum equals their maximum in the header: {', '.join(ranges)}")
    if not wanted:
        raise ReadError("no EEG channel", file=path, field="channels", fix="give channel_types=")
    wanted = [wanted[i] for i in kept([names[label] for label in wanted], options, path)]
    for label in wanted:
        if options.units is None and volts_per_unit(units[label]) is None:
            raise unknown_unit(names[label], units[label], path)
    return wanted, notes
