"""Figures of what a model does: reconstructed patches, and scores beside chance, nulls and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..explain.reconstruction import Example
from .style import BLACK, BLUE, GREY, MODALITY_COLOURS, MODALITY_NAMES, panels, say_empty, styled


@styled
def reconstructions(examples: Sequence[Example], n_channels: int = 4) -> Figure:
    """True signal (black) and the model's reconstruction of the hidden patches (colour, on a shaded ground)."""
    if not examples:
        figure, axes = panels(1, 1)
        say_empty(axes[0, 0], "no example was given")
        return figure
    figure, axes = panels(len(examples), 1, width=8.2, height=2.1)
    for panel, example in zip(axes[:, 0], examples, strict=True):
        draw_example(panel, example, n_channels)
    return figure


def draw_example(panel: Axes, example: Example, n_channels: int = 4) -> None:
    """Some channels of a window: the signal, and in shaded patches what the model put there."""
    shown = np.linspace(0, len(example.names) - 1, min(n_channels, len(example.names))).round().astype(int)
    true, made, hidden = (values[shown] for values in (example.true_CT, example.reconstructed_CT, example.hidden_CT))
    times = np.arange(true.shape[1]) / example.sfreq
    spacing = max(float(np.percentile(np.abs(true), 99.5)), 1e-6) * 1.7
    colour = MODALITY_COLOURS.get(example.modality, BLUE)
    for row in range(len(shown)):
        base = -row * spacing
        panel.fill_between(
            times,
            base - spacing / 2,
            base + spacing / 2,
            where=hidden[row],
            color=colour,
            alpha=0.1,
            linewidth=0,
            step="mid",
        )
        panel.plot(times, np.where(hidden[row], made[row], np.nan) + base, color=colour, linewidth=1.6)
        panel.plot(times, true[row] + base, color=BLACK, linewidth=0.7, alpha=0.75)
    panel.set_yticks([-row * spacing for row in range(len(shown))], [str(example.names[i]) for i in shown])
    panel.set_ylim(-(len(shown) - 0.45) * spacing, 0.55 * spacing)
    panel.set_xlim(times[0], times[-1])
    panel.grid(visible=False)
    panel.set(title=example.title, xlabel="time (s)", ylabel="channel (normalised)")


@styled
def scores(rows: Sequence[Mapping[str, Any]], metric: str | None = None, level: str = "window") -> Figure:
    """One panel per task: score of each set of features with its standard error over people.

    The dashed line is chance; the shaded band reaches up to the 95th percentile of the label-permutation null. Open
    dots used the unlabelled windows of the test people (transductive). Ticks are people; the reference has its
    modality's colour.

    Parameters
    ----------
    rows : list of dict
        Rows of `evaluate_task`, of one or several tasks.
    metric : str, optional
        By default the tested metric of each task.
    level : {"window", "file"}
        Identification has its own level and is always shown.
    """
    chosen = [row for row in rows if row["row"] == "score" and row["level"] in (level, "session")]
    tasks = list(dict.fromkeys(row["task"] for row in chosen))
    if not tasks:
        figure, axes = panels(1, 1)
        say_empty(axes[0, 0], "no score was given")
        return figure
    picked: dict[str, list[Mapping[str, Any]]] = {}
    for task in tasks:
        own = [row for row in chosen if row["task"] == task]
        wanted = metric if metric in {row["metric"] for row in own} else own[0]["metric"]
        picked[task] = [row for row in own if row["metric"] == wanted and row["features"] != "chance"]
    heights = [max(1.0, 0.26 * len(own) + 0.75) for own in picked.values()]
    figure, axes = panels(
        len(tasks), 1, width=7.2, height=sum(heights) / len(tasks), gridspec_kw={"height_ratios": heights}
    )
    for panel, (task, own) in zip(axes[:, 0], picked.items(), strict=True):
        _score_panel(panel, own, [row for row in rows if row["task"] == task])
    return figure


def _score_panel(panel: Axes, own: list[Mapping[str, Any]], of_task: list[Mapping[str, Any]]) -> None:
    own = sorted(own, key=lambda row: row["recentred"])
    people = [row for row in of_task if row["row"] == "group"]
    reference = {row["features"] for row in of_task if row["row"] == "paired"}
    first = own[0]
    colour = MODALITY_COLOURS.get(first["modality"], BLUE)
    for place, row in enumerate(reversed(own)):
        key = ("features", "recentred", "level", "metric")
        dots = [p["score"] for p in people if all(p[name] == row[name] for name in key)]
        panel.plot(dots, np.full(len(dots), place), "|", color=GREY, alpha=0.35, markersize=7)
        if row.get("null_95") is not None:
            panel.barh(place, row["null_95"] - row["chance"], left=row["chance"], height=0.62, color="#E3E6EA")
        panel.errorbar(
            row["group_score"],
            place,
            xerr=row["group_se"] if np.isfinite(row["group_se"] or np.nan) else None,
            fmt="o",
            color=colour if row["features"] in reference else BLACK,
            markerfacecolor="white" if row["recentred"] else None,
            markersize=5,
            capsize=2,
        )
    labels = [row["features"] + (" (recentred)" if row["recentred"] else "") for row in reversed(own)]
    panel.set_yticks(range(len(own)), labels)
    panel.set_ylim(-0.6, len(own) - 0.4)
    panel.axvline(first["chance"], color=BLACK, linestyle="--", linewidth=0.9)
    panel.grid(visible=False, axis="y")
    modality = MODALITY_NAMES.get(first["modality"], first["modality"])
    panel.set_title(f"{first['task']} ({modality}, {first['n_groups']} {_units(first)}, by {first['split']})")
    panel.set_xlabel(str(first["metric"]).replace("_", " "))


def _units(row: Mapping[str, Any]) -> str:
    return {"subject": "people", "session": "people"}.get(str(row["split"]), f"{row['split']}s")
