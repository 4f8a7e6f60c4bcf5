"""`read`: one file -> one Recording."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from os import PathLike
from pathlib import Path
from typing import Any

from ..channels import MODALITIES
from ..errors import ReadError, check_known
from ..paths import user_path
from ..recording import Recording
from ..utils.values import counted
from .bids.apply import with_dataset
from .bids.names import ENTITY_NAMES, parse
from .bids.sidecars import Sidecars
from .checks import checked
from .events import joined, only_boundaries, read_events_file
from .formats import FMRI_FORMATS, first_part, format_of, reader_module
from .options import ReadOptions, ReadRequest


def read(
    path: str | PathLike[str],
    *,
    modality: str | None = None,
    options: ReadOptions | Mapping[str, Any] | None = None,
    entities: Mapping[str, str] | None = None,
    root: str | PathLike[str] | None = None,
    **given: Any,
) -> Recording:
    """Read a recording.

    EEG and MEG formats go through MNE-Python, NIfTI through nilearn, arrays and tables through numpy, scipy, h5py and
    pandas. Nothing is filtered, resampled or normalised.

    Parameters
    ----------
    path : path-like
        The file, or the folder of formats that are folders (CTF `.ds`, EGI `.mff`).
    modality : {"eeg", "meg", "fmri"}, optional
        Needed where a file holds EEG and MEG (default: MEG) or does not say what it holds.
    options : ReadOptions or mapping, optional
        What the file does not say itself.
    entities : mapping, optional
        BIDS entities (subject, session, task, run, ...); default: those in the file name.
    root : path-like, optional
        Dataset root: atlas paths are relative to it, and paths inside files must not leave it. Default: the folder of
        the file (atlas paths then count from the working folder).
    **given
        Fields of ReadOptions one by one: `units="uV"`, `sfreq=128`, `atlas={"image": "aal.nii.gz"}`.

    Returns
    -------
    Recording
        Data in float32 SI units (V, T, T/m; "a.u." for fMRI), shape (n_channels, n_times); positions in metres, NaN
        where unknown; `notes` says what was assumed, left out or found odd.

    Raises
    ------
    ReadError
        The file is missing, of unknown format, damaged, empty or not what the options say.
    ConfigError
        An unknown option, or a value that it does not take.

    Examples
    --------
    >>> import brainof
    >>> recording = brainof.read("sub-01_task-rest_eeg.edf")  # doctest: +SKIP
    >>> recording.n_channels, recording.sfreq  # doctest: +SKIP
    (19, 500.0)
    >>> brainof.read("table.csv", sfreq=128, units="uV", time_axis=0)  # doctest: +SKIP
    """
    path = user_path(path, ReadError)
    if modality is not None:
        check_known(modality, MODALITIES, ReadError, file=path, field="modality")
    if not isinstance(options, ReadOptions) or given:
        known = options.model_dump(exclude_unset=True) if isinstance(options, ReadOptions) else dict(options or {})
        options = ReadOptions.parse({**known, **given})
    path, format_name = format_of(path)
    module = reader_module(format_name)
    if modality not in (None, "fmri") and format_name in FMRI_FORMATS:
        raise ReadError(f"a {FMRI_FORMATS[format_name]} holds no {modality}", file=path, field="modality")
    if modality == "fmri" and module == "mne_reader":
        raise ReadError(f"a {format_name} file holds no fMRI", file=path, field="modality")
    if options.confounds is not None and format_name not in FMRI_FORMATS:
        fix = "leave it out; time series in a table: clean them (nilearn.signal.clean), or read the image they are of"
        raise ReadError("are taken out of images of fMRI alone", file=path, field="confounds", fix=fix)
    base = user_path(root, ReadError) if root is not None else path.parent
    request = ReadRequest(
        path,
        format_name,
        modality,
        options,
        entities=dict(entities) if entities is not None else entities_of(path),
        root=base,
        sidecars=Sidecars.find(path, base) if options.sidecars else Sidecars(path, path.parent, {}, "", ()),
    )
    reader = getattr(importlib.import_module(f".{module}", __package__), f"read_{module.removesuffix('_reader')}")
    try:
        # some readers print; what goes to standard output must be ours alone
        with redirect_stdout(sys.stderr):
            recording = reader(request)
    except MemoryError:
        raise ReadError("does not fit into memory", file=path, fix="set max_bytes=, or read fewer channels") from None
    recording = with_dataset(recording, request.sidecars, options)
    if (first := first_part(path)) is not None:
        recording = recording.noted(f"is a later part of {first.name}, which is read with all of its parts")
    return checked(_with_events_file(recording, request.sidecars.events))


def _with_events_file(recording: Recording, beside: Path | None) -> Recording:
    """Events of the BIDS file beside the recording, which win over those inside it."""
    if beside is None:
        return recording
    events, odd = read_events_file(beside)
    late = int((events.onset >= recording.duration).sum())
    note = f"{counted(len(events), 'event', 'come')} from {beside.name}"
    if len(recording.events):
        note += f" instead of {len(recording.events)} in the file"
    events = joined(events, only_boundaries(recording.events))
    notes = [note, *odd, *([f"{late} of these events begin after the end of the recording"] if late else [])]
    return recording.replace(events=events).noted(*notes)


def entities_of(path: Path) -> dict[str, str]:
    """BIDS entities of a file name; empty where it is not named that way."""
    return {key: value for key, value in parse(path.name)[0].items() if value and key in ENTITY_NAMES.values()}
