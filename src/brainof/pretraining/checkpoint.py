"""Checkpoints of a run: written beside, fsynced, renamed; then `latest` moves; then old ones go.

A checkpoint folder `step-N` holds `training.safetensors` (weights, buffers and optimizer moments) and `state.json` (the
position of the run and the checksums of the tensors and of itself). Nothing in it is code: see docs/decisions/0005.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from ..errors import CheckpointError
from ..utils.checksum import crc32c
from ..utils.files import sync_folder, write_atomically, write_json

log = logging.getLogger(__name__)

TENSORS, STATE = "training.safetensors", "state.json"


def training_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights and buffers as `model.NAME`, optimizer state as `optimizer.NAME.KEY`."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{key}"] = value
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def restore_tensors(tensors: dict[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Inverse of `training_tensors`, in place; a RuntimeError where they belong to another model."""
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    optimizer.state.clear()
    for name, parameter in model.named_parameters():
        prefix = f"optimizer.{name}."
        state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if state:
            # the step count of fused AdamW lives beside the parameter too
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in state.items()}


def save_checkpoint(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any], keep: int
) -> Path:
    """Write `folder/step-N` and point `folder/latest` to it; keep the newest `keep` checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    final, temporary = folder / f"step-{step}", folder / f"step-{step}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    content = save(training_tensors(model, optimizer))
    write_atomically(temporary / TENSORS, [content])
    state = {"step": step, "crc32c": crc32c(content), **state}
    write_json(temporary / STATE, {**state, "state_crc32c": _checksum(state)})
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    sync_folder(folder)
    write_atomically(folder / "latest", [final.name.encode()])
    for old in complete_checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _checksum(state: dict[str, Any]) -> int:
    """Of the values of a state, as JSON gives them back."""
    return crc32c(json.dumps(state, sort_keys=True).encode())


def complete_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that were written to the end, oldest first."""
    found = [path for path in folder.glob("step-*") if path.suffix != ".tmp" and (path / STATE).is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Restore the newest complete checkpoint and return its state; None where there is none.

    A checkpoint whose bytes are not those that were written is skipped for the one before it.

    Raises
    ------
    CheckpointError
        All checkpoints are damaged, or they belong to another model.
    """
    paths = complete_checkpoints(folder)
    for path in reversed(paths):
        try:
            state = json.loads((path / STATE).read_text())
            content = (path / TENSORS).read_bytes()
        except (OSError, ValueError):
            continue
        if state.pop("state_crc32c", None) != _checksum(state) or crc32c(content) != state["crc32c"]:
            log.warning("%s: its bytes are not those that were written; the one before it is used", path)
            continue
        try:
            restore_tensors(load(content), model, optimizer)
        except RuntimeError as error:
            raise CheckpointError(f"belongs to another model ({error})", file=path) from None
        return state
    if paths:
        raise CheckpointError("no checkpoint is intact", file=folder, fix="delete the folder to start anew")
    return None
