"""The quality page of a corpus: what was found in the recordings, what was dropped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..channels import Channels
from ..corpus import Corpus
from ..errors import CorpusError
from .page import Image, Section, Table, write_page
from .style import GREY, MODALITY_COLOURS, MODALITY_NAMES, ORANGE, panels, say_empty, styled

Record = dict[str, Any]

#: Recordings that a table lists at most; the ones with most dropped channels come first
MOST = 200
_TYPES = {"eeg": "electrodes", "mag": "magnetometers", "grad": "gradiometers", "axial": "axial", "roi": "regions"}


def write_quality_page(corpus: Corpus, path: str | PathLike[str]) -> Path:
    """Write the quality page as one HTML file.

    Raises
    ------
    CorpusError
        The corpus holds no quality notes (it was written by an older version, or not by `brainof prepare`).
    """
    records = corpus.quality
    if not records:
        raise CorpusError(
            "holds no quality notes", file=corpus.folder.where("quality"), fix="prepare it again with `brainof prepare`"
        )
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((str(record["dataset"]), str(record["modality"])), []).append(record)
    sections = [_overview(corpus, groups), _dropped(corpus, records)]
    sections += [_dataset(corpus, *key, group) for key, group in sorted(groups.items())]
    lead = f"{len(records):,} recordings in {len(groups)} datasets. Amplitudes and spectra are of the signal as read."
    return write_page(path, sections, "Data quality", lead)


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """One line about some recordings."""
    n_channels = sum(record["channels"] for record in records)
    clipped = [record["clipped"] for record in records if record["clipped"] is not None]
    used, whole = (sum(record[key] for record in records) for key in ("seconds_in_windows", "seconds"))
    return {
        "recordings": len(records),
        "people": len({record["subject"] for record in records}),
        "hours": whole / 3600,
        "in windows %": 100 * used / whole if whole else np.nan,
        "channels dropped %": 100 * sum(len(record["dropped"]) for record in records) / max(1, n_channels),
        "samples clipped %": 100 * float(np.mean(clipped)) if clipped else np.nan,
        "cut off": sum(record["truncated"] for record in records),
    }


def _overview(corpus: Corpus, groups: dict[tuple[str, str], list[Record]]) -> Section:
    failed = Counter((str(entry.get("dataset")), str(entry.get("modality"))) for entry in corpus.failures)
    keys = sorted(set(groups) | set(failed))
    lines = [
        {
            "dataset": dataset,
            "modality": MODALITY_NAMES.get(modality, modality),
            **summary(groups.get((dataset, modality), [])),
            "failed": failed[dataset, modality],
        }
        for dataset, modality in keys
    ]
    digits = {"hours": 2, "in windows %": 1, "channels dropped %": 2, "samples clipped %": 3}
    return Section("Overview", tables=[Table(pd.DataFrame(lines), digits=digits)])


def _dropped(corpus: Corpus, records: Sequence[Record]) -> Section:
    reasons = Counter((record["dataset"], reason) for record in records for reason in record["dropped"].values())
    tables = []
    if reasons:
        lines = [{"dataset": name, "channels": n, "why": why} for (name, why), n in reasons.most_common()]
        tables.append(Table(pd.DataFrame(lines), "Channels that were marked bad; their place is kept and masked."))
    notes = Counter((record["dataset"], note) for record in records for note in record["notes"])
    common = [{"dataset": name, "recordings": n, "note": note} for (name, note), n in notes.most_common(40)]
    if common:
        tables.append(Table(pd.DataFrame(common), "What was assumed, left out or found odd, most frequent first."))
    failures = [
        {"dataset": entry.get("dataset"), "recording": entry.get("recording"), "why": entry.get("reason")}
        for entry in corpus.failures[:MOST]
    ]
    if failures:
        tables.append(Table(pd.DataFrame(failures), f"Recordings that failed ({len(corpus.failures)})."))
    text = [] if tables else ["Nothing was dropped."]
    return Section("What was dropped, and why", text, tables=tables)


def _dataset(corpus: Corpus, dataset: str, modality: str, records: list[Record]) -> Section:
    images = [
        Image(spectra(records), "Spectrum before preparation: median over recordings, 5th to 95th percentile shaded."),
        Image(amplitudes(records), "Robust standard deviation of a recording (median over its channels)."),
    ]
    tables = {str(record["channel_set"]) for record in records}
    channels = {digest: corpus.channels(digest) for digest in sorted(tables)}
    if modality == "fmri":
        caption = "Recordings in which a region had no signal or lay outside the image, worst first."
        images.append(Image(coverage(records, channels), caption))
    else:
        caption = "Sensors seen from above, nose up; colour: share of the recordings in which they were dropped."
        images.append(Image(head(records, channels), caption))
    worst = sorted(
        records, key=lambda record: (-len(record["dropped"]) / max(1, record["channels"]), record["recording"])
    )
    lines = [
        {
            "recording": record["recording"],
            "seconds": record["seconds"],
            "Hz": record["sfreq"],
            "channels": record["channels"],
            "dropped": len(record["dropped"]),
            "which": _listed(record["dropped"]),
            "windows": sum(record["views"].values()),
            "in windows %": 100 * record["seconds_in_windows"] / max(record["seconds"], 1e-9),
            "cut off": record["truncated"],
        }
        for record in worst[:MOST]
    ]
    caption = f"Most dropped channels first{f'; {MOST} of {len(records)}' if len(records) > MOST else ''}."
    digits = {"seconds": 1, "Hz": 2, "in windows %": 1}
    return Section(
        f"{dataset} ({MODALITY_NAMES[modality]})", images=images, tables=[Table(pd.DataFrame(lines), caption, digits)]
    )


def _listed(dropped: dict[str, str], most: int = 6) -> str:
    names = [f"{name} ({reason})" for name, reason in list(dropped.items())[:most]]
    return ", ".join(names) + (f" and {len(dropped) - most} more" if len(dropped) > most else "")


def _kinds(records: Sequence[Record], key: str) -> list[str]:
    return sorted({kind for record in records for kind in record[key]})


@styled
def spectra(records: Sequence[Record]) -> Figure:
    """Power density per sensor type over recordings."""
    kinds = _kinds(records, "spectrum")
    figure, axes = panels(1, max(1, len(kinds)), width=4.2, height=2.7)
    if not kinds:
        say_empty(axes[0, 0], "too short for a spectrum")
    colour = MODALITY_COLOURS[str(records[0]["modality"])]
    for panel, kind in zip(axes[0], kinds, strict=False):
        found = [record["spectrum"][kind] for record in records if kind in record["spectrum"]]
        highest = max(entry["hz"][-1] for entry in found)
        lowest = min(entry["hz"][0] for entry in found)
        grid = np.geomspace(lowest, highest, 60)
        values = np.array([np.interp(grid, entry["hz"], entry["db"], left=np.nan, right=np.nan) for entry in found])
        seen = np.isfinite(values).any(axis=0)
        low, middle, high = np.nanpercentile(values[:, seen], (5, 50, 95), axis=0)
        panel.fill_between(grid[seen], low, high, color=colour, alpha=0.25, linewidth=0)
        panel.plot(grid[seen], middle, color=colour)
        unit = next(record["amplitude"][kind]["unit"] for record in records if kind in record["amplitude"])
        panel.set(xscale="log", title=_TYPES[kind], xlabel="Hz", ylabel=f"dB re 1 ({unit})²/Hz")
    return figure


@styled
def amplitudes(records: Sequence[Record]) -> Figure:
    """Distribution of the amplitude per sensor type over recordings, on a logarithmic axis."""
    kinds = _kinds(records, "amplitude")
    figure, axes = panels(1, max(1, len(kinds)), width=4.2, height=2.2)
    if not kinds:
        say_empty(axes[0, 0], "no good channel")
    colour = MODALITY_COLOURS[str(records[0]["modality"])]
    for panel, kind in zip(axes[0], kinds, strict=False):
        found = [record["amplitude"][kind] for record in records if kind in record["amplitude"]]
        values = np.array([entry["median"] for entry in found if entry["median"] > 0])
        if not len(values):
            say_empty(panel, "no amplitude above zero")
            continue
        edges = np.geomspace(values.min() / 1.3, values.max() * 1.3, 25)
        panel.hist(values, edges, color=colour)
        panel.axvline(np.median(values), color=GREY, linestyle=":")
        panel.set(xscale="log", title=_TYPES[kind], xlabel=found[0]["unit"], ylabel="recordings")
    return figure


@styled
def head(records: Sequence[Record], channels: dict[str, Channels]) -> Figure:
    """Sensors on the head, coloured by how often they were dropped; one panel per sensor type."""
    places: dict[tuple[str, str], np.ndarray] = {}
    for table in channels.values():
        for name, kind, place, known in zip(table.names, table.types, table.positions, table.located, strict=True):
            if known:
                places.setdefault((kind, name), place)
    there, lost = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for record in records:
        table = channels[str(record["channel_set"])]
        for name, kind in zip(table.names, table.types, strict=True):
            there[kind, name] += 1
            lost[kind, name] += name in record["dropped"]
    kinds = sorted({kind for kind, _ in there})
    figure, axes = panels(1, max(1, len(kinds)), width=3.6, height=3.3)
    for panel, kind in zip(axes[0], kinds, strict=False):
        keys = [key for key in places if key[0] == kind]
        unknown = sum(key[0] == kind and key not in places for key in there)
        panel.set(title=f"{_TYPES[kind]}" + (f", {unknown} without position" if unknown else ""))
        if not keys:
            say_empty(panel, f"none of {unknown} {_TYPES[kind]} has a position")
            continue
        points = flattened(np.array([places[key] for key in keys]))
        share = np.array([lost[key] / there[key] for key in keys])
        radius = 1.08 * np.abs(points).max()
        panel.add_patch(_circle(radius))
        panel.plot([-0.1 * radius, 0, 0.1 * radius], [radius, 1.12 * radius, radius], color=GREY, linewidth=1)
        dots = panel.scatter(
            *points.T,
            c=100 * share,
            s=26 if len(keys) < 100 else 12,
            cmap="Reds",
            vmin=0,
            vmax=max(1, 100 * share.max()),
            edgecolors=GREY,
            linewidths=0.4,
        )
        figure.colorbar(dots, ax=panel, shrink=0.7, label="dropped in % of recordings")
        panel.set_aspect("equal")
        panel.set_axis_off()
        if len(keys) <= 40:
            for key, point in zip(keys, points, strict=True):
                panel.annotate(
                    key[1], point, fontsize=5.5, color=GREY, xytext=(0, 4), textcoords="offset points", ha="center"
                )
    return figure


def flattened(positions: np.ndarray) -> np.ndarray:
    """Positions (n, 3) seen from above: the angle from the vertical becomes the distance from the middle."""
    centred = positions - [0.0, 0.0, 0.04]
    flat = np.hypot(centred[:, 0], centred[:, 1])
    angle = np.arctan2(flat, centred[:, 2])
    return centred[:, :2] * (angle / np.maximum(flat, 1e-9))[:, None]


def _circle(radius: float) -> Any:
    from matplotlib.patches import Circle

    return Circle((0, 0), radius, fill=False, color=GREY, linewidth=1)


@styled
def coverage(records: Sequence[Record], channels: dict[str, Channels]) -> Figure:
    """How many regions each recording holds, and which regions are lost most."""
    figure, axes = panels(1, 2, width=4.2, height=2.7)
    kept = [100 * (1 - len(record["dropped"]) / max(1, record["channels"])) for record in records]
    axes[0, 0].hist(kept, np.linspace(min([*kept, 95]) - 0.5, 100.5, 25), color=MODALITY_COLOURS["fmri"])
    axes[0, 0].set(title="Regions that are covered", xlabel="% of the atlas", ylabel="recordings")
    lost = Counter(name for record in records for name in record["dropped"])
    if not lost:
        say_empty(axes[0, 1], "no region is lost in any recording")
        return figure
    names, counts = zip(*lost.most_common(15), strict=True)
    axes[0, 1].barh(range(len(names)), [100 * count / len(records) for count in counts], color=ORANGE)
    axes[0, 1].set_yticks(range(len(names)), [str(name)[:24] for name in names], fontsize=6.5)
    axes[0, 1].invert_yaxis()
    axes[0, 1].set(title="Regions lost most", xlabel="% of recordings")
    return figure
