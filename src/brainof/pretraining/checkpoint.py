"""Checkpoints of a run: written beside, fsynced, renamed; then `latest` moves; then old ones go.

A checkpoint folder `step-N` holds the training state as a torch distributed checkpoint (sharded where training is),
and `state.json` with the position of the run. Resume only from your own runs: torch reads the checkpoint's metadata
with pickle. What is meant for others is the release folder (safetensors and JSON only).
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from ..errors import CheckpointError


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a small file so that readers see the old or the new text, never half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)
    fsync_folder(path.parent)


def save_checkpoint(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any], keep: int
) -> Path:
    """Write `folder/step-N` and point `folder/latest` to it; keep the newest `keep` checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    final, temporary = folder / f"step-{step}", folder / f"step-{step}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    weights, moments = get_state_dict(model, optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one process without a process group is intended
        writer = dcp.FileSystemWriter(temporary, sync_files=True)
        dcp.save({"model": weights, "optimizer": moments}, storage_writer=writer, no_dist=True)
    write_text(temporary / "state.json", json.dumps({"step": step, **state}))
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    fsync_folder(folder)
    write_text(folder / "latest", final.name)
    for old in complete_checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def complete_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that were written to the end, oldest first."""
    found = [p for p in folder.glob("step-*") if not p.name.endswith(".tmp") and (p / "state.json").is_file()]
    return sorted(found, key=lambda p: int(p.name.removeprefix("step-")))


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Restore the newest complete checkpoint; None where there is none.

    A checkpoint that turns out to be damaged is skipped for the one before it.

    Raises
    ------
    CheckpointError
        All checkpoints are damaged or belong to another model.
    """
    problem: Exception | None = None
    for path in reversed(complete_checkpoints(folder)):
        try:
            weights, moments = get_state_dict(model, optimizer)
            values = {"model": weights, "optimizer": moments}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dcp.load(values, storage_reader=dcp.FileSystemReader(path), no_dist=True)
            set_state_dict(model, optimizer, model_state_dict=values["model"], optim_state_dict=values["optimizer"])
            return json.loads((path / "state.json").read_text())
        except Exception as error:  # torch raises many kinds for damaged files; the next older one may be fine
            problem = error
    if problem is not None:
        raise CheckpointError(
            f"cannot be restored ({problem})", file=folder, fix="delete the folder to start anew"
        ) from problem
    return None
