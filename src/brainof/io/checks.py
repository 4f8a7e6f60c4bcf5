"""What every reader does: name damage, refuse sizes and empty recordings, say what is odd about the signal."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from os.path import abspath, normpath
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BrainOFError, ReadError
from ..plausibility import implausible_amplitudes
from ..recording import Recording
from ..utils.memory import release, sampled
from ..utils.values import counted, listed

#: A median (volts) this far from zero is no EEG but the offset of a DC amplifier (or a wrong unit)
MAX_OFFSET = 1e-3
#: Interquartile range (volts) above which an EEG channel drifts, moves or has another unit
MAX_SPREAD = 5e-4


@contextmanager
def damage_named(
    path: Path,
    problem: str = "cannot be read",
    field: str | None = None,
    fix: str = "the file is damaged or of another format",
) -> Iterator[None]:
    """Damage, which each library calls otherwise, becomes a ReadError; errors of memory and permission stay."""
    try:
        yield
    except (BrainOFError, MemoryError, PermissionError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ReadError(f"{problem} ({reason})", file=path, field=field, fix=fix) from error


def check_hdf5(file: Any, path: Path) -> None:
    """A ReadError where a part of an open HDF5 file lies in another file, which h5py would open wherever it is."""
    import h5py

    def of_dataset(name: str, item: Any) -> str | None:
        if not isinstance(item, h5py.Dataset):
            return None
        sources = item.virtual_sources() if item.is_virtual else []
        return name if item.external or any(source.file_name != "." for source in sources) else None

    link_out = file.visititems_links(lambda name, link: name if isinstance(link, h5py.ExternalLink) else None)
    if name := link_out or file.visititems(of_dataset):  # an error inside would be lost
        fix = "save the values themselves in this one"
        raise ReadError("keeps its values in another file", file=path, field=name, fix=fix)


def inside(name: str, path: Path, root: Path, field: str) -> Path:
    """Where a `field` of the file `path` leads; ReadError where that is neither below `root` nor beside the file."""
    target = Path(normpath(Path(abspath(path.parent)) / name.replace("\\", "/")))
    if not any(target.is_relative_to(abspath(folder)) for folder in (root, path.parent)):
        raise ReadError(f"{name!r} points outside {root}", file=path, field=field, fix="keep data below the root")
    return target


def named_file(name: str, path: Path, root: Path, field: str) -> Path:
    """As `inside`; ReadError where no file is there (a pipe would be waited for)."""
    target = inside(name, path, root, field)
    if not target.is_file():
        raise ReadError(f"{target.name} is missing", file=path, field=field, fix="copy all files of the recording")
    return target


def check_gzip(path: Path) -> None:
    """A ReadError where the checksum of a packed file is not that of its content; readers stop before they meet it."""
    fix = "the file is cut or damaged; copy it again"
    with damage_named(path, "data cannot be read", fix=fix), gzip.open(path) as stream:
        while stream.read(1 << 20):
            pass


def check_size(n_bytes: float, max_bytes: int, file: str | PathLike[str] | None, said_by: str = "header") -> None:
    """Refuse a decoded size above `max_bytes`, before memory is taken."""
    if n_bytes > max_bytes:
        problem = f"{said_by} announces {n_bytes / 1e9:.3g} GB of samples, more than {max_bytes / 1e9:.3g} GB"
        raise ReadError(problem, file=file, field="size", fix="raise max_bytes= if that is right")


def checked(recording: Recording) -> Recording:
    """The recording with notes on non-finite, flat and implausible channels; ReadError below two samples."""
    file = recording.file
    if recording.n_times == 0:
        raise ReadError("empty recording", file=file, field="data")
    if recording.n_times == 1:
        raise ReadError("holds one sample", file=file, field="data", fix="a recording needs at least two")
    names = np.array(recording.channels.names)
    lowest, highest = np.empty((2, recording.n_channels))
    missing = np.zeros(recording.n_channels, dtype=int)
    notes = []
    for row, values in enumerate(recording.data):
        lowest[row], highest[row] = values.min(), values.max()  # nan if any value is
        if not (np.isfinite(lowest[row]) and np.isfinite(highest[row])):
            missing[row] = (~np.isfinite(values)).sum()
        release(recording.data)
    if missing.any():
        n_missing = counted(int(missing.sum()), "sample", "are")
        notes.append(f"{n_missing} not finite, in {listed(list(names[missing > 0]))}")
    flat = (lowest == highest) & ~np.isin(names, recording.bads)
    if flat.all():
        notes.append("every channel is flat")
    elif flat.any():
        notes.append(f"flat channels: {listed(list(names[flat]))}")
    return recording.noted(*notes, *amplitude_problems(recording))


def amplitude_problems(recording: Recording) -> list[str]:
    """One sentence per way in which the amplitudes are none of a brain: overall, by offset, by drift."""
    notes = [f"{problem}; probably the unit is wrong (units=)" for problem in implausible_amplitudes(recording)]
    rows = np.flatnonzero(np.array(recording.channels.types) == "eeg")
    if not len(rows):
        return notes
    # offsets and drifts far above those of a brain, which the median over channels can hide
    step = max(1, recording.n_times // 20_000)
    low, middle, high = np.nanpercentile(sampled(recording.data, rows, step), (25, 50, 75), axis=1)
    for what, size, most, reason in (
        ("is offset by", np.abs(middle), MAX_OFFSET, "DC amplifier"),
        ("spreads over", high - low, MAX_SPREAD, "drift or movement"),
    ):
        odd = size > most
        if odd.any():
            notes.append(
                f"amplitude of {odd.sum()} of {len(rows)} eeg channels {what} {1e6 * size[odd].min():,.0f} to "
                f"{1e6 * size.max():,.0f} uV, usual is below {1e6 * most:,.0f} ({reason}, or a wrong unit): "
                f"{listed([recording.channels.names[row] for row in rows[odd]])}"
            )
    return notes
