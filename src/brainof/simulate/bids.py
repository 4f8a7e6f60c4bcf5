"""Files of one subject in a BIDS tree: signals in native formats with their sidecars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..channels import UNITS, Channels
from ..errors import DependencyError
from ..recording import Recording
from .brainvision import write_brainvision
from .haemodynamics import label_volume, paint
from .montages import meg_info
from .parameters import CohortParameters
from .persons import stream
from .subjects import TASK, Subject

#: Folder of parcellated fMRI below the root
PARCELLATED = Path("derivatives") / "parcellated"
#: EEG format -> suffix of the file that is opened
EEG_FORMATS = {"brainvision": ".vhdr", "edf": ".edf"}
_BIDS_TYPES = {"eeg": "EEG", "mag": "MEGMAG", "grad": "MEGGRADPLANAR", "axial": "MEGGRADAXIAL"}
_INSTITUTION = {"TaskName": TASK, "TaskDescription": "alternating blocks of rest and of a task; simulated"}


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write sorted, indented JSON."""
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_tsv(path: Path, table: pd.DataFrame) -> None:
    """Write a BIDS table: tabs, n/a for unknown values."""
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.10g")


def stem(subject: str, suffix: str, **entities: str) -> str:
    """A BIDS file name without extension."""
    between = "".join(f"_{key}-{value}" for key, value in entities.items())
    return f"sub-{subject}_task-{TASK}{between}_{suffix}"


def write_eeg(subject: Subject, parameters: CohortParameters, folder: Path, eeg_format: str) -> None:
    """BrainVision or EDF file, channels, electrodes, coordinate system, events."""
    recording = subject.eeg
    folder.mkdir(parents=True)
    path = folder / f"{stem(subject.name, 'eeg')}{EEG_FORMATS[eeg_format]}"
    (write_edf if eeg_format == "edf" else write_brainvision)(recording, path)
    write_json(
        folder / f"{stem(subject.name, 'eeg')}.json",
        {
            **_INSTITUTION,
            **_power_line(parameters),
            "SamplingFrequency": recording.sfreq,
            "EEGReference": "average",
            "EEGChannelCount": recording.n_channels,
            "RecordingDuration": recording.duration,
            "RecordingType": "continuous",
            "SoftwareFilters": "n/a",
        },
    )
    _write_channels(recording, folder / f"{stem(subject.name, 'channels')}.tsv")
    places = pd.DataFrame(recording.channels.positions, columns=["x", "y", "z"])
    places.insert(0, "name", recording.channels.names)
    write_tsv(folder / f"sub-{subject.name}_space-CapTrak_electrodes.tsv", places)
    write_json(
        folder / f"sub-{subject.name}_space-CapTrak_coordsystem.json",
        {"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "m"},
    )
    write_tsv(folder / f"{stem(subject.name, 'events')}.tsv", recording.events)


def write_meg(subject: Subject, parameters: CohortParameters, folder: Path) -> None:
    """FIF file with the device-to-head transform, channels, coordinate system, events."""
    recording = subject.meg
    folder.mkdir(parents=True)
    write_fif(recording, parameters.meg, folder / f"{stem(subject.name, 'meg')}.fif")
    write_json(
        folder / f"{stem(subject.name, 'meg')}.json",
        {
            **_INSTITUTION,
            **_power_line(parameters),
            "SamplingFrequency": recording.sfreq,
            "DewarPosition": "upright",
            "DigitizedLandmarks": False,
            "DigitizedHeadPoints": False,
            "MEGChannelCount": recording.n_channels,
            "RecordingDuration": recording.duration,
            "RecordingType": "continuous",
            "SoftwareFilters": "n/a",
        },
    )
    _write_channels(recording, folder / f"{stem(subject.name, 'channels')}.tsv")
    system = "ElektaNeuromag" if parameters.meg == "neuromag306" else "CTF"
    write_json(
        folder / f"sub-{subject.name}_coordsystem.json",
        {"MEGCoordinateSystem": system, "MEGCoordinateUnits": "m"},
    )
    write_tsv(folder / f"{stem(subject.name, 'events')}.tsv", recording.events)


def write_edf(recording: Recording, path: Path) -> None:
    """EEG as EDF (16 bits, one range for all channels) through MNE and edfio.

    Raises
    ------
    DependencyError
        The package edfio is not installed.
    """
    try:
        import edfio  # noqa: F401
    except ImportError:
        raise DependencyError("EDF needs the package edfio", field="eeg_format", fix="pip install edfio") from None
    import mne

    info = mne.create_info(list(recording.channels.names), recording.sfreq, "eeg")
    raw = mne.io.RawArray(recording.data, info, verbose="ERROR")
    # EDF holds whole data records: MNE would fill the last one up with zeros and an annotation
    raw.export(path, physical_range="auto", verbose="ERROR")


def write_fif(recording: Recording, helmet: str, path: Path) -> None:
    """MEG as FIF (float32) through MNE."""
    import mne

    info = meg_info(helmet).copy()
    with info._unlock():
        info["sfreq"], info["lowpass"] = recording.sfreq, recording.sfreq / 2
    info["bads"] = list(recording.bads)
    mne.io.RawArray(recording.data, info, copy="both", verbose="ERROR").save(path, fmt="single", verbose="ERROR")


def write_table(subject: Subject, folder: Path) -> None:
    """Regional BOLD as a table with one row per volume, its JSON and events."""
    recording = subject.fmri
    folder.mkdir(parents=True)
    name = stem(subject.name, "timeseries", seg=str(recording.channels.atlas).replace("-", ""))
    lines = ["\t".join(recording.channels.names)]
    lines += ["\t".join(map(str, row)) for row in recording.data.T.astype(np.float64).round(2).tolist()]
    (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(
        folder / f"{name}.json",
        {
            **_INSTITUTION,
            "RepetitionTime": recording.t_r,
            "SamplingFrequency": recording.sfreq,
            "SpatialReference": "MNI152",
        },
    )
    write_tsv(folder / f"{stem(subject.name, 'events')}.tsv", recording.events)


def write_nifti(subject: Subject, parameters: CohortParameters, folder: Path) -> None:
    """The same BOLD as a 4-D image in MNI space, painted through the label atlas."""
    import nibabel

    recording = subject.fmri
    folder.mkdir(parents=True)
    labels, affine = label_volume(recording.channels.positions)
    rng = stream(parameters.seed, int(subject.name) - 1, "voxels")
    noise = float(np.median(recording.data.std(axis=1)))
    values = paint(recording.data, labels, rng, noise).round().astype(np.int16)
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], recording.t_r))
    image.set_sform(affine, code="mni")
    nibabel.save(image, folder / f"{stem(subject.name, 'bold')}.nii.gz")
    write_json(
        folder / f"{stem(subject.name, 'bold')}.json",
        {**_INSTITUTION, "RepetitionTime": recording.t_r},
    )
    write_tsv(folder / f"{stem(subject.name, 'events')}.tsv", recording.events)


