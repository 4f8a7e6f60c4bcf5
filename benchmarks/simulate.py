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
    short, long = (_processor_seconds(seconds) for seconds in (120.0, 480.0))
    yield "simulate_4x_length", long / short, "ratio of processor time (4: linear in time)"
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write(CohortParameters(subjects=5), folder)
        yield "simulate_write_seconds", 8 * (time.perf_counter() - start), "s (40 subjects with files, from 5)"


def _processor_seconds(seconds: float) -> float:
    """Processor time of two subjects of this length, the first left out."""
    people = cohort(CohortParameters(subjects=3, seconds=seconds))
    next(people)
    start = time.process_time()
    for subject in people:
        del subject
    return time.process_time() - start


if __name__ == "__main__":
    for name, value, unit in run():
        print(f"{name} {value:.4g} {unit}")
