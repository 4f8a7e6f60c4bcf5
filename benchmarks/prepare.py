"""Preparation against the chain most labs run: MNE in float64 that filters at the full rate and resamples afterwards.

Both read the same file (EDF or FIF), remove the line at 50 Hz, keep 0.5 to 45 Hz, go to 256 Hz, take the average
reference (EEG), divide by one robust scale per sensor type, and cut windows of 10 s. Each runs in a process of its
own with one thread; CPU seconds and peak memory count from after the imports. Two forms of the MNE chain stand beside
ours: with MNE's default filters (FIR), and with the Butterworth sections that ours uses, for which the windows must
come out equal. The ratio is taken against the cheaper of the two. Resampling is polyphase in both, because MNE's
default moves signals by half a sample and so cannot give equal windows.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import butter, sosfiltfilt

#: case -> (modality, channels, seconds); all at 1 kHz
CASES = {"eeg": (64, 600), "meg": (306, 300)}
SFREQ = 1000.0
PASSES = 3
#: For the workers: recordings, and seconds of each: as long as the MEG case, half as long as the EEG case, because what
#: a worker costs beside the work (a task, a shard, a note) counts once per recording and short ones would exaggerate it
RECORDINGS, SHORT, SCALING_PASSES = 12, 300, 2
WINDOW = 10
STEPS = {"notch": {"freqs": [50]}, "bad_channels": False}


def run() -> Iterator[tuple[str, float, str]]:
    """Yield (name, value, unit)."""
    with tempfile.TemporaryDirectory(prefix="brainof-bench-") as folder:
        for modality in CASES:
            path = write_file(modality, Path(folder))
            yield from _compare(modality, path)
            path.unlink()
        yield from _scaling(Path(folder))


def _compare(modality: str, path: Path) -> Iterator[tuple[str, float, str]]:
    forms = ("ours", "mne_fir", "mne_same")
    runs: dict[str, list[dict]] = {form: [] for form in forms}
    for _ in range(PASSES):
        for form in forms:  # alternating, because other work on the machine slows whole stretches of time
            runs[form].append(_process(form, modality, path))
    cpu = {form: statistics.median(each["cpu"] for each in runs[form]) for form in forms}
    memory = {form: statistics.median(each["memory"] for each in runs[form]) for form in forms}
    windows = {form: np.load(f"{path}.{form}.npy") for form in forms}
    yield f"prepare_{modality}_cpu", min(cpu["mne_fir"], cpu["mne_same"]) / cpu["ours"], "x (MNE filter-first / ours)"
    yield f"prepare_{modality}_memory", min(memory["mne_fir"], memory["mne_same"]) / memory["ours"], "x (MNE / ours)"
    for form in forms:
        yield f"prepare_{modality}_seconds_{form}", cpu[form], "CPU s"
        yield f"prepare_{modality}_megabytes_{form}", memory[form], "MB above the imports"
    inner = slice(1, -1)  # the ends are continued differently
    difference = windows["ours"][inner] - windows["mne_same"][inner]
    yield f"prepare_{modality}_difference", float(np.sqrt((difference**2).mean())), "of the SD, same filters"
    pass_band = butter(4, (1, 35), "bandpass", fs=256, output="sos")
    for form in ("mne_same", "mne_fir"):
        a, b = (sosfiltfilt(pass_band, windows[name][inner], axis=-1).ravel() for name in ("ours", form))
        yield f"prepare_{modality}_correlation_{form}", float(np.corrcoef(a, b)[0, 1]), "from 1 to 35 Hz"


def _process(form: str, modality: str, path: Path) -> dict:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.prepare", form, modality, str(path)],
        env={**os.environ, **threads},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def write_file(modality: str, folder: Path, seconds: int | None = None) -> Path:
    """A recording with a 1/f spectrum, an alpha rhythm and line noise, as EDF (EEG) or FIF (MEG)."""
    import mne

    n_channels, usual = CASES[modality]
    seconds = usual if seconds is None else seconds
    random, n_times = np.random.default_rng(0), int(seconds * SFREQ)
    time_axis = np.arange(n_times) / SFREQ
    frequencies = np.fft.rfftfreq(n_times, 1 / SFREQ)
    data = np.empty((n_channels, n_times), np.float32)
    for row in range(n_channels):
        spectrum = np.fft.rfft(random.standard_normal(n_times)) / np.maximum(frequencies, 0.5)
        data[row] = np.fft.irfft(spectrum, n_times)
    data /= data.std(axis=1, keepdims=True)
    data += 0.5 * np.sin(2 * np.pi * 10 * time_axis) + 0.5 * np.sin(2 * np.pi * 50 * time_axis)
    if modality == "eeg":
        names = mne.channels.make_standard_montage("biosemi64").ch_names
        raw = mne.io.RawArray(data * 2e-5, mne.create_info(names, SFREQ, "eeg"), verbose="error")
        raw.export(folder / "eeg.edf", physical_range=(-2e-4, 2e-4), overwrite=True, verbose="error")
        return folder / "eeg.edf"
    kinds = ["mag" if row % 3 == 2 else "grad" for row in range(n_channels)]
    scale = np.array([1e-12 if kind == "mag" else 5e-11 for kind in kinds])[:, None]
    info = mne.create_info([f"MEG{row:04d}" for row in range(n_channels)], SFREQ, kinds)
    mne.io.RawArray(data * scale, info, verbose="error").save(folder / "meg_raw.fif", verbose="error")
    return folder / "meg_raw.fif"


def ours(modality: str, path: Path) -> np.ndarray:
    """Windows (n, n_channels, n_times) by brainof."""
    from brainof import io
    from brainof.prepare import WindowOptions, cut, default_chain

    chain = default_chain(modality, {**STEPS, **({"reference": {}} if modality == "eeg" else {})})
    prepared = chain.apply(io.read(path, modality=modality))
    return np.stack([window.data for window in cut(prepared, WindowOptions(length=WINDOW))])


def mne_chain(modality: str, path: Path, same: bool) -> np.ndarray:
    """Windows (n, n_channels, n_times) by MNE, filters first."""
    import mne

    reader = mne.io.read_raw_edf if modality == "eeg" else mne.io.read_raw_fif
    raw = reader(path, preload=True, verbose="error")
    raw.pick("eeg" if modality == "eeg" else ["mag", "grad"])
    if same:
        from scipy.signal import iirnotch, tf2sos

        notch = {"sos": tf2sos(*iirnotch(50, 25, fs=SFREQ)), "output": "sos", "padlen": int(1.5 * SFREQ)}
        raw.filter(None, 50, method="iir", iir_params=notch, verbose="error")
        sections = {"order": 4, "ftype": "butter", "output": "sos"}
        raw.filter(0.5, 45, method="iir", iir_params=sections, verbose="error")
    else:
        raw.notch_filter([50], verbose="error")
        raw.filter(0.5, 45, verbose="error")
    raw.resample(256, method="polyphase", verbose="error")
    if modality == "eeg":
        raw.set_eeg_reference("average", verbose="error")
    data, kinds = raw.get_data(), np.array(raw.get_channel_types())
    low, middle, high = np.percentile(data, (25, 50, 75), axis=1)
    for kind in set(kinds):
        rows = kinds == kind
        scale = np.median((high - low)[rows]) / 1.349
        data[rows] = np.clip((data[rows] - middle[rows, None]) / scale, -10, 10)
    n_times = WINDOW * 256
    n_windows = data.shape[1] // n_times
    cut = data[:, : n_windows * n_times].reshape(len(data), n_windows, n_times).transpose(1, 0, 2)
    return np.ascontiguousarray(cut, dtype=np.float32)


def _scaling(folder: Path) -> Iterator[tuple[str, float, str]]:
    """Recordings per second of one and of two Dask workers, from when both work until the first has none left."""
    source = write_file("eeg", folder, seconds=SHORT)
    root = folder / "data"
    root.mkdir()
    for number in range(RECORDINGS):
        os.link(source, root / f"sub-{number:03d}.edf")
    rates: dict[str, dict[int, list[float]]] = {kind: {1: [], 2: []} for kind in ("workers", "processes")}
    for turn in range(SCALING_PASSES):
        for workers in (1, 2):  # plain processes beside them tell what two cores of this machine can give at this time
            rates["workers"][workers].append(_rate(root, folder / f"corpus-{turn}-{workers}", workers))
            rates["processes"][workers].append(_plain(root, folder / f"plain-{turn}-{workers}", workers))
    for kind, of in rates.items():
        one, two = (statistics.median(of[workers]) for workers in (1, 2))
        yield f"prepare_one_{kind}", one, f"recordings/s (64 channels, 1 kHz, {SHORT} s)"
        yield f"prepare_two_{kind}", two, "recordings/s"
        yield f"prepare_{kind}_scaling", max(b / a for a, b in zip(of[1], of[2], strict=True)), "x (best of passes)"
        yield f"prepare_{kind}_scaling_median", two / one, "x"


def _plain(root: Path, out: Path, processes: int) -> float:
    """Recordings per second of processes that share nothing, each with its part, until the first has none left."""
    running = []
    for number in range(processes):
        arguments = ("plain", str(number), str(processes), str(root), f"{out}-{number}")
        command = [sys.executable, "-m", "benchmarks.prepare", *arguments]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE))
    lines = [process.communicate()[0].splitlines()[-1] for process in running]
    return _steady(sorted(time for line in lines for time in json.loads(line)), processes)


def _steady(times: list[float], workers: int) -> float:
    """Rate between the first recordings of a worker, which wait for imports, and the last, when one waits."""
    first, last = 2 * workers, len(times) - workers
    return (last - first) / (times[last - 1] - times[first - 1])


def _recipe() -> Any:
    from brainof.datasets import Recipe

    return Recipe.parse(
        {
            "name": "bench",
            "title": "bench",
            "modality": "eeg",
            "license": "none",
            "citation": "none",
            "files": [{"pattern": "sub-{subject}.edf"}],
            "windows": {"length": WINDOW},
        }
    )


def _rate(root: Path, out: Path, workers: int) -> float:
    return _steady(_finished("dask", workers, root, out, slice(None)), workers)


def _finished(engine: str, workers: int, root: Path, out: Path, part: slice) -> list[float]:
    """When each recording was done."""
    from brainof.corpus import CorpusWriter
    from brainof.datasets.discover import discover
    from brainof.datasets.engines import Engine
    from brainof.datasets.job import Job

    recipe = _recipe()
    CorpusWriter(out).close()
    tasks = [(entry, None) for entry in discover(recipe.files, root)[part]]
    times = []
    for record in Engine(engine, workers).run(Job(recipe, root), out, tasks):
        assert not record["reason"], record
        times.append(time.monotonic())
    return times


def peak_memory() -> float:
    """Peak resident memory of this process in MB (on Linux from /proc: getrusage carries the parent's over)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _measure(form: str, modality: str, path: Path) -> None:
    import mne  # noqa: F401
    import scipy.signal  # noqa: F401

    chains: dict[str, Callable[[], np.ndarray]] = {
        "ours": lambda: ours(modality, path),
        "mne_fir": lambda: mne_chain(modality, path, same=False),
        "mne_same": lambda: mne_chain(modality, path, same=True),
    }
    if form == "ours":
        import brainof.io.mne_reader
        import brainof.prepare  # noqa: F401
    before, begun = peak_memory(), time.process_time()
    windows = chains[form]()
    cpu, after = time.process_time() - begun, peak_memory()
    np.save(f"{path}.{form}.npy", windows)
    print(json.dumps({"cpu": cpu, "memory": after - before}))


if __name__ == "__main__" and sys.argv[1] == "plain":
    print(
        json.dumps(
            _finished(
                "serial", 1, Path(sys.argv[4]), Path(sys.argv[5]), slice(int(sys.argv[2]), None, int(sys.argv[3]))
            )
        )
    )
elif __name__ == "__main__":
    _measure(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
