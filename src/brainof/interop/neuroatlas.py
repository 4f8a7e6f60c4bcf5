"""Brain-OF inside NeuroAtlas, the bench of clinical EEG and BCI (arXiv:2605.14698), whose package stays as it is.

    python -m brainof.interop.neuroatlas --model my/model run bci_cognitive -m brainof

is the command `neuroatlas` with a checkpoint named `brainof` in its registry and in its channel maps.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from ..errors import ConfigError
from ..io.names import kind_of_name
from ..release import load
from ..utils.optional import optional
from .module import BrainOFModule

NAME = "brainof"


class WindowEncoder:
    """What NeuroAtlas asks of a backbone: a batch of windows with their meta data in, embeddings out.

    Windows are prepared as in `BrainOFModule`, each by itself; its channels are those that a batch names, without
    EOG, EMG and the like. `spec` is a CheckpointSpec, whose `checkpoint_path` is what `brainof.load` takes.
    """

    def __init__(self, spec: Any) -> None:
        self.spec = spec
        self.model, self.contract = load(spec.checkpoint_path)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._modules: dict[tuple[Any, ...], BrainOFModule] = {}

    def forward_features(self, batch: Mapping[str, Any]) -> Tensor:
        """Embeddings (B, F) with a gradient."""
        signals = batch["signals"]
        x = signals["eeg"] if "eeg" in signals else signals["full_signal"]
        x = (x[:, None] if x.ndim == 2 else x).float()
        meta = batch["meta"][0]
        names = [str(name) for name in meta["channels"]]
        picks = [number for number, name in enumerate(names) if kind_of_name(name) is None]
        if not picks:
            raise ConfigError(f"no EEG among {', '.join(names)}", field="channels")
        sfreq, unit = float(meta.get("sampling_rate") or meta["sfreq"]), str(meta.get("unit") or "uV")
        layout = tuple(names[number] for number in picks), sfreq, x.shape[-1], unit
        if layout not in self._modules:
            about: dict[str, Any] = dict(zip(("ch_names", "sfreq", "n_times", "unit"), layout, strict=True))
            made = BrainOFModule(**about, n_chans=len(picks), model=self.model, contract=self.contract)
            made.encoder = self.model  # all share the weights
            self._modules[layout] = made.to(self.device).eval()
        return self._modules[layout](x[:, picks], return_features=True)["features"]

    def extract_embeddings(self, batch: Mapping[str, Any]) -> np.ndarray:
        """Embeddings (B, F) without one."""
        with torch.inference_mode():
            return self.forward_features(batch).float().cpu().numpy()

    def metadata(self) -> dict[str, Any]:
        """What stands beside the results."""
        about = {name: getattr(self.spec, name) for name in ("model_family", "embedding_key", "embedding_dim")}
        return {"checkpoint_id": self.spec.identifier, **about, "model": str(self.spec.checkpoint_path)}


def checkpoint(model: str) -> dict[str, Any]:
    """The fields of NeuroAtlas' CheckpointSpec of a model."""
    untrained = not Path(model).exists()
    return {
        "identifier": NAME,
        "model_family": NAME,
        "variant": "random_init" if untrained else "pretrained",
        "source_type": "random_init" if untrained else "local",
        "source_reference": model,
        "checkpoint_path": model if untrained else str(Path(model).resolve()),
        "input_kind": "raw_timeseries",
        "expected_channels": ("eeg",),
        "expected_sampling_rate": None,
        "expected_epoch_seconds": 4.0,
        "embedding_dim": load(model)[0].pooled_width("auto", "eeg"),
        "wrapper_name": NAME,
        "status": "ready",
    }


def register(model: str, maps: Path) -> None:
    """Put the model into NeuroAtlas' registry, and copies of its channel maps that let labels through into `maps`."""
    contracts = optional("neuroatlas.benchmarking_helpers.registry.contracts", NAME, "brainof.interop.neuroatlas")
    from neuroatlas.benchmarking_helpers.channels import channel_map
    from neuroatlas.benchmarking_helpers.registry import discovery

    about = {"slug": NAME, "description": "Brain-OF", "loader": WindowEncoder}
    specs = [contracts.CheckpointSpec(**checkpoint(model))]
    discovery.model_specs().append(contracts.ModelSpec(**about, checkpoints=specs))
    for path in channel_map._CONFIGS_DIR.glob("*.yaml"):
        values = yaml.safe_load(path.read_text())
        values.setdefault("per_model", {})[NAME] = {"mode": "label_pass_through"}
        (maps / path.name).write_text(yaml.safe_dump(values))
    channel_map._CONFIGS_DIR = maps


def main(argv: Sequence[str]) -> None:
    """Run NeuroAtlas' command with the checkpoint `brainof` known to it."""
    parser = argparse.ArgumentParser(prog="python -m brainof.interop.neuroatlas", add_help=False)
    parser.add_argument("--model", default="tiny")
    args, rest = parser.parse_known_args(argv)
    with tempfile.TemporaryDirectory() as maps:
        register(args.model, Path(maps))
        from neuroatlas.cli import main as command

        command(rest)


if __name__ == "__main__":
    main(sys.argv[1:])
