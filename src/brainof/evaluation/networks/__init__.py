"""Networks of other publications as baselines: trained from scratch on a task, with the read-out `full`.

Those that braindecode keeps come from there (extra: braindecode); the rest is written here in small. Each is tuned by
the budget of that read-out: three learning rates, chosen on validation groups. To add one: a class whose `forward` maps
windows (B, C, T) to features (B, F), and an entry in `NETWORKS`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ...model.resolution import resample
from ...utils.modules import seeded
from ...utils.optional import optional
from .connectome import BrainNetCNN, BrainNetTF
from .windows import FFCL, CNNTransformer, STTransformer


class Baseline(nn.Module):
    """A network, windows (B, C, T) to features (B, ...), with the two calls that adaptations make of a model."""

    def __init__(self, network: nn.Module, n_times: int) -> None:
        super().__init__()
        self.network, self.n_times = network, n_times
        self.config = SimpleNamespace(patch=1)

    def forward_features(self, batch: Any) -> Tensor:
        """Features (B, F)."""
        return self.network(batch.signal_BCT[:, :, : self.n_times]).flatten(1)

    def pool(self, features_BF: Tensor, kind: str = "auto", modality: str = "") -> Tensor:
        """The features as they are."""
        return features_BF


class At200(nn.Module):
    """Windows at 200 Hz in whole seconds, as LaBraM and CBraMod read them."""

    def __init__(self, network: nn.Module, sfreq: float, **arguments: Any) -> None:
        super().__init__()
        self.network, self.arguments, self.sfreq = network, arguments, sfreq

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Features (B, ...)."""
        at_200 = resample(x_BCT.flatten(0, 1), self.sfreq, 200.0).unflatten(0, x_BCT.shape[:2])
        return self.network(at_200[..., : at_200.shape[2] // 200 * 200], **self.arguments)


def _braindecode(name: str, n_chans: int, n_times: int, sfreq: float, names: Sequence[str]) -> nn.Module:
    """A model of braindecode without its last layer, which the head of the adaptation replaces."""
    models = optional("braindecode.models", "braindecode", f"the baseline {name}")
    at_200 = name in ("Labram", "CBraMod")
    size = {"n_times": round(n_times * 200 / sfreq) // 200 * 200 if at_200 else n_times, "sfreq": sfreq}
    with warnings.catch_warnings(action="ignore"):  # of defaults that were not asked for
        network = getattr(models, name)(n_outputs=2, n_chans=n_chans, **(size | ({"sfreq": 200.0} if at_200 else {})))
    network.final_layer = nn.Identity()
    if not at_200:
        return network
    electrodes = {"ch_names": [text.split()[-1] for text in names]} if name == "Labram" else {}
    return At200(network, sfreq, **electrodes)


def _own(kind: Callable[..., nn.Module], n_chans: int, n_times: int, sfreq: float, names: Sequence[str]) -> nn.Module:
    return kind(n_chans, n_times, sfreq)


#: name -> (n_chans, n_times, sfreq, names of channels) -> network
NETWORKS: dict[str, Callable[[int, int, float, Sequence[str]], nn.Module]] = {
    **{
        name: partial(_braindecode, name)
        for name in ("EEGNet", "EEGConformer", "ContraWR", "Deep4Net", "ShallowFBCSPNet", "BIOT", "Labram", "CBraMod")
    },
    "CNN-Transformer": partial(_own, CNNTransformer),
    "FFCL": partial(_own, FFCL),
    "ST-Transformer": partial(_own, STTransformer),
    "BrainNetCNN": partial(_own, BrainNetCNN),
    "BrainNetTF": partial(_own, BrainNetTF),
}


def build(name: str, n_chans: int, n_times: int, sfreq: float, names: Sequence[str] = (), seed: int = 0) -> Baseline:
    """A network of `NETWORKS` for windows of one size, with random weights; `names` are those of the channels.

    A ConfigError where it takes no windows of that size, a DependencyError where braindecode has it and is not
    installed.

    Examples
    --------
    >>> from brainof.evaluation.networks import build
    >>> sum(parameter.numel() for parameter in build("FFCL", 16, 2000, 200.0).parameters()) > 1e6
    True
    """
    with seeded(seed):
        try:
            network = NETWORKS[name](n_chans, n_times, sfreq, names)
            with torch.no_grad():
                network.eval()(torch.zeros(1, n_chans, n_times))
        except (ValueError, RuntimeError, AssertionError, IndexError, TypeError, ZeroDivisionError) as error:
            why = " ".join(str(error).split())[:200]
            text = f"takes no windows of {n_chans} channels x {n_times} samples ({why})"
            raise ConfigError(text, field=name, fix="leave it out, or give longer windows") from None
    return Baseline(network, n_times)
