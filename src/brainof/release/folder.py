"""Release folders: a model with its configuration, InputContract and model card, in safetensors and text only.

config.json            layout, BrainOFConfig, head, size and SHA-256 of each weight file, record of the training run
model.safetensors      weights and buffers (or shards, see weights.py)
preprocessing.json     InputContract
README.md              model card
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..contract import InputContract
from ..errors import CheckpointError, ConfigError
from ..model import BrainOF, BrainOFConfig, count
from ..schema import Schema
from ..utils.files import parse_json, read_small_text, storage_error
from .card import model_card
from .weights import (
    AGAIN,
    MAX_SHARD_BYTES,
    TEXTS,
    WEIGHT_FILE,
    n_values,
    refuse_pickles,
    save_weights,
    verify,
    weight_files,
)

LAYOUT = 3


class _FileEntry(Schema):
    bytes: int
    sha256: str


class _Head(Schema):
    outputs: int = Field(ge=1)
    pool: str


class _Release(Schema):
    """What `load` relies on in config.json."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: dict[str, Any]
    head: _Head | None = None
    files: dict[str, _FileEntry] = Field(default_factory=dict)
    about: dict[str, Any] = Field(default_factory=dict)


def save_release(
    folder: Path,
    model: BrainOF,
    contract: InputContract,
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    half: bool = False,
    **about: Any,
) -> None:
    """Write a release folder beside and rename it into place; `about` (JSON values) goes into its card too.

    `half` keeps weights in float16; they are loaded into float32 again.

    Raises ConfigError: the folder holds something else, which would be lost; StorageError.
    """
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    kept = [name for name in there if name not in TEXTS and not WEIGHT_FILE.fullmatch(name)]
    if kept or folder.is_file():
        what = f"holds {kept[0]!r}, which is not of a release" if kept else "is a file"
        raise ConfigError(what, file=folder, fix="give a new folder, an empty one or an earlier release")
    temporary, old = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("tmp", "old"))
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        weights = model.state_dict()
        if half:
            weights = {name: x.half() if x.is_floating_point() else x for name, x in weights.items()}
        files = save_weights(temporary, weights, max_shard_bytes)
        config: dict[str, Any] = {"layout": LAYOUT, "library_name": "brainof", "model": model.config.to_dict()}
        if model.head is not None:
            config["head"] = {"outputs": model.head.linear.out_features, "pool": model.head.pool}
        config |= {"files": files, "about": about}
        (temporary / "config.json").write_text(json.dumps(config, indent=1))
        (temporary / "preprocessing.json").write_text(json.dumps(contract.to_dict(), indent=1))
        (temporary / "README.md").write_text(model_card(config, contract), encoding="utf-8")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(temporary, folder)
    except OSError as error:
        raise storage_error(error, folder) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def release_in(folder: Path) -> Path:
    """The release folder inside a run folder, or the folder itself.

    Raises CheckpointError: there is none; an unfinished run and a folder of pickles are named as such.
    """
    for candidate in (folder / "release", folder):
        if (candidate / "config.json").is_file():
            return candidate
    if not folder.is_dir():
        raise CheckpointError("no such folder", file=folder, fix="name a run or release folder")
    refuse_pickles(folder, [path.name for path in folder.iterdir()])
    fix = "name a run or release folder"
    if (folder / "config.yaml").is_file():
        fix = "finish it with `brainof pretrain` or `brainof adapt`"
    raise CheckpointError("holds no released model", file=folder, fix=fix)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a release; CheckpointError where it is damaged, of another layout, or of another library."""
    path = folder / "config.json"
    config = _read(path)
    if not isinstance(config, dict) or "layout" not in config or "model" not in config:
        refuse_pickles(folder, [entry.name for entry in folder.iterdir()])
        kind = config.get("model_type") or config.get("library_name") if isinstance(config, dict) else None
        problem = f"is not the configuration of a brainof release{f' but of {kind!r}' if kind else ''}"
        raise CheckpointError(problem, file=path, fix="name a folder or model that brainof wrote")
    if config["layout"] != LAYOUT:
        layout, fix = repr(config["layout"]), "install the brainof that wrote it"
        if config["layout"] in (1, 2):
            layout += " with its flat model configuration"
            fix += " (git checkout ddf5b31), or pretrain again"
        raise CheckpointError(f"layout {layout}, this version reads {LAYOUT}", file=path, fix=fix)
    _Release.parse(config, path)
    return config


def read_contract(folder: Path) -> InputContract:
    """preprocessing.json of a release; CheckpointError where it is missing or damaged."""
    path = folder / "preprocessing.json"
    return InputContract.parse(_read(path), path)


def _read(path: Path) -> Any:
    try:
        return parse_json(read_small_text(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"is damaged or incomplete ({error})", file=path, fix="download it again") from None


def load_folder(folder: Path) -> tuple[BrainOF, InputContract]:
    """Model (in evaluation mode) and contract of a release folder; strict.

    Raises CheckpointError: another layout, a missing, cut, changed or pickled weight file, or weights that do not fit
    the configuration.
    """
    config, contract = read_config(folder), read_contract(folder)
    names = weight_files(folder)
    verify(folder, names, config.get("files", {}))
    architecture, head = BrainOFConfig.parse(config["model"], folder / "config.json"), config.get("head")
    # before a model is made that takes far more memory than its weights; what differs by less is named below
    announced = count(architecture)["total"] + (head["outputs"] if head else 0)
    if announced > 2 * (there := n_values(folder, names)):
        problem = f"announces a model of {announced:,} parameters, but the weights hold {there:,} values"
        raise CheckpointError(problem, file=folder / "config.json", fix="download it again")
    model = BrainOF(architecture)
    if head:
        model.reset_head(head["outputs"], head["pool"])
    missing, problem = set(model.state_dict()), "weights do not fit the configuration"
    for name in names:
        try:
            tensors = load_file(folder / name)
            unknown = model.load_state_dict(tensors, strict=False).unexpected_keys
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"is damaged or incomplete ({error})", file=folder / name, fix=AGAIN) from None
        except RuntimeError as error:
            raise CheckpointError(f"{problem} ({error})", file=folder / name) from None
        if unknown:
            raise CheckpointError(f"{problem}: {unknown[0]!r} is not in the model", file=folder / name)
        missing -= set(tensors)
    if missing:
        problem += f": {min(missing)!r} is missing ({len(missing)} tensors in all)"
        raise CheckpointError(problem, file=folder)
    return model.eval(), contract
