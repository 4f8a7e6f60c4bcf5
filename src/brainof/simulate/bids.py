"""Files of one subject in a BIDS tree: signals in native formats with their sidecars.

BrainVision (Core Data Format 1.0) by own code, as the demo needs it and pybv is no core dependency.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..channels import UNITS, Channels
from ..errors import DependencyError
from ..recording import EVENT_COLUMNS, Recording
from .activity import label_volume, paint
from .montages import sensor_info
from .parameters import CohortParameters
from .persons import stream
from .subjects import TASK, Subject

#: Folder of parcellated fMRI below the root
PARCELLATED = Path("derivatives") / "parcellated"
#: EEG format -> suffix of the file that is opened
EEG_FORMATS = {"brainvision": ".vhdr", "edf": ".edf"}
_BIDS_TYPES = {"eeg": "EEG", "mag": "MEGMAG", "grad": "MEGGRADPLANAR", "axial": "MEGGRADAXIAL"}
_BIDS_UNITS = {**UNITS, "eeg": "µV"}


def json_text(values: dict[str, Any]) -> str:
    """Sorted, indented JSON."""
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json_text(values), encoding="utf-8")


def write_tsv(path: Path, table: pd.DataFrame) -> None:
    """Write a BIDS table: tabs, n/a for unknown values."""
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.10g")


def write_sensors(subject: Subject, modality: str, parameters: CohortParameters, folder: Path, eeg_format: str) -> None:
    """EEG (BrainVision, EDF) with its electrodes or MEG (FIF), JSON, channels, coordinate system, events."""
    recording, level, space = subject.recordings[modality], parameters.artefacts, ""
    if modality == "eeg":
        path = _path(folder, subject, f"eeg{EEG_FORMATS[eeg_format]}")
        (_write_edf if eeg_format == "edf" else write_brainvision)(recording, path)
        sidecar: dict[str, Any] = {"EEGReference": "average"}
        system, space = "CapTrak", "_space-CapTrak"
        places = pd.DataFrame(recording.channels.positions, columns=["x", "y", "z"])
        places.insert(0, "name", recording.channels.names)
        write_tsv(folder / f"sub-{subject.name}{space}_electrodes.tsv", places)
    else:
        _write_fif(recording, parameters.meg, _path(folder, subject, "meg.fif"))
        sidecar = {"DewarPosition": "upright", "DigitizedLandmarks": False, "DigitizedHeadPoints": False}
        system = "CTF" if parameters.meg == "ctf275" else "ElektaNeuromag"
    common = {
        "PowerLineFrequency": level.line_frequency if level.line else "n/a",
        "SamplingFrequency": recording.sfreq,
        f"{modality.upper()}ChannelCount": recording.n_channels,
        "RecordingDuration": recording.duration,
        "RecordingType": "continuous",
        "SoftwareFilters": "n/a",
    }
    _describe(subject, modality, folder, modality, common | sidecar)
    table = pd.DataFrame({"name": recording.channels.names})
    table["type"] = [_BIDS_TYPES[kind] for kind in recording.channels.types]
    table["units"] = [_BIDS_UNITS[kind] for kind in recording.channels.types]
    table["status"] = np.where(table["name"].isin(recording.bads), "bad", "good")
    write_tsv(_path(folder, subject, "channels.tsv"), table)
    coordinates = {f"{modality.upper()}CoordinateSystem": system, f"{modality.upper()}CoordinateUnits": "m"}
    write_json(folder / f"sub-{subject.name}{space}_coordsystem.json", coordinates)


def _write_fif(recording: Recording, helmet: str, path: Path) -> None:
    """MEG (float32) with the device-to-head transform."""
    import mne

    info = sensor_info(helmet).copy()
    with info._unlock():
        info["sfreq"], info["lowpass"] = recording.sfreq, recording.sfreq / 2
    info["bads"] = list(recording.bads)
    mne.io.RawArray(recording.data, info, copy="both", verbose="ERROR").save(path, fmt="single", verbose="ERROR")


def _write_edf(recording: Recording, path: Path) -> None:
    """EEG as EDF (16 bits, one range for all channels) through MNE and edfio."""
    try:
        import edfio  # noqa: F401
    except ImportError:
        raise DependencyError("EDF needs the package edfio", field="eeg_format", fix="pip install edfio") from None
    import mne

    info = mne.create_info(list(recording.channels.names), recording.sfreq, "eeg")
    raw = mne.io.RawArray(recording.data, info, verbose="ERROR")
    # EDF holds whole data records: MNE would fill the last one up with zeros and an annotation
    raw.export(path, physical_range="auto", verbose="ERROR")


def write_brainvision(recording: Recording, path: Path) -> None:
    """Write EEG (V) as `path` (.vhdr), its .eeg (float32 microvolts, multiplexed) and .vmrk (events as comments)."""
    stem = path.name.removesuffix(".vhdr")
    microvolts = np.multiply(recording.data.T, 1e6, dtype=np.float32, order="C")
    microvolts.astype("<f4", copy=False).tofile(path.with_name(f"{stem}.eeg"))
    markers = ["Mk1=New Segment,,1,1,0"]
    events = recording.events[list(EVENT_COLUMNS)].itertuples(index=False)
    for number, (onset, duration, kind) in enumerate(events, start=2):
        sample, length = round(onset * recording.sfreq) + 1, max(1, round(duration * recording.sfreq))
        markers.append(f"Mk{number}=Comment,{kind},{sample},{length},0")
    channels = "\n".join(f"Ch{i}={name},,1,µV" for i, name in enumerate(recording.channels.names, start=1))
    sizes = {"n_channels": recording.n_channels, "n_times": recording.n_times, "interval": 1e6 / recording.sfreq}
    for suffix in (".vmrk", ".vhdr"):
        template = Path(__file__).with_name(f"template{suffix}").read_text(encoding="utf-8")
        text = template.format(stem=stem, markers="\n".join(markers), channels=channels, **sizes)
        path.with_name(stem + suffix).write_text(text, encoding="utf-8")


def write_table(subject: Subject, folder: Path) -> None:
    """Regional BOLD as a table with one row per volume, its JSON and events."""
    recording = subject.fmri
    suffix = f"seg-{str(recording.channels.atlas).replace('-', '')}_timeseries"
    table = pd.DataFrame(recording.data.T.astype(np.float64).round(2), columns=recording.channels.names)
    table.to_csv(_path(folder, subject, f"{suffix}.tsv"), sep="\t", index=False)
    sidecar = {"RepetitionTime": recording.t_r, "SamplingFrequency": recording.sfreq, "SpatialReference": "MNI152"}
    _describe(subject, "fmri", folder, suffix, sidecar)


def write_nifti(subject: Subject, parameters: CohortParameters, folder: Path) -> None:
    """The same BOLD as a 4-D image in MNI space, painted through the label atlas."""
    recording = subject.fmri
    labels, affine = label_volume(recording.channels.positions)
    rng = stream(parameters.seed, int(subject.name) - 1, "voxels")
    noise = float(np.median(recording.data.std(axis=1)))
    values = paint(recording.data, labels, rng, noise).round()
    _save_image(values, affine, _path(folder, subject, "bold.nii.gz"), recording.t_r)
    _describe(subject, "fmri", folder, "bold", {"RepetitionTime": recording.t_r})


def write_atlas(channels: Channels, folder: Path, image: bool) -> None:
    """The label table with centroids in millimetres, and with `image` the label volume."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({"index": channels.labels, "name": channels.names})
    table[["x", "y", "z"]] = (1000 * channels.positions).round(3)
    write_tsv(folder / "atlas.tsv", table)
    if image:
        places, affine = label_volume(channels.positions)
        _save_image(np.concatenate([[0], channels.labels])[places], affine, folder / "atlas_space-MNI152.nii.gz")


