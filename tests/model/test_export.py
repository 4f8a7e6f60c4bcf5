"""Compiled blocks and the exported encoder equal the eager model."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
import torch
from torch import nn

from brainof.errors import DependencyError
from brainof.model import BrainOF, export


@pytest.fixture(scope="module")
def encoder():
    """A model of one layer and its exported encoder."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", backbone={"depth": 1}).eval()
    return model, export.export_encoder(model)


def arguments(batch):
    """The arguments of the exported encoder for windows that share their sensors."""
    sensors = batch.sensors
    shared = (
        sensors.position_BC3,
        sensors.located_BC,
        sensors.orientation_BC3,
        sensors.type_BC,
        sensors.order_BC,
    )
    expanded = [x.expand(len(batch), *x.shape[1:]).clone() for x in shared]
    return [batch.signal_BCT, *expanded, batch.channel_mask_BC, batch.interval_B, batch.modality_B]


@pytest.mark.parametrize(
    ("modality", "windows", "channels", "patches"), [("eeg", 2, 6, 3), ("meg", 4, 9, 2), ("fmri", 3, 20, 11)]
)
def test_exported_encoder_takes_other_shapes(make_batch, encoder, modality, windows, channels, patches):
    model, program = encoder
    batch = make_batch(modality, windows, channels, patches)
    batch.channel_mask_BC[1, 2] = False
    found = program.module()(*arguments(batch))
    with torch.no_grad():
        torch.testing.assert_close(found, model.forward_features(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_the_onnx_file_equals_the_model_in_another_runtime(make_batch, encoder, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model, program = encoder
    session = runtime.InferenceSession(export.write_onnx(program, tmp_path / "encoder.onnx"))
    for channels, patches in ((6, 3), (9, 2)):  # other sizes than those of the export
        batch = make_batch(windows=2, channels=channels, patches=patches)
        inputs = {name: x.numpy() for name, x in zip(export.ARGUMENTS, arguments(batch), strict=True)}
        (found,) = session.run(["latents_BLD"], inputs)
        with torch.no_grad():
            expected = model.forward_features(batch)
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


def test_onnx_without_its_packages_names_the_extra(encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(DependencyError, match=r"brainof\[onnx\]"):
        export.write_onnx(encoder[1], tmp_path / "encoder.onnx")


MACHINE_CODE = [
    pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler"),
    pytest.mark.timeout(600),  # 40 seconds of an idle core
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=MACHINE_CODE)])
def test_blocks_compile_in_bfloat16_without_breaks(backend):
    block = BrainOF.from_preset("debug", backbone={"depth": 1}).blocks[0]
    compiled = torch.compile(block, backend=backend, fullgraph=True)
    x, modality = torch.randn(2, 8, 32), torch.tensor([0, 2])
    results = []
    for form in (block, compiled):
        block.zero_grad()
        nn.init.zeros_(block.ffn.load_ME)
        with torch.autocast("cpu", torch.bfloat16):
            y, ids = form(x)
        block.ffn.count(ids, modality)
        y.square().mean().backward()
        results.append((y.detach(), block.ffn.gate_up_ED2F.grad.clone(), block.ffn.load_ME.clone()))
    for eager, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, eager, rtol=2e-2, atol=2e-2)
    assert results[1][2].sum(1).tolist() == [16, 0, 16]
