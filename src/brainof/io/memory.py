"""In-memory objects -> Recording: MNE Raw and Epochs, nibabel images, arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..channels import MODALITIES, SENSOR_TYPES, UNITS, Channels
from ..errors import ReadError, check_known
from ..recording import Recording, no_events
from .checks import checked
from .events import events_table
from .options import ReadOptions, ReadRequest
from .positions import electrode_positions
from .units import override_factors


def from_mne(
    instance: Any,
    *,
    modality: str | None = None,
    options: ReadOptions | None = None,
    entities: Mapping[str, str] | None = None,
) -> Any:
    """A Recording from an `mne.io.Raw`, or a list of Recordings from `mne.Epochs` (one per epoch).

    Parameters
    ----------
    instance : mne.io.BaseRaw or mne.BaseEpochs
    modality, options, entities
        As in `read`.

    Returns
    -------
    Recording or list of Recording
        Of an epoch: time starts at its first sample; the event lies at -tmin and is named by `event_id`.

    Raises
    ------
    ReadError
        The object is neither, or holds no channel of the modality.
    """
    import mne

    from .mne_convert import Opened, recording_of_raw

    asked: dict[str, Any] = {"modality": modality, "options": options or ReadOptions(), "entities": entities}
    if isinstance(instance, mne.io.BaseRaw):
        files = [str(name) for name in instance.filenames if name is not None]
        format_name = "fif" if any(name.endswith((".fif", ".fif.gz")) for name in files) else "mne"
        file = files[0] if files else None
        return checked(recording_of_raw(Opened(instance), **asked, file=file, format_name=format_name))
    if not isinstance(instance, mne.BaseEpochs):
        problem = f"{type(instance).__name__} is not an MNE Raw or Epochs"
        raise ReadError(problem, field="instance", fix="give a Raw or Epochs")
    data, recordings = instance.get_data(copy=False), []
    if not len(data):
        raise ReadError("hold no epoch (all were dropped?)", field="epochs")
    names = {code: name for name, code in instance.event_id.items()}
    for number, (values, event) in enumerate(zip(data, instance.events, strict=True)):
        recording = recording_of_raw(Opened(mne.io.RawArray(values, instance.info, verbose="error")), **asked)
        table = events_table([-float(instance.tmin)], [0.0], [names.get(int(event[2]), str(event[2]))])
        provenance = {**recording.provenance, "epoch": number}
        recordings.append(checked(recording.replace(events=table, provenance=provenance)))
    return recordings


def from_image(
    image: Any,
    *,
    options: ReadOptions | None = None,
    entities: Mapping[str, str] | None = None,
) -> Recording:
    """A Recording from a 4-D nibabel image (nx, ny, nz, n_times) in memory.

    Its header holds the TR, unless `options.t_r` does; `options` (with an atlas, or a grid) and `entities` as in
    `read`.

    Raises ReadError: the image is no 4-D volume image, its TR is impossible, or no atlas is given.
    """
    from .bids.sidecars import Sidecars
    from .nifti import recording_of_image
    from .nifti_header import check_shape

    options = options or ReadOptions()
    if not hasattr(image, "dataobj") or not hasattr(image, "affine"):
        raise ReadError(f"{type(image).__name__} is not a nibabel image", field="image", fix="give a NIfTI image")
    path = Path(image.get_filename() or "image in memory")
    check_shape(image, path, options)
    request = ReadRequest(path, "nifti", "fmri", options, dict(entities or {}), path.parent, Sidecars.find(path))
    return checked(recording_of_image(image, request))


def from_array(
    data: Any,
    sfreq: float,
    modality: str,
    *,
    channel_names: Sequence[str] | None = None,
    channel_types: str | Sequence[str] | None = None,
    positions: Any = None,
    orientations: Any = None,
    units: str | Mapping[str, str] | None = None,
    frame: str | None = None,
    atlas: str | None = None,
    events: pd.DataFrame | None = None,
    entities: Mapping[str, str] | None = None,
    bads: Sequence[str] = (),
) -> Recording:
    """A Recording from an array.

    Parameters
    ----------
    data : array-like, shape (n_channels, n_times)
        In SI units (V, T, T/m), or in `units`.
    sfreq : float
        Samples per second; 1 / TR for fMRI.
    modality : {"eeg", "meg", "fmri"}
    channel_names : sequence of str, optional
    channel_types : str or sequence of str, optional
        Sensor types; default "eeg", "mag" or "roi" by modality.
    positions : array-like, shape (n_channels, 3), optional
        Metres. Default for EEG: by channel name from the 10-05 template; otherwise unknown.
    orientations : array-like, shape (n_channels, 3), optional
        Unit normals of MEG coils.
    units : str or mapping of pattern to str, optional
        Unit of `data`, such as "uV".
    frame : str, optional
        Frame of `positions`; default "head" for EEG and MEG, "mni" for fMRI.
    atlas : str, optional
        Name of the atlas of regions.
    events : DataFrame, optional
        Columns onset, duration (seconds) and trial_type.
    entities : mapping, optional
    bads : sequence of str
        Names of bad channels.

    Raises
    ------
    ReadError
        The array is not 2-D and real, a length does not match, a type or unit is unknown.
    """
    values = np.asarray(data)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise ReadError(f"shape {values.shape}, dtype {values.dtype}", field="data", fix="give a 2-D real array")
    check_known(modality, MODALITIES, ReadError, field="modality")
    n = len(values)
    names = tuple(f"{modality.upper()}{i + 1:03d}" for i in range(n)) if channel_names is None else tuple(channel_names)
    usual = channel_types or {"eeg": "eeg", "meg": "mag", "fmri": "roi"}[modality]
    types = (usual,) * n if isinstance(usual, str) else tuple(usual)
    for field, given in (("channel_names", names), ("channel_types", types)):
        if len(given) != n:
            raise ReadError(f"{len(given)} values for {n} channels", field=field)
    for kind in types:
        check_known(kind, SENSOR_TYPES, ReadError, field="channel_types")
    notes = []
    if positions is None and modality == "eeg" and channel_names is not None:
        positions = electrode_positions(names)
    known = positions is not None and bool(np.isfinite(np.asarray(positions, dtype=float)).all(axis=1).any())
    if not known:
        notes.append(f"no position for {n} channels: give positions or standard names")
    for field, given in (("positions", positions), ("orientations", orientations)):
        if given is not None and np.shape(given) != (n, 3):
            raise ReadError(f"shape {np.shape(given)} for {n} channels", field=field, fix="give (n_channels, 3) metres")
    order = np.arange(n) if modality == "fmri" else None
    default_frame = ("mni" if modality == "fmri" else "head") if known else "unknown"
    channels = Channels(names, types, positions, orientations, order=order, frame=frame or default_frame, atlas=atlas)  # type: ignore[arg-type]
    if units is not None:
        factors = override_factors(units if isinstance(units, str) else dict(units), names, types, None)
        values = values * np.where(np.isnan(factors), 1.0, factors)[:, None]
    elif modality != "fmri":
        notes.append(f"values were taken for {', '.join(sorted({UNITS[kind] for kind in types}))} (units= to change)")
    recording = Recording(
        data=values.astype(np.float32),
        sfreq=float(sfreq),
        modality=modality,
        channels=channels,
        entities=dict(entities or {}),
        events=no_events() if events is None else events,
        bads=tuple(bads),
        provenance={"file": None, "format": "array", "truncated": False, "notes": notes},
    )
    return checked(recording)
