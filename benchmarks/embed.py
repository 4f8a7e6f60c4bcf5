"""Embeddings: windows per second against two published EEG encoders, one hour of EEG end to end, memory against size.

    embed_vs_labram, embed_vs_cbramod   windows/s of Brain-OF / windows/s of the rival of braindecode, same batch
    embed_active_labram, ..._cbramod    active parameters of ours / parameters of the rival (near 1 by construction)
    embed_hour_seconds, _memory         one hour of 64 channels at 256 Hz in memory through `brainof.embed`, with `tiny`
    encoder_memory_C_P, encoder_ms_C_P  memory above weights and input, and time, of the encoder (C channels, P patches)
    backbone_ms_C_P                     time of the backbone alone on the latents of that window

Rivals run at their published sizes (Labram 12 layers of width 200, CBraMod 12 of 200); all of their parameters are
active. Ours is a model of width 256, 128 latents, 3 layers, 2 of 8 experts, whose hidden width is chosen so that the
parameters that encode a token (tokens, sampler, backbone without the experts a token does not visit; no decoder) are as
many. A window is 64 channels x 10 s of noise, at the rate each was made for: 200 Hz there (640 tokens of 200 samples),
256 Hz here (2560 tokens of 64 samples). All in float32, eager, inference mode.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from brainof import embed as embed_recording
from brainof.channels import Channels
from brainof.model import BrainOF, BrainOFConfig, count, preset
from brainof.recording import Recording

from .dint import in_fresh_process, peak_above
from .step import eeg_batch, threads

Line = tuple[str, float, str]
BATCH, CHANNELS, SECONDS = 4, 64, 10
#: channels x patches of the memory table
SIZES = [(16, 16), (64, 16), (64, 40), (256, 40), (256, 64), (1024, 64)]


def active(config: BrainOFConfig) -> int:
    """Parameters that take part in encoding one token."""
    counts = count(config)
    return counts["active"] - counts["decoder"]


def matched(target: int) -> BrainOFConfig:
    """The configuration whose active parameters come closest to a number."""
    made = [preset("base", depth=3, hidden=hidden, shared=2 * hidden) for hidden in range(64, 1024, 8)]
    return min(made, key=lambda config: abs(active(config) - target))


def rivals() -> dict[str, tuple[nn.Module, Callable[[], torch.Tensor]]]:
    """Name -> (module, function that embeds one batch)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from braindecode.models import CBraMod, Labram
        from braindecode.models.labram import LABRAM_CHANNEL_ORDER
    shape = {"n_times": 200 * SECONDS, "n_outputs": 2, "n_chans": CHANNELS, "sfreq": 200}
    x = torch.randn(BATCH, CHANNELS, 200 * SECONDS)
    names = list(LABRAM_CHANNEL_ORDER[:CHANNELS])
    labram, cbramod = Labram(**shape).eval(), CBraMod(**shape).eval()
    return {"labram": (labram, lambda: labram(x, ch_names=names)), "cbramod": (cbramod, lambda: cbramod(x))}


def ours(config: BrainOFConfig) -> Callable[[], torch.Tensor]:
    model = BrainOF(config).eval()
    batch = eeg_batch(BATCH, CHANNELS, 256 * SECONDS // config.patch)
    return lambda: model.pool(model.forward_features(batch))


def seconds(functions: list[Callable[[], object]], repeats: int = 5) -> list[float]:
    """Median seconds of each function, timed in turn."""

    def once(function: Callable[[], object]) -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    rounds = [[once(function) for function in functions] for _ in range(repeats + 1)][1:]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def hour(preset_name: str = "tiny", minutes: float = 60.0) -> tuple[float, float]:
    """Seconds and peak MiB above the recording for one hour of 64 channels at 256 Hz."""
    torch.set_num_threads(threads())
    rng = np.random.default_rng(0)
    names = tuple(f"channel {i}" for i in range(CHANNELS))
    table = Channels(names, ("eeg",) * CHANNELS, rng.normal(0, 0.05, (CHANNELS, 3)), frame="head")
    data = rng.standard_normal((CHANNELS, int(minutes * 60 * 256)), dtype=np.float32)
    data *= np.float32(20e-6)
    recording = Recording(data, 256.0, "eeg", table)
    model = BrainOF.from_preset(preset_name)
    start = time.perf_counter()
    memory = peak_above(lambda: embed_recording(recording, model))
    return time.perf_counter() - start, memory


def encoder_memory(channels: int, patches: int) -> tuple[float, float, float]:
    """Peak MiB of the encoder above weights and input; milliseconds of encoder and backbone; one window, `tiny`."""
    torch.set_num_threads(threads())
    model, batch = BrainOF.from_preset("tiny").eval(), eeg_batch(1, channels, patches)
    with torch.inference_mode():
        model.forward_features(eeg_batch(1, 2, 2))
        memory = peak_above(lambda: model.forward_features(batch))
        latents = torch.randn(1, model.config.latents, model.config.dim)

        def backbone() -> torch.Tensor:
            x = latents
            for block in model.blocks:
                x = block(x, batch.modality_B)
            return x

        whole, alone = seconds([lambda: model.forward_features(batch), backbone], 9)
    return memory, 1e3 * (whole - alone), 1e3 * alone


def run() -> Iterator[Line]:
    """The lines of this benchmark."""
    torch.set_num_threads(threads())
    torch.manual_seed(0)
    with torch.inference_mode():
        for name, (module, embed_batch) in rivals().items():
            target = sum(p.numel() for p in module.parameters())
            config = matched(target)
            theirs, mine = seconds([embed_batch, ours(config)])
            yield f"embed_active_{name}", active(config) / target, f"ratio ({active(config):,} / {target:,})"
            yield f"embed_windows_per_second_{name}", BATCH / theirs, "windows/s"
            yield f"embed_windows_per_second_ours_{name}", BATCH / mine, "windows/s"
            yield f"embed_vs_{name}", theirs / mine, "ratio"
    taken, memory = in_fresh_process(hour)
    yield "embed_hour_seconds", taken, "s"
    yield "embed_hour_memory", memory, "MiB above the recording"
    for channels, patches in SIZES:
        memory, encoder_ms, backbone_ms = in_fresh_process(encoder_memory, channels, patches)
        yield (
            f"encoder_memory_{channels}_{patches}",
            memory,
            f"MiB ({memory * 1024 / channels / patches:.3g} KiB/token)",
        )
        yield f"encoder_ms_{channels}_{patches}", encoder_ms, "ms"
        yield f"backbone_ms_{channels}_{patches}", backbone_ms, "ms"
