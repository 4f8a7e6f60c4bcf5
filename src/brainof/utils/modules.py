"""Torch modules as they are used from outside: eval mode for a while, their device and dtype, random streams; cards."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from ..errors import ConfigError

#: Part of the name of a card -> its maker's dense bfloat16 FLOP/s
PEAKS = {"H200": 989e12, "H100": 989e12, "GH200": 989e12, "B200": 2250e12, "A100": 312e12, "L40S": 362e12}
PEAKS |= {"4090": 165e12}

_lock = threading.Lock()
#: Module -> how many `evaluating` blocks hold it in eval mode, and the mode it had before the first
_held: WeakKeyDictionary[nn.Module, tuple[int, bool]] = WeakKeyDictionary()


def move(module: nn.Module, device: str) -> None:
    """Move a module; a ConfigError where there is no such device."""
    try:
        module.to(device)
    except (RuntimeError, AssertionError) as error:
        fix = "use cpu, or cuda where there is one"
        raise ConfigError(f"{device!r} ({str(error).splitlines()[0]})", field="device", fix=fix) from None


@contextlib.contextmanager
def evaluating(*modules: nn.Module, gradients: bool = False) -> Iterator[None]:
    """Eval mode, without gradients unless they are asked for; afterwards each submodule has the mode it had.

    Threads may share a module: it goes back when the last of them is done. (Inference mode is the caller's thread's
    own: threads that are started inside set theirs.)
    """
    parts = [part for module in modules for part in module.modules()]
    with _lock:
        for part in parts:
            count, mode = _held.get(part, (0, part.training))
            _held[part] = count + 1, mode
        for module in modules:
            module.eval()
    try:
        with torch.enable_grad() if gradients else torch.inference_mode():
            yield
    finally:
        with _lock:
            for part in parts:
                count, mode = _held.pop(part)
                if count > 1:
                    _held[part] = count - 1, mode
                else:
                    part.training = mode


@contextlib.contextmanager
def seeded(random_state: int) -> Iterator[None]:
    """Draw from a stream of one's own; the state of torch's global generators is restored."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        # not torch.manual_seed: where there is no device it keeps a stack trace of every call
        torch.default_generator.manual_seed(random_state)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(random_state)
        yield


def device_of(module: nn.Module) -> torch.device:
    """That of the first parameter; the CPU where there is none."""
    parameter = next(iter(module.parameters()), None)
    return torch.device("cpu") if parameter is None else parameter.device


def to_device(batch: Any, module: nn.Module) -> Any:
    """The batch on the device of the module."""
    device = device_of(module)
    return batch if device.type == "cpu" else batch.to(device)


def dtype_of(module: nn.Module) -> torch.dtype:
    """float64 for a float64 module, else float32: what a head on it computes in."""
    parameter = next(module.parameters(), None)
    return torch.float64 if parameter is not None and parameter.dtype == torch.float64 else torch.float32


def peak_flops(device: torch.device) -> float | None:
    """Dense bfloat16 FLOP/s of a card, None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((value for part, value in PEAKS.items() if part in name), None)
