"""The encoder as a program of plain tensors, for torch.export: any number of windows, channels and patches.

Legend: B windows, C channels, T samples, L latents, D width.
"""

from __future__ import annotations

import copy
import inspect
import io
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..paths import user_path
from ..signals import SENSOR_TYPES, Sensors
from ..utils.files import write_atomically
from ..utils.optional import optional
from .brainof import BrainOF
from .tokens import Tokens, patchify


class SignalEncoder(nn.Module):
    """Signals and sensors -> latents (B, L, D), without checks and without shapes that depend on data.

    The model is copied. In an exported program every expert runs on every token, which costs more and has fixed shapes.
    """

    def __init__(self, model: BrainOF) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    def forward(
        self,
        signal_BCT: Tensor,
        position_BC3: Tensor,
        located_BC: Tensor,
        orientation_BC3: Tensor,
        type_BC: Tensor,
        order_BC: Tensor,
        channel_mask_BC: Tensor,
        interval_B: Tensor,
        modality_B: Tensor,
    ) -> Tensor:
        """Arguments as in `brainof.signals`, at the rates of the model; T is whole patches, all samples valid."""
        patch = self.model.config.patch
        channels, patches = signal_BCT.shape[1], signal_BCT.shape[2] // patch
        sensors = Sensors(position_BC3, located_BC, orientation_BC3, type_BC, order_BC)
        tokens = Tokens(
            patch_BNS=patchify(signal_BCT, patch),
            identity_BND=self.model.identity(sensors, interval_B, modality_B, patches),
            mask_BN=channel_mask_BC[..., None].expand(-1, -1, patches).flatten(1),
            valid_BNS=None,
            modality_B=modality_B,
            n_channels=channels,
            n_patches=patches,
            weight_BKC=self.model.spatial_weights(sensors),
        )
        return self.model.encode(tokens)


#: Arguments of `SignalEncoder.forward`, in order
ARGUMENTS = tuple(inspect.signature(SignalEncoder.forward).parameters)[1:]


def export_encoder(model: BrainOF) -> torch.export.ExportedProgram:
    """The encoder as an exported program with dynamic windows, channels and patches (at least two of each)."""
    patch, shape = model.config.patch, (3, 5)
    example = (  # random EEG at 256 Hz
        torch.randn(*shape, 7 * patch),
        0.05 * torch.randn(*shape, 3),
        torch.ones(shape, dtype=torch.bool),
        torch.zeros(*shape, 3),
        torch.full(shape, SENSOR_TYPES.index("eeg")),
        torch.full(shape, -1),
        torch.ones(shape, dtype=torch.bool),
        torch.full(shape[:1], 1 / 256),
        torch.zeros(shape[:1], dtype=torch.int64),
    )
    windows = torch.export.Dim("windows", min=2, max=4096)
    channels = torch.export.Dim("channels", min=2, max=2048)
    patches = torch.export.Dim("patches", min=2, max=1024)
    shapes: dict[str, dict] = {name: {0: windows, 1: channels} if "_BC" in name else {0: windows} for name in ARGUMENTS}
    shapes["signal_BCT"][2] = patch * patches
    return torch.export.export(SignalEncoder(model), example, dynamic_shapes=shapes)


def write_onnx(program: torch.export.ExportedProgram, path: str | PathLike[str]) -> Path:
    """Write a program of `export_encoder` as an ONNX file (extra `onnx`); every operator of the encoder exists there.

    Inputs are named as ARGUMENTS, the output "latents_BLD"; windows, channels and patches stay dynamic.
    """
    for package in ("onnx", "onnxscript"):
        optional(package, "onnx", "ONNX export")
    names: dict[str, Any] = {"input_names": list(ARGUMENTS), "output_names": ["latents_BLD"]}
    made: Any = torch.onnx.export(program, dynamo=True, verbose=False, **names)
    buffer = io.BytesIO()
    made.save(buffer)
    place = user_path(path)
    write_atomically(place, [buffer.getbuffer()])
    return place
