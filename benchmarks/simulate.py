"""How long the simulator takes: 40 subjects, 2 minutes, three modalities."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator

from brainof.simulate import CohortParameters, cohort
from brainof.simulate.write import write


def run() -> Iterator[tuple[str, float, str]]:
    """Lines (name, value, unit); simulate_seconds includes MNE's import and the forward solutions."""
    start = time.perf_counter()
    for subject in cohort(CohortParameters(subjects=40)):
        del subject
    yield "simulate_seconds", time.perf_counter() - start, "s"
    to_mib = 2**20 if sys.platform == "darwin" else 2**10
    yield "simulate_memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / to_mib, "MiB"
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write(CohortParameters(subjects=5), folder)
        yield "simulate_write_seconds", 8 * (time.perf_counter() - start), "s (40 subjects with files, from 5)"


if __name__ == "__main__":
    for name, value, unit in run():
        print(f"{name} {value:.4g} {unit}")
