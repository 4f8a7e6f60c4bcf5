"""The record of a run: what a model card must be able to say, taken from the run itself."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ..contract import InputContract
from ..corpus import Windows, subjects
from ..utils.files import write_json
from ..utils.provenance import commit, versions
from ..utils.values import counted
from .config import PretrainConfig
from .run_folder import ABOUT

#: What a corpus says of a dataset (earlier ones called a license "licence")
_DESCRIBED = ("title", "license", "licence", "citation", "url")


def write_record(
    folder: Path,
    contract: InputContract,
    config: PretrainConfig,
    corpora: Windows,
    rows: pd.DataFrame,
    *,
    device: torch.device,
    bfloat16: bool,
    ranks: int = 1,
    **more: Any,
) -> None:
    """What a run reads, and its record: data (`rows` of the index) with licenses, settings, seeds, hardware.

    It stands beside the configuration, and says all but how far the run has come; `more` is added as it is.
    """
    record = {
        "seed": config.seed,
        "batch": config.batch_size * config.accumulate,
        "lr": config.lr,
        "precision": precision_name(bfloat16),
        "compiled": config.compile,
        "hardware": hardware(device, ranks),
        "versions": {**versions(), "torch": torch.__version__, "python": platform.python_version()},
        **({"commit": commit()} if commit() else {}),
        "objective": config.objective.to_dict(),
        "mask": config.mask.to_dict(),
        "sampling": config.sampling.to_dict(),
        "windows": {str(name): int(n) for name, n in rows.groupby("dataset", observed=True).size().items()},
        "data": data_record(corpora, rows),
        **({"base_model": config.start} if config.start else {}),
        **more,
    }
    write_json(folder / ABOUT, {"contract": contract.to_dict(), "record": record})


def data_record(corpora: Windows, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What a card says of each dataset: title, license, citation, address, people, recordings, windows, hours."""
    found = []
    for name, part in rows.groupby("dataset", observed=True):
        described = corpora.datasets.get(str(name), {})
        found.append(
            {
                "dataset": str(name),
                "modality": str(part["modality"].iloc[0]),
                "people": int(subjects(part).nunique()),
                "subjects": sorted(set(part["subject"].astype(str))),  # so that an evaluation can tell whom it saw
                "recordings": int(part["recording"].nunique()),
                "windows": len(part),
                "hours": round(float((part["n_times"] / part["sfreq"]).sum() / 3600), 3),
                **{key: described[key] for key in _DESCRIBED if described.get(key)},
            }
        )
    return found


def precision_name(bfloat16: bool) -> str:
    """Of forward passes."""
    return "bfloat16" if bfloat16 else "float32"


def hardware(device: torch.device, ranks: int = 1) -> str:
    """What a run has, as its card says it."""
    if device.type == "cuda":
        return f"{ranks} x {torch.cuda.get_device_name(device)}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processes = f"{ranks} processes, " if ranks > 1 else ""
    return f"{_cpu()}, {counted(cores or 1, 'core')}, {processes}{counted(torch.get_num_threads(), 'thread')}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
