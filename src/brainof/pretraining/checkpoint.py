"""Checkpoints of a run, by torch's DCP: written beside, checked, renamed; then `latest` moves; then old ones go.

A checkpoint folder `step-N` holds `shard-*.safetensors`, one per rank (weights, buffers and optimizer moments, each
rank its part), and `state.json` (the position of the run, the checksum of each file and of itself). Any number of ranks
reads what any other has written. Nothing in it is code: DCP's own format has a pickle for its table of contents, so its
safetensors storage is used, whose headers say where each part belongs. See docs/decisions/0068.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import shutil
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, StorageError
from ..utils.checksum import crc32c
from ..utils.files import make_folder, parse_json, storage_error, sync_folder, write_atomically, write_json
from .parallel import World

log = logging.getLogger(__name__)

STATE = "state.json"


class Checkpoints:
    """The checkpoints of a run, written while it goes on: in `folder`, which all ranks of `world` see.

    The `keep` newest stay, and the best beside them. `extra` are tensors that are saved beside weights, buffers and
    optimizer state, and restored in place.
    """

    def __init__(
        self, folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, keep: int, world: World | None = None
    ) -> None:
        self.folder, self.model, self.optimizer, self.keep = folder, model, optimizer, keep
        self.world = world or World()
        self.extra: dict[str, Tensor] = {}
        self._pool = ThreadPoolExecutor(1, "brainof-checkpoint")
        self._pending: Future[None] | None = None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Begin to write `step-N`: returns when the tensors are copied; the one before is awaited first."""
        from torch.distributed.checkpoint import HuggingFaceStorageWriter, async_save

        self.wait()
        temporary = self.folder / f"step-{step}.tmp"
        with self.world.together():
            if self.world.main:
                shutil.rmtree(temporary, ignore_errors=True)
                make_folder(temporary)
        _say_nothing_of_one_process()
        written = async_save(
            training_tensors(self.model, self.optimizer) | self.extra,
            storage_writer=HuggingFaceStorageWriter(str(temporary), save_distributed=True),
            process_group=self.world.saving,
            no_dist=self.world.size == 1,
        )
        self._pending = self._pool.submit(self._finish, written, temporary, {"step": step, **state})

    def wait(self) -> None:
        """Until what was begun is complete; a StorageError where the disk is full, and those before it are kept."""
        pending, self._pending = self._pending, None
        with self.world.together():
            if pending is not None:
                pending.result()

    def close(self) -> None:
        """Let what was begun end, whatever comes of it; when a run ends by an error."""
        self._pool.shutdown()

    def _finish(self, written: Any, temporary: Path, state: dict[str, Any]) -> None:
        try:
            written.result()
        except BaseException as error:  # DCP's own is no Exception
            shutil.rmtree(temporary, ignore_errors=True)
            # DCP raises one error that holds those of the ranks
            causes = [error, *(cause for cause, _ in getattr(error, "failures", {}).values())]
            for cause in causes:
                if isinstance(cause, OSError) and cause.errno is not None:
                    raise storage_error(cause, temporary) from None
            text = f"cannot be written ({type(causes[-1]).__name__}: {causes[-1]})"
            raise StorageError(text, file=temporary) from None
        mine = temporary.glob(f"shard-{self.world.rank + 1:05d}-*")
        files = {path.name: _checksum_of_file(path) for path in mine}
        parts: list[Any] = [files]
        if self.world.size > 1:
            parts = [None] * self.world.size
            torch.distributed.all_gather_object(parts, files, group=self.world.saving)
        if self.world.main:
            state["files"] = {name: crc for part in parts for name, crc in part.items()}
            write_json(temporary / STATE, {**state, "state_crc32c": _checksum(state)})
            final = temporary.with_suffix("")
            shutil.rmtree(final, ignore_errors=True)
            os.replace(temporary, final)
            sync_folder(self.folder)
            write_atomically(self.folder / "latest", [final.name.encode()])
            self._prune()

    def rate(self, step: int, score: float) -> None:
        """Keep `step-N`, the newest one, until another has a higher score."""
        with self.world.together():
            if self.world.main and score > best_of(self.folder).get("score", -float("inf")):
                make_folder(self.folder)
                write_json(self.folder / "best.json", {"step": step, "score": score})
                self._prune()  # of the one that was the best until now

    def _prune(self) -> None:
        best = best_of(self.folder).get("step")
        for old in complete_checkpoints(self.folder)[: -self.keep]:
            if old.name != f"step-{best}":
                shutil.rmtree(old, ignore_errors=True)

    def load(self) -> dict[str, Any] | None:
        """Restore the newest intact checkpoint and return its state; None where there is none.

        Damaged ones are passed over, with a warning; a CheckpointError where all are, or they are of another model.
        """
        with self.world.together():
            found = self.world.from_main(lambda: _newest_intact(self.folder))
        if isinstance(found, CheckpointError):
            raise found
        if found is None:
            return None
        path, state = found
        with self.world.together():
            restore(path, self.model, self.optimizer, self.world)
            if self.extra:
                read_into(path, self.extra, self.world)
        return state


