"""What this machine takes: the largest batch that fits and pays, then a sweep of learning rates. Measured, not planned.

Every trial is a short run of `pretrain` itself, with loader and masks on.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..corpus import open_corpora
from ..errors import ConfigError, HealthError
from ..paths import user_path
from ..utils.files import write_json
from .config import PretrainConfig
from .data import index_of
from .plan import batches_of, kinds_of
from .run import pretrain
from .run_folder import read_metrics

#: A batch twice as large must give this much more windows per second to be worth its memory
GAIN = 1.03
#: Learning rates of the sweep, as factors on the recipe's
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)


def tune(
    config: PretrainConfig,
    corpus: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    steps: int = 60,
    trial_steps: int = 6,
    doublings: int = 6,
) -> dict[str, Any]:
    """Find `tokens_per_batch` (with `batch_size` and `accumulate` to go with it) and `lr` for a recipe.

    `steps` are those of each learning rate, whose loss at the end is that of the last quarter; `trial_steps` those of
    each batch size (the first is not counted), of which `doublings` larger than the recipe's are tried. Folder `out`
    gets the metrics of all trials, and `tuning.json`: what is returned, with the trials `batches` (tokens, windows/s,
    GiB) and `rates` (lr, loss at the end, losses).

    A ConfigError where not even a quarter of the recipe's batch fits.
    """
    folder = user_path(out)
    batches = list(_batches(config, corpus, folder, trial_steps, doublings))
    fitting = [trial for trial in batches if trial["windows_per_second"] is not None]
    if not fitting:
        raise ConfigError("no batch fits into memory", field="batch_size", fix="choose a smaller model")
    best = fitting[0]
    for trial in sorted(fitting, key=lambda trial: trial["tokens_per_batch"])[1:]:
        if trial["windows_per_second"] > GAIN * best["windows_per_second"]:
            best = trial
    chosen = {name: best[name] for name in ("tokens_per_batch", "batch_size", "accumulate")}
    config = config.replaced([f"{name}={value}" for name, value in chosen.items()])
    rates: list[dict[str, Any]] = []
    for factor in FACTORS:  # over the same batches with the same masks
        lr = float(f"{config.lr * factor:.3g}")
        losses: list[float] = []
        with contextlib.suppress(HealthError):  # not finite
            rows = _rows(config, corpus, folder / f"lr-{lr:g}", {"lr": lr, "steps": steps})
            losses = [float(np.mean([row["loss"] for row in rows if row["step"] == step + 1])) for step in range(steps)]
        last_quarter = losses[-max(1, steps // 4) :]
        rates.append({"lr": lr, "loss": float(np.mean(last_quarter)) if losses else None, "losses": losses})
    learning = [trial for trial in rates if trial["loss"] is not None]
    if not learning:
        raise ConfigError("no learning rate gives a finite loss", field="lr", fix="lower lr")
    lr = min(learning, key=lambda trial: trial["loss"])["lr"]
    found = {**chosen, "lr": lr, "batches": batches, "rates": rates}
    write_json(folder / "tuning.json", found)
    return found


def _batches(
    config: PretrainConfig, corpus: Sequence[str | PathLike[str]], folder: Path, steps: int, doublings: int
) -> Iterator[dict[str, Any]]:
    """Trials of larger batches until they do not fit or do not pay; of smaller ones where the recipe's does not fit."""
    kinds = kinds_of(index_of(open_corpora(corpus), config.sampling))
    table = batches_of(config, config.architecture, kinds)
    tokens = config.tokens_per_batch or int((table["tokens"] * table["windows"]).max())

    def trial(factor: float) -> dict[str, Any]:
        """Windows per second (None: does not fit) with so many times the batch, and as many windows a step."""
        sizes = {
            "tokens_per_batch": round(tokens * factor),
            "batch_size": max(1, round(config.batch_size * factor)),
            "accumulate": max(1, round(config.accumulate / factor)),
        }
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        changes = {**sizes, "accumulate": 1, "steps": steps}
        try:
            rows = _rows(config, corpus, folder / f"batch-{sizes['tokens_per_batch']}", changes)
        except (torch.OutOfMemoryError, MemoryError):
            return {**sizes, "windows_per_second": None, "gib": None}
        speed = float(np.median([row["windows_per_second"] for row in rows if row["step"] > 1]))
        gib = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
        return {**sizes, "windows_per_second": speed, "gib": gib}

    before = 0.0
    for power in range(doublings + 1):
        yield (found := trial(2.0**power))
        if found["windows_per_second"] is None or found["windows_per_second"] < GAIN * before:
            break
        before = found["windows_per_second"]
    for factor in (0.5, 0.25) if not before else ():
        yield trial(factor)


def _rows(
    config: PretrainConfig, corpus: Sequence[str | PathLike[str]], run: Path, changes: dict[str, Any]
) -> list[dict[str, Any]]:
    """The log of a short run from the start; what else it leaves is removed."""
    shutil.rmtree(run, ignore_errors=True)
    quiet = {"log_every": 1, "health_grace": 1.0, "health_margin": 0.0}
    quiet |= {"checkpoint_every": 10**9, "health_every": 10**9}
    try:
        pretrain(config.replaced([f"{name}={value}" for name, value in (quiet | changes).items()]), corpus, run)
    except HealthError as error:
        if "ignores the latents" not in error.problem:
            raise
    finally:
        for name in ("checkpoints", "release"):
            shutil.rmtree(run / name, ignore_errors=True)
    return [row for row in read_metrics(run / "metrics.jsonl") if "loss" in row]
