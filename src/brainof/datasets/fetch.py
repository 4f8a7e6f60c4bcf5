"""Open recordings of PhysioNet by one call: downloaded when asked, never otherwise, and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from os import PathLike
from pathlib import Path

from ..errors import OF_THE_DISK, FetchError, LabelError
from ..io.edf import read_edf_header
from ..paths import user_path
from ..utils.files import make_folder, storage_error, write_atomically
from ..utils.values import listed

#: Each dataset has a SHA256SUMS.txt beside its files
PHYSIONET = "https://physionet.org/files"


def fetch_eegmat(folder: str | PathLike[str] | None = None, subjects: Collection[int] | None = None) -> Path:
    """EEG of rest and mental arithmetic, 36 subjects, 19 electrodes, 500 Hz (about 175 MB, ODC-By-1.0).

    Parameters
    ----------
    folder : path, optional
        Where the files lie, or are written; by default `eegmat` in $BRAINOF_DATA or ~/.brainof/data.
    subjects : collection of int, optional
        Only these, of 0 to 35.

    Returns
    -------
    Path
        The folder, as `brainof prepare eegmat --root FOLDER` takes it. What is there is not downloaded again.

    Raises
    ------
    FetchError
        No connection, a server that refuses, or a file that is not the one PhysioNet lists.
    LabelError
        No such subject.
    StorageError
        The folder cannot be written.

    References
    ----------
    Zyma et al., Data 4(1):14 (2019); https://physionet.org/content/eegmat/1.0.0/

    Examples
    --------
    >>> import brainof
    >>> folder = brainof.datasets.fetch_eegmat(subjects=[0])  # doctest: +SKIP
    >>> recording = brainof.read(folder / "edf" / "Subject00_1.edf")  # doctest: +SKIP
    """
    return _physionet(
        "eegmat", r"(?P<file>Subject(?P<subject>\d+)_\d\.edf)", folder, subjects, "edf", "subject-info.csv"
    )


def fetch_eegmmidb(folder: str | PathLike[str] | None = None, subjects: Collection[int] | None = (1,)) -> Path:
    """EEG of executed and imagined movement, 109 subjects, 64 electrodes, 160 Hz (31 MB a subject, ODC-By-1.0).

    As `fetch_eegmat`, with the recipe `eegmmidb`; subjects 1 to 109, by default the first alone.

    References
    ----------
    Schalk et al., IEEE TBME 51(6):1034 (2004); https://physionet.org/content/eegmmidb/1.0.0/
    """
    return _physionet("eegmmidb", r"(?P<file>S(?P<subject>\d+)/S\d+R\d+\.edf)", folder, subjects)


def fetch_chb_mit(folder: str | PathLike[str] | None = None, subjects: Collection[int] | None = (1,)) -> Path:
    """Scalp EEG of children with epilepsy, seizures marked, 24 cases, 256 Hz (1 to 3 GB a case, ODC-By-1.0).

    As `fetch_eegmat`, with the recipe `chb_mit`; cases 1 to 24, by default the first alone. `events/` is written from
    the summaries of each case: seizures, and background between them.

    References
    ----------
    Shoeb (2009); https://physionet.org/content/chbmit/1.0.0/
    """
    pattern = r"(?P<file>chb(?P<subject>\d+)/chb\d+\w*(\.edf|-summary\.txt))"
    folder = _physionet("chbmit", pattern, folder, subjects)
    for summary in folder.glob("chb*/chb*-summary.txt"):
        for name, text in re.findall(r"File Name: (\S+)\.edf(.*?)(?=File Name:|\Z)", summary.read_text(), re.DOTALL):
            recording, events = summary.with_name(f"{name}.edf"), folder / "events" / f"{name}.tsv"
            make_folder(events.parent)
            if not recording.exists() or events.exists():
                continue
            starts, ends = (re.findall(rf"Seizure(?: \d+)? {word} Time:\s*(\d+)", text) for word in ("Start", "End"))
            rows, edge = ["onset\tduration\ttrial_type"], 0.0
            for start, end in sorted(zip(map(int, starts), map(int, ends), strict=True)):
                rows += [f"{edge:g}\t{start - edge:g}\tbackground"] if start > edge else []
                rows.append(f"{start}\t{end - start}\tseizure")
                edge = end
            header = read_edf_header(recording)
            duration = header.records_there * header.record_seconds
            rows += [f"{edge:g}\t{duration - edge:g}\tbackground"] if duration > edge else []
            write_atomically(events, ["\n".join([*rows, ""]).encode()])
    return folder


def _physionet(
    name: str,
    pattern: str,
    folder: str | PathLike[str] | None,
    subjects: Collection[int] | None,
    below: str = "",
    *tables: str,
) -> Path:
    """The files of a dataset whose names match `pattern`, in the folder `below`, and its `tables`."""
    import pooch

    home = os.environ.get("BRAINOF_DATA") or Path.home() / ".brainof" / "data"
    folder = user_path(folder or Path(home) / name)
    base = f"{PHYSIONET}/{name}/1.0.0/"
    try:
        sums = pooch.retrieve(f"{base}SHA256SUMS.txt", None, fname="SHA256SUMS.txt", path=folder)
        lines = [line.split(maxsplit=1) for line in Path(sums).read_text().splitlines() if line.strip()]
        digests = {file: digest for digest, file in lines}
        found = [match for match in (re.fullmatch(pattern, file) for file in digests) if match]
        known = {int(match["subject"]) for match in found}
        absent = sorted(set(subjects or ()) - known)
        if absent:
            fix = f"there are {min(known)} to {max(known)}"
            raise LabelError(f"no subject {listed([str(number) for number in absent])}", field="subjects", fix=fix)
        wanted = [match["file"] for match in found if subjects is None or int(match["subject"]) in subjects]
        places = {**{str(Path(below, file)): file for file in wanted}, **{table: table for table in tables}}
        for place, file in places.items():
            target = folder / place
            pooch.retrieve(base + file, digests[file], fname=target.name, path=target.parent)
    except LabelError:
        raise
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno in OF_THE_DISK:
            raise storage_error(error, folder) from None
        raise FetchError(f"cannot be fetched ({error})", file=base, fix="try again, or download it by hand") from None
    return folder
