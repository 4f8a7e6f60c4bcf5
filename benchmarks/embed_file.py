"""Embedding a long recording from its file with `tiny` on two threads: seconds, and the peak memory of the process.

Each length runs in a process of its own, because peak memory cannot be measured twice in one; VmHWM rather than
ru_maxrss, which a child inherits from the process that started it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

#: (name, hours, Hz)
CASES = (("hour_500hz", 1.0, 500.0), ("hour_256hz", 1.0, 256.0), ("four_hours_256hz", 4.0, 256.0))

_RUN = """
import json, resource, sys, time
import torch
torch.set_num_threads(2)
import brainof
model, _ = brainof.load("tiny")
started = time.perf_counter()
found = brainof.embed(sys.argv[1], model, contract=None)
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_SELF)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak = int(status["VmHWM"].split()[0]) * 1024
print(json.dumps({"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "bytes": peak, "windows": len(found)}))
"""


def run() -> Iterator[tuple[str, float, str]]:
    """Lines of the benchmark."""
    for name, hours, sfreq in CASES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "recording.edf"
            _write(path, hours, sfreq)
            environment = {**os.environ, "OMP_NUM_THREADS": "2"}
            told = subprocess.run(
                [sys.executable, "-c", _RUN, str(path)], check=True, capture_output=True, text=True, env=environment
            ).stdout
        values = json.loads(told.splitlines()[-1])
        yield f"embed_{name}_seconds", values["seconds"], "s"
        # what the process itself computed, start included: what remains of the seconds where others load the machine
        yield f"embed_{name}_cpu_seconds", values["cpu"], "s"
        yield f"embed_{name}_memory", values["bytes"] / 1e6, "MB"


def _write(path: Path, hours: float, sfreq: float) -> None:
    """64 channels of coloured noise of a living amplitude."""
    import mne
    from edfio import Edf, EdfSignal
    from scipy.signal import lfilter

    names = mne.channels.make_standard_montage("biosemi64").ch_names
    rng = np.random.default_rng(0)
    noise = lfilter([5.0], [1.0, -0.95], rng.standard_normal(round(3600 * hours * sfreq)))
    signals = [
        # one noise, rolled: what it costs does not depend on the values
        EdfSignal(np.roll(noise, 1000 * number), sfreq, label=name, physical_dimension="uV", physical_range=(-500, 500))
        for number, name in enumerate(names)
    ]
    Edf(signals).write(path)
