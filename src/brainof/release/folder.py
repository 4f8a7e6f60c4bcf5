"""Release folders: a model with its configuration, InputContract and model card, in safetensors and text only.

config.json                          layout, BrainOFConfig, head, size and SHA-256 of each weight file, record of a run
model.safetensors                    weights and buffers in one file, or
model-00001-of-00003.safetensors     shards of at most so many bytes, and
model.safetensors.index.json         which tensor lies in which shard
preprocessing.json                   InputContract
README.md                            model card

Shards are own code, since huggingface_hub, which can split weights too, is an extra that releases on disk do not need,
and checks neither sizes nor digests when it reads.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..contract import InputContract
from ..errors import CheckpointError, ConfigError, StorageError
from ..model import BrainOF, BrainOFConfig, count
from ..schema import Schema
from ..utils.checksum import sha256_of
from ..utils.files import parse_json, read_small_text, storage_error
from .card import model_card

LAYOUT = 3

#: Largest weight file; larger models are sharded (the Hub's own recommendation is below 50 GB, its tools use 5)
MAX_SHARD_BYTES = 5_000_000_000

INDEX = "model.safetensors.index.json"
_WEIGHT_FILE = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
#: What else a release consists of, the index only beside shards
TEXTS = ("config.json", "preprocessing.json", "README.md", INDEX)

#: How pickles and the archives of torch.save begin
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")

_AGAIN = "download or copy it again"
_NO_PICKLES = "brainof reads safetensors only; ask for weights in that format"


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
    kept = [name for name in there if name not in TEXTS and not _WEIGHT_FILE.fullmatch(name)]
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
            raise CheckpointError(f"is damaged or incomplete ({error})", file=folder / name, fix=_AGAIN) from None
        except RuntimeError as error:
            raise CheckpointError(f"{problem} ({error})", file=folder / name) from None
        if unknown:
            raise CheckpointError(f"{problem}: {unknown[0]!r} is not in the model", file=folder / name)
        missing -= set(tensors)
    if missing:
        problem += f": {min(missing)!r} is missing ({len(missing)} tensors in all)"
        raise CheckpointError(problem, file=folder)
    return model.eval(), contract


def save_weights(
    folder: Path, tensors: Mapping[str, Tensor], max_bytes: int = MAX_SHARD_BYTES
) -> dict[str, dict[str, Any]]:
    """Write tensors into `folder` and return `{file name: {"bytes": size, "sha256": digest}}`.

    A tensor larger than `max_bytes` gets a shard of its own.
    """
    if max_bytes < 1:
        raise ConfigError(f"{max_bytes}", field="max_shard_bytes", fix="give bytes above 0")
    shards = split(tensors, max_bytes)
    files: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        one = len(shards) == 1
        file = "model.safetensors" if one else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        path = folder / file
        values = {name: tensors[name].detach().cpu().contiguous() for name in names}
        path.touch()
        mode = path.stat().st_mode  # that the user's files have; safetensors leaves them to their owner alone
        try:
            save_file(values, path, metadata={"format": "pt"})
        except SafetensorError as error:  # what it makes of a full disk
            raise StorageError(f"cannot be written ({error})", file=path, fix="free space or choose another") from None
        path.chmod(mode)
        files[file] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        places |= dict.fromkeys(names, file)
    if len(shards) > 1:
        total = sum(tensor.nbytes for tensor in tensors.values())
        (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": places}, indent=1))
    return files


def split(tensors: Mapping[str, Tensor], max_bytes: int) -> list[list[str]]:
    """Names of the tensors of each shard, in order, each shard as full as the order allows."""
    shards: list[list[str]] = [[]]
    used = 0
    for name, tensor in tensors.items():
        if shards[-1] and used + tensor.nbytes > max_bytes:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += tensor.nbytes
    return shards


def n_values(folder: Path, names: list[str]) -> int:
    """Numbers in weight files, from their headers alone."""
    total = 0
    for name in names:
        try:
            with safe_open(folder / name, "pt") as file:
                total += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"is damaged or incomplete ({error})", file=folder / name, fix=_AGAIN) from None
    return total


def weight_files(folder: Path) -> list[str]:
    """Names of the weight files of a release: the single one, or those in the index.

    Raises CheckpointError: there are none (pickled weights are named as the reason), or the index is damaged.
    """
    if (folder / INDEX).is_file():
        try:
            places = parse_json((folder / INDEX).read_text())["weight_map"]
            names = sorted(set(places.values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise CheckpointError("is damaged (not an index of weights)", file=folder / INDEX, fix=_AGAIN) from None
        for name in names:
            # a name from a downloaded file must not lead out of the folder
            if not _WEIGHT_FILE.fullmatch(str(name)):
                raise CheckpointError(f"{name!r} is not a weight file", file=folder / INDEX, field="weight_map")
        return names
    if (folder / "model.safetensors").is_file():
        return ["model.safetensors"]
    refuse_pickles(folder, [path.name for path in folder.iterdir()])
    raise CheckpointError("is missing", file=folder / "model.safetensors", fix=_AGAIN)


def refuse_pickles(where: str | Path, names: list[str]) -> None:
    """Raise CheckpointError where `names` holds pickled weights and no safetensors."""
    pickles = sorted(name for name in names if name.endswith(PICKLE_SUFFIXES))
    if pickles and not any(name.endswith(".safetensors") for name in names):
        problem = f"holds only pickled weights ({pickles[0]}), which can run any code when they are read"
        raise CheckpointError(problem, file=where, fix=_NO_PICKLES)


def verify(folder: Path, names: list[str], known: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that the weight files are there, whole, and those that were written (CheckpointError).

    `known` is what `save_weights` returned; a file that it does not know is only checked for being safetensors.
    """
    for name in sorted({*names, *known}):
        path = folder / name
        if not _WEIGHT_FILE.fullmatch(name):
            raise CheckpointError(f"{name!r} is not a weight file", file=folder / "config.json", field="files")
        if not path.is_file():
            raise CheckpointError("is missing", file=path, fix=_AGAIN)
        with path.open("rb") as file:
            start = file.read(4)
        if start.startswith(_PICKLE_STARTS):
            problem = "is a pickle under another name, which can run any code when it is read"
            raise CheckpointError(problem, file=path, fix=_NO_PICKLES)
        expected = known.get(name)
        if expected is None:
            continue
        size = path.stat().st_size
        if size != expected.get("bytes"):
            cut = "is cut short" if size < int(expected.get("bytes") or 0) else "has the wrong size"
            raise CheckpointError(f"{cut}: {size:,} of {expected.get('bytes'):,} bytes", file=path, fix=_AGAIN)
        if sha256_of(path) != expected.get("sha256"):
            raise CheckpointError("is damaged: its SHA-256 is not that of the release", file=path, fix=_AGAIN)
