"""Figures of scores, beside chance, nulls and baselines; and of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from ..utils.values import ceil_div
from .style import BLACK, BLUE, GREEN, GREY, MODALITY_COLOURS, MODALITY_NAMES, ORANGE, RED, panels, say_empty, styled
from .tables import PIPELINE, by_person, trained_models

#: Options that stand in the table alone
_LEFT_OUT = ("equal", "erased", "centred")


@styled
def scores(lines: pd.DataFrame, people: pd.DataFrame) -> Figure:
    """One panel per task: score of each set of features with its 95 % interval over subjects, which are ticks.

    `lines` are the summary of an evaluation, `people` its results. The dashed line is chance; the shaded band reaches
    up to the 95th percentile of the label-permutation null. Open dots used the unlabelled windows of the test subjects
    (transductive). Models have their modality's colour. Drawn is the first read-out, on features as they are and
    recentred; the other options stand in the table.
    """
    lines = drawn(lines)
    if lines.empty:
        figure, axes = panels(1, 1)
        say_empty(axes[0, 0], "no score was given")
        return figure
    tasks = [own for _, own in lines.groupby("task", sort=False)]
    heights = [max(1.0, 0.26 * len(own) + 0.75) for own in tasks]
    ratios = {"height_ratios": heights}
    figure, axes = panels(len(tasks), 1, width=7.2, height=sum(heights) / len(tasks), gridspec_kw=ratios)
    dots = by_person(people)
    for panel, own in zip(axes[:, 0], tasks, strict=True):
        _score_panel(panel, own.to_dict("records")[::-1], dots)  # the first stands at the top
    return figure


def drawn(lines: pd.DataFrame) -> pd.DataFrame:
    """Rows of a summary with a score that a figure shows: of the first read-out of each entry; chance is a line."""
    lines = lines[(lines["kind"] != "chance") & lines["score"].notna() & ~lines["option"].isin(_LEFT_OUT)]
    first = lines.groupby(["task", "entry"])["readout"].transform("first")
    return lines[lines["readout"] == first].sort_values("option", key=lambda o: o == "recentred", kind="stable")


def _score_panel(panel: Axes, own: list[dict[Any, Any]], people: pd.DataFrame) -> None:
    first = own[-1]
    colour = MODALITY_COLOURS.get(first["modality"], BLUE)
    for place, row in enumerate(own):
        dots = people.get(tuple(row[key] for key in PIPELINE), pd.Series(dtype=float)).dropna()
        panel.plot(dots, np.full(len(dots), place), "|", color=GREY, alpha=0.35, markersize=7)
        if pd.notna(row["null_95"]):
            reach = row["null_95"] - row["chance"]
            panel.barh(place, reach, left=row["chance"], height=0.62, color=GREY, alpha=0.25, linewidth=0)
        look: Any = {"color": colour if row["kind"] == "model" else BLACK, "markersize": 5, "capsize": 2}
        if row["transductive"]:
            look["markerfacecolor"] = "white"
        error = [[row["score"] - row["low"]], [row["high"] - row["score"]]]
        panel.errorbar(row["score"], place, xerr=error, fmt="o", **look)
    panel.set_yticks(range(len(own)), [_shown_name(row) for row in own])
    panel.set_ylim(-0.6, len(own) - 0.4)
    if pd.notna(first["chance"]):
        panel.axvline(first["chance"], color=BLACK, linestyle="--", linewidth=0.9)
        left, right = panel.get_xlim()
        panel.set_xlim(min(left, first["chance"] - 0.03 * (right - left)), right)
    panel.grid(visible=False, axis="y")
    about = [MODALITY_NAMES.get(first["modality"], first["modality"])] if pd.notna(first["modality"]) else []
    about += [f"n = {first['n_people']:.0f}"] if pd.notna(first["n_people"]) else []
    panel.set_title(f"{first['task']} ({', '.join(about)})" if about else first["task"])
    panel.set_xlabel(str(first["metric"]).replace("_", " "))


def _shown_name(row: Mapping[Any, Any]) -> str:
    """An entry, and what was done to its features."""
    return row["entry"] + (f" ({row['option']})" if row["option"] not in ("plain", "") else "")


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
def paired_lines(lines: pd.DataFrame, people: pd.DataFrame) -> Figure | None:
    """A line per subject from random weights to each model, on features as they are, a panel per task; None without."""
    scores, shown = by_person(people), []
    lines = trained_models(drawn(lines))
    for row in lines[lines["option"].isin(["plain", ""])].to_dict("records"):
        ends = [(row["task"], name, row["readout"], row["option"]) for name in _ends(row)]
        if set(ends) <= set(scores) and len(values := scores[ends].dropna().to_numpy()):
            shown.append((row, values))
    if not shown:
        return None
    columns = min(4, len(shown))
    figure, axes = panels(ceil_div(len(shown), columns), columns, width=2.6, height=2.6)
    for panel in axes.flat[len(shown) :]:
        panel.set_axis_off()
    for panel, (row, values) in zip(axes.flat, shown, strict=False):
        panel.plot([0, 1], values.T, color=GREY, linewidth=0.8, marker="o", markersize=2.5, alpha=0.7)
        colour = MODALITY_COLOURS.get(row["modality"], BLUE)
        panel.plot([0, 1], values.mean(axis=0), color=colour, linewidth=2.5, marker="o")
        if pd.notna(row["chance"]):
            panel.axhline(row["chance"], color=BLACK, linestyle="--", linewidth=0.9)
        panel.set_xticks([0, 1], _ends(row))
        panel.set_xlim(-0.25, 1.25)
        panel.set_title(f"{row['task']}\nn = {len(values)}", fontsize=8)
        panel.set_ylabel(str(row["metric"]).replace("_", " "))
    return figure


def _ends(row: Mapping[Any, Any]) -> tuple[str, str]:
    """The two ends of a line: the random weights that a model is held against, and the model."""
    return (row["against"] if isinstance(row["against"], str) else "random weights"), row["entry"]


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
