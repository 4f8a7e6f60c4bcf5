"""The page of `./run study finetuning`: what pretraining is worth to each way of adaptation."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from brainof.evaluation.entries import MODEL, RANDOM

from .seeds import draws, gain, verdict
from .tables import gain_columns, markdown, with_interval, with_spread

Way = Literal["full tuned", "full untuned", "lora", "probe"]
#: Ways of adaptation, in the order of the page
WAYS: tuple[Way, ...] = ("full tuned", "full untuned", "lora", "probe")
TUNED, DEFAULT, LORA, PROBE = WAYS

COMMAND = "./run study finetuning --root data --out runs/finetuning"


def over_random(frame: pd.DataFrame) -> pd.DataFrame:
    """One line per task and way: scores from either start, and the gain of pretrained weights."""
    lines = []
    for (task, way), own in frame.groupby(["task", "way"], sort=False):
        pretrained, random = (draws(own[own["side"] == side], "seed") for side in (MODEL, RANDOM))
        line = {"task": task, "way": way, "people": pretrained.shape[1]}
        for name, side in (("pretrained", pretrained), ("random", random)):
            means = side.mean(axis=1)
            each = " ".join(f"{mean:.3f}" for mean in means)
            line |= {f"{name}_each": each, name: means.mean(), f"{name}_sd": means.std()}
        difference = pretrained.mean() - random.mean()
        lines.append({**line, **gain(pretrained, random), "losses": int((difference < 0).sum())})
    return pd.DataFrame(lines)


def over_probe(frame: pd.DataFrame) -> pd.DataFrame:
    """One line per task, side and way that trains: its difference to the probe of the same weights, seed by seed."""
    lines = []
    for (task, side), own in frame.groupby(["task", "side"], sort=False):
        ways = {str(way): draws(rows, "seed") for way, rows in own.groupby("way", sort=False)}
        probe = ways.pop(PROBE, None)
        for way, scores in ways.items() if probe is not None else ():
            difference = scores - probe
            line = {
                "task": task,
                "side": side,
                "way": way,
                "people": scores.shape[1],
                "score": scores.to_numpy().mean(),
            }
            # against nothing, which does not vary: the variances over people and over seeds are left
            lines.append({**line, **gain(difference, 0 * difference), "losses": int((difference.mean() < 0).sum())})
    return pd.DataFrame(lines)


def page(frame: pd.DataFrame, budgets: pd.DataFrame) -> str:
    """The study in Markdown: gains over random weights, over the probe, and the budgets that were chosen."""
    lines = over_random(frame)
    named = lines.assign(task=lines["task"] + " (" + lines["way"] + ")")
    table = pd.DataFrame(
        {
            "task": lines["task"],
            "way": lines["way"],
            "people": lines["people"],
            "pretrained, each seed": lines["pretrained_each"],
            "mean (SD)": with_spread(lines["pretrained"], lines["pretrained_sd"]),
            "random weights, each seed": lines["random_each"],
            "mean (SD) ": with_spread(lines["random"], lines["random_sd"]),
            **gain_columns(lines),
            "people won:lost": [f"{row.wins}:{row.losses}" for row in lines.itertuples()],
        }
    )
    parts = ["# Fine-tuning, pretrained or from scratch\n", f"    {COMMAND}\n", verdict(named), "", markdown(table)]
    if len(probe := over_probe(frame)):
        about = probe[["task", "side", "way", "people", "score"]].rename(columns={"side": "weights"})
        about = about.assign(
            difference=with_interval(probe, "low", "high"),
            **{"people won:lost": [f"{row.wins}:{row.losses}" for row in probe.itertuples()]},
        )
        parts += ["\n## Against the frozen probe of the same weights\n", markdown(about)]
    if len(budgets):
        parts += ["\n## Budgets that were chosen\n", markdown(budgets.assign(lr=budgets["lr"].map("{:g}".format)))]
    seconds = frame.groupby(["task", "way"], sort=False)["seconds"].mean().map("{:.1f}".format).unstack(sort=False)
    parts += ["\n## Processor seconds of a fit\n", markdown(seconds.fillna("").reset_index())]
    return "\n".join(parts) + "\n"