def write_atlas(channels: Channels, folder: Path, image: bool) -> None:
    """The label table with centroids in millimetres, and with `image` the label volume."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({"index": channels.labels, "name": channels.names})
    table[["x", "y", "z"]] = (1000 * channels.positions).round(3)
    write_tsv(folder / "atlas.tsv", table)
    if image:
        import nibabel

        places, affine = label_volume(channels.positions)
        volume = nibabel.Nifti1Image(np.concatenate([[0], channels.labels])[places].astype(np.int16), affine)
        volume.header.set_xyzt_units("mm", "sec")
        volume.set_sform(affine, code="mni")
        nibabel.save(volume, folder / "atlas_space-MNI152.nii.gz")


def write_truth(subject: Subject, path: Path) -> None:
    """Source currents, activity, lead fields, states and masks as npz."""
    truth = subject.truth
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {
        "sources": truth.sources,
        "activity": truth.activity,
        "spontaneous": truth.spontaneous,
        "hidden_states": truth.hidden_states,
        "stimulus_onset": truth.timeline.stimuli,
        "region_names": np.array(truth.regions.names),
        "region_positions": truth.regions.positions,
        "region_orientations": truth.person.orientations,
        "block_onset": truth.timeline.blocks["onset"].to_numpy(),
        "block_duration": truth.timeline.blocks["duration"].to_numpy(),
        "block_state": truth.timeline.blocks["trial_type"].to_numpy().astype(str),
    }
    arrays |= {f"lead_field_{modality}": gain for modality, gain in truth.lead_fields.items()}
    arrays |= {f"mask_{m}_{kind}": mask for m, masks in truth.masks.items() for kind, mask in masks.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]


def _write_channels(recording: Recording, path: Path) -> None:
    types = recording.channels.types
    write_tsv(
        path,
        pd.DataFrame(
            {
                "name": recording.channels.names,
                "type": [_BIDS_TYPES[kind] for kind in types],
                "units": [UNITS[kind] if kind != "eeg" else "µV" for kind in types],
                "status": ["bad" if name in recording.bads else "good" for name in recording.channels.names],
            }
        ),
    )


def _power_line(parameters: CohortParameters) -> dict[str, Any]:
    level = parameters.artefacts
    return {"PowerLineFrequency": level.line_frequency if level.line else "n/a"}
