"""Damaged files of all formats: each is a reading or a named error, within its time and memory.

`python -m benchmarks fuzz` reads 5,000 mutants (seed 0) of small files, in a worker that may take `SECONDS` of
processor time per file (ten times as long by the clock) and `MEMORY` bytes above its start. `BRAINOF_FUZZ=500` tries
fewer, `BRAINOF_FUZZ_SEED=1` others. Files and mutations are those of the tests.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import signal
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from brainof.errors import BrainOFError
from brainof.io import ReadOptions, read

MUTANTS, SECONDS, MEMORY = 5_000, 20, 2**30
OUTCOMES = ("readings", "named errors", "tracebacks", "hangs", "above 1 GB", "crashes")
_TESTS = Path(__file__).parents[1] / "tests" / "io"


def run() -> Iterator[tuple[str, float, str]]:
    """Counts of outcomes; what raised a traceback is a warning."""
    number, seed = int(os.environ.get("BRAINOF_FUZZ", MUTANTS)), int(os.environ.get("BRAINOF_FUZZ_SEED", "0"))
    fuzz, vendor = _module("test_fuzz"), _module("vendor_files")
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", message="fuzz: ")
        for place, name in enumerate(fuzz.FORMATS):
            make, values, *other = fuzz.FORMATS[name]
            path = Path(folder) / str(place) / name
            path.parent.mkdir()
            make(path, vendor)
            spoiled, path = path, path.with_name(other[0]) if other else path
            content, random = spoiled.read_bytes(), np.random.default_rng((seed, place))
            options = ReadOptions.parse({**values, "max_bytes": fuzz.MAX_BYTES})
            modality = "eeg" if "variable" in values else None
            read(path, options=options, modality=modality)  # the libraries must not count as memory of a mutant
            share = number // len(fuzz.FORMATS) + (place < number % len(fuzz.FORMATS))
            mutants = [fuzz._spoiled(content, random) for _ in range(share)]
            while mutants:
                outcomes = _worker(path, spoiled, mutants, modality, options)
                counts.update(outcomes)
                if outcomes[-1] in ("hangs", "crashes"):
                    number_of = share - len(mutants) + len(outcomes) - 1
                    warnings.warn(f"fuzz: {name}: {outcomes[-1]}: mutant {number_of} of seed {seed}", stacklevel=1)
                mutants = mutants[len(outcomes) :]
    yield "mutants", sum(counts.values()), "files"
    for outcome in OUTCOMES:
        yield outcome.replace(" ", "_"), counts[outcome], "files"


def _worker(path: Path, spoiled: Path, mutants: list[bytes], modality: str | None, options: ReadOptions) -> list[str]:
    """Outcomes of the mutants that one process reads: all, or those up to the one that ends it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _read_all(path, spoiled, mutants, modality, options, writer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        said = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    outcomes = [OUTCOMES[byte] for byte in said]
    if status != 0:
        outcomes.append("hangs" if status in (-signal.SIGALRM, -signal.SIGPROF) else "crashes")
    return outcomes


def _read_all(
    path: Path, spoiled: Path, mutants: list[bytes], modality: str | None, options: ReadOptions, writer: int
) -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY,) * 2)
    for mutant in mutants:
        spoiled.write_bytes(mutant)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(10 * SECONDS)  # other processes may take the processor, and a hang may need none
        try:
            read(path, options=options, modality=modality)
            outcome, said = "readings", ""
        except BrainOFError as error:
            outcome, said = "named errors", ""
            if "does not fit into memory" in str(error):
                outcome, said = "above 1 GB", str(error)
        except MemoryError as error:
            outcome, said = "above 1 GB", f"MemoryError: {error}"
        except Exception as error:
            outcome, said = "tracebacks", f"{type(error).__name__}: {error}"
        if said:
            warnings.warn(f"fuzz: {spoiled.name}: {said}", stacklevel=1)
        os.write(writer, bytes([OUTCOMES.index(outcome)]))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, _TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
