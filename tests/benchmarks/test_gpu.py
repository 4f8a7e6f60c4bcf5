"""The GPU benchmark runs to its end at debug size on a processor, so that it works where there is a GPU."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gpu


@pytest.mark.filterwarnings("ignore")
def test_every_line_is_measured_at_debug_size(monkeypatch):
    monkeypatch.setattr(gpu, "seconds", lambda function, device, repeats=5: function() or 1e-3)
    monkeypatch.setattr(gpu, "peak", lambda device: 1e12)
    lines = {name: value for name, value, _ in gpu.measure(torch.device("cpu"), ("debug",), start=2, most=2)}
    assert lines["gpu_batch_debug"] == 2
    assert lines["gpu_windows_debug"] == pytest.approx(2000)
    assert lines["mfu_debug"] == pytest.approx(2 * gpu.flops_per_window("debug") / 1e-3 / 1e12)
    assert lines["mfu_pretrain_debug"] > 0
    assert lines["gpu_waits_debug"] == 0
    agreement = {name: value for name, value in lines.items() if name.startswith("gpu_vs_cpu_")}
    assert sorted(agreement) == ["gpu_vs_cpu_gradients", "gpu_vs_cpu_latents", "gpu_vs_cpu_loss"]
    assert max(agreement.values()) < 1e-6


def test_a_limit_of_time_is_kept_and_what_is_left_out_is_named(monkeypatch):
    monkeypatch.setattr(gpu, "agreement", lambda device: iter(()))
    monkeypatch.setattr(gpu, "peak", lambda device: 1e12)
    lines = [name for name, _, _ in gpu.measure(torch.device("cpu"), ("debug", "tiny"), limit=0.0)]
    assert lines == ["gpu_peak", "gpu_skipped_debug", "gpu_skipped_tiny"]


def test_without_a_gpu_one_line_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ((name, value, note),) = gpu.run()
    assert (name, value) == ("gpu_devices", 0)
    assert "no GPU" in note
