"""The quality page of a corpus: what was found in the recordings, what was dropped and why; in uV and fT."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ..channels import SHOWN_UNITS, Channels
from ..corpus import Corpus
from ..errors import CorpusError
from ..utils.values import counted, listed
from .maps import SENSORS, topomap
from .page import Image, Section, Table, write_page
from .style import GREY, MODALITY_COLOURS, MODALITY_NAMES, ORANGE, panels, say_empty, styled

Record = dict[str, Any]

_CAPTIONS = {
    "spectrum": "Power density before preparation, median over channels. Line: median over recordings; shaded: 5th to "
    "95th percentile of the recordings.",
    "amplitude": "Robust standard deviation of each recording (median over its channels). Dotted: median over "
    "recordings.",
}
_HEADS = "Sensors seen from above, nose up, one head per system; colour: recordings in which they were dropped."

#: Recordings that a table lists at most; the ones with most dropped channels come first
MOST = 200


def write_quality_page(corpus: Corpus, path: str | PathLike[str]) -> Path:
    """Write the quality page as one HTML file.

    A CorpusError where the corpus holds no quality notes: an older version wrote it, or not `brainof prepare`.
    """
    records = corpus.quality
    if not records:
        where, fix = corpus.folder.where("quality"), "prepare it again with `brainof prepare`"
        raise CorpusError("holds no quality notes", file=where, fix=fix)
    return write_page(path, quality_sections(corpus, records), "Data quality", lead(records))


def lead(records: Sequence[Record]) -> str:
    """The first sentence of the page."""
    found = summary(records)
    return (
        f"{counted(len(records), 'recording')} of {counted(found['subjects'], 'subject')} in "
        f"{counted(len({(record['dataset'], record['modality']) for record in records}), 'dataset')}: "
        f"{found['in windows %']:.1f} % of the time is in windows, {found['channels dropped %']:.1f} % of the channels "
        "were dropped. Amplitudes and spectra are of the signal as read."
    )


def quality_sections(corpus: Corpus, records: Sequence[Record]) -> list[Section]:
    """Overview, what was dropped, and one section per dataset and modality."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((str(record["dataset"]), str(record["modality"])), []).append(record)
    failed = Counter((str(entry.get("dataset")), str(entry.get("modality"))) for entry in corpus.failures)
    lines = [
        {
            "dataset": dataset,
            "modality": MODALITY_NAMES.get(modality, modality),
            **summary(groups.get((dataset, modality), [])),
            "failed": failed[dataset, modality],
        }
        for dataset, modality in sorted(set(groups) | set(failed))
    ]
    digits = {"hours": 2, "in windows %": 1, "channels dropped %": 2, "samples clipped %": 3}
    overview = Section("Overview", tables=[Table(pd.DataFrame(lines), "Recordings that were prepared.", digits)])
    parts = [_dataset(corpus, *key, group) for key, group in sorted(groups.items())]
    return [overview, _dropped(corpus, records), *parts]


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """One line about some recordings."""
    n_channels = sum(record["channels"] for record in records)
    clipped = [record["clipped"] for record in records if record["clipped"] is not None]
    used, whole = (sum(record[key] for record in records) for key in ("seconds_in_windows", "seconds"))
    return {
        "recordings": len(records),
        "subjects": len({record["subject"] for record in records}),
        "hours": whole / 3600,
        "in windows %": 100 * used / whole if whole else np.nan,
        "channels dropped %": 100 * sum(len(record["dropped"]) for record in records) / max(1, n_channels),
        "samples clipped %": 100 * float(np.mean(clipped)) if clipped else np.nan,
        "cut off": sum(record["truncated"] for record in records),
    }


