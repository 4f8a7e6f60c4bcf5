"""The record of a run: what a model card must be able to say, taken from the run itself."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..corpus import Windows, subjects
from ..version import __version__
from .config import PretrainConfig

_ABOUT_DATASET = ("title", "licence", "citation", "url")


def run_record(
    config: PretrainConfig,
    corpora: Windows,
    rows: pd.DataFrame,
    device: torch.device,
    *,
    steps: int,
    seconds: float,
    bfloat16: bool,
    health: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """JSON values: data with licences, windows, seeds, hardware, steps and the last health check.

    Parameters
    ----------
    rows : DataFrame
        The training rows of the index.
    """
    return {
        "steps": steps,
        "seconds": round(seconds, 1),
        "seed": config.seed,
        "batch": config.batch_size * config.accumulate,
        "lr": config.lr,
        "precision": "bfloat16" if bfloat16 else "float32",
        "hardware": _hardware(device),
        "versions": {"brainof": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "objective": config.objective.to_dict(),
        "mask": config.mask.to_dict(),
        "sampling": config.sampling.to_dict(),
        "windows": {str(name): int(n) for name, n in rows.groupby("dataset", observed=True).size().items()},
        "data": data_record(corpora, rows),
        "health": {name: {key: _rounded(value) for key, value in row.items()} for name, row in health.items()},
    }


def data_record(corpora: Windows, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What a card says of each dataset: title, licence, citation, address, people, recordings, windows, hours."""
    return [_dataset(str(name), part, corpora) for name, part in rows.groupby("dataset", observed=True)]


def _dataset(name: str, rows: pd.DataFrame, corpora: Windows) -> dict[str, Any]:
    described = corpora.datasets.get(name, {})
    return {
        "dataset": name,
        "modality": str(rows["modality"].iloc[0]),
        "people": int(subjects(rows).nunique()),
        "subjects": sorted(set(rows["subject"].astype(str))),  # so that an evaluation can tell whom it saw
        "recordings": int(rows["recording"].nunique()),
        "windows": len(rows),
        "hours": round(float((rows["n_times"] / rows["sfreq"]).sum() / 3600), 3),
        **{key: described[key] for key in _ABOUT_DATASET if described.get(key)},
    }


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return f"1 x {torch.cuda.get_device_name(device)}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_cpu()}, {cores} cores, {torch.get_num_threads()} threads"


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, 4) if np.isfinite(value) else None
