"""Figures of a training run, from the rows of its metrics.jsonl, and of `brainof plan --tune`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..utils.values import ceil_div
from .style import BLUE, GREY, MODALITY_COLOURS, MODALITY_NAMES, ORANGE, RED, panels, say_empty, styled

Rows = Sequence[Mapping[str, Any]]


@styled
def loss_curves(rows: Rows) -> Figure:
    """Loss in time and in frequency over steps, one colour per modality; thin: as logged, thick: running median."""
    figure, axes = panels(1, 2, width=4.2, height=2.8)
    losses = (("loss_time", "Waveform"), ("loss_frequency", "Spectrum"))
    for panel, (key, title) in zip(axes[0], losses, strict=True):
        for modality, colour in MODALITY_COLOURS.items():
            if len(curve := _by_step(rows, key, modality)):
                panel.plot(curve, color=colour, alpha=0.3, linewidth=0.8)
                point = "o" if len(curve) < 3 else ""  # of a run that crashed early
                name = MODALITY_NAMES[modality]
                panel.plot(_running_median(curve), marker=point, color=colour, linewidth=1.8, label=name)
        panel.set(title=title, xlabel="step", ylabel="Smooth L1 per hidden patch")
        if panel.lines:
            panel.legend()
            panel.set_ylim(bottom=0)
        else:
            say_empty(panel, f"no {title.lower()} loss was logged")
    return figure


@styled
def explained_variance(rows: Rows) -> Figure:
    """Explained variance of hidden patches per dataset, with real (solid) and with shuffled (dotted) latents.

    Where both lines lie together, the decoder ignores the latents, whatever the loss says.
    """
    checks = [row for row in rows if row.get("health")]
    names = sorted({name for row in checks for name in row["health"]})
    if not names:
        figure, axes = panels(1, 1)
        say_empty(axes[0, 0], "no health check was logged")
        return figure
    n_columns = min(4, len(names))
    n_rows = ceil_div(len(names), n_columns)
    figure, axes = panels(n_rows, n_columns, width=2.7, height=2.1)
    lines = {
        "r2": ("waveform", "-", BLUE),
        "r2_shuffled": ("waveform, shuffled latents", ":", BLUE),
        "r2_log_spectrum": ("log spectrum", "-", ORANGE),
        "r2_log_spectrum_shuffled": ("log spectrum, shuffled latents", ":", ORANGE),
    }
    for panel, name in zip(axes.flat, names, strict=False):
        entries = [(row["step"], row["health"][name]) for row in checks if name in row["health"]]
        modality = next((entry["modality"] for _, entry in reversed(entries) if "modality" in entry), "")
        for key, (label, style, colour) in lines.items():
            known = [(step, entry[key]) for step, entry in entries if entry.get(key) is not None]
            if known:
                steps, values = zip(*known, strict=True)
                # far below zero says no more than "worse than the mean"; it would squeeze the rest
                shown, marker = np.clip(values, -0.5, 1), "o" if len(values) < 12 else ""
                panel.plot(steps, shown, style, color=colour, marker=marker, markersize=2.5, label=label)
        panel.axhline(0, color=GREY, linewidth=0.8)
        panel.set_title(f"{name} ({MODALITY_NAMES.get(modality, modality)})" if modality else name)
        panel.set(xlabel="step", ylim=(-0.55, 1))
    for panel in axes.flat[len(names) :]:
        panel.set_axis_off()
    figure.supylabel("explained variance", fontsize=9)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


@styled
def expert_load(rows: Rows) -> Figure:
    """Load imbalance of the experts over steps: largest over mean load, minus one. 0 is perfect balance."""
    figure, axes = panels(1, 1, width=5.2, height=2.5)
    panel = axes[0, 0]
    for modality, colour in MODALITY_COLOURS.items():
        if len(curve := _by_step(rows, f"max_vio/{modality}")):
            panel.plot(curve, color=colour, alpha=0.35, linewidth=0.8)
            panel.plot(_running_median(curve), color=colour, label=MODALITY_NAMES[modality])
    for key, label, line in (("max_vio", "all", "-"), ("max_vio_worst", "worst layer", ":")):
        if len(curve := _by_step(rows, key)):
            panel.plot(_running_median(curve), line, color="black", linewidth=1.2, label=label)
    if not panel.lines:
        say_empty(panel, "no expert load was logged")
        return figure
    panel.set(xlabel="step", ylabel="largest / mean load - 1", title="Load of the experts")
    panel.set_ylim(bottom=0)
    figure.legend(loc="outside right center")
    return figure


@styled
def tuning(found: Mapping[str, Any]) -> Figure:
    """Windows per second by batch, losses by learning rate, and the loss at their end; red is what was chosen."""
    figure, axes = panels(1, 3, width=3.4, height=2.6)
    speed, curves, ends = axes[0]

    trials = [trial for trial in found["batches"] if trial["windows_per_second"] is not None]
    trials = sorted(trials, key=lambda trial: trial["tokens_per_batch"])
    tokens, pace = ([trial[key] for trial in trials] for key in ("tokens_per_batch", "windows_per_second"))
    speed.plot(tokens, pace, "o-", color=BLUE)
    for number, windows in zip(tokens, pace, strict=True):
        if number == found["tokens_per_batch"]:
            speed.plot(number, windows, "o", color=RED)
    for trial in found["batches"]:
        if trial not in trials:
            speed.axvline(trial["tokens_per_batch"], color=GREY, linestyle=":")
    speed.set_xscale("log", base=2)
    speed.set_xticks(tokens, [f"{number:,}" for number in tokens])
    speed.minorticks_off()
    speed.set(title="Batch (dotted: does not fit)", xlabel="tokens per batch", ylabel="windows/s")
    speed.set_ylim(0, 1.1 * max(pace))

    rates = [trial for trial in found["rates"] if trial["losses"]]
    best = next(trial for trial in rates if trial["lr"] == found["lr"])
    for shade, trial in zip(np.linspace(0.35, 1, len(rates)), rates, strict=True):
        if trial is not best:  # all see the same batches, whose losses differ much more than those of two rates
            above = np.subtract(trial["losses"], best["losses"])
            curves.plot(range(1, len(above) + 1), above, color=BLUE, alpha=float(shade), label=f"{trial['lr']:g}")
    curves.axhline(0, color=RED, label=f"{best['lr']:g}")
    curves.set(title="Loss above that of the chosen rate", xlabel="step", ylabel="loss, same windows and masks")
    curves.legend(fontsize=7)

    ends.plot([trial["lr"] for trial in rates], [trial["loss"] for trial in rates], "o-", color=BLUE)
    ends.plot(best["lr"], best["loss"], "o", color=RED)
    for trial in found["rates"]:
        if trial["loss"] is None:
            ends.axvline(trial["lr"], color=GREY, linestyle=":")
    ends.set_xscale("log")
    ends.set(title="Loss at the end (dotted: not finite)", xlabel="learning rate", ylabel="loss, last quarter")
    return figure


def _by_step(rows: Rows, key: str, modality: str | None = None) -> pd.Series:
    """Values of a key by step, averaged over the rows (datasets) of a step."""
    kept = [row for row in rows if row.get(key) is not None and modality in (None, row.get("modality"))]
    return pd.DataFrame(kept, columns=["step", key]).astype(float).groupby("step")[key].mean()


def _running_median(curve: pd.Series) -> pd.Series:
    """Median over a centred window of a twelfth of the curve, shorter at the ends."""
    return curve.rolling(2 * (len(curve) // 25) + 1, center=True, min_periods=1).median()