def _dropped(corpus: Corpus, records: Sequence[Record]) -> Section:
    reasons = Counter((record["dataset"], reason) for record in records for reason in record["dropped"].values())
    notes: dict[tuple[Any, str], list[str]] = {}  # dataset and kind of note -> the channels of each
    for record in records:
        for note in record["notes"]:
            kind, names = _kind_of_note(note)
            notes.setdefault((record["dataset"], kind), []).append(names)
    bad = [{"dataset": name, "channels": n, "why": why} for (name, why), n in reasons.most_common()]
    odd = [
        {"dataset": dataset, "recordings": len(names), "note": note, "such as": names[0]}
        for (dataset, note), names in sorted(notes.items(), key=lambda item: -len(item[1]))
    ]
    failures = [
        {"dataset": entry.get("dataset"), "recording": entry.get("recording"), "why": entry.get("reason")}
        for entry in corpus.failures[:MOST]
    ]
    offered = {
        "Channels that were marked bad; their place is kept and masked.": bad,
        "What was assumed, left out or found odd, most frequent first.": odd[:40],
        f"Recordings that failed ({len(corpus.failures)}).": failures,
    }
    tables = [Table(pd.DataFrame(lines), caption) for caption, lines in offered.items() if lines]
    return Section("What was dropped, and why", [] if tables else ["Nothing was dropped."], tables=tables)


def _kind_of_note(note: str) -> tuple[str, str]:
    """What a note says of any recording, without the names of its file and channels; and these channels."""
    said, _, names = re.sub(r"\S+_(\w+\.\w+)", r"*_\1", note).partition(": ")
    return said, names


def _dataset(corpus: Corpus, dataset: str, modality: str, records: list[Record]) -> Section:
    images = [Image(by_sensor(records, key), caption) for key, caption in _CAPTIONS.items()]
    tables = {str(record["channel_set"]) for record in records}
    channels = {digest: corpus.channels(digest) for digest in sorted(tables)}
    text: list[str] = []
    if not any(record["dropped"] for record in records):
        text.append("No channel was dropped in any recording.")
    elif modality == "fmri":
        caption = "Recordings in which a region had no signal or lay outside the image, worst first."
        images.append(Image(coverage(records), caption))
    else:
        images += [Image(head(records, channels, *system), _HEADS) for system in systems(channels)]
    worst = sorted(
        (record for record in records if record["dropped"] or record["truncated"] or not sum(record["views"].values())),
        key=lambda record: (-len(record["dropped"]) / max(1, record["channels"]), record["recording"]),
    )
    lines = [
        {
            "recording": record["recording"],
            "seconds": record["seconds"],
            "Hz": record["sfreq"],
            "channels": record["channels"],
            "dropped": len(record["dropped"]),
            "which": listed([f"{name} ({reason})" for name, reason in record["dropped"].items()], 6),
            "windows": sum(record["views"].values()),
            "in windows %": 100 * record["seconds_in_windows"] / max(record["seconds"], 1e-9),
            "cut off": record["truncated"],
        }
        for record in worst[:MOST]
    ]
    digits = {"seconds": 1, "Hz": 2, "in windows %": 1}
    caption = f"The {len(lines)} of {len(records)} recordings that lost something, most dropped channels first."
    title = f"{dataset} ({MODALITY_NAMES[modality]})"
    return Section(title, text, images, [Table(pd.DataFrame(lines), caption, digits)] if lines else [])


@styled
def by_sensor(records: Sequence[Record], key: str) -> Figure:
    """Power density ("spectrum") or a histogram ("amplitude") over recordings, a panel for each sensor type."""
    kinds = sorted({kind for record in records for kind in record[key]})
    draw, height = (_spectrum, 2.7) if key == "spectrum" else (_amplitude, 2.2)
    figure, axes = panels(1, max(1, len(kinds)), width=4.2, height=height)
    if not kinds:
        say_empty(axes[0, 0], "too short for a spectrum" if key == "spectrum" else "no good channel")
    colour = MODALITY_COLOURS[str(records[0]["modality"])]
    for panel, kind in zip(axes[0], kinds, strict=False):
        found = [record[key][kind] for record in records if kind in record[key]]
        unit, factor = SHOWN_UNITS[next(r["amplitude"][kind]["unit"] for r in records if kind in r["amplitude"])]
        panel.set(xscale="log", title=SENSORS.get(kind, "regions"))
        draw(panel, found, unit, factor, colour)
        # 20 instead of 2 x 10^1 below the axis, and never without a number
        low, high = panel.get_xlim()
        marked = (1, 1.5, 2, 3, 5, 7) if high / low < 10 else (1, 2, 5) if high / low < 1e4 else (1,)
        panel.xaxis.set_major_locator(LogLocator(subs=marked))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
    return figure


