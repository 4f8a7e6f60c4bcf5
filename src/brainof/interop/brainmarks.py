"""Brain-OF inside Brainmarks, the bench of fMRI models (arXiv:2510.13768), whose package stays as it is.

    python -m brainof.interop.brainmarks logistic brainof cls DATASET --overrides model_kwargs.model=my/model
    python -m brainof.interop.brainmarks probe brainof patch attn DATASET --overrides ...

are `brainmarks.main_logistic` and `brainmarks.main_probe` with a model named `brainof` registered.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..channels import Channels
from ..contract import InputContract
from ..errors import ConfigError
from ..inference.windows import preparation
from ..model import BrainOF
from ..recording import Recording
from ..release import load
from ..signals import SignalBatch
from ..utils.optional import optional
from ..utils.values import ceil_div

#: Volumes that a model sees at once by default; longer runs are cut into the fewest equal windows
LONGEST = 192


@dataclass(frozen=True, eq=False)
class RegionTransform:
    """A sample of Brainmarks as the contract prepares it: `signal` (R, T), `good` (R,), `tr` and the target."""

    space: str
    """Brainmarks' name of the regions, such as "schaefer400"; the name of the atlas in the contract."""
    contract: InputContract | None
    """None: the default chain, unchecked."""
    positions: np.ndarray | None
    """Metres in MNI space, (R, 3). Brainmarks does not bring them; without them a model knows the order alone."""
    accept: tuple[str, ...]
    """Differences from training that are taken as they are (see `ModalityContract.check`)."""

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        bold_TR = np.asarray(sample["bold"] * sample["std"] + sample["mean"], np.float64)
        channels = self.channels(bold_TR.shape[1])
        recording = Recording(bold_TR.T, 1 / float(sample["tr"]), "fmri", channels)
        part, chain = preparation(recording, self.contract)
        ready = chain.apply(recording)
        if part is not None:
            part.check(ready, self.accept)
        good = np.array([name not in ready.bads for name in channels.names])
        found = {"signal": torch.from_numpy(ready.data.astype(np.float32)), "good": torch.from_numpy(good)}
        kept = {"target": sample["target"]} if "target" in sample else {}
        return {**found, "tr": torch.tensor(1 / ready.sfreq), **kept}

    def channels(self, n: int) -> Channels:
        """The table of the `n` regions."""
        places = np.full((n, 3), np.nan) if self.positions is None else np.asarray(self.positions, float)
        if places.shape != (n, 3):
            text = f"{places.shape} for {n} regions"
            raise ConfigError(text, field="model_kwargs.positions", fix="give one row x, y, z in metres per region")
        names = tuple(f"{self.space}-{number}" for number in range(1, n + 1))
        return Channels(names, ("roi",) * n, positions=places, order=np.arange(n), frame="mni", atlas=self.space)


class RegionEncoder(nn.Module):
    """What Brainmarks asks of a model: a batch in, (cls, registers, patches) out.

    `cls` (B, 1, F) is the pooled feature vector of `brainof.embed`, `patches` (B, L, D) are the latents.
    """

    def __init__(self, model: BrainOF, regions: RegionTransform, pool: str) -> None:
        super().__init__()
        self.model, self.regions, self.pool = model, regions, pool
        self.__space__ = regions.space

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, None, Tensor]:
        signal_BRT, good_BR = batch["signal"], batch["good"]
        channels, rate = self.regions.channels(signal_BRT.shape[1]), 1 / float(batch["tr"][0])
        facts = channels, rate, "fmri", self.model.config.patch, good_BR.cpu().numpy()
        pooled, latents = [], []
        for part_BRT in torch.tensor_split(signal_BRT, ceil_div(signal_BRT.shape[2], LONGEST), dim=2):
            signals = SignalBatch.from_arrays(list(part_BRT.cpu().numpy()), *facts)
            latents.append(self.model.forward_features(signals.to(signal_BRT.device)))
            pooled.append(self.model.pool(latents[-1], self.pool, "fmri"))
        return torch.stack(pooled).mean(0)[:, None], None, torch.cat(latents, 1)


def brainof(
    model: str | PathLike[str] = "tiny",
    space: str = "schaefer400",
    pool: str = "auto",
    positions: str | None = None,
    accept: Sequence[str] = ("atlas", "positions", "sfreq", "window", "frame"),
    **unused: Any,
) -> tuple[RegionTransform, RegionEncoder]:
    """The constructor that Brainmarks calls with its `model_kwargs`.

    `model` is what `brainof.load` takes; `space` one of Brainmarks' spaces of regions, or of a dataset of your own;
    `positions` a `.npy` file with the centres of the regions, (R, 3), MNI space, metres. Brainmarks' regions are seldom
    those of training, which `accept` takes by default.
    """
    network, contract = load(model)
    places = None if positions is None else np.load(positions)
    regions = RegionTransform(space, contract, places, tuple(accept))
    return regions, RegionEncoder(network, regions, pool).eval()


def main(argv: Sequence[str]) -> None:
    """Run one of Brainmarks' programs with the model `brainof` known to it."""
    kinds = ("logistic", "probe", "finetune")
    if not argv or argv[0] not in kinds:
        raise SystemExit(f"usage: python -m brainof.interop.brainmarks {{{','.join(kinds)}}} brainof ...")
    optional("brainmarks.models.registry", "brainmarks", "brainof.interop.brainmarks").register_model(brainof)
    sys.argv = [f"brainmarks.main_{argv[0]}", *argv[1:]]
    runpy.run_module(f"brainmarks.main_{argv[0]}", run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
