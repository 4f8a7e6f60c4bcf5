"""The real `pretrain` command: two ranks against one, waits, and its step against a plain PyTorch loop.

    ddp_scaling_2           windows/s of two gloo ranks / of one, one thread each, the same batches
    data_wait_pct           time in which the loader is waited for, one rank
    checkpoint_stall_pct    time that saving takes from the steps, with a checkpoint every 8 of them
    pretrain_vs_bench       windows/s of the command / of its bare step on batches that are ready, one thread
    train_vs_plain          the bare step, with or without `compile=true`, against a loop written out over the plain
                            forms of the model, in float32 or bfloat16, compiled or not: the fastest of each
    train_vs_plain_default  the same of the bare step as the command takes it by itself
    train_vs_plain_*        in float32 and in bfloat16: neither compiled
    train_vs_compiled_*     the same, both compiled, with the same parts left out (`prepare_blocks`)

`tiny`, 8 windows of 20 channels x 20 patches. Commands and steps take turns, so that a busy neighbour slows all alike;
medians, of processor time where one process of one thread is compared with another.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from brainof.channels import Channels
from brainof.corpus import CorpusWriter, open_corpora
from brainof.model import move_biases
from brainof.prepare import Window, default_chain
from brainof.pretraining import PretrainConfig
from brainof.pretraining.run import Run
from brainof.pretraining.run_folder import read_metrics
from brainof.pretraining.trainer import uses_bfloat16

from .step import compare, plain_forms

Line = tuple[str, float, str]

RECIPE: dict[str, Any] = {
    "model": {"preset": "tiny"},
    "steps": 24,
    "batch_size": 8,
    "accumulate": 2,
    "max_tokens": 400,
    "min_channels": 1.0,
    "log_every": 4,
    "checkpoint_every": 8,
    "health_margin": 0.0,
    "precision": "float32",
    "threads": 1,
    "sampling": {"validation": 0.0},
}


def write_corpus(folder: Path, windows: int = 512) -> Path:
    """Windows of noise of eight people: 20 electrodes, 5 s at 256 Hz."""
    rng = np.random.default_rng(0)
    with CorpusWriter(folder) as writer:
        channels = Channels(
            tuple(f"e{i}" for i in range(20)), ("eeg",) * 20, rng.normal(0, 0.05, (20, 3)), frame="head"
        )
        writer.add_dataset("noise", {"steps": default_chain("eeg").to_steps()})
        for subject in map(str, range(8)):
            row = {"dataset": "noise", "modality": "eeg", "subject": subject, "sfreq": 256.0}
            data = rng.standard_normal((windows // 8, 20, 1280)).astype(np.float32)
            made = [Window(values, float(k), {}, "pretrain") for k, values in enumerate(data)]
            writer.add(row | {"recording": subject, "config": subject}, channels, made)
    return folder


def command(corpus: Path, out: Path, ranks: int) -> dict[str, float]:
    """Medians over the logs of a run, but the first."""
    recipe = out.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump(RECIPE))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    words = [sys.executable, *launch, "-m", "brainof", "pretrain", str(recipe), "--corpus", str(corpus)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*words, "--out", str(out)], check=True, env=environment, stdout=subprocess.DEVNULL)
    rows = [row for row in read_metrics(out / "metrics.jsonl") if "loss" in row][1:]
    names = ("windows_per_second", "data_wait", "checkpoint_wait")
    average = {"checkpoint_wait": statistics.fmean}  # most logs are without a checkpoint
    return {name: average.get(name, statistics.median)(row[name] for row in rows) for name in names}


#: The bare step of the command and the loop written out, and whether blocks are compiled
KINDS = {"ours": False, "ours compiled": True, "plain": False, "compiled": True}


def bare_steps(corpus: Path, out: Path, precision: str) -> dict[str, Callable[[], object]]:
    """Each of KINDS on one batch."""
    made: dict[str, Callable[[], object]] = {}
    for kind, compiled in KINDS.items():
        settings = {"accumulate": 1, "steps": 10**6, "warmup": 0.0, "precision": precision, "compile": compiled}
        run = Run(PretrainConfig.parse(RECIPE | settings), open_corpora(corpus), out)
        batch = next(iter(run.loader()))
        ours = partial(next, run.trainer.steps(repeat(batch))) if kind.startswith("ours") else None
        made[kind] = ours or partial(plain_step, run, batch)
    return made


def plain_step(run: Run, batch: Any) -> None:
    """What anybody would write, with the plain forms of the model's operators."""
    run.objective.train()
    with plain_forms():
        with torch.autocast("cpu", torch.bfloat16, enabled=run.trainer.bfloat16):
            loss = run.objective(batch, batch.counts, 0.0)["loss"]
        loss.backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    run.trainer.optimizer.step()
    run.trainer.optimizer.zero_grad()
    move_biases(run.model)


def against_plain(corpus: Path, out: Path, repeats: int = 9) -> tuple[dict[tuple[str, str], float], str]:
    """Seconds of each bare step by precision and kind, all in turn, and the precision that the command takes itself."""
    own = "bfloat16" if uses_bfloat16("auto", torch.device("cpu")) else "float32"
    steps = {
        (precision, kind): step
        for precision in dict.fromkeys(("float32", own))
        for kind, step in bare_steps(corpus, out, precision).items()
    }
    # the first step after one of another kind pays for memory that fits the other
    taken = compare(list(steps.values()), repeats, time.process_time, ahead=1)  # type: ignore[arg-type]
    return dict(zip(steps, taken, strict=True)), own


def run() -> Iterator[Line]:
    """The lines of this benchmark."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        corpus = write_corpus(root / "corpus")
        turns = [{ranks: command(corpus, root / f"run-{ranks}-{turn}", ranks) for ranks in (1, 2)} for turn in range(3)]
        one, two = ([turn[ranks] for turn in turns] for ranks in (1, 2))
        rates = [statistics.median(each["windows_per_second"] for each in runs) for runs in (one, two)]
        yield "train_windows_per_second", rates[0], "windows/s (one rank, one thread)"
        yield "ddp_scaling_2", rates[1] / rates[0], "ratio"
        yield "data_wait_pct", 100 * statistics.median(each["data_wait"] for each in one), "%"
        yield "checkpoint_stall_pct", 100 * max(each["checkpoint_wait"] for each in one), "%"
        taken, own = against_plain(corpus, root / "bare")
        yield "pretrain_vs_bench", rates[0] * taken["float32", "ours"] / RECIPE["batch_size"], "ratio"
        yield from ratios(taken, own)


def ratios(taken: dict[tuple[str, str], float], own: str) -> Iterator[Line]:
    """The lines of `against_plain`."""
    ours, plain = (
        min((key for key in taken if key[1].startswith("ours") == mine), key=lambda key: taken[key])
        for mine in (True, False)
    )
    yield "train_vs_plain", taken[plain] / taken[ours], f"ratio ({' '.join(ours)}; plain: {' '.join(plain)})"
    yield "train_vs_plain_default", taken[plain] / taken[own, "ours"], f"ratio ({own})"
    for precision in dict.fromkeys(precision for precision, _ in taken):
        for kind, mine in (("plain", "ours"), ("compiled", "ours compiled")):
            yield f"train_vs_{kind}_{precision}", taken[precision, kind] / taken[precision, mine], "ratio"
