"""Figures of scores, beside chance, nulls and baselines; and of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from ..utils.values import counted
from .style import BLACK, BLUE, GREEN, GREY, MODALITY_COLOURS, MODALITY_NAMES, ORANGE, RED, panels, say_empty, styled
from .tables import Rows, shown_name, tested

#: Features that a line joins
_PAIR = ("untrained", "pretrained")


@styled
def scores(rows: Rows) -> Figure:
    """One panel per task: score of each set of features with its standard error over subjects.

    `rows` are those of `evaluate_task`, of one or several tasks. The dashed line is chance; the shaded band reaches up
    to the 95th percentile of the label-permutation null. Open dots used the unlabelled windows of the test subjects
    (transductive). Ticks are subjects; the reference has its modality's colour.
    """
    picked: dict[str, list[Mapping[str, Any]]] = {}
    for row in tested(rows, "score"):
        if row["features"] != "chance":
            picked.setdefault(row["task"], []).append(row)
    if not picked:
        figure, axes = panels(1, 1)
        say_empty(axes[0, 0], "no score was given")
        return figure
    heights = [max(1.0, 0.26 * len(own) + 0.75) for own in picked.values()]
    ratios = {"height_ratios": heights}
    figure, axes = panels(len(picked), 1, width=7.2, height=sum(heights) / len(picked), gridspec_kw=ratios)
    for panel, (task, own) in zip(axes[:, 0], picked.items(), strict=True):
        _score_panel(panel, own, [row for row in rows if row["task"] == task])
    return figure


def _score_panel(panel: Axes, own: list[Mapping[str, Any]], of_task: list[Mapping[str, Any]]) -> None:
    own = sorted(own, key=lambda row: row["recentred"])[::-1]  # the first stands at the top
    reference = {row["features"] for row in of_task if row["row"] == "paired"} or {"adapted model"}
    first = own[-1]
    colour = MODALITY_COLOURS.get(first["modality"], BLUE)
    for place, row in enumerate(own):
        key = ("features", "recentred", "level", "metric")
        dots = [r["score"] for r in of_task if r["row"] == "group" and all(r[name] == row[name] for name in key)]
        panel.plot(dots, np.full(len(dots), place), "|", color=GREY, alpha=0.35, markersize=7)
        if row.get("null_95") is not None:
            reach = row["null_95"] - row["chance"]
            panel.barh(place, reach, left=row["chance"], height=0.62, color=GREY, alpha=0.25, linewidth=0)
        look: Any = {"color": colour if row["features"] in reference else BLACK, "markersize": 5, "capsize": 2}
        if row["recentred"]:
            look["markerfacecolor"] = "white"
        panel.errorbar(row["group_score"], place, xerr=row["group_se"] or np.nan, fmt="o", **look)
    panel.set_yticks(range(len(own)), [shown_name(row) for row in own])
    panel.set_ylim(-0.6, len(own) - 0.4)
    panel.axvline(first["chance"], color=BLACK, linestyle="--", linewidth=0.9)
    left, right = panel.get_xlim()
    panel.set_xlim(min(left, first["chance"] - 0.03 * (right - left)), right)
    panel.grid(visible=False, axis="y")
    modality = MODALITY_NAMES.get(first["modality"], first["modality"])
    units = "subjects" if first["split"] == "session" else f"{first['split']}s"
    panel.set_title(f"{first['task']} ({modality}, {first['n_groups']} {units}, by {first['split']})")
    panel.set_xlabel(str(first["metric"]).replace("_", " "))


@styled
def gains(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Differences from random weights with their intervals, one line per comparison."""
    rows = [row for row in rows if row.get("difference") is not None]
    figure, axes = panels(1, 1, width=7.2, height=max(1.4, 0.26 * len(rows) + 0.9))
    panel = axes[0, 0]
    colours = {"won": BLUE, "lost": RED, "open": GREY}
    for place, row in enumerate(reversed(rows)):
        error = np.array([[row["difference"] - row["low"]], [row["high"] - row["difference"]]], dtype=float)
        panel.errorbar(row["difference"], place, xerr=error, fmt="o", color=colours[row["verdict"]], capsize=2)
    panel.axvline(0, color=BLACK, linewidth=0.9)
    panel.set_yticks(range(len(rows)), [str(row["task"])[:60] for row in reversed(rows)], fontsize=7.5)
    panel.set_xlabel("score minus random weights (blue: won, orange: lost, grey: open)")
    panel.grid(visible=False, axis="y")
    return figure


@styled
def paired_lines(rows: Rows) -> Figure | None:
    """A line per subject from the untrained to the pretrained model, a panel per task; None without both."""
    groups = [row for row in tested(rows, "group") if not row["recentred"]]
    shown = []
    for task in dict.fromkeys(row["task"] for row in groups):
        own = [row for row in groups if row["task"] == task]
        pair = [{row["group"]: row["score"] for row in own if row["features"] == name} for name in _PAIR]
        both = [name for name in pair[0] if name in pair[1] and None not in (pair[0][name], pair[1][name])]
        if both:
            chance = next((row.get("chance") for row in tested(rows, "score") if row["task"] == task), None)
            values = np.array([[side[name] for side in pair] for name in both], dtype=float)
            shown.append((task, str(own[0]["metric"]), own[0].get("modality"), chance, values))
    if not shown:
        return None
    figure, axes = panels(1, len(shown), width=2.6, height=2.6)
    for panel, (task, metric, modality, chance, values) in zip(axes[0], shown, strict=True):
        panel.plot([0, 1], values.T, color=GREY, linewidth=0.8, marker="o", markersize=2.5, alpha=0.7)
        colour = MODALITY_COLOURS.get(str(modality), BLUE)
        panel.plot([0, 1], np.nanmean(values, 0), color=colour, linewidth=2.5, marker="o")
        if chance is not None:
            panel.axhline(chance, color=BLACK, linestyle="--", linewidth=0.9)
        panel.set_xticks([0, 1], _PAIR)
        panel.set_xlim(-0.25, 1.25)
        panel.set_title(f"{task}\n{counted(len(values), 'subject')}", fontsize=8)
        panel.set_ylabel(metric.replace("_", " "))
    return figure


@styled
def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Windows of each true class by predicted ones."""
    figure, axes = panels(1, 1, width=2.4 + 0.36 * len(classes), height=1.5 + 0.3 * len(classes))
    shown = ConfusionMatrixDisplay(np.array(counts), display_labels=classes)
    shown.plot(ax=axes[0, 0], cmap="cividis", xticks_rotation=45)
    axes[0, 0].set(xlabel="predicted", ylabel="true")
    axes[0, 0].grid(visible=False)
    return figure


@styled
def several_losses(runs: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """One curve per run."""
    figure, axes = panels(1, 1, width=6.4, height=2.8)
    styles = ["-", "--", ":", "-."]
    for number, (name, curve) in enumerate(runs.items()):
        steps, values = zip(*curve, strict=True)
        colour = [BLUE, ORANGE, GREEN, RED, GREY, BLACK][number % 6]
        axes[0, 0].plot(steps, values, styles[number % 4], color=colour, label=name)
    axes[0, 0].set(xlabel="optimizer step", ylabel="loss")
    axes[0, 0].legend()
    return figure
