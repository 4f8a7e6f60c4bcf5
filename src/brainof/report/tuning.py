"""The figure of `brainof plan --tune`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .style import BLUE, GREY, RED, panels, styled


@styled
def tuning(found: Mapping[str, Any]) -> Figure:
    """Windows per second by batch, loss curves by learning rate, and the loss at their end; red is what was chosen."""
    figure, axes = panels(1, 3, width=3.4, height=2.6)
    speed, curves, ends = axes[0]

    trials = [trial for trial in found["batches"] if trial["windows_per_second"] is not None]
    trials = sorted(trials, key=lambda trial: trial["tokens_per_batch"])
    tokens = [trial["tokens_per_batch"] for trial in trials]
    speed.plot(tokens, [trial["windows_per_second"] for trial in trials], "o-", color=BLUE)
    for trial in trials:
        if trial["tokens_per_batch"] == found["tokens_per_batch"]:
            speed.plot(trial["tokens_per_batch"], trial["windows_per_second"], "o", color=RED)
    for trial in found["batches"]:
        if trial["windows_per_second"] is None:
            speed.axvline(trial["tokens_per_batch"], color=GREY, linestyle=":")
    speed.set_xscale("log", base=2)
    speed.set_xticks(tokens, [f"{number:,}" for number in tokens], rotation=45)
    speed.set(title="Batch (dotted: does not fit)", xlabel="tokens per batch", ylabel="windows/s")
    speed.set_ylim(bottom=0)

    rates = [trial for trial in found["rates"] if trial["losses"]]
    for shade, trial in zip(np.linspace(0.25, 1, len(rates)), rates, strict=True):
        chosen = trial["lr"] == found["lr"]
        curves.plot(
            range(1, len(trial["losses"]) + 1),
            trial["losses"],
            color=RED if chosen else BLUE,
            alpha=1.0 if chosen else float(shade),
            linewidth=1.6 if chosen else 1.0,
            label=f"{trial['lr']:g}",
        )
    curves.set(title="Learning rates", xlabel="step", ylabel="loss")
    curves.legend(fontsize=7)

    ends.plot([trial["lr"] for trial in rates], [trial["loss"] for trial in rates], "o-", color=BLUE)
    best = next(trial for trial in rates if trial["lr"] == found["lr"])
    ends.plot(best["lr"], best["loss"], "o", color=RED)
    for trial in found["rates"]:
        if trial["loss"] is None:
            ends.axvline(trial["lr"], color=GREY, linestyle=":")
    ends.set_xscale("log")
    ends.set(title="Loss at the end (dotted: not finite)", xlabel="learning rate", ylabel="loss, last quarter")
    return figure
