"""Index a BIDS tree of 28,004 files: 1,000 people, two sessions, EEG and BOLD, beside a bare walk of the same tree."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from brainof.io.bids import index

SUBJECTS, PASSES = 1000, 5


def run() -> Iterator[tuple[str, float, str]]:
    with tempfile.TemporaryDirectory(prefix="brainof-bench-") as folder:
        root = Path(folder)
        n_files = _write(root)
        actions: dict[str, Callable[[], object]] = {"walk": lambda: _walk(root), "index": lambda: _index(root)}
        times: dict[str, list[float]] = {name: [] for name in actions}
        for _ in range(PASSES):
            for name, action in actions.items():
                begun = time.perf_counter()
                action()
                times[name].append(time.perf_counter() - begun)
        found = index(root)
        recordings = found.datasets[0].recordings
        begun = time.perf_counter()
        for file in recordings:
            found.datasets[0].metadata(file)
        metadata = time.perf_counter() - begun
    yield "bids_files", n_files, "files"
    yield "bids_index_seconds", statistics.median(times["index"]), "s"
    yield "bids_index_vs_walk", statistics.median(times["index"]) / statistics.median(times["walk"]), "ratio"
    yield "bids_metadata_seconds", metadata, f"s for {len(recordings)} recordings"


def _index(root: Path) -> int:
    """What `brainof index` and a recipe ask for: the scan, and the recordings with their entities."""
    return len(index(root).datasets[0].recordings)


def _walk(root: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(root))


def _write(root: Path) -> int:
    """The tree; returns its number of files."""
    n_files = 0

    def write(path: str, text: str = "") -> None:
        nonlocal n_files
        with open(path, "w") as file:
            file.write(text)
        n_files += 1

    write(f"{root}/dataset_description.json", '{"Name": "bench", "BIDSVersion": "1.10.0"}')
    write(f"{root}/participants.tsv", "participant_id\n")
    write(f"{root}/task-rest_eeg.json", '{"SamplingFrequency": 500}')
    write(f"{root}/task-rest_bold.json", '{"RepetitionTime": 2.0}')
    for number in range(SUBJECTS):
        for session in ("01", "02"):
            folder, stem = f"{root}/sub-{number:04d}/ses-{session}", f"sub-{number:04d}_ses-{session}_task-rest"
            for kind in ("eeg", "func"):
                os.makedirs(f"{folder}/{kind}")
            for run_number in ("1", "2"):
                for end in ("eeg.vhdr", "eeg.eeg", "eeg.vmrk", "channels.tsv", "events.tsv"):
                    write(f"{folder}/eeg/{stem}_run-{run_number}_{end}")
                write(f"{folder}/eeg/{stem}_run-{run_number}_eeg.json", "{}")
            write(f"{folder}/func/{stem}_bold.nii.gz")
            write(f"{folder}/func/{stem}_bold.json", "{}")
    return n_files