def training_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights and buffers as `model.NAME`, optimizer state as `optimizer.NAME.KEY`."""
    tensors = _weights(model)
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{key}"] = _whole(value, parameter)
    return tensors


def _weights(model: nn.Module) -> dict[str, Tensor]:
    parameters = dict(model.named_parameters())
    return {f"model.{name}": _whole(value, parameters.get(name)) for name, value in model.state_dict().items()}


def _whole(value: Tensor, parameter: nn.Parameter | None) -> Tensor:
    """A tensor like a parameter as checkpoints know it: also where this rank has experts of its own."""
    mesh = getattr(parameter, "spread", None)
    if mesh is None or not value.ndim:
        return value.detach()
    from torch.distributed.tensor import DTensor, Replicate, Shard

    return DTensor.from_local(value.detach(), mesh, [Replicate(), Shard(0)])


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None, world: World | None = None) -> None:
    """Read a checkpoint into a model, and into an optimizer where one is given; a CheckpointError for another model."""
    from torch.distributed.checkpoint import HuggingFaceStorageReader

    # name -> what DCP says of a tensor (`size`), from the headers of the files
    held: dict[str, Any] = HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata
    wanted = _weights(model)
    moments: dict[Tensor, dict[str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        prefix = f"optimizer.{name}."
        for key in held if optimizer is not None else ():
            if key.startswith(prefix):
                # the step count of fused AdamW lives beside the parameter, too
                scalar = torch.zeros((), device=parameter.device)
                like = torch.zeros_like(parameter) if held[key].size else scalar
                moments.setdefault(parameter, {})[key.removeprefix(prefix)] = like
                wanted[key] = _whole(like, parameter)
    model_keys = {key for key in held if key.startswith("model.")}
    problems = sorted(model_keys ^ {key for key in wanted if key.startswith("model.")})
    problems += [key for key, value in wanted.items() if key in held and held[key].size != value.shape]
    if problems:
        name = problems[0].partition(".")[2]
        text = f"belongs to another model ({len(problems)} tensors differ, such as {name})"
        fix = "give the model options of that time (CHANGELOG.md says where a preset has changed), or another folder"
        raise CheckpointError(text, file=path, fix=fix)
    read_into(path, wanted, world)
    if optimizer is not None:
        optimizer.state.clear()
        optimizer.state.update(moments)


def read_into(path: Path, tensors: dict[str, Tensor], world: World | None = None) -> None:
    """Fill tensors, whole or this rank's parts of them, with those of their names in a checkpoint."""
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load

    world = world or World()
    _say_nothing_of_one_process()
    with torch.no_grad():
        reader = HuggingFaceStorageReader(str(path))
        load(tensors, storage_reader=reader, process_group=world.host, no_dist=world.size == 1)


def complete_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that were written to the end, oldest first."""
    found = [path for path in folder.glob("step-*") if path.suffix != ".tmp" and (path / STATE).is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def best_of(folder: Path) -> dict[str, Any]:
    """Step and score of the best checkpoint; empty where none was rated."""
    try:
        return parse_json((folder / "best.json").read_text())
    except (OSError, ValueError):
        return {}


def intact_state(path: Path) -> dict[str, Any] | None:
    """The state of a checkpoint; None where a byte of it is not one that was written."""
    try:
        state = parse_json((path / STATE).read_text())
        if state.pop("state_crc32c", None) != _checksum(state):
            return None
        same = all(_checksum_of_file(path / name) == crc for name, crc in state.pop("files").items())
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return state if same else None


def _newest_intact(folder: Path) -> tuple[Path, dict[str, Any]] | CheckpointError | None:
    paths = complete_checkpoints(folder)
    for path in reversed(paths):
        state = intact_state(path)
        if state is not None:
            return path, state
        log.warning("%s: its bytes are not those that were written; the one before it is used", path)
    if paths:
        return CheckpointError("no checkpoint is intact", file=folder, fix="delete the folder to start anew")
    return None


def _checksum(state: dict[str, Any]) -> int:
    """Of the values of a state, as JSON gives them back."""
    return crc32c(json.dumps(state, sort_keys=True).encode())


def _checksum_of_file(path: Path) -> int:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return crc32c(memoryview(content))


def _say_nothing_of_one_process() -> None:
    warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized", UserWarning)
