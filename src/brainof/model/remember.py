"""What depends on a layout and on weights alone, kept between batches where no gradient is asked for.

All windows of a recording share their sensors, so they share the identities of their tokens and the map from latents to
tokens. A result is used again only if every tensor it was made of is equal *in value* to what it was, so that no way of
changing a weight (an optimizer, `load_state_dict`, `.to`, a merged adapter, an edit through `.data`) leaves it stale.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

#: Bytes and results kept by one model at most
LIMIT_BYTES, LIMIT_RESULTS = 64 * 2**20, 16


@dataclass(frozen=True, eq=False)
class _Result:
    key: Hashable
    values: tuple[Tensor, ...]
    source: Tensor | None
    tensor: Tensor
    versions: tuple[int, int]

    def holds(self, key: Hashable, values: Sequence[Tensor], source: Tensor | None) -> bool:
        """True where the same call would give the same tensor."""
        return (
            self.key == key
            and self.source is source
            and self.versions == _versions(self.tensor, source)
            and len(self.values) == len(values)
            and all(map(_equal, self.values, values))
        )

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x in (*self.values, self.tensor)) + (0 if self.source is None else self.source.nbytes)


class Remembered:
    """Results of pure functions of tensors, the latest ones, within `LIMIT_BYTES` and `LIMIT_RESULTS`.

    Threads may share it. Copies and pickles of it are empty.
    """

    def __init__(self) -> None:
        self._results: tuple[_Result, ...] = ()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Remembered, ()

    def __deepcopy__(self, memo: dict) -> Remembered:
        return Remembered()

    def __len__(self) -> int:
        return len(self._results)

    @property
    def nbytes(self) -> int:
        """Bytes held, what results were made of included."""
        return sum(result.nbytes for result in self._results)

    def __call__(
        self, key: Hashable, make: Callable[[], Tensor], values: Sequence[Tensor], source: Tensor | None = None
    ) -> Tensor:
        """`make()`, or what it gave when `key`, `values` and `source` were the same. It must not be edited in place.

        Parameters
        ----------
        key : hashable
            What is computed, and all that it depends on besides tensors.
        make : callable
            Computes it, from nothing but `key`, `values` and `source`.
        values : sequence of Tensor
            Compared by value with copies. What tells layouts apart comes first.
        source : Tensor, optional
            A result itself: compared by identity, and by its count of edits in place.
        """
        for result in self._results:
            if result.holds(key, values, source):
                self._keep(result)
                return result.tensor
        copies = tuple(value.detach().clone() for value in values)
        with torch.inference_mode(False), torch.no_grad():  # tensors of inference mode do not count their edits
            tensor = make()
        if source is None or not source.is_inference():
            self._keep(_Result(key, copies, source, tensor, _versions(tensor, source)))
        return tensor

    def _keep(self, newest: _Result) -> None:
        """Put a result in front, and let go of those that no longer fit; one that is too large takes nothing away."""
        if self._results and self._results[0] is newest:
            return
        with self._lock:
            kept: list[_Result] = []
            held = 0
            for result in (newest, *(other for other in self._results if other is not newest)):
                if held + result.nbytes <= LIMIT_BYTES and len(kept) < LIMIT_RESULTS:
                    held += result.nbytes
                    kept.append(result)
            self._results = tuple(kept)


def _versions(tensor: Tensor, source: Tensor | None) -> tuple[int, int]:
    return tensor._version, 0 if source is None or source.is_inference() else source._version


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def may_remember(*modules: nn.Module) -> bool:
    """True where these modules run eagerly on a processor, without gradients or autocast, and are what they seem.

    A hook, an adapter, a parametrization or another forward makes the outcome depend on more than the parameters.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return all(_is_plain(part) for module in modules for part in module.modules())


def _is_plain(module: nn.Module) -> bool:
    known = type(module).__module__.startswith(("torch.nn.modules.", "brainof.model."))
    own = module.__dict__
    hooked = own["_forward_hooks"] or own["_forward_pre_hooks"]
    weights = module._parameters.values()
    full = all(w is None or (w.device.type == "cpu" and w.dtype in (torch.float32, torch.float64)) for w in weights)
    return known and full and not hooked and "forward" not in own
