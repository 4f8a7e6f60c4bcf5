"""What a recipe costs before anything starts: parameters, FLOPs, memory, communication, time and disk.

All numbers come from `model/presets.py` (weights) and `model/cost.py` (products, activations); this file spreads them
over the windows of a corpus and over devices. Nothing is built, no data is read but an index.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from ..corpus.buckets import fractions
from ..errors import ConfigError
from ..model.config import BrainOFConfig
from ..model.cost import WindowShape, activation_bytes, step_flops
from ..model.presets import count
from ..utils.values import ceil_div
from .config import PretrainConfig

#: Bytes of a weight on disk in a checkpoint: in float32, with two moments of AdamW
CHECKPOINT_BYTES = 12


@dataclass(frozen=True)
class Hardware:
    """One device and its link, and how much of the device a step uses."""

    peak: float = 989e12  # FLOP/s of dense bfloat16 products: an H100 or H200
    mfu: float = 0.1
    """Fraction of the peak that the products of a step reach: 0.09 (`base`) and 0.14 (`large`) were measured, nothing
    compiled (docs/performance.md)."""
    link: float = 50e9
    """Bytes/s that a device sends while it receives as much: a network card of 400 Gbit/s for each."""
    memory: float = 80e9  # Bytes


def plan(config: PretrainConfig, kinds: pd.DataFrame, devices: int, hardware: Hardware | None = None) -> dict[str, Any]:
    """The plan of a recipe, in plain values for JSON.

    `kinds` are kinds of windows, a row each: modality, dataset, sfreq, n_times, n_channels and their `count`; from
    `datasets.catalogue.published_index` or `kinds_of`. Returned are "parameters", "data", "step", "memory" and
    "communication" by parallel kind (none, ddp, fsdp, fsdp_ep: experts on devices of their own), "time" and "disk".

    A ConfigError where there are more devices than windows in a step.
    """
    model, hardware = config.architecture, hardware or Hardware()
    parameters = count(model)
    batches = batches_of(config, model, kinds)

    def mean(column: str) -> float:
        return float(np.average(batches[column], weights=batches["fraction"]))

    windows = config.accumulate * mean("windows")
    if devices > windows:
        text, fix = f"{devices} devices, but a step has about {windows:.0f} windows", "raise batch_size or accumulate"
        raise ConfigError(text, field="batch_size", fix=f"{fix}, or plan fewer devices")
    # devices take batches of a step in turn; more devices than batches share the windows of each
    micros, share = max(1.0, config.accumulate / devices), max(1.0, devices / config.accumulate)
    flops = config.accumulate * mean("flops")
    activations = {
        checkpoint: float((np.ceil(batches["windows"] / share) * batches[f"activation_bytes{checkpoint}"]).max())
        for checkpoint in ("", "_checkpointed")
    }
    possible = ["none"] if devices == 1 else ["ddp", "fsdp", "fsdp_ep"]  # `auto` leaves all of them open
    asked = [kind for kind in possible if config.parallel in ("auto", kind)] or possible
    memory = {kind: memory_of(model, parameters, kind, devices) for kind in asked}
    sent = {kind: sent_of(model, parameters, kind, devices, micros, windows / devices) for kind in memory}
    read = config.accumulate * mean("bytes")
    epoch = float(batches["count"].sum()) / config.accumulate
    compute = flops / devices / (hardware.peak * hardware.mfu)
    kinds_that_fit = fitting(memory, activations, hardware.memory)
    chosen = min(kinds_that_fit or memory, key=lambda kind: sent[kind])
    seconds = max(compute, sent[chosen] / hardware.link)
    return {
        "devices": devices,
        "hardware": vars(hardware),
        "parameters": {name: parameters[name] for name in ("total", "active", "encoder")},
        "data": {
            "windows": int(kinds["count"].sum()),
            "training_windows": round(float(batches["drawn"].sum())),
            "bytes": float((kinds["count"] * kinds["n_channels"] * kinds["n_times"] * 2).sum()),
            "tokens_per_window": float(np.average(batches["tokens"], weights=batches["drawn"])),
        },
        "step": {
            "windows": windows,
            "windows_per_device": windows / devices,
            "largest_batch_per_device": float(np.ceil(batches["windows"] / share).max()),
            "flops": flops,
            "flops_per_window": flops / windows,
            "heaviest_batch": float(batches["flops"].max()) / mean("flops"),
        },
        "memory": {
            kind: {**parts, "activations": activations[""], "activations_checkpointed": activations["_checkpointed"]}
            for kind, parts in memory.items()
        },
        "communication": {kind: {"bytes": sent[kind], "seconds": sent[kind] / hardware.link} for kind in sent},
        "time": {
            "parallel": chosen,
            "fits": bool(kinds_that_fit),
            "compute_seconds_per_step": compute,
            "seconds_per_step": seconds,
            "steps_per_epoch": epoch,
            "hours_per_epoch": epoch * seconds / 3600,
            "steps": config.steps,
            "epochs": config.steps / epoch,
            "hours": config.steps * seconds / 3600,
            "load_bytes_per_second": read / devices / seconds,
        },
        "disk": {
            "checkpoint": CHECKPOINT_BYTES * parameters["total"],
            "checkpoints": config.keep_checkpoints * CHECKPOINT_BYTES * parameters["total"],
            "release": 4 * parameters["total"],
        },
    }


def kinds_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Kinds of windows of a corpus index, with their `count`."""
    columns = ["modality", "dataset", "sfreq", "n_times", "n_channels"]
    return rows.groupby(columns, observed=True).size().rename("count").reset_index()


