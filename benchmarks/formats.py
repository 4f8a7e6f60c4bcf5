"""Read every recording below a folder and compare samples, rate and annotations with those of MNE or nibabel alone.

`./run bench formats DIR` prints a line per file that differs or is refused; the last lines count them.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from brainof.channels import UNITS
from brainof.errors import BrainOFError, ConfigError
from brainof.io import ReadOptions, read
from brainof.io.events import BOUNDARY
from brainof.io.formats import FORMATS, first_part, reader_module, suffix_of
from brainof.recording import Recording

#: difference of samples, as a fraction of the largest, above which they differ
TOLERANCE = 1e-4


def run(folder: str | None = None) -> Iterator[tuple[str, float, str]]:
    """Counts of files by outcome; what differs is printed as it is found."""
    if folder is None or not Path(folder).is_dir():
        raise ConfigError("is not a folder" if folder else "is missing", field="DIR", fix="./run bench formats DIR")
    counts: Counter[str] = Counter()
    for path in _recordings(Path(folder)):
        try:
            problems = _compare(path)
            outcome = "differ" if problems else "equal"
        except BrainOFError as error:
            outcome, problems = "refused", [str(error).removeprefix(f"{path}: ")]
        counts[outcome] += 1
        for problem in problems:
            print(f"{path.relative_to(folder)}: {outcome}: {problem}", flush=True)
    for outcome in ("equal", "differ", "refused"):
        yield f"formats_{outcome}", counts[outcome], "files"


def _recordings(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder, followlinks=True):
        inner = [name for name in folders if Path(name).suffix.lower() in (".ds", ".mff")]
        folders[:] = sorted(set(folders) - set(inner))
        for name in sorted([*names, *inner]):
            path = Path(here) / name
            kind = FORMATS.get(suffix_of(path), "bti" if name.lower().startswith("c,rf") else None)
            is_part = kind == "nihon" and path.with_suffix(".vhdr").exists()
            if kind and reader_module(kind) in ("mne_reader", "nifti") and not is_part and not first_part(path):
                yield path


def _compare(path: Path) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if suffix_of(path) in (".nii", ".nii.gz"):
            return _compare_image(path)
        # as if it stood alone: MNE knows no sidecars
        recording = read(path, options=ReadOptions(sidecars=False, max_bytes=2_000_000_000))
        return _compare_raw(recording, _of_mne(path, str(recording.provenance["format"])))


def _of_mne(path: Path, format_name: str) -> Any:
    import mne

    arguments: dict[str, Any] = {
        "edf": {"encoding": "latin1"},
        "ctf": {"clean_names": True},
        "egi": {"events_as_annotations": True},
        "fif": {"allow_maxshield": "yes"},
    }.get(format_name, {})
    path = path.with_suffix(".vhdr") if format_name == "brainvision" else path
    return getattr(mne.io, f"read_raw_{format_name}")(path, preload=False, verbose="error", **arguments)


def _compare_raw(recording: Recording, raw: Any) -> list[str]:
    problems = []
    if recording.sfreq != raw.info["sfreq"] or recording.n_times != raw.n_times:
        problems.append(
            f"{recording.n_times} samples at {recording.sfreq:g} Hz, MNE {raw.n_times} at {raw.info['sfreq']:g}"
        )
    else:
        names = dict(zip((name.strip() for name in raw.ch_names), raw.ch_names, strict=True))
        shared = [name for name in recording.channels.names if name in names]
        if len(shared) < recording.n_channels:
            problems.append(f"{recording.n_channels - len(shared)} channels have another name in MNE")
        for name in shared:
            row = recording.channels.names.index(name)
            ours, theirs = recording.data[row], raw.get_data(picks=[names[name]])[0]
            largest = np.abs(theirs).max()
            if largest and np.abs(ours - theirs).max() > TOLERANCE * largest:
                ratio = np.linalg.norm(ours) / np.linalg.norm(theirs)
                problems.append(f"{name} differs, in size by {ratio:.3g} ({UNITS[recording.channels.types[row]]})")
    onsets = recording.events.onset[recording.events.trial_type != BOUNDARY].to_numpy()
    for onset, text in zip(raw.annotations.onset - raw.first_time, raw.annotations.description, strict=True):
        is_pause = str(text).lower() == "boundary" or str(text).startswith("New Segment")
        there = recording.events.onset.to_numpy() if is_pause else onsets
        if not (onset <= 0 and is_pause) and not (len(there) and np.abs(there - onset).min() <= 1 / recording.sfreq):
            problems.append(f"annotation {text!r} at {onset:g} s of MNE is at no event")
    return problems


def _compare_image(path: Path) -> list[str]:
    """The mean over the brain, which a grid of one cube gives."""
    import nibabel

    image: Any = nibabel.load(path)
    recording = read(path, options=ReadOptions.parse({"sidecars": False, "atlas": {"grid_mm": 20}}))
    problems = []
    n_times, t_r = image.shape[3], float(image.header.get_zooms()[3])
    t_r *= {"msec": 1e-3, "usec": 1e-6}.get(image.header.get_xyzt_units()[1], 1.0)
    if recording.n_times != n_times or abs(recording.t_r - t_r) > 1e-6:
        problems.append(f"{recording.n_times} volumes at {recording.t_r:g} s, nibabel {n_times} at {t_r:g}")
    data = np.asarray(image.dataobj, dtype=np.float64)
    low, high = data.min(), data.max()
    if recording.data.min() < low or recording.data.max() > high:
        problems.append(f"means of regions lie outside {low:g} to {high:g}")
    return problems
