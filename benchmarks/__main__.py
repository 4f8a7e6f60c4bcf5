"""`python -m benchmarks NAME`: one module per benchmark, each with `run()` that yields (name, value, unit)."""

from __future__ import annotations

import importlib
import sys

from brainof.errors import BrainOFError, did_you_mean

#: name -> what it measures; the module of the same name does
BENCHMARKS = {
    "estimators": "fitting a probe on 500 windows; cross-validation with cached features",
    "step": "a training step of tiny and base against a plain PyTorch loop, compiled and not",
    "train": "the command `pretrain`: two ranks against one, waits, its step against a plain loop",
    "segments": "CORPUS: what a linear predictor tells of hidden segments, the masks of the recipe `published`",
    "dint": "DINT attention against the form that materialises its maps",
    "moe": "sparse experts against a dense feed-forward of equal active size",
    "prepare": "preparation against the filter-first MNE chain: CPU time, memory, equal windows; two workers",
    "embed_file": "embedding hours of 64-channel EEG from a file: seconds and peak memory",
    "embed": "embeddings against two EEG encoders of braindecode, an hour of EEG end to end, memory against size",
    "explain": "occlusion of 64 channels of 200 windows",
    "gpu": "a GPU against the CPU; steps of base and large on it: fraction of its peak, best batch",
    "simulate": "a cohort of 40 people with three modalities",
    "corpus": "reading and writing windows against HDF5, Zarr and the bare disk; the loader beside a training step",
    "formats": "DIR: every recording below it against MNE or nibabel alone: samples, rate, annotations",
    "fuzz": "damaged files of all formats: readings, named errors, tracebacks, hangs, above 1 GB",
    "mutants": "[--per-room N] [--room ROOM] [--seed S]: small changes of meaning that the tests must notice",
    "ranks": "the order of the published corpus on 1 to 512 ranks, simulated: waiting, reading, shards",
    "walks": "the three ways through the code: files and returns to a file, in the order of first calls",
    "bids": "indexing a BIDS tree of 28,004 files, against a bare walk of it",
}


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(
            "usage: ./run bench NAME [ARGUMENT]",
            *(f"  {name:10} {what}" for name, what in BENCHMARKS.items()),
            sep="\n",
        )
        return 0 if argv else 2
    if argv[0] not in BENCHMARKS:
        print(f"benchmarks: unknown benchmark {argv[0]!r}; {did_you_mean(argv[0], BENCHMARKS)}", file=sys.stderr)
        return 2
    try:
        for name, value, unit in importlib.import_module(f"{__package__}.{argv[0]}").run(*argv[1:]):
            print(f"{name} {value:.4g} {unit}", flush=True)
    except TypeError as error:
        if "positional argument" not in str(error):
            raise
        print(f"benchmarks: {argv[0]} takes other arguments ({error})", file=sys.stderr)
        return 2
    except BrainOFError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