def batches_of(config: PretrainConfig, model: BrainOFConfig, kinds: pd.DataFrame) -> pd.DataFrame:
    """What a batch of each kind of window costs.

    Columns: `drawn` windows of an epoch, `windows` of a batch, `count` of batches in an epoch and their `fraction` of
    all, mean `tokens` of a window; `flops` and `bytes` on disk of a batch, `activation_bytes` of a window.
    """
    sizes: dict[Any, int] = kinds.groupby(["modality", "dataset"], observed=True)["count"].sum().to_dict()
    share = fractions(sizes, config.sampling.weights)
    total = (1 - config.sampling.validation) * sum(sizes.values())
    target = "connectivity" in config.objective.terms or config.objective.connectivity > 0
    rows = []
    for kind in cast("Any", kinds.itertuples()):
        pair = (kind.modality, kind.dataset)
        drawn = total * share[pair] * kind.count / sizes[pair]
        patches = ceil_div(kind.n_times, model.patch)
        tokens = kind.n_channels * patches
        used = min(tokens, config.max_tokens)
        most = config.batch_size if config.tokens_per_batch is None else max(1, config.tokens_per_batch // used)
        windows = min(config.batch_size, kind.count, most)
        shape = shape_of(config, kind.modality, kind.n_channels, patches)
        rows.append(
            {
                "modality": kind.modality,
                "dataset": kind.dataset,
                "drawn": drawn,
                "windows": windows,
                "count": drawn / windows,
                "tokens": tokens,
                "flops": sum(step_flops(model, shape, windows, target).values()),
                "bytes": windows * kind.n_channels * kind.n_times * 2,
                "activation_bytes": activation_bytes(model, shape),
                "activation_bytes_checkpointed": activation_bytes(model, shape, checkpoint=True),
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(fraction=table["count"] / table["count"].sum())


def shape_of(config: PretrainConfig, modality: str, channels: int, patches: int) -> WindowShape:
    """The tokens of a window at the end of the curriculum: channels kept, visible and predicted patches."""
    most = min(channels, max(2, config.max_tokens // patches))
    kept = round((max(min(2, channels), round(config.min_channels * most)) + most) / 2)
    mask, tokens = config.mask.at(1.0, modality), kept * patches
    units = {"segment": patches, "channel": kept, "region": max(2, round(kept / mask.region_size))}
    n_units = units.get(mask.unit, tokens)
    n_units = n_units if n_units > 1 else tokens
    hidden = round(tokens * float(np.clip(round(mask.ratio * n_units), 1, n_units - 1)) / n_units)
    return WindowShape(kept, patches, tokens - hidden, tokens if config.objective.predict == "all" else hidden)


def memory_of(model: BrainOFConfig, parameters: Mapping[str, int], kind: str, devices: int) -> dict[str, float]:
    """Bytes on each device that do not depend on the batch: weights, gradients, moments, and what is gathered.

    Where nothing is sharded, autocast keeps copies of the weights in bfloat16; fully sharded, two blocks are there at a
    time (one ahead) in bfloat16 with the gradient of one in float32.
    """
    own, gathered = float(parameters["total"]), 2.0 * parameters["total"]
    if kind in ("fsdp", "fsdp_ep"):
        outside = sum(parameters[part] for part in ("tokens", "latents", "sampler", "decoder"))
        routed = parameters["routed"] if kind == "fsdp_ep" else 0
        gathered = (2 * 2 + 4) * (parameters["total"] - outside - routed) / model.backbone.depth
        own = (parameters["total"] - routed) / devices + routed / math.gcd(
            devices, model.backbone.experts
        )  # see `spread_experts`
    return {"weights": 4 * own, "gradients": 4 * own, "optimizer": 8 * own, "gathered": gathered}


def sent_of(
    model: BrainOFConfig, parameters: Mapping[str, int], kind: str, devices: int, micros: float, windows: float
) -> float:
    """Bytes that each device sends in a step, and receives.

    ddp: an all-reduce of float32 gradients. fsdp: weights in bfloat16 gathered in forward and backward pass of each
    batch, gradients scattered in float32. fsdp_ep: the same without the routed experts, whose tokens travel instead,
    there and back, forward and backward, in bfloat16; gradients of experts are added over the groups that hold them.
    """
    total, others = parameters["total"], (devices - 1) / devices
    if kind in ("none", "ddp"):
        return 2 * others * 4 * total
    routed = parameters["routed"] if kind == "fsdp_ep" else 0
    sent = others * (total - routed) * (micros * 2 * 2 + 4)
    if kind == "fsdp_ep":
        backbone, ranks = model.backbone, math.gcd(devices, model.backbone.experts)
        rows = windows * model.sampler.latents * backbone.top_k * backbone.depth
        sent += (1 - 1 / ranks) * rows * model.dim * 2 * 4
        sent += 2 * (1 - ranks / devices) * 4 * routed / ranks
    return sent


def fitting(memory: Mapping[str, Mapping[str, float]], activations: Mapping[str, float], available: float) -> list[str]:
    """The kinds that fit; those that need `recompute` only where no other does."""
    for needed in activations.values():
        kinds = [kind for kind, parts in memory.items() if sum(parts.values()) + needed <= available]
        if kinds:
            return kinds
    return []