def _spectrum(panel: Axes, found: list[dict[str, Any]], unit: str, factor: float, colour: str) -> None:
    grid = np.geomspace(min(entry["hz"][0] for entry in found), max(entry["hz"][-1] for entry in found), 60)
    values = np.array([np.interp(grid, entry["hz"], entry["db"], left=np.nan, right=np.nan) for entry in found])
    seen = np.isfinite(values).any(axis=0)
    low, middle, high = np.nanpercentile(values[:, seen] + 20 * np.log10(factor), (5, 50, 95), axis=0)
    panel.fill_between(grid[seen], low, high, color=colour, alpha=0.25, linewidth=0)
    panel.plot(grid[seen], middle, color=colour)
    panel.set(xlabel="frequency (Hz)", ylabel=f"dB re 1 ({unit})²/Hz")


def _amplitude(panel: Axes, found: list[dict[str, Any]], unit: str, factor: float, colour: str) -> None:
    values = factor * np.array([entry["median"] for entry in found if entry["median"] > 0])
    if not len(values):
        say_empty(panel, "no amplitude above zero")
        return
    panel.hist(values, np.geomspace(values.min() / 1.3, values.max() * 1.3, 25).tolist(), color=colour)
    panel.axvline(np.median(values), color=GREY, linestyle=":")
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set(xlabel=f"amplitude ({unit})", ylabel="recordings")


def systems(channels: dict[str, Channels]) -> list[tuple[str, str, list[str]]]:
    """(sensor type, coordinate frame, digests of the tables) of each system: tables that share sensors of one frame."""
    found: list[tuple[str, str, set[str], list[str]]] = []
    for digest, table in channels.items():
        for kind in sorted(set(table.types)):
            names = {name for name, each in zip(table.names, table.types, strict=True) if each == kind}
            for known, frame, shared, digests in found:
                if (known, frame) == (kind, table.frame) and shared & names:
                    shared |= names
                    digests.append(digest)
                    break
            else:
                found.append((kind, table.frame, names, [digest]))
    return [(kind, frame, digests) for kind, frame, _, digests in found]


@styled
def head(records: Sequence[Record], channels: dict[str, Channels], kind: str, frame: str, digests: list[str]) -> Figure:
    """Sensors of a system on the head, coloured by how often they were dropped."""
    there, lost = Counter[str](), Counter[str]()
    places: dict[str, np.ndarray] = {}
    for record in records:
        if record["channel_set"] in digests:
            table = channels[str(record["channel_set"])]
            for name, each, place in zip(table.names, table.types, table.positions, strict=True):
                if each == kind:
                    there[name] += 1
                    lost[name] += name in record["dropped"]
                    places.setdefault(name, place)
    names = tuple(there)
    share = np.array([100 * lost[name] / there[name] for name in names])
    shown = Channels(names, (kind,) * len(names), positions=np.array([places[name] for name in names]), frame=frame)
    figure, axes = panels(1, 1, width=4.0, height=3.2)
    limits = (0.0, max(1.0, float(share.max())))
    topomap(axes[0, 0], share, shown, label="dropped in % of recordings", vlim=limits)
    axes[0, 0].set_title(f"{len(names)} {SENSORS[kind]} ({frame} frame)")
    return figure


@styled
def coverage(records: Sequence[Record]) -> Figure:
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
