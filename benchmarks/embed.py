"""Embeddings: windows per second against two published EEG encoders, one hour of EEG end to end, memory against size.

    embed_vs_labram, embed_vs_cbramod   windows/s of Brain-OF / windows/s of the rival of braindecode, same batches
    embed_first_vs_...                  the same where Brain-OF makes the layout anew for every batch
    embed_operators_vs_...              the same where both leave the threads to the operators
    embed_active_labram, ..._cbramod    active parameters of ours / parameters of the rival (near 1 by construction)
    embed_hour_seconds, _memory         one hour of 64 channels at 256 Hz in memory through `brainof.embed`, with `tiny`
    encoder_memory_C_P, encoder_ms_C_P  memory above weights and input, and time, of the encoder (C channels, P patches)
    backbone_ms_C_P                     time of the backbone alone on the latents of that window
    embed_window_NAME                   CPU ms of one window of 64 channels x 10 s on one core, its layout known
    embed_window_first_NAME             the same with the layout made anew
    embed_half_NAME                     CPU time of that window / with half of the blocks in the backbone, in turn
    embed_int8_NAME                     CPU time of 8 windows in float32 / with int8 weights (torch's dynamic
                                        quantisation of the linear maps of sampler and backbone; experts are none)
    embed_int8_cosine_NAME              mean cosine of both features about their mean over 8 windows of noise

Rivals run at their published sizes (Labram 12 layers of width 200, CBraMod 12 of 200); all of their parameters are
active. Ours is a model of width 256, 128 latents, 3 layers, 2 of 8 experts, whose hidden width is chosen so that the
parameters that encode a token (tokens, sampler, backbone without the experts a token does not visit; no decoder) are as
many. A window is 64 channels x 10 s of noise, at the rate each was made for: 200 Hz there (640 tokens of 200 samples),
256 Hz here (2560 tokens of 64 samples). Batches of 16 windows for all. All in float32, eager, inference mode.

Each model has its threads the way that suits it best: all in the operators of one batch, or apart, where each thread
takes whole batches (as `brainof.embed` does) or its share of the windows of each. What is timed is warm: all batches
are of one layout, as in a recording, so Brain-OF makes its identities once, except in `embed_first` and in the memory
table (one batch each).
"""

from __future__ import annotations

import copy
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from brainof import embed as embed_recording
from brainof.channels import Channels
from brainof.model import BrainOF, BrainOFConfig, count, preset
from brainof.model.brainof import Layout
from brainof.recording import Recording
from brainof.signals import SignalBatch
from brainof.utils.threads import side_by_side

from .dint import in_fresh_process, peak_above
from .step import eeg_batch, threads

Line = tuple[str, float, str]
#: Embeds the windows of a slice of one batch
Embed = Callable[[slice], torch.Tensor]
BATCH, CHANNELS, SECONDS = 16, 64, 10
#: channels x patches of the memory table
SIZES = [(16, 16), (64, 16), (64, 40), (256, 40), (256, 64), (1024, 64)]


def active(config: BrainOFConfig) -> int:
    """Parameters that take part in encoding one token."""
    counts = count(config)
    return counts["active"] - counts["decoder"]


def matched(target: int) -> BrainOFConfig:
    """The configuration whose active parameters come closest to a number."""
    made = [
        preset("base", backbone={"depth": 3, "hidden": hidden, "shared": 2 * hidden}) for hidden in range(64, 1024, 8)
    ]
    return min(made, key=lambda config: abs(active(config) - target))


