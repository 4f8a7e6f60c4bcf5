"""Weights as safetensors: one file, or shards with an index; every file's size and SHA-256 are kept and checked.

model.safetensors                    one file, or
model-00001-of-00003.safetensors     shards of at most so many bytes, and
model.safetensors.index.json         which tensor lies in which shard

Own code, since huggingface_hub, which can split weights too, is an extra that releases on disk do not need, and checks
neither sizes nor digests when it reads.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CheckpointError, ConfigError, StorageError
from ..utils.checksum import sha256_of
from ..utils.files import parse_json

#: Largest weight file; larger models are sharded (the Hub's own recommendation is below 50 GB, its tools use 5)
MAX_SHARD_BYTES = 5_000_000_000

INDEX = "model.safetensors.index.json"
WEIGHT_FILE = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
#: What else a release consists of, the index only beside shards
TEXTS = ("config.json", "preprocessing.json", "README.md", INDEX)

#: How pickles and the archives of torch.save begin
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")

AGAIN = "download or copy it again"
_NO_PICKLES = "brainof reads safetensors only; ask for weights in that format"


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
            raise CheckpointError(f"is damaged or incomplete ({error})", file=folder / name, fix=AGAIN) from None
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
            raise CheckpointError("is damaged (not an index of weights)", file=folder / INDEX, fix=AGAIN) from None
        for name in names:
            # a name from a downloaded file must not lead out of the folder
            if not WEIGHT_FILE.fullmatch(str(name)):
                raise CheckpointError(f"{name!r} is not a weight file", file=folder / INDEX, field="weight_map")
        return names
    if (folder / "model.safetensors").is_file():
        return ["model.safetensors"]
    refuse_pickles(folder, [path.name for path in folder.iterdir()])
    raise CheckpointError("is missing", file=folder / "model.safetensors", fix=AGAIN)


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
        if not WEIGHT_FILE.fullmatch(name):
            raise CheckpointError(f"{name!r} is not a weight file", file=folder / "config.json", field="files")
        if not path.is_file():
            raise CheckpointError("is missing", file=path, fix=AGAIN)
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
            raise CheckpointError(f"{cut}: {size:,} of {expected.get('bytes'):,} bytes", file=path, fix=AGAIN)
        if sha256_of(path) != expected.get("sha256"):
            raise CheckpointError("is damaged: its SHA-256 is not that of the release", file=path, fix=AGAIN)
