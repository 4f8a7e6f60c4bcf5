"""Release folders: a model with its configuration and InputContract, in safetensors and JSON only.

config.json            BrainOFConfig
model.safetensors      weights and buffers
preprocessing.json     InputContract
"""

from __future__ import annotations

import json
import os
import shutil
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .contract import InputContract
from .errors import CheckpointError, did_you_mean

if TYPE_CHECKING:
    from .model import BrainOF

LAYOUT = 1


def save_release(folder: Path, model: BrainOF, contract: InputContract, **about: Any) -> None:
    """Write a release folder beside and rename it into place; `about` (JSON values) goes into config.json."""
    from safetensors.torch import save_file

    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, temporary / "model.safetensors")
    config = {"layout": LAYOUT, "model": model.config.to_dict(), "about": about}
    (temporary / "config.json").write_text(json.dumps(config, indent=1))
    (temporary / "preprocessing.json").write_text(json.dumps(contract.to_dict(), indent=1))
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(temporary, folder)
    shutil.rmtree(old, ignore_errors=True)


def load(model: str | PathLike[str], *, seed: int = 0) -> tuple[BrainOF, InputContract | None]:
    """Load a model by what the user has: a run folder, a release folder, or a preset name.

    Parameters
    ----------
    model : str or path
        A run folder (its `release/` is read), a release folder, or a preset (random weights from `seed`, no contract).

    Returns
    -------
    model : BrainOF
        In evaluation mode.
    contract : InputContract or None
        None for a preset, which was never trained on anything.

    Raises
    ------
    CheckpointError
        Nothing of that name, a folder without a release, another layout, or weights that do not fit.
    """
    import torch

    from .model import BrainOF
    from .model.presets import PRESETS

    folder = Path(model)
    if str(model) in PRESETS and not folder.is_dir():
        torch.manual_seed(seed)
        return BrainOF.from_preset(str(model)).eval(), None
    if not folder.is_dir():
        raise CheckpointError(
            "no such run folder, release folder or preset", file=folder, fix=did_you_mean(str(model), PRESETS)
        )
    return _load_folder(_release_in(folder))


def describe(model: str | PathLike[str]) -> dict[str, Any]:
    """What a run or release folder holds, for `brainof info`."""
    from .model.presets import count

    loaded, contract = _load_folder(_release_in(Path(model)))
    about = json.loads((_release_in(Path(model)) / "config.json").read_text())["about"]
    return {
        "file": str(model),
        "parameters": count(loaded.config),
        "config": loaded.config.to_dict(),
        "contract": contract.to_dict(),
        "about": about,
    }


def _release_in(folder: Path) -> Path:
    for candidate in (folder / "release", folder):
        if (candidate / "config.json").is_file():
            return candidate
    fix = "finish it with `brainof pretrain`" if (folder / "config.yaml").is_file() else "name a run or release folder"
    raise CheckpointError("holds no released model", file=folder, fix=fix)


def _load_folder(folder: Path) -> tuple[BrainOF, InputContract]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from .model import BrainOF, BrainOFConfig

    try:
        saved = json.loads((folder / "config.json").read_text())
        contract = json.loads((folder / "preprocessing.json").read_text())
        if saved.get("layout") != LAYOUT:
            raise CheckpointError(f"layout {saved.get('layout')!r}, this version reads {LAYOUT}", file=folder)
        weights = load_file(folder / "model.safetensors")
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise CheckpointError(
            f"is damaged or incomplete ({error})", file=folder, fix="download or train it again"
        ) from None
    model = BrainOF(BrainOFConfig.parse(saved["model"], folder / "config.json"))
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"weights do not fit the configuration ({error})", file=folder / "model.safetensors"
        ) from None
    return model.eval(), InputContract.parse(contract, folder / "preprocessing.json")