def write_truth(subject: Subject, path: Path) -> None:
    """Source currents, activity, lead fields, states and masks as npz."""
    truth, blocks = subject.truth, subject.truth.timeline.blocks
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: getattr(truth, name) for name in ("sources", "activity", "spontaneous", "hidden_states")}
    arrays |= {
        "stimulus_onset": truth.timeline.stimuli,
        "region_names": np.array(truth.regions.names),
        "region_positions": truth.regions.positions,
        "region_orientations": truth.person.orientations,
        "block_onset": blocks["onset"].to_numpy(),
        "block_duration": blocks["duration"].to_numpy(),
        "block_state": blocks["trial_type"].to_numpy().astype(str),
    }
    arrays |= {f"lead_field_{modality}": gain for modality, gain in truth.lead_fields.items()}
    arrays |= {f"mask_{m}_{kind}": mask for m, masks in truth.masks.items() for kind, mask in masks.items()}
    np.savez(path, **arrays)


def _path(folder: Path, subject: Subject, suffix: str) -> Path:
    """A file of a subject; its folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"sub-{subject.name}_task-{TASK}_{suffix}"


def _describe(subject: Subject, modality: str, folder: Path, suffix: str, sidecar: dict[str, Any]) -> None:
    """The JSON beside a recording, and its events."""
    task = {"TaskName": TASK, "TaskDescription": "alternating blocks of rest and of a task; simulated"}
    write_json(_path(folder, subject, f"{suffix}.json"), task | sidecar)
    write_tsv(_path(folder, subject, "events.tsv"), subject.recordings[modality].events)


def _save_image(values: np.ndarray, affine: np.ndarray, path: Path, t_r: float | None = None) -> None:
    import nibabel

    image = nibabel.Nifti1Image(values.astype(np.int16), affine)
    image.header.set_xyzt_units("mm", "sec")
    if t_r is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], t_r))
    image.set_sform(affine, code="mni")
    nibabel.save(image, path)