def rivals() -> dict[str, tuple[nn.Module, Embed]]:
    """Name -> (module, function that embeds some windows of the batch)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from braindecode.models import CBraMod, Labram
        from braindecode.models.labram import LABRAM_CHANNEL_ORDER
    shape = {"n_times": 200 * SECONDS, "n_outputs": 2, "n_chans": CHANNELS, "sfreq": 200}
    x = torch.randn(BATCH, CHANNELS, 200 * SECONDS)
    names = list(LABRAM_CHANNEL_ORDER[:CHANNELS])
    labram, cbramod = Labram(**shape).eval(), CBraMod(**shape).eval()
    return {
        "labram": (labram, lambda windows: labram(x[windows], ch_names=names)),
        "cbramod": (cbramod, lambda windows: cbramod(x[windows])),
    }


def ours(config: BrainOFConfig, keep_layout: bool = True) -> Embed:
    model = BrainOF(config).eval()
    whole = eeg_batch(BATCH, CHANNELS, 256 * SECONDS // config.patch)
    batches = {
        (part.start, part.stop): whole.take_windows(torch.arange(BATCH)[part]) for part in (slice(BATCH), *shares())
    }

    with torch.no_grad():
        layout = model.layout(whole) if keep_layout else None

    def embed(windows: slice) -> torch.Tensor:
        return model.pool(model.forward_features(batches[windows.start, windows.stop], layout))

    return embed


def shares() -> list[slice]:
    """The windows of a batch that each thread takes."""
    count = min(threads(), BATCH)
    return [slice(i * BATCH // count, (i + 1) * BATCH // count) for i in range(count)]


def ways(embed: Embed) -> dict[str, Callable[[], object]]:
    """By name, how as many batches as there are threads can be embedded."""
    whole, parts, count = slice(BATCH), shares(), len(shares())

    def inferring(windows: slice) -> torch.Tensor:
        with torch.inference_mode():  # a thread's own
            return embed(windows)

    return {
        "operators": lambda: [inferring(whole) for _ in parts],
        "batches apart": lambda: list(side_by_side(inferring, [whole] * count, count)),
        "windows apart": lambda: list(side_by_side(inferring, parts * count, count)),
    }


def fastest(embed: Embed) -> tuple[str, Callable[[], object]]:
    """The way that suits a model best, from one timed round after one that warms up."""
    made = ways(embed)
    taken = seconds(list(made.values()), 1)
    name = min(zip(taken, made, strict=True))[1]
    return name, made[name]


def seconds(
    functions: Sequence[Callable[[], object]], repeats: int = 5, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Median seconds of each function, timed in turn."""

    def once(function: Callable[[], object]) -> float:
        start = clock()
        function()
        return clock() - start

    rounds = [[once(function) for function in functions] for _ in range(repeats + 1)][1:]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def against(name: str, module: nn.Module, embed: Embed) -> Iterator[Line]:
    """The lines of one rival."""
    target = sum(p.numel() for p in module.parameters())
    config = matched(target)
    mine, first = ours(config), ours(config, keep_layout=False)
    (their_way, their_fastest), (my_way, my_fastest) = fastest(embed), fastest(mine)
    theirs, warm, cold = seconds([their_fastest, my_fastest, ways(first)[my_way]])
    windows = BATCH * len(shares())
    yield f"embed_active_{name}", active(config) / target, f"ratio ({active(config):,} / {target:,})"
    yield f"embed_windows_per_second_{name}", windows / theirs, f"windows/s ({their_way})"
    yield f"embed_windows_per_second_ours_{name}", windows / warm, f"windows/s ({my_way})"
    yield f"embed_vs_{name}", theirs / warm, "ratio"
    yield f"embed_first_vs_{name}", theirs / cold, "ratio"
    theirs, warm = seconds([ways(embed)["operators"], ways(mine)["operators"]], 3)
    yield f"embed_operators_vs_{name}", theirs / warm, "ratio"


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
    memory = peak_above(lambda: embed_recording(recording, model, contract=None))
    return time.perf_counter() - start, memory


def encoder_memory(channels: int, patches: int) -> tuple[float, float, float]:
    """Peak MiB of the encoder above weights and input; milliseconds of encoder and backbone; one window, `tiny`."""
    torch.set_num_threads(threads())
    model, batch = BrainOF.from_preset("tiny").eval(), eeg_batch(1, channels, patches)
    with torch.inference_mode():
        model.forward_features(eeg_batch(1, 2, 2))
        memory = peak_above(lambda: model.forward_features(batch))
        latents = torch.randn(1, *model.latents_LD.shape)

        def backbone() -> torch.Tensor:
            x = latents
            for block in model.blocks:
                x, _ = block(x)
            return x

        whole, alone = seconds([lambda: model.forward_features(batch), backbone], 9)
    return memory, 1e3 * (whole - alone), 1e3 * alone


def light(name: str, repeats: int = 9) -> Iterator[Line]:
    """The lines of one window on one core, and of int8 weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = BrainOF.from_preset(name).eval()
    half = BrainOF.from_preset(name, backbone={"depth": max(1, model.config.backbone.depth // 2)}).eval()
    maps = {
        key
        for key, module in model.named_modules()
        if type(module) is nn.Linear and key.split(".")[0] in ("encoder", "blocks")
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), maps, dtype=torch.qint8)
    one, many = (eeg_batch(count, CHANNELS, 256 * SECONDS // model.config.patch) for count in (1, 8))

    def features(of: BrainOF, batch: SignalBatch, layout: Layout | None) -> torch.Tensor:
        return of.pool(of.forward_features(batch, layout), modality="eeg")

    with torch.inference_mode():
        layout = model.layout(one)
        alone = [partial(features, model, one, layout), partial(features, model, one, None)]
        warm, cold, less = seconds([*alone, partial(features, half, one, half.layout(one))], repeats, time.process_time)
        both = [partial(features, of, many, layout) for of in (model, small)]
        full, int8 = seconds(both, repeats // 2, time.process_time)
        first, second = (features(of, many, layout) for of in (model, small))
    yield f"embed_window_{name}", 1e3 * warm, "ms"
    yield f"embed_window_first_{name}", 1e3 * cold, "ms"
    yield f"embed_half_{name}", warm / less, "ratio"
    yield f"embed_int8_{name}", full / int8, "ratio"
    cosine = torch.nn.functional.cosine_similarity(first - first.mean(0), second - first.mean(0)).mean()
    yield f"embed_int8_cosine_{name}", float(cosine), "cosine"


def run() -> Iterator[Line]:
    """The lines of this benchmark."""
    torch.set_num_threads(threads())
    torch.manual_seed(0)
    for name, (module, embed) in rivals().items():
        yield from against(name, module, embed)
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
    for name in ("tiny", "per_output", "base"):
        yield from light(name)
