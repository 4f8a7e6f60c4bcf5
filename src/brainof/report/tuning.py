"""The figure of `brainof plan --tune`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .style import BLUE, GREY, RED, panels, styled


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
