"""The record of a run: what a model card must be able to say, taken from the run itself."""

from __future__ import annotations

import contextlib
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
    """Write what a model card must be able to say of a run, beside the configuration: data (`rows` of the index) with
    licenses, settings, seeds, hardware, and `more`; all but how far the run has come."""
    record = {
        "seed": config.seed,
        "batch": config.batch_size * config.accumulate,
        "lr": config.lr,
        "precision": "bfloat16" if bfloat16 else "float32",
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
                # earlier corpora called a license "licence"
                **{
                    key: described[key]
                    for key in ("title", "license", "licence", "citation", "url")
                    if described.get(key)
                },
            }
        )
    return found


def hardware(device: torch.device, ranks: int = 1) -> str:
    """What a run has, as its card says it."""
    if device.type == "cuda":
        return f"{ranks} x {torch.cuda.get_device_name(device)}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processes = f"{ranks} processes, " if ranks > 1 else ""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    return f"{cpu}, {counted(cores or 1, 'core')}, {processes}{counted(torch.get_num_threads(), 'thread')}"
